"""What training at full scale takes on the card, by arithmetic on models without values."""

from __future__ import annotations

from functools import cache

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from torch import nn

from ..memory import BYTES, FLUX_VAE, GIB, PIXELS_PER_TOKEN, RESERVE_GIB, TEXT_TOKENS, weights_gib
from ..model.transformer import JointDiTTransformer2DModel, added_parameters
from .optimizers import STATE_BYTES

FLOAT32 = 4  # bytes
# Channels per token, in units of D and of bfloat16's bytes, that one block keeps for its backward pass: 27 measured on
# a block of FLUX's proportions, and some for what the backward pass itself makes.
KEPT_WIDTHS = 32
TRAINED_SIZE = 512  # pixels


@cache
def _model() -> JointDiTTransformer2DModel:
    with init_empty_weights():
        return JointDiTTransformer2DModel(guidance_embeds=True)


@cache
def counts() -> tuple[int, int, int, int]:
    """Count the full-size transformer.

    Returns:
        Its frozen parameters, its trained ones, its blocks and its width D.
    """
    model = _model()
    blocks = len(model.transformer_blocks) + len(model.single_transformer_blocks)
    return *_frozen_and_added(""), blocks, model.inner_dim


def _frozen_and_added(within: str) -> tuple[int, int]:
    """Frozen and trained parameters of what is named so."""
    model = _model()
    added = sum(model.get_parameter(name).numel() for name in added_parameters(model) if name.startswith(within))
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith(within)) - added, added


@cache
def _gathered() -> tuple[int, int]:
    """Frozen and trained parameters that are there at once, sharded: what is in no block, and two of the large ones."""
    frozen, added, _, _ = counts()
    double, single = (_frozen_and_added(f"{kind}transformer_blocks.") for kind in ("", "single_"))
    block = _frozen_and_added("transformer_blocks.0.")
    return tuple(all_of - d - s + 2 * b for all_of, d, s, b in zip((frozen, added), double, single, block, strict=True))


@cache
def _vae_gib() -> float:
    with init_empty_weights():
        return weights_gib(nn.Module.to(AutoencoderKL(**FLUX_VAE), torch.bfloat16))


def training_memory(
    batch_size: int,
    optimizer: str,
    ema: bool = False,
    offload: bool = False,
    size: int = TRAINED_SIZE,
    shards: int = 1,
) -> dict[str, float]:
    """Add up what a training step needs on one card.

    Args:
        batch_size: Pairs on this card.
        optimizer: A name in `STATE_BYTES`.
        ema: Whether averaged weights are kept.
        offload: Whether frozen weights, masters, gradients and optimizer stay in main memory.
        size: Side of the pictures in pixels.
        shards: Cards that weights, gradients and optimizer are shared out over.

    Returns:
        What -> GiB; their sum is the need.
    """
    frozen, added, blocks, width = counts()
    tokens = 2 * batch_size * (TEXT_TOKENS + (size // PIXELS_PER_TOKEN) ** 2)
    on_card = 0 if offload else added / shards
    frozen_whole, added_whole = _gathered() if shards > 1 else (0, added)
    return {
        # Streamed, the widest linears (D to 4D) of this product and of the next are there at once.
        "FLUX, frozen": (2 * 4 * width**2 if offload else frozen / shards + frozen_whole) * BYTES / GIB,
        "add-ons": on_card * FLOAT32 / GIB,
        "gradients": (4 * width**2 if offload else on_card) * FLOAT32 / GIB,
        "optimizer": on_card * STATE_BYTES[optimizer] / GIB,
        "average": ema * on_card * FLOAT32 / GIB,
        "add-ons in bfloat16": added_whole * BYTES / GIB,  # autocast keeps them from forward to backward
        "autoencoder": _vae_gib(),
        "between blocks": blocks * tokens * width * BYTES / GIB,
        "in one block": KEPT_WIDTHS * tokens * width * BYTES / GIB,
        "reserve": RESERVE_GIB,
    }


def memory_table(batch_size: int, size: int) -> str:
    """Set what the optimizers need, with and without offloading, as Markdown.

    Args:
        batch_size: Pairs on this card.
        size: Side of the pictures in pixels.

    Returns:
        A line an optimizer, GiB.
    """
    parts = list(training_memory(1, "adamw"))
    lines = ["| GiB on the card | " + " | ".join(parts) + " | sum |", "|---" * (len(parts) + 2) + "|"]
    forms = [(name, {}) for name in STATE_BYTES]
    forms += [("adafactor, average", {"ema": True}), ("adafactor, --offload", {"offload": True})]
    forms += [("adamw, --shard over 8", {"shards": 8})]
    for title, options in forms:
        needs = training_memory(batch_size, title.split(",")[0], size=size, **options)
        figures = [*needs.values(), sum(needs.values())]
        lines.append(f"| {title} | " + " | ".join(f"{value:.1f}" for value in figures) + " |")
    return "\n".join(lines)
