"""Text encoders that know what captions are about before the transformer learns to listen to them.

FLUX reads its prompts through encoders trained long before. A mini's start from nothing, and what the noised pictures
tell drowns what they could learn; alone, predicting the mean picture of a caption, they learn it in minutes.

Letters: B pairs, K captions a pair, L image tokens, C channels of a packed latent token, D width of the text.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..encode import PromptEmbeds, TokenIds, encode_tokens, pack_latents
from ..pipeline import JointDiTPipeline
from .cache import LatentPairs
from .objective import SEMANTIC_WEIGHT
from .semantics import CLASSES, label_loss
from .timed import timed_steps

LAYERS = 1
BATCH = 32
RATE, WARMUP = 2e-3, 200


class CaptionReader(nn.Module):
    """Guesses a caption's clean tokens and labels; used in this training only."""

    def __init__(self, width: int, heads: int, tokens: int, channels: int):
        """Make it.

        Args:
            width: D.
            heads: Attention heads.
            tokens: L.
            channels: C.
        """
        super().__init__()
        self.places = nn.Parameter(torch.randn(tokens, width))
        self.from_pooled = nn.Linear(width, width)
        layer = nn.TransformerDecoderLayer(width, heads, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, LAYERS, nn.LayerNorm(width))
        self.read = nn.Linear(width, 2 * channels + 4 * CLASSES)
        self.channels = channels

    def forward(self, embeds: PromptEmbeds) -> tuple[torch.Tensor, torch.Tensor]:
        """Read embedded captions.

        Args:
            embeds: Of B captions.

        Returns:
            The guessed clean tokens of both branches (B, L, 2C), and logits of the labels (B, L, 4, classes).
        """
        places = self.places + self.from_pooled(embeds.pooled)[:, None]  # (B, L, D)
        read = self.read(self.layers(places, embeds.tokens))
        tokens, labels = read.split((2 * self.channels, 4 * CLASSES), dim=-1)
        return tokens, labels.unflatten(-1, (4, CLASSES))


def train_text(pipeline: JointDiTPipeline, pairs: LatentPairs, minutes: float, held_out: int = 512) -> float:
    """Train both text encoders of a mini to know the mean of the pictures that a caption fits.

    Args:
        pipeline: The mini; only its text encoders change, in place.
        pairs: The data, on their device; its last `held_out` pairs are for the result.
        minutes: How long.
        held_out: Pairs to test with.

    Returns:
        Mean squared error of the guessed tokens of the pairs held out, both branches together.
    """
    encoders = pipeline.text_encoder, pipeline.text_encoder_2
    config, device = pipeline.text_encoder_2.config, pairs.rgb.device
    reader = CaptionReader(
        config.d_model, config.num_heads, pairs.rgb[0, 0].numel() // 4, pipeline.transformer.config.in_channels
    )
    parts = nn.ModuleList([*encoders, reader]).to(device).train()
    optimizer = torch.optim.AdamW(parts.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)

    def errors(rows: torch.Tensor, wording: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ids = pairs.captions[rows, wording]
        tokens, logits = reader(encode_tokens(*encoders, TokenIds(ids, ids, ())))
        clean = torch.cat([pack_latents(latents[rows].float()) for latents in (pairs.rgb, pairs.depth)], dim=-1)
        return F.mse_loss(tokens, clean), label_loss(logits, pairs.labels[rows])

    known, wordings = len(pairs) - held_out, pairs.captions.shape[1]
    for bar in timed_steps("text", minutes, optimizer, RATE, WARMUP):
        error, labels = errors(
            torch.randint(known, (BATCH,), device=device), torch.randint(wordings, (BATCH,), device=device)
        )
        (error + SEMANTIC_WEIGHT * labels).backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if bar.n % 50 == 0:
            bar.set_postfix(error=f"{error.item():.4f}", labels=f"{labels.item():.4f}", refresh=False)
    parts.eval()
    with torch.inference_mode():
        parted = torch.arange(known, len(pairs), device=device).split(BATCH)
        found = [errors(rows, torch.zeros_like(rows))[0] * len(rows) for rows in parted]
    return (torch.stack(found).sum() / held_out).item()
