"""Linears in float8 (e4m3): weights scaled by output row once, inputs by token at every call."""

from __future__ import annotations

import torch
from torch import nn

from .fused import BranchLinear
from .transformer import JointDiTTransformer2DModel

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
ALIGNMENT = 16  # what the float8 product asks of both channel counts
OLDEST_CARD = (8, 9)  # compute capability of the first NVIDIA cards with float8 products


class Float8Linear(nn.Module):
    """A linear layer whose product is computed in float8, its result in bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Round the weight.

        Args:
            weight: (out, in).
            bias: (out,); kept in bfloat16, which is what the product adds.
        """
        super().__init__()
        rounded, scale = _to_float8(weight)
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale.t().contiguous())  # (1, out)
        self.bias = nn.Parameter(bias.to(torch.bfloat16), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (..., in); gives (..., out) in the dtype of `x`."""
        return _product(x, self.weight, self.scale, self.bias)

    def receive(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Do the part of `JointLinear.receive` where this stands for one."""
        weight, scale, bias = self.weight.chunk(2)[branch], self.scale.chunk(2, dim=1)[branch], self.bias.chunk(2)
        return _product(x, weight, scale, bias[branch])


class Float8BranchLinear(nn.Module):
    """A `BranchLinear` in float8, one product a branch."""

    def __init__(self, layer: BranchLinear) -> None:
        """Round a layer's weights.

        Args:
            layer: The layer to replace.
        """
        super().__init__()
        self.branches = nn.ModuleList(Float8Linear(weight, layer.bias) for weight in layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer as `BranchLinear` does."""
        return torch.cat([branch(half) for branch, half in zip(self.branches, x.chunk(2), strict=True)])

    def of_branch(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Apply the layer to rows of one branch, 0 rgb or 1 depth."""
        return self.branches[branch](x)


def quantize_float8(model: JointDiTTransformer2DModel) -> None:
    """Round the linears of all blocks to float8, but for modulations and LoRA, which are small or delicate.

    Args:
        model: The transformer with fused projections, changed in place.

    Raises:
        ValueError: The projections are not fused, or the card has no float8 products.
    """
    if not model.projections_fused:
        raise ValueError("Fuse the transformer's projections before rounding them to float8.")
    if model.device.type == "cuda" and torch.cuda.get_device_capability(model.device) < OLDEST_CARD:
        name = torch.cuda.get_device_name(model.device)
        raise ValueError(f"{name} has no float8 products; they need an NVIDIA card of the Ada or Hopper kind or newer.")
    with torch.no_grad():
        for block in [*model.transformer_blocks, *model.single_transformer_blocks]:
            _replace(block)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if name.startswith(("norm", "lora_")):
            continue
        if isinstance(child, BranchLinear):
            setattr(module, name, Float8BranchLinear(child))
        elif isinstance(child, nn.Linear) and not any(n % ALIGNMENT for n in child.weight.shape):
            setattr(module, name, Float8Linear(child.weight, child.bias))
        else:
            _replace(child)


def _to_float8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round (rows, channels) to float8 with one float32 scale (rows, 1) a row."""
    scale = x.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale


def _product(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Multiply (..., in) by a rounded weight (out, in) of scale (1, out) and add the bias."""
    rows, row_scale = _to_float8(x.reshape(-1, x.shape[-1]))
    out = torch._scaled_mm(rows, weight.t(), row_scale, scale, bias=bias, out_dtype=torch.bfloat16, use_fast_accum=True)
    return out.to(x.dtype).view(*x.shape[:-1], -1)
