"""Latents to what the visitor gets: an RGB picture and a disparity map.

Letters: B pairs, C x h x w a latent map of the autoencoder, H x W pixels.
"""

from __future__ import annotations

import numpy as np
from diffusers import ModelMixin
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from .encode import resize_disparity


def decode_latents(vae: ModelMixin, latents: Tensor) -> Tensor:
    """Decode scaled latents, the inverse of `encode_images`.

    Args:
        vae: An autoencoder with diffusers' interface.
        latents: (B, C, h, w), scaled.

    Returns:
        (B, 3, H, W) float32, about [-1, 1].

    Raises:
        FloatingPointError: The picture holds NaN or infinite values, which would come out as a black one.
    """
    unscaled = latents / vae.config.scaling_factor + vae.config.shift_factor
    images = vae.decode(unscaled.to(vae.dtype)).sample.float()
    if not images.isfinite().all():
        raise FloatingPointError(
            "The model's result holds values that are not finite (NaN or infinity), so it is not shown; "
            "another seed or a wider number format (bfloat16, float32) may help."
        )
    return images


def to_pil(images: Tensor, height: int, width: int) -> list[Image.Image]:
    """Turn decoded pictures of the rgb branch into files' form.

    Args:
        images: (B, 3, H, W) float32, about [-1, 1].
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        B RGB pictures of 8 bits.
    """
    pictures = VaeImageProcessor().postprocess(images.clamp(-1, 1), output_type="pil")
    return [picture.resize((width, height), Image.Resampling.LANCZOS) for picture in pictures]


def to_disparity(images: Tensor, height: int, width: int, inverse: bool = False) -> np.ndarray:
    """Turn decoded pictures of the depth branch into disparity maps, the inverse of `disparity_to_image`.

    Args:
        images: (B, 3, H, W) float32, about [-1, 1].
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        inverse: Whether this model works on 1 - disparity.

    Returns:
        (B, height, width) float32 in [0, 1], near = 1; as decoded, not stretched to the whole range.
    """
    shown = ((images.mean(dim=1) + 1) / 2).clamp(0, 1)  # (B, H, W)
    disparity = 1 - shown if inverse else shown
    return resize_disparity(disparity.cpu().numpy(), height, width).numpy()
