"""What is timed: denoising loops, whole requests, and the kernels that a loop launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, ModelMixin
from PIL import Image
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from ..decode import decode_latents, to_disparity
from ..denoise import denoise
from ..encode import PromptEmbeds, encode_images, image_ids, images_to_tensor, pack_latents, text_ids, unpack_latents
from ..memory import FLUX_VAE
from .modes import TEXT_TOKENS, Mode

PIXELS_PER_LATENT = 8
GUIDANCE = 3.5
# FLUX.1-dev's autoencoder: its scales are in its config.
SCALES = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
TINY_VAE = {**FLUX_VAE, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
KERNELS_SHOWN = 20


def _draw(model: ModelMixin, side: int, text_tokens: int) -> tuple[torch.Tensor, torch.Tensor, PromptEmbeds]:
    """Noise tokens (1, L, C) of both branches and a prompt, the same for every mode."""
    config, generator = model.config, torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(model.device)

    rgb, depth = (draw(1, (side // 2) ** 2, config.in_channels) for _ in range(2))
    pooled, text = draw(1, config.pooled_projection_dim), draw(1, TEXT_TOKENS, config.joint_attention_dim)
    return rgb, depth, PromptEmbeds(pooled, text[:, :text_tokens])


def make_loop(model: ModelMixin, mode: Mode, size: int, steps: int) -> Callable[[], torch.Tensor]:
    """Make the denoising loop to be timed.

    Args:
        model: In its mode.
        mode: The mode.
        size: Side in pixels.
        steps: Denoising steps.

    Returns:
        A function that runs the loop from the same noise and gives how far it moved the tokens: rgb's and, of JointDiT,
        depth's.
    """
    side = size // PIXELS_PER_LATENT
    ids = image_ids(side, side).to(model.device)
    start_rgb, start_depth, embeds = _draw(model, side, mode.text_tokens)
    sigmas = torch.linspace(1, 0, steps + 1).tolist()

    @torch.no_grad()
    def run_joint() -> torch.Tensor:
        with model.cache_context("benchmark"):
            ends = denoise(model, start_rgb, start_depth, sigmas, sigmas, ids, embeds, None, GUIDANCE, lambda *_: None)
        return torch.cat(ends) - torch.cat([start_rgb, start_depth])

    @torch.no_grad()
    def run_flux() -> torch.Tensor:
        tokens, txt_ids = start_rgb, text_ids(embeds.tokens.shape[1]).to(model.device)
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            v = model(
                hidden_states=tokens.to(model.dtype),
                encoder_hidden_states=embeds.tokens.to(model.dtype),
                pooled_projections=embeds.pooled.to(model.dtype),
                timestep=tokens.new_full((1,), sigma),
                img_ids=ids,
                txt_ids=txt_ids,
                guidance=tokens.new_full((1,), GUIDANCE),
            ).sample
            tokens = tokens + (following - sigma) * v.float()
        return tokens - start_rgb

    return run_joint if mode.joint else run_flux


def build_autoencoder(model: ModelMixin, tiny: bool) -> AutoencoderKL:
    """Build FLUX's autoencoder with seeded random weights.

    Args:
        model: Whose device, dtype and channels it takes.
        tiny: A tiny one instead.

    Returns:
        The autoencoder in evaluation mode.
    """
    config = {**(TINY_VAE if tiny else FLUX_VAE), "latent_channels": model.config.in_channels // 4, **SCALES}
    with torch.random.fork_rng(), torch.device(model.device):
        torch.manual_seed(0)
        return torch.nn.Module.to(AutoencoderKL(**config), model.dtype).eval()


def make_depth_request(
    model: ModelMixin, autoencoder: AutoencoderKL, size: int, steps: int
) -> Callable[[], torch.Tensor]:
    """Make a whole request for the depth of a picture: encode it, denoise its depth, decode that to an array.

    Args:
        model: JointDiT, in its mode.
        autoencoder: Of both branches.
        size: Side in pixels.
        steps: Denoising steps, or 0 for the autoencoder's part alone.

    Returns:
        A function that serves the request and gives the depth tokens (1, L, C) it decoded. The prompt's embeddings are
        at hand, as they are for a prompt seen before.
    """
    side = size // PIXELS_PER_LATENT
    ids = image_ids(side, side).to(model.device)
    picture = Image.radial_gradient("L").convert("RGB").resize((size, size))
    _, noise, embeds = _draw(model, side, TEXT_TOKENS)
    sigmas = torch.linspace(1, 0, steps + 1).tolist() if steps else [0.0]

    @torch.no_grad()
    def serve() -> torch.Tensor:
        pixels = images_to_tensor([picture], size, size).to(model.device)
        clean = pack_latents(encode_images(autoencoder, pixels).float())
        _, depth = denoise(
            model, clean, noise, [0.0] * (steps + 1), sigmas, ids, embeds, None, GUIDANCE, lambda *_: None
        )
        to_disparity(decode_latents(autoencoder, unpack_latents(depth, side, side)), size, size)  # waits for the card
        return depth

    return serve


def list_kernels(loop: Callable[[], torch.Tensor], steps: int, device: torch.device) -> list[dict]:
    """Profile a loop.

    Args:
        loop: From `make_loop`, run before.
        steps: Its steps.
        device: Where it runs; on a CPU operators stand for kernels.

    Returns:
        One row a kernel, the most costly first: its name, and per step its milliseconds and calls. The last row adds
        up the others.
    """
    on_card = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_card else ProfilerActivity.CPU]) as profiler:
        loop().cpu()
    kind = DeviceType.CUDA if on_card else DeviceType.CPU
    events = [event for event in profiler.key_averages() if event.device_type == kind]
    rows = [
        {
            "kernel": event.key[:100],
            "ms": (event.self_device_time_total if on_card else event.self_cpu_time_total) / 1000 / steps,
            "calls": event.count / steps,
        }
        for event in events
    ]
    rows.sort(key=lambda row: -row["ms"])
    rest = rows[KERNELS_SHOWN:]
    totals = [
        {"kernel": name, "ms": sum(row["ms"] for row in part), "calls": sum(row["calls"] for row in part)}
        for name, part in (("(all others)", rest), ("(all together)", rows))
    ]
    return [*rows[:KERNELS_SHOWN], *totals]
