"""The patch autoencoder against principal components computed independently in float64."""

import numpy as np
import pytest
import torch

from jointdit_core.model.autoencoder import AutoencoderPatchPCA


def smooth_images(count=6, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, side // 8, side // 8, generator=generator)
    fine = 0.1 * torch.randn(count, 3, side, side, generator=generator)
    return (torch.nn.functional.interpolate(coarse, side, mode="bicubic") + fine).clamp(-1, 1)


def test_all_components_reconstruct_exactly():
    images = smooth_images()
    vae = AutoencoderPatchPCA.fit(images, latent_channels=48, patch_size=4, whitening=0.5)
    assert torch.allclose(vae(images).sample, images, atol=1e-4)


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_error_is_the_variance_of_the_components_left_out(whitening):
    images = smooth_images()
    vae = AutoencoderPatchPCA.fit(images, latent_channels=5, patch_size=4, whitening=whitening)
    pixels = images.numpy().astype(np.float64)
    pixels -= pixels.mean((0, 2, 3), keepdims=True)
    patches = pixels.reshape(6, 3, 8, 4, 8, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 48)
    left_out = (np.linalg.svd(patches, compute_uv=False)[5:] ** 2).sum() / images.numel()
    assert (vae(images).sample - images).double().square().mean().item() == pytest.approx(left_out, rel=1e-3)


def test_scaled_latents_have_unit_variance_and_whitening_equals_the_channels():
    images = smooth_images()
    vae = AutoencoderPatchPCA.fit(images, latent_channels=5, patch_size=4, whitening=1.0)
    latents = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
    assert torch.allclose(latents.square().mean((0, 2, 3)), torch.ones(5), atol=1e-3)
    plain = AutoencoderPatchPCA.fit(images, latent_channels=5, patch_size=4, whitening=0.0)
    latents = plain.encode(images).latent_dist.mode() * plain.config.scaling_factor
    variances = latents.square().mean((0, 2, 3))
    assert variances.mean().item() == pytest.approx(1, rel=1e-3)
    assert (variances.diff() < 0).all() and variances[0] > 5 * variances[-1]


def test_untrained_refiner_changes_nothing_and_a_trained_one_is_kept(tmp_path):
    images = smooth_images()
    plain = AutoencoderPatchPCA.fit(images, 5, 4, 0.5)
    refined = AutoencoderPatchPCA.fit(images, 5, 4, 0.5, refine_channels=8, refine_blocks=1)
    assert torch.equal(plain(images).sample, refined(images).sample)
    torch.nn.init.normal_(refined.refiner[-2].weight, std=0.1)
    assert not torch.allclose(plain(images).sample, refined(images).sample)
    refined.save_pretrained(tmp_path)
    loaded = AutoencoderPatchPCA.from_pretrained(tmp_path)
    assert torch.allclose(loaded(images).sample, refined(images).sample, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "patch", "named"), [(0, 4, "latent_channels"), (49, 4, "48"), (3, 6, "power of two")]
)
def test_impossible_numbers_are_named(channels, patch, named):
    with pytest.raises(ValueError, match=named):
        AutoencoderPatchPCA.fit(smooth_images(side=24), channels, patch, 0.5)
