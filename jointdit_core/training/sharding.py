"""Weights, gradients and optimizer of a large model shared out over processes (FSDP2), each holding a part of all.

torch's `fully_shard` is called here and not accelerate's plugin, which calls it, too, but takes effect on GPUs only and
writes the frozen weights with every checkpoint.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..model.transformer import JointDiTTransformer2DModel


def shard(model: JointDiTTransformer2DModel, device: torch.device, bf16: bool) -> None:
    """Leave each process a part of every weight; a block's are gathered while it computes.

    Args:
        model: Changed in place: its parameters become `DTensor`s on `device`.
        device: Of this process.
        bf16: Compute in bfloat16. Gradients are averaged in float32 all the same.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    # Inputs are left as they are: sigma must not be rounded.
    policy = MixedPrecisionPolicy(torch.bfloat16 if bf16 else None, torch.float32, cast_forward_inputs=False)
    for module in (*model.transformer_blocks, *model.single_transformer_blocks, model):
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor that may be shared out, then on the CPU; every process must ask."""
    tensor = tensor.detach()
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: dict[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """The whole of several tensors; every process must ask, those that do not `keep` them hold one at a time."""
    found = ((name, whole(tensor)) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in found if keep}


@torch.no_grad()
def assign(target: torch.Tensor, value: torch.Tensor) -> None:
    """Put a whole tensor's values into one that may be shared out; every process must do so."""
    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    target.copy_(value)


class OptimizerState:
    """A sharded optimizer's state as accelerate keeps an object: whole, so that another number of processes fits."""

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, broadcast_from_rank0=False)

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        """Remember whose it is.

        Args:
            model: What is trained.
            optimizer: Of its parameters.
        """
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Gather it."""
        return get_optimizer_state_dict(self.model, self.optimizer, options=self.options)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Share it out."""
        set_optimizer_state_dict(self.model, self.optimizer, state, options=self.options)


class Average(EMAModel):
    """Averaged weights that may be shared out, kept whole."""

    def state_dict(self) -> dict[str, Any]:
        """Gather them."""
        state = super().state_dict()
        return state | {"shadow_params": [whole(tensor) for tensor in state["shadow_params"]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Share them out."""
        shared = self.shadow_params
        super().load_state_dict(state)
        for tensor, value in zip(shared, self.shadow_params, strict=True):
            assign(tensor, value)
        self.shadow_params = shared
