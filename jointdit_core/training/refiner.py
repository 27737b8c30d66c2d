"""The last stage of a mini: its autoencoder's decoder learns to polish what the mini itself makes.

Latents that were generated are never as exact as those that were encoded: neighbouring patches disagree a little, and
linear decoding shows their borders. So the residual network learns from worlds that the mini has noised part of the way
and denoised again, whose true pictures are known; from latents with plain noise; and from exact ones.

Letters: B pictures, H x W pixels, C x h x w a latent map of the autoencoder.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..denoise import add_noise, denoise, schedule
from ..encode import TokenIds, disparity_to_image, encode_images, encode_tokens, image_ids, pack_latents, unpack_latents
from ..model.autoencoder import AutoencoderPatchPCA
from ..pipeline import GUIDANCE_SCALE, JointDiTPipeline
from .cache import WorldBatch, render_worlds
from .fit_autoencoder import BATCH, FIT_SEED, SAMPLES, SIZE, log_psnr
from .timed import timed_steps

RATE, WARMUP, CLIP = 1e-3, 100, 0.1  # at 2e-3 without the last two its output died to 0
NOISE = 0.5  # most that is added to scaled latents
IMAGINED, NOISED = 0.5, 0.25  # shares of a batch; the rest is exact
START, STEPS = (0.2, 0.7), 4  # the mini goes on from noise levels between these, in so many steps
TEST = 64  # worlds kept apart


@torch.no_grad()
def imagine(pipeline: JointDiTPipeline, worlds: WorldBatch, start: float) -> tuple[Tensor, Tensor]:
    """Noise worlds part of the way and let the mini denoise them.

    Args:
        pipeline: The mini.
        worlds: Drawn worlds with the captions it is given.
        start: Noise level both branches go on from, in (0, 1).

    Returns:
        Scaled latents of the pictures and of the disparity maps, (B, C, h, w) each.
    """
    vae, device = pipeline.vae, pipeline.device
    clean = [encode_images(vae, part) for part in (worlds.images, disparity_to_image(worlds.disparity))]
    h, w = clean[0].shape[-2:]
    tokens = [pack_latents(add_noise(latents, torch.randn_like(latents), start)) for latents in clean]
    sigmas = schedule(pipeline.scheduler, STEPS, tokens[0].shape[1], start)
    ids = worlds.captions[:, 0].long().to(device)
    made = denoise(
        pipeline.transformer,
        *tokens,
        sigmas,
        sigmas,
        image_ids(h, w).to(device),
        encode_tokens(pipeline.text_encoder, pipeline.text_encoder_2, TokenIds(ids, ids, ())),
        None,
        GUIDANCE_SCALE if pipeline.transformer.config.guidance_embeds else 1.0,
        lambda *_: None,
    )
    return tuple(unpack_latents(part, h, w) for part in made)


def fit_refiner(vae: AutoencoderPatchPCA, images: Tensor, imagined: Tensor, minutes: float) -> None:
    """Train the decoder's residual network on given pictures; the latents stay as they are.

    Args:
        vae: The fitted autoencoder, changed in place.
        images: (B, 3, H, W) in [-1, 1], on its device.
        imagined: (B, C, h, w) scaled latents that a mini made of them.
        minutes: How long.
    """
    vae.requires_grad_(False)
    vae.refiner.requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.refiner.parameters(), lr=RATE, weight_decay=0.0)
    scale, device = vae.config.scaling_factor, images.device
    for bar in timed_steps("refiner", minutes, optimizer, RATE, WARMUP):
        rows = torch.randint(len(images), (BATCH,), device=device)
        clean, kind = images[rows].float(), torch.rand(BATCH, 1, 1, 1, device=device)
        with torch.no_grad():
            exact = vae.encode(clean).latent_dist.mode()
            noised = exact + NOISE / scale * torch.rand_like(kind) * torch.randn_like(exact)
            latents = torch.where(kind < IMAGINED + NOISED, noised, exact)
            latents = torch.where(kind < IMAGINED, imagined[rows].to(exact.dtype) / scale, latents)
        made = vae.decode(latents).sample
        loss = F.l1_loss(made, clean) + sum(F.l1_loss(made.diff(dim=d), clean.diff(dim=d)) for d in (2, 3))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.refiner.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if bar.n % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    vae.eval()


def train_refiner(pipeline: JointDiTPipeline, scenes: int, minutes: float) -> None:
    """Draw worlds, let the mini imagine them and train its decoder; errors before and after are logged.

    Args:
        pipeline: The mini, on the device to train on; its autoencoder is changed in place.
        scenes: Scenes to learn from, a multiple of 8.
        minutes: How long, without the drawing.
    """
    vae = pipeline.vae
    seeds = list(range(FIT_SEED, FIT_SEED + scenes + TEST))
    drawn = render_worlds(seeds, pipeline.tokenizer, SIZE, SAMPLES, BATCH, pipeline.device)
    images, imagined = [], []
    for worlds in tqdm(drawn, desc="imagined worlds", total=len(seeds) // BATCH):
        start = START[0] + (START[1] - START[0]) * float(torch.rand(()))
        images.append(torch.stack([worlds.images, disparity_to_image(worlds.disparity)], 1).half())
        imagined.append(torch.stack(imagine(pipeline, worlds, start), 1).half())
    images, imagined = torch.cat(images), torch.cat(imagined)  # (scenes + TEST, 2, ...)

    def log() -> None:
        test = images[-TEST:]
        log_psnr("drawn", lambda x: vae(x).sample, test, test)
        log_psnr("imagined", lambda z: vae.decode(z / vae.config.scaling_factor).sample, test, imagined[-TEST:])

    log()
    fit_refiner(vae, images[:-TEST].flatten(0, 1), imagined[:-TEST].flatten(0, 1), minutes)
    log()
