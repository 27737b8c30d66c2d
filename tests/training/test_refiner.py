"""The refining network takes back what linear decoding, noise and generation lose, and leaves the latents alone."""

import torch
from torch.nn import functional as F

from jointdit_core.encode import disparity_to_image, encode_images
from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.cache import WorldBatch, render_worlds
from jointdit_core.training.fit_autoencoder import psnr
from jointdit_core.training.refiner import fit_refiner, imagine


def test_refiner_improves_the_decoding_and_nothing_else_changes():
    steps = torch.linspace(-1, 1, 32)
    phase = torch.linspace(0, 6, 16)[:, None, None]
    waves = torch.sin(6 * steps[None, None] * (1 + steps[None, :, None]) + phase)  # few components cannot hold these
    images = waves[:, None].expand(-1, 3, -1, -1).contiguous()
    vae = AutoencoderPatchPCA.fit(images, 3, 8, 0.5, refine_channels=16, refine_blocks=1)
    latents, before = vae.encode(images).latent_dist.mode(), psnr(lambda x: vae(x).sample, images, images)
    torch.manual_seed(0)
    noised = latents + 0.3 / vae.config.scaling_factor * torch.randn_like(latents)
    imagined = latents + 0.3 / vae.config.scaling_factor * torch.sin(9 * latents)  # off in a way that can be learnt
    tried = noised, imagined
    linear = [F.l1_loss(vae.decode(z).sample, images) for z in tried]
    fit_refiner(vae, images, imagined * vae.config.scaling_factor, minutes=0.2)
    assert psnr(lambda x: vae(x).sample, images, images) > before + 0.5
    for z, error in zip(tried, linear, strict=True):
        assert F.l1_loss(vae.decode(z).sample, images) < 0.8 * error
    assert torch.equal(vae.encode(images).latent_dist.mode(), latents)


def test_what_is_imagined_from_hardly_noised_worlds_is_those_worlds(pipeline):
    worlds: WorldBatch = next(render_worlds([7, 8], pipeline.tokenizer, 64, 1, 2, pipeline.device))
    torch.manual_seed(0)
    made = imagine(pipeline, worlds, 1e-4)
    far = imagine(pipeline, worlds, 0.5)
    for near, other, images in zip(made, far, (worlds.images, disparity_to_image(worlds.disparity)), strict=True):
        exact = encode_images(pipeline.vae, images)
        assert torch.allclose(near, exact, atol=2e-3)
        assert not torch.allclose(other, exact, atol=0.1)
