"""The transformer's repeated blocks as graphs to compile before the first request, where none can wait for it.

All blocks of a list are one graph with other weights, so that one of each list is compiled, and serves the others too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export
from torch.utils._pytree import tree_map

from .model.transformer import JointDiTTransformer2DModel

IMAGE_TOKENS = Dim("image_tokens", min=16, max=8192)  # more than 1024 x 1024 pixels have


def export_blocks(transformer: JointDiTTransformer2DModel, run: Callable[[], object]) -> dict[str, ExportedProgram]:
    """Write down the first block of each list as a graph.

    Args:
        transformer: In its final form and place, but for a step cache, which keeps things that no graph can hold.
        run: Makes it compute a step. The graphs serve its number of rows and of text tokens, and any of image tokens.

    Returns:
        Name of the list of blocks -> the graph.
    """
    lists = {name: getattr(transformer, name) for name in ("transformer_blocks", "single_transformer_blocks")}
    firsts = {name: blocks[0] for name, blocks in lists.items() if len(blocks)}
    calls: dict[nn.Module, dict] = {}

    def note(block: nn.Module, _: tuple, call: dict) -> None:
        calls[block] = call

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in firsts.values()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _export(block, calls[block]) for name, block in firsts.items()}


def call_with_whole_tensors(transformer: JointDiTTransformer2DModel) -> None:
    """Have the blocks called as their graphs need it.

    A compiled graph takes its inputs to lie in memory as its example's did, and does not look. A single block gives
    parts of one tensor, which the next would misread.

    Args:
        transformer: Whose blocks' graphs are compiled; its `forward`s may be replaced before or after.
    """

    def make_whole(_: nn.Module, arguments: tuple, call: dict) -> tuple[tuple, dict]:
        names = ("hidden_states", "encoder_hidden_states")
        return arguments, call | {name: call[name].contiguous() for name in names}

    for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
        block.register_forward_pre_hook(make_whole, with_kwargs=True)


def _export(block: nn.Module, call: dict) -> ExportedProgram:
    """Export a block as it was called, for any number of image tokens."""
    rotary = {0: IMAGE_TOKENS + call["encoder_hidden_states"].shape[1]}  # of text and image
    sizes = tree_map(lambda _: None, call)
    sizes |= {"hidden_states": {1: IMAGE_TOKENS}, "image_rotary_emb": (rotary, rotary)}
    with torch.no_grad():
        return export(block, (), call, dynamic_shapes=sizes)
