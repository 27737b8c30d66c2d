"""Whole steps as CUDA graphs: a step's kernels are launched together, so that the card does not wait for Python.

Only the benchmark does this, until somebody has seen on a card what it gains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput


class RecordedForward:
    """A transformer's forward, recorded at the first call of a kind and replayed from then on."""

    def __init__(self, forward: Callable[..., tuple[torch.Tensor]]) -> None:
        """Hold what is to be recorded.

        Args:
            forward: Of a transformer in its final form and place.
        """
        self._forward = forward
        self._recorded: dict[tuple, tuple[dict[str, torch.Tensor], Callable[[], None], torch.Tensor]] = {}

    def __call__(
        self, *, joint_attention_kwargs: dict[str, Any] | None = None, **tensors: torch.Tensor
    ) -> Transformer2DModelOutput:
        """Compute a step.

        Args:
            joint_attention_kwargs: As the transformer's; with any, what runs can differ from call to call, so
                nothing is recorded.
            **tensors: As the transformer's. Calls whose tensors have the same shapes and dtypes are of one kind.

        Returns:
            As the transformer.
        """
        if joint_attention_kwargs is not None:
            return self._forward(joint_attention_kwargs=joint_attention_kwargs, **tensors)
        kind = tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors.items())
        if kind not in self._recorded:
            held = {name: tensor.clone() for name, tensor in tensors.items()}
            self._recorded[kind] = held, *record(lambda: self._forward(**held, return_dict=False)[0])
        held, replay, result = self._recorded[kind]
        for name, tensor in tensors.items():
            held[name].copy_(tensor)
        replay()
        return Transformer2DModelOutput(sample=result.clone())  # the next replay overwrites the result


def record(run: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """Record what a function does on the card.

    Args:
        run: The function; it never waits for the card, and does the same whenever it is called.

    Returns:
        What does it again, and the tensor that this fills.
    """
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(2):  # compiles, and sets up what is set up once
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return graph.replay, result


def record_steps(model: ModelMixin) -> None:
    """Let a transformer on a card replay its steps.

    Args:
        model: In its final form, changed in place.
    """
    model.forward = RecordedForward(model.forward)
