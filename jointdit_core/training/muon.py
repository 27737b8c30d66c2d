"""Muon with matrices of one shape orthogonalised together.

torch's own Muon takes one matrix at a time in bfloat16: 200 small matrices cost thousands of launches on a GPU, and
emulation on a CPU without bfloat16 instructions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.distributed as dist

# Quintic Newton-Schulz iteration of Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NS_STEPS = 5


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Bring all singular values near 1 by Newton-Schulz iteration.

    Args:
        matrices: (N, m, n), any floating dtype.

    Returns:
        (N, m, n) with singular values between about 0.7 and 1.2.
    """
    a, b, c = NS_COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT  # the smaller Gram matrix
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(NS_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def orthogonalize_shared(matrices: torch.Tensor) -> torch.Tensor:
    """`orthogonalize`, each process of the group doing its part; alone, all of it.

    Args:
        matrices: (N, m, n), the same in every process.

    Returns:
        (N, m, n), the same in every process.
    """
    if not dist.is_initialized():
        return orthogonalize(matrices)
    shared = torch.empty_like(matrices)
    todo, results = (tensor.tensor_split(dist.get_world_size()) for tensor in (matrices, shared))
    for source, (part, done) in enumerate(zip(todo, results, strict=True)):
        if source == dist.get_rank():
            done.copy_(orthogonalize(part))
        if len(done):  # parts differ in size, so they cannot be gathered in one call
            dist.broadcast(done, source)
    return shared


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; an update has the size of AdamW's (Liu et al. 2025, arXiv 2502.16982).

    In a process group each process orthogonalises its part of the matrices: their gradients are the same everywhere.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ):
        """Take the matrices.

        Args:
            params: Parameters of two dimensions.
            lr: Learning rate, of AdamW's size.
            weight_decay: Decoupled weight decay.
            momentum: Of the Nesterov kind.
            dtype: Arithmetic of the iteration.

        Raises:
            ValueError: If a parameter is not a matrix.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"]]
        if wrong := [shape for shape in shapes if len(shape) != 2]:
            raise ValueError(f"Muon takes matrices; got parameters of shapes {wrong}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[torch.nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[tuple(p.shape)].append(p)
            for (rows, columns), parameters in by_shape.items():
                grads = [p.grad for p in parameters]
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                updates = torch._foreach_lerp(grads, buffers, group["momentum"])
                directions = orthogonalize_shared(torch.stack(updates).to(self.dtype)).float()
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * max(rows, columns) ** 0.5
                torch._foreach_add_(parameters, list(directions.unbind()), alpha=-group["lr"] * scale)
