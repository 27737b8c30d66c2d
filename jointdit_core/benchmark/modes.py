"""The modes that are timed, and transformers of random weights in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, ModelMixin

from ..model.branch_lora import ADAPTER, DepthLoraLinear
from ..model.fp8 import quantize_float8
from ..model.fused import fuse_projections
from ..model.released import DOUBLE_LINEARS, SINGLE_LINEARS
from ..model.transformer import JointDiTTransformer2DModel
from ..speed import speed_up
from .graphs import record_steps

FULL = {"guidance_embeds": True}
TINY = {
    **FULL,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (8, 12, 12),
}
TEXT_TOKENS = 512


@dataclass(frozen=True)
class Mode:
    """One row of the table.

    Attributes:
        joint: JointDiT rather than diffusers' FLUX.
        fuse: None, or `merge_lora` of `fuse_projections`.
        float8: Linears in float8.
        compiled: Repeated blocks compiled.
        graphs: A whole step launched as one CUDA graph; on a CPU there are none.
        cache: A name in `speed.CACHES`, or None.
        text_tokens: T5 tokens read.
        approximate: Whether the result differs by more than rounding, so that its error is to be told.
    """

    joint: bool = True
    fuse: bool | None = None
    float8: bool = False
    compiled: bool = False
    graphs: bool = False
    cache: str | None = None
    text_tokens: int = TEXT_TOKENS
    approximate: bool = False


REFERENCE, BASELINE, BASELINE_COMPILED = "plain", "flux", "flux-compiled"
MODES = {
    BASELINE: Mode(joint=False),
    BASELINE_COMPILED: Mode(joint=False, compiled=True),
    "flux-compiled-graphs": Mode(joint=False, compiled=True, graphs=True),
    REFERENCE: Mode(),
    "plain-compiled": Mode(compiled=True),
    "fused": Mode(fuse=False),
    "fused-compiled": Mode(fuse=False, compiled=True),
    "fused-compiled-graphs": Mode(fuse=False, compiled=True, graphs=True),
    "merged": Mode(fuse=True),
    "merged-compiled": Mode(fuse=True, compiled=True),
    "text256-compiled": Mode(fuse=False, compiled=True, text_tokens=256, approximate=True),
    "float8": Mode(fuse=False, float8=True, approximate=True),
    "float8-compiled": Mode(fuse=False, float8=True, compiled=True, approximate=True),
    "first-block-cache": Mode(fuse=False, cache="first-block", approximate=True),
    "taylorseer": Mode(fuse=False, cache="taylorseer", approximate=True),
    "float8-compiled-taylorseer": Mode(fuse=False, float8=True, compiled=True, cache="taylorseer", approximate=True),
    "float8-compiled-first-block-cache": Mode(
        fuse=False, float8=True, compiled=True, cache="first-block", approximate=True
    ),
}


def build(config: dict, joint: bool, device: torch.device, dtype: torch.dtype) -> ModelMixin:
    """Build a transformer of seeded random weights on the device, with no copy elsewhere.

    Args:
        config: Of `FluxTransformer2DModel`.
        joint: JointDiT rather than FLUX.
        device: Where.
        dtype: Of all weights.

    Returns:
        The transformer in evaluation mode; the same call gives the same weights.
    """
    with init_empty_weights():
        model = (JointDiTTransformer2DModel if joint else FluxTransformer2DModel)(**config)
    # The plain `to`: diffusers' own warns of modules to keep in float32, of which FLUX has none.
    torch.nn.Module.to(model, dtype)
    model = model.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".norm_" in name and parameter.ndim == 1 and "linear" not in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)  # keeps the scale of activations
    if joint:
        _share_lora_a(model)
    return model


def _share_lora_a(model: JointDiTTransformer2DModel) -> None:
    """Give the linears that the released weights hold as one the same LoRA A, as those do."""
    groups = ((model.transformer_blocks, DOUBLE_LINEARS), (model.single_transformer_blocks, SINGLE_LINEARS))
    for blocks, linears in groups:
        for block in blocks:
            for names in linears.values():
                first, *others = (block.get_submodule(name) for name in names)
                if isinstance(first, DepthLoraLinear):
                    for layer in others:
                        layer.lora_A[ADAPTER].weight.copy_(first.lora_A[ADAPTER].weight)


def prepare(model: ModelMixin, mode: Mode) -> None:
    """Bring a transformer into a mode.

    Args:
        model: From `build`, changed in place.
        mode: The mode.
    """
    if mode.fuse is not None:
        fuse_projections(model, merge_lora=mode.fuse)
    if mode.float8:
        quantize_float8(model)
    speed_up(model, mode.compiled, mode.cache)
    if mode.graphs and model.device.type == "cuda":
        record_steps(model)
