"""Training with little memory on the card: frozen weights are streamed from main memory, masters live there.

The numbers stay those of training without it, but for the add-ons' rounding to bfloat16 in the forward pass, which
autocast does, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class _StreamedProduct(torch.autograd.Function):
    """x W^T + b, with W and b brought to x's device for the product only, in the backward pass again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight = weight
        bias = None if bias is None else bias.to(x.device, non_blocking=True)
        return F.linear(x, weight.to(x.device, non_blocking=True), bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient @ ctx.weight.to(gradient.device, gradient.dtype, non_blocking=True), None, None


class StreamedLinear(nn.Module):
    """A frozen linear layer whose weights stay in main memory."""

    def __init__(self, linear: nn.Linear):
        """Take over a layer's weights.

        Args:
            linear: A frozen layer.
        """
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        tensors = [None if tensor is None else tensor.detach().cpu() for tensor in (linear.weight, linear.bias)]
        if torch.cuda.is_available():  # pinned, so that copies run beside the computation
            tensors = [None if tensor is None else tensor.pin_memory() for tensor in tensors]
        self.tensors = tensors  # a plain list, so that `to` leaves them where they are

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to x (..., in_features)."""
        return _StreamedProduct.apply(x, *self.tensors)


def stream_frozen(model: nn.Module) -> None:
    """Put a `StreamedLinear` in the place of every frozen linear layer.

    Args:
        model: Changed in place.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and not child.weight.requires_grad:
                setattr(module, name, StreamedLinear(child))


class HostMasters:
    """Float32 masters of trained parameters in main memory, which gather the gradients and are stepped there."""

    def __init__(self, parameters: dict[str, nn.Parameter], dtype: torch.dtype):
        """Make them.

        Args:
            parameters: Name -> what is trained; kept on its device in `dtype` from now on, and never holds a gradient.
            dtype: Of what the forward pass computes with.
        """
        self.parameters = parameters
        self.masters = {name: nn.Parameter(p.detach().float().cpu().clone()) for name, p in parameters.items()}
        for name, parameter in parameters.items():
            parameter.data = parameter.data.to(dtype)
            parameter.register_post_accumulate_grad_hook(self._gather(self.masters[name]))

    def _gather(self, master: nn.Parameter) -> Callable[[nn.Parameter], None]:
        def move(parameter: nn.Parameter) -> None:
            gradient = parameter.grad.to("cpu", torch.float32)
            master.grad = gradient if master.grad is None else master.grad + gradient
            parameter.grad = None

        return move

    @torch.no_grad()
    def push(self) -> None:
        """Bring the masters' values to the parameters."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.masters[name])
