"""Fitting the patch autoencoder to worlds.

Letters: B images, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from transformers import PreTrainedTokenizerFast

from ..encode import disparity_to_image
from ..model.autoencoder import AutoencoderPatchPCA
from .cache import render_worlds

FIT_SEED, TEST_SEED = 500_000, 600_000  # apart from the seeds of training and evaluation
SIZE, SAMPLES, BATCH = 256, 2, 8
REFINE_CHANNELS, REFINE_BLOCKS = 96, 4

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


@torch.inference_mode()
def psnr(decode: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, given: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of pictures.

    Args:
        decode: Makes (B, 3, H, W), about [-1, 1], of what it is given.
        images: (B, 3, H, W) in [-1, 1] that they should be.
        given: (B, ...) what they are made of.

    Returns:
        Mean over the pictures, in dB.
    """
    parts = zip(images.float().split(16), given.float().split(16), strict=True)
    error = torch.cat([(decode(part).clamp(-1, 1) - image).square().mean((1, 2, 3)) for image, part in parts])
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
    test = torch.stack(draw_images(TEST_SEED, 64, tokenizer, device), 1)
    log_psnr("drawn", lambda x: vae(x).sample, test, test)
    return vae


def log_psnr(
    name: str, decode: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, given: torch.Tensor
) -> None:
    """Log the `psnr` of RGB and of disparity pictures (B, 2, 3, H, W), made of `given` (B, 2, ...)."""
    rgb, depth = (psnr(decode, *part) for part in zip(images.unbind(1), given.unbind(1), strict=True))
    logger.info("PSNR of %s scenes: RGB %.1f dB, disparity %.1f dB", name, rgb, depth)
