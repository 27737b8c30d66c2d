"""Latents on their way out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from jointdit_core.decode import decode_latents, to_disparity, to_pil
from jointdit_core.encode import disparity_to_image, encode_images, images_to_tensor
from jointdit_core.model.autoencoder import AutoencoderPatchPCA


@pytest.fixture(scope="module")
def lossless_vae() -> AutoencoderPatchPCA:
    """All 12 components of 2 x 2 patches, so nothing is lost."""
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return AutoencoderPatchPCA.fit(images, latent_channels=12, patch_size=2, whitening=0.5)


@torch.no_grad()
def test_picture_survives_encode_and_decode(lossless_vae, picture):
    latents = encode_images(lossless_vae, images_to_tensor([picture, picture.rotate(90)], 64, 64))
    decoded = to_pil(decode_latents(lossless_vae, latents), 64, 64)
    assert [d.mode for d in decoded] == ["RGB", "RGB"]
    assert np.array_equal(np.asarray(decoded[0]), np.asarray(picture))
    assert np.array_equal(np.asarray(decoded[1]), np.asarray(picture.rotate(90)))


@torch.no_grad()
@pytest.mark.parametrize("inverse", [False, True])
def test_disparity_survives_encode_and_decode(lossless_vae, disparity, inverse):
    latents = encode_images(lossless_vae, disparity_to_image(torch.from_numpy(disparity)[None], inverse))
    decoded = to_disparity(decode_latents(lossless_vae, latents), 64, 64, inverse)
    assert decoded.shape == (1, 64, 64) and decoded.dtype == np.float32
    assert np.abs(decoded[0] - disparity).max() < 1e-5


def test_results_come_at_the_size_asked_and_in_range():
    images = torch.randn(1, 3, 16, 24) * 3
    assert to_pil(images, 33, 50)[0].size == (50, 33)
    maps = to_disparity(images, 33, 50)
    assert maps.shape == (1, 33, 50) and maps.min() >= 0 and maps.max() <= 1


def test_disparity_is_the_mean_of_the_channels():
    images = torch.tensor([-1.0, 0.0, 0.4]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert np.allclose(to_disparity(images, 4, 4), 0.4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite_latents_are_refused(lossless_vae, bad):
    latents = torch.zeros(1, 12, 4, 4)
    latents[0, 3, 1, 2] = bad
    with torch.no_grad(), pytest.raises(FloatingPointError, match="not finite"):
        decode_latents(lossless_vae, latents)


def test_to_pil_rounds_to_the_nearest_level():
    level = torch.full((1, 3, 2, 2), 2 * 100.4 / 255 - 1)
    assert to_pil(level, 2, 2)[0].getpixel((0, 0)) == (100, 100, 100)
    assert isinstance(to_pil(level, 2, 2)[0], Image.Image)
