"""Fitting the patch autoencoder to worlds and training the network that polishes its decoding.

Letters: B images, H x W pixels.
"""

from __future__ import annotations

import logging

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from ..encode import disparity_to_image
from ..model.autoencoder import AutoencoderPatchPCA
from .cache import render_worlds
from .timed import timed_steps

FIT_SEED, TEST_SEED = 500_000, 600_000  # apart from the seeds of training and evaluation
SIZE, SAMPLES, BATCH = 256, 2, 8
REFINE_CHANNELS, REFINE_BLOCKS = 96, 4
REFINE_RATE, REFINE_WARMUP, REFINE_CLIP = 1e-3, 100, 0.1  # at 2e-3 without the last two its output died to 0
REFINE_NOISE = 0.5  # most that is added to scaled latents: what is generated is never as exact as what was encoded

logger = logging.getLogger(__name__)


def draw_images(
    first_seed: int, scenes: int, tokenizer: PreTrainedTokenizerFast, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes for the autoencoder.

    Args:
        first_seed: Seed of the first.
        scenes: Their number, a multiple of 8.
        tokenizer: The mini's tokenizer.
        device: Where to draw.

    Returns:
        RGB (B, 3, H, W) and disparity pictures (B, 3, H, W), float16 in [-1, 1], on the CPU.
    """
    seeds = list(range(first_seed, first_seed + scenes))
    drawn = [
        (worlds.images.half().cpu(), disparity_to_image(worlds.disparity).half().cpu())
        for worlds in render_worlds(seeds, tokenizer, SIZE, SAMPLES, BATCH, device)
    ]
    rgb, depth = (torch.cat(part) for part in zip(*drawn, strict=True))
    return rgb, depth


def psnr(vae: AutoencoderPatchPCA, images: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images (B, 3, H, W) in [-1, 1] through the autoencoder."""
    with torch.inference_mode():
        error = torch.cat(
            [(vae(part).sample.clamp(-1, 1) - part).square().mean((1, 2, 3)) for part in images.float().split(16)]
        )
    return float((10 * torch.log10(4 / error)).mean())


def fit_autoencoder(
    scenes: int,
    channels: int,
    patch: int,
    whitening: float,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
) -> AutoencoderPatchPCA:
    """Fit the components to RGB and disparity together.

    Args:
        scenes: Scenes to fit to, a multiple of 8.
        channels: Latent channels.
        patch: Patch size in pixels.
        whitening: See `AutoencoderPatchPCA.fit`.
        tokenizer: The mini's tokenizer.
        device: Where to draw.

    Returns:
        The autoencoder with an untrained refiner; its PSNR on other scenes is logged.
    """
    images = torch.cat(draw_images(FIT_SEED, scenes, tokenizer, device)).float()
    vae = AutoencoderPatchPCA.fit(
        images, channels, patch, whitening, refine_channels=REFINE_CHANNELS, refine_blocks=REFINE_BLOCKS
    )
    _log_psnr(vae, *draw_images(TEST_SEED, 64, tokenizer, device))
    return vae


def train_refiner(vae: AutoencoderPatchPCA, scenes: int, minutes: float, tokenizer: PreTrainedTokenizerFast) -> None:
    """Train the decoder's residual network; the latents stay as they are.

    Args:
        vae: The fitted autoencoder, changed in place, on the device to train on.
        scenes: Scenes to learn from, a multiple of 8.
        minutes: How long.
        tokenizer: The mini's tokenizer.
    """
    device = vae.device
    images = torch.cat(draw_images(FIT_SEED, scenes, tokenizer, device)).to(device)
    test = [part.to(device) for part in draw_images(TEST_SEED, 64, tokenizer, device)]
    _log_psnr(vae, *test)
    fit_refiner(vae, images, minutes)
    _log_psnr(vae.eval(), *test)


def fit_refiner(vae: AutoencoderPatchPCA, images: torch.Tensor, minutes: float) -> None:
    """Train the decoder's residual network on given pictures, half of them with noise of any strength in their latents.

    Args:
        vae: The fitted autoencoder, changed in place.
        images: (B, 3, H, W) in [-1, 1], on its device.
        minutes: How long.
    """
    vae.requires_grad_(False)
    vae.refiner.requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.refiner.parameters(), lr=REFINE_RATE, weight_decay=0.0)
    for _ in timed_steps("refiner", minutes, optimizer, REFINE_RATE, REFINE_WARMUP):
        clean = images[torch.randint(len(images), (BATCH,), device=images.device)].float()
        with torch.no_grad():
            latents = vae.encode(clean).latent_dist.mode()
            strength = REFINE_NOISE * (2 * torch.rand(BATCH, 1, 1, 1, device=images.device) - 1).clamp_min(0)
            latents += strength / vae.config.scaling_factor * torch.randn_like(latents)
        loss = F.l1_loss(vae.decode(latents).sample, clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.refiner.parameters(), REFINE_CLIP)
        optimizer.step()
        optimizer.zero_grad()


def _log_psnr(vae: AutoencoderPatchPCA, rgb: torch.Tensor, depth: torch.Tensor) -> None:
    logger.info("PSNR on other scenes: RGB %.1f dB, disparity %.1f dB", psnr(vae, rgb), psnr(vae, depth))
