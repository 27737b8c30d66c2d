"""Linears in nf4: four bits a weight, a scale of a byte for 64 of them, by bitsandbytes as diffusers sets it up.

bitsandbytes is not among the requirements; without it there is only the arithmetic.
"""

from __future__ import annotations

import torch
from diffusers import BitsAndBytesConfig
from torch import nn

PACKAGE = "bitsandbytes"
BYTES_PER_WEIGHT = 0.5 + (1 + 4 / 256) / 64  # every 256 scales share one of float32
# LoRAs are small and computed beside the rounded weights; T5 casts what it gives `wo` to the type of its weights.
KEPT = ["lora_A", "lora_B", "wo"]
BLOCKS = ("transformer_blocks", "single_transformer_blocks", "encoder.block")  # FLUX's and T5's; all else is small


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [block for name, module in model.named_modules() if name in BLOCKS for block in module]


def _linears(block: nn.Module) -> dict[str, nn.Linear]:
    """The linears of a block that are rounded, by name."""
    linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    return {name: linear for name, linear in linears.items() if not set(KEPT) & set(name.split("."))}


def nf4_bytes(model: nn.Module) -> float:
    """Compute what a model's weights would take.

    Args:
        model: On any device, the meta device too, in the number format of what is not rounded.

    Returns:
        Bytes.
    """
    weights = [linear.weight for block in _blocks(model) for linear in _linears(block).values()]
    rest = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) - sum(w.nbytes for w in weights)
    return rest + BYTES_PER_WEIGHT * sum(weight.numel() for weight in weights)


def quantize_nf4(model: nn.Module, device: torch.device) -> None:
    """Round the linears of all blocks and put them on a device, one after another; the rest stays where it is.

    Args:
        model: The transformer with its own, not fused, projections, or T5. Changed in place.
        device: Where the products will be computed.
    """
    from bitsandbytes.nn import Params4bit
    from diffusers.quantizers.bitsandbytes import replace_with_bnb_linear

    how = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": model.dtype}
    config = BitsAndBytesConfig(load_in_4bit=True, **how)
    for block in _blocks(model):
        linears = _linears(block)
        replace_with_bnb_linear(block, KEPT, quantization_config=config)
        for name, linear in linears.items():
            rounded = block.get_submodule(name)
            four_bits = {"quant_type": "nf4", "compress_statistics": True, "module": rounded}
            rounded.weight = Params4bit(linear.weight.detach(), requires_grad=False, **four_bits).to(device)
            if linear.bias is not None:
                rounded.bias = nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
