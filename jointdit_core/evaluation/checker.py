"""A small network that tells what each cell of a picture shows.

It judges prompt obedience, and its features give the distance between made and drawn pictures. It learns from drawn
worlds' exact labels, seen through the mini's autoencoder, and is no part of the mini.

Letters: B pictures, h x w cells of 16 x 16 pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..decode import decode_latents
from ..model.autoencoder import AutoencoderPatchPCA
from ..training.cache import LatentPairs
from ..worlds import COLOR_CLASSES, OBJECT_CLASSES
from ..worlds.labels import BACKGROUND

LEARNING_RATE = 2e-3
BATCH = 32


class Block(nn.Module):
    """Depthwise 5 x 5 convolution, then two pointwise ones, around a residual (ConvNeXt's order)."""

    def __init__(self, channels: int):
        super().__init__()
        self.across = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 3 * channels, 1)
        self.narrow = nn.Conv2d(3 * channels, channels, 1)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's part to x, (B, channels, h, w)."""
        return x + self.narrow(F.gelu(self.widen(self.norm(self.across(x)))))


class LabelChecker(ModelMixin, ConfigMixin):
    """Pictures -> logits of the object and the colour in each cell.

    Args:
        channels: Width at the cells' resolution; twice as fine, half of it.
        blocks: Residual blocks at each of the two resolutions.
    """

    @register_to_config
    def __init__(self, channels: int = 160, blocks: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(3, channels // 2, 8, stride=8)
        self.fine = nn.Sequential(*(Block(channels // 2) for _ in range(blocks)))
        self.merge = nn.Conv2d(channels // 2, channels, 2, stride=2)
        self.coarse = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.norm = nn.GroupNorm(1, channels)
        self.read = nn.Conv2d(channels, len(OBJECT_CLASSES) + len(COLOR_CLASSES), 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the cells look like.

        Args:
            images: (B, 3, 16h, 16w) float32 in [-1, 1].

        Returns:
            (B, channels, h, w).
        """
        return self.norm(self.coarse(self.merge(self.fine(self.stem(images)))))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score the classes of every cell.

        Args:
            images: As in `features`.

        Returns:
            Logits (B, objects, h, w) and (B, colours, h, w).
        """
        return self.read(self.features(images)).split((len(OBJECT_CLASSES), len(COLOR_CLASSES)), dim=1)

    @torch.inference_mode()
    def labels(self, images: torch.Tensor) -> torch.Tensor:
        """Name what each cell shows.

        Args:
            images: As in `features`.

        Returns:
            (B, 2, h, w) int64 indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.
        """
        return torch.stack([logits.argmax(1) for logits in self(images)], dim=1)


def train_checker(
    pairs: LatentPairs, vae: AutoencoderPatchPCA, steps: int, out: Path, channels: int = 160, seed: int = 0
) -> LabelChecker:
    """Train a checker on cached worlds.

    Args:
        pairs: Latents and labels.
        vae: The autoencoder that made them.
        steps: Batches of `BATCH`; the rate falls to 0 over all of them.
        out: Folder it is saved to, as float16.
        channels: Its width.
        seed: Seed of its weights and batches.

    Returns:
        The trained checker.
    """
    torch.manual_seed(seed)
    device = pairs.rgb.device
    checker = LabelChecker(channels).to(device)
    optimizer = torch.optim.AdamW(checker.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    rare = torch.ones(len(OBJECT_CLASSES), device=device)
    rare[: len(BACKGROUND)] = 0.3  # most cells show nothing else
    bar, mean = tqdm(range(steps), desc="checker", unit="step"), None
    for step in bar:
        rows = torch.randint(len(pairs), (BATCH,), device=device)
        with torch.no_grad():
            images = decode_latents(vae, pairs.rgb[rows].float())
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * (1 - step / steps)
        objects, colors = pairs.labels[rows].long().unbind(1)
        of_object, of_color = checker(images)
        loss = F.cross_entropy(of_object, objects, rare) + F.cross_entropy(of_color, colors)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
    checker.eval().half().save_pretrained(out)
    return checker.float()
