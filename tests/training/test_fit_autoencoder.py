"""The refining network takes back what linear decoding loses and what noise adds, and leaves the latents alone."""

import torch
from torch.nn import functional as F

from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.fit_autoencoder import fit_refiner, psnr


def test_refiner_improves_the_decoding_and_nothing_else_changes():
    steps = torch.linspace(-1, 1, 32)
    phase = torch.linspace(0, 6, 16)[:, None, None]
    waves = torch.sin(6 * steps[None, None] * (1 + steps[None, :, None]) + phase)  # few components cannot hold these
    images = waves[:, None].expand(-1, 3, -1, -1).contiguous()
    vae = AutoencoderPatchPCA.fit(images, 3, 8, 0.5, refine_channels=16, refine_blocks=1)
    latents, before = vae.encode(images).latent_dist.mode(), psnr(vae, images)
    torch.manual_seed(0)
    noised = latents + 0.3 / vae.config.scaling_factor * torch.randn_like(latents)
    linear = F.l1_loss(vae.decode(noised).sample, images)
    fit_refiner(vae, images, minutes=0.2)
    assert psnr(vae, images) > before + 0.5
    assert F.l1_loss(vae.decode(noised).sample, images) < 0.8 * linear
    assert torch.equal(vae.encode(images).latent_dist.mode(), latents)
