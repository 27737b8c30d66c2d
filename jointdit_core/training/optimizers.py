"""The optimizers: Muon with AdamW for a mini, one of three for what JointDiT adds to FLUX."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch
from torch import nn
from transformers.optimization import Adafactor

from .muon import Muon

OptimizerName = Literal["muon", "adafactor", "adamw", "adamw8bit"]
# Bytes of state for each trained float32 parameter. Adafactor keeps a row and a column of each matrix.
STATE_BYTES = {"adafactor": 0, "adamw8bit": 2, "adamw": 8}
BITSANDBYTES = "bitsandbytes==0.50.2"


def fast_bf16() -> bool:
    """Whether bfloat16 arithmetic is fast here: any GPU, or a CPU with instructions for it.

    ACCELERATE_MIXED_PRECISION, which `accelerate launch` sets, has the last word: bf16, or anything else for float32.
    """
    if asked := os.environ.get("ACCELERATE_MIXED_PRECISION"):
        return asked == "bf16"
    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def muon_and_adamw(parts: nn.Module, lr_matrix: float, lr_other: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' own matrices, AdamW for embeddings, modulation, LoRA, norms, biases and the text encoders.

    Args:
        parts: What is trained; frozen parameters are left out.
        lr_matrix: Learning rate of Muon.
        lr_other: Learning rate of AdamW.

    Returns:
        The optimizers that have anything to train.
    """
    matrices, others = [], []
    for name, parameter in parts.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = ".transformer_blocks." in f".{name}" or ".single_transformer_blocks." in f".{name}"
        plain = in_block and parameter.ndim == 2 and ".lora_" not in name and ".norm" not in name
        (matrices if plain else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        dtype = torch.bfloat16 if fast_bf16() else torch.float32
        optimizers.append(Muon(matrices, lr=lr_matrix, weight_decay=0.01, dtype=dtype))
    if others:
        optimizers.append(torch.optim.AdamW(others, lr=lr_other, betas=(0.9, 0.98), weight_decay=0.01, fused=True))
    return optimizers


def one_optimizer(name: OptimizerName, trained: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Make one optimizer of everything that is trained.

    Args:
        name: "adafactor" (factored second moments), "adamw", or "adamw8bit" (of the package bitsandbytes, on a GPU).
        trained: What is trained.
        rate: Its learning rate.

    Returns:
        The optimizer.

    Raises:
        ModuleNotFoundError: bitsandbytes is needed and not installed.
    """
    if name == "adafactor":
        # The rate is taken as it is, not relative to the weights, of which the zero-initialised have no size.
        return Adafactor(trained, lr=rate, scale_parameter=False, relative_step=False, warmup_init=False)
    if name == "adamw8bit":
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ModuleNotFoundError(f"adamw8bit needs one more package: pip install {BITSANDBYTES}")
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(trained, lr=rate, weight_decay=0.01)
    return torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, fused=True)
