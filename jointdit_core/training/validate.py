"""A look at a run: depth estimated and pictures made for pairs that are never trained on.

Letters: B pairs held out, h x w latents.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin
from PIL import Image

from ..decode import decode_latents, to_disparity, to_pil
from ..denoise import denoise, schedule
from ..encode import PromptEmbeds, image_ids, pack_latents, unpack_latents
from ..evaluation.depth_metrics import depth_metrics
from ..evaluation.mini import SKY, sheet
from ..geometry.disparity import disparity_to_depth
from ..model.transformer import JointDiTTransformer2DModel
from ..pipeline import JointDiTPipeline
from .loop import Trainer
from .shards import PreparedPairs

GUIDANCE = 3.5  # the released model's default


class Validation:
    """Measures the transformer on the pairs that `PreparedPairs` holds out; `Trainer.run` calls it at checkpoints."""

    def __init__(self, pipeline: JointDiTPipeline, pairs: PreparedPairs, steps: int, folder: Path):
        """Decode the pairs' own pictures and maps once.

        Args:
            pipeline: Its autoencoder and schedule are used.
            pairs: With at least one pair held out.
            steps: Denoising steps of both tasks.
            folder: For a sheet each time.
        """
        self.pipeline, self.steps, self.folder = pipeline, steps, folder
        self.batch, self.empty = pairs.validation(), pairs.empty
        pipeline.vae.to(self.batch.rgb.device)
        self.images, self.maps = self._decode(self.batch.rgb, self.batch.depth)

    @torch.no_grad()
    def __call__(self, trainer: Trainer) -> None:
        """Estimate depth and generate from the prompts, log AbsRel and delta1, save a sheet.

        Args:
            trainer: Whose weights as they are now are looked at.
        """
        transformer = trainer.accelerator.unwrap_model(trainer.parts).transformer.eval()
        # A generator of its own: what is looked at must not change what is trained on.
        generator, like = torch.Generator().manual_seed(0), self.batch.rgb
        noise_rgb, noise_depth = torch.randn(2, *like.shape, generator=generator).to(like.device)
        empty = PromptEmbeds(*(t.expand(len(like), *t.shape[1:]) for t in (self.empty.pooled, self.empty.tokens)))
        with trainer.accelerator.autocast():
            _, estimated = self._run(transformer, self.batch.rgb, noise_depth, 0.0, empty)
            made, own = self._run(transformer, noise_rgb, noise_depth, 1.0, self.batch.text)
        transformer.train()
        measured = [
            depth_metrics(found, disparity_to_depth(true), true > SKY)
            for found, true in zip(estimated, self.maps, strict=True)
            if (true > SKY).sum() > 1 and np.ptp(true) > 0
        ]
        if measured:
            values = {name: float(np.mean([getattr(m, name) for m in measured])) for name in ("abs_rel", "delta1")}
            trainer.accelerator.log(values, trainer.progress.step)
        if not trainer.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = sheet([self.images, self.maps, estimated, made, own])
        picture.save(self.folder / f"step-{trainer.progress.step:06d}.png")

    def _run(
        self,
        transformer: JointDiTTransformer2DModel,
        rgb: torch.Tensor,
        depth: torch.Tensor,
        sigma_rgb: float,
        embeds: PromptEmbeds,
    ) -> tuple[list[Image.Image], list[np.ndarray]]:
        """Denoise both branches of the batch from (sigma_rgb, 1) and decode them."""
        h, w = rgb.shape[-2:]
        tokens = pack_latents(rgb), pack_latents(depth)
        length, scheduler = tokens[0].shape[1], self.pipeline.scheduler
        tokens = denoise(
            transformer,
            *tokens,
            schedule(scheduler, self.steps, length, sigma_rgb),
            schedule(scheduler, self.steps, length, 1.0),
            image_ids(h, w).to(rgb.device),
            embeds,
            None,
            GUIDANCE,
            lambda *_: None,
        )
        return self._decode(*(unpack_latents(t.float(), h, w) for t in tokens))

    def _decode(self, rgb: torch.Tensor, depth: torch.Tensor) -> tuple[list[Image.Image], list[np.ndarray]]:
        return decode_pairs(self.pipeline.vae, rgb, depth, self.pipeline.config.depth_transform == "inverse")


@torch.no_grad()
def decode_pairs(
    vae: ModelMixin, rgb: torch.Tensor, depth: torch.Tensor, inverse: bool = False
) -> tuple[list[Image.Image], list[np.ndarray]]:
    """Decode latents.

    Args:
        vae: The autoencoder, on the latents' device.
        rgb: (B, C, h, w) scaled latents.
        depth: (B, C, h, w).
        inverse: Whether these show 1 - disparity.

    Returns:
        B pictures and B disparities (H, W) float32 in [0, 1].
    """
    images = decode_latents(vae, rgb)
    height, width = images.shape[-2:]
    return to_pil(images, height, width), list(to_disparity(decode_latents(vae, depth), height, width, inverse))
