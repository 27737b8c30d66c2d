"""Ways to fit the released model into a card's memory, and what each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from .model.fp8 import quantize_float8
from .model.fused import fuse_projections
from .model.transformer import JointDiTTransformer2DModel
from .pipeline import JointDiTPipeline

GIB = 2**30
BYTES = 2  # of a bfloat16
# FLUX.1-dev's text encoders and autoencoder, for their sizes only; from the configs in its repository.
T5_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
FLUX_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
TEXT_TOKENS, PIXELS_PER_TOKEN = 512, 16
# Channels per token alive at once in a single block: its input and normed copy, q, k, v and MLP, the doubled queries,
# the answers, and the input of its output projection. In units of D.
LIVE_WIDTHS = 24
# Left free for the CUDA context, the libraries' work space, and the autoencoder's tiles.
RESERVE_GIB = 1.5


@dataclass(frozen=True)
class MemoryPlan:
    """One way to fit the model.

    Attributes:
        title: What is done, as `--help` shows it.
        weights_gib: Weights on the card at the worst moment, in GiB.
        apply: Puts a pipeline in this form, on a device.
    """

    title: str
    weights_gib: Callable[[], float]
    apply: Callable[[JointDiTPipeline, torch.device], None]

    def need_gib(self, size: int) -> float:
        """Memory needed for one picture and its depth.

        Args:
            size: Side of the picture in pixels.

        Returns:
            GiB: weights, what a step computes with, and a reserve.
        """
        tokens = 2 * (TEXT_TOKENS + (size // PIXELS_PER_TOKEN) ** 2)
        width = _transformer(False).inner_dim
        return self.weights_gib() + LIVE_WIDTHS * width * tokens * BYTES / GIB + RESERVE_GIB


def weights_gib(model: nn.Module) -> float:
    """Add up a model's weights.

    Args:
        model: On any device, the meta device too.

    Returns:
        GiB.
    """
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) / GIB


@cache
def _transformer(float8: bool, fused: bool = True) -> JointDiTTransformer2DModel:
    """The full-size transformer without values, in the form it runs in."""
    with init_empty_weights():
        model = JointDiTTransformer2DModel(guidance_embeds=True)
    nn.Module.to(model, torch.bfloat16)
    if fused:
        fuse_projections(model)
    if float8:
        quantize_float8(model)
    return model


@cache
def _other_gib() -> dict[str, float]:
    """The other models' weights in bfloat16, by component."""
    with init_empty_weights():
        models = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
            "text_encoder_2": T5EncoderModel(T5Config(**T5_XXL, feed_forward_proj="gated-gelu")),
            "vae": AutoencoderKL(**FLUX_VAE),
        }
    models["text_encoder_2"].tie_weights()  # lost on the meta device: its two embeddings are one
    return {name: weights_gib(nn.Module.to(model, torch.bfloat16)) for name, model in models.items()}


def _streamed_gib() -> float:
    """With one block at a time on the card and the next on its way, the T5 encoder is the larger."""
    model = _transformer(False, fused=False)
    lists = (model.transformer_blocks, model.single_transformer_blocks)
    blocks = [weights_gib(block) for group in lists for block in group]
    return max(_other_gib()["text_encoder_2"], weights_gib(model) - sum(blocks) + 2 * max(blocks))


def _keep_resident(pipe: JointDiTPipeline, device: torch.device) -> None:
    pipe.to(device)
    fuse_projections(pipe.transformer)


def _take_turns(pipe: JointDiTPipeline, device: torch.device) -> None:
    fuse_projections(pipe.transformer)
    pipe.vae.enable_tiling()
    pipe.enable_model_cpu_offload(device=device)


def _round_and_take_turns(pipe: JointDiTPipeline, device: torch.device) -> None:
    fuse_projections(pipe.transformer)
    quantize_float8(pipe.transformer)
    pipe.vae.enable_tiling()
    pipe.enable_model_cpu_offload(device=device)


def _stream(pipe: JointDiTPipeline, device: torch.device) -> None:
    pipe.vae.enable_tiling()
    # Copies run beside the computation on a stream of their own, which only a card has.
    pipe.enable_group_offload(device, num_blocks_per_group=1, use_stream=device.type == "cuda")


# Fastest first.
PLANS = {
    "bf16": MemoryPlan(
        "all weights in bfloat16 stay on the card",
        lambda: weights_gib(_transformer(False)) + sum(_other_gib().values()),
        _keep_resident,
    ),
    "bf16-offload": MemoryPlan(
        "bfloat16; text encoders, transformer and autoencoder take turns on the card",
        lambda: max(weights_gib(_transformer(False)), *_other_gib().values()),
        _take_turns,
    ),
    "float8": MemoryPlan(
        "the transformer's linears in float8 (approximate); the models take turns on the card",
        lambda: max(weights_gib(_transformer(True)), *_other_gib().values()),
        _round_and_take_turns,
    ),
    "group-offload": MemoryPlan(
        "bfloat16; the transformer's blocks are streamed from main memory at every step (slow)",
        _streamed_gib,
        _stream,
    ),
}


def choose_plan(free_gib: float, size: int, asked: str | None = None) -> str:
    """Choose the fastest plan that fits, or check the one asked for, before anything is loaded.

    Args:
        free_gib: Free memory of the card in GiB.
        size: Side of the largest picture to be made, in pixels.
        asked: Name of a plan, or None to choose.

    Returns:
        A name in `PLANS`.

    Raises:
        ValueError: It does not fit, or none does; the message tells what is needed and what would fit.
    """
    needs = {name: plan.need_gib(size) for name, plan in PLANS.items()}
    fitting = [name for name, need in needs.items() if need <= free_gib]
    chosen = asked or next(iter(fitting), None)
    if chosen in fitting:
        return chosen
    least = min(needs, key=needs.get)
    wanted = chosen or least
    other = f"; {fitting[0]} would fit with {needs[fitting[0]]:.1f}" if fitting else ""
    raise ValueError(
        f"{size}x{size} pixels with the memory plan {wanted} need {needs[wanted]:.1f} GiB on the card, "
        f"{free_gib:.1f} are free{other}."
    )


def describe_plans(size: int) -> str:
    """List the plans with their needs, for `--help`.

    Args:
        size: Side of the picture in pixels.

    Returns:
        One clause a plan.
    """
    return "; ".join(f"{name} ({plan.need_gib(size):.1f} GiB): {plan.title}" for name, plan in PLANS.items())
