"""Switches that make a transformer's steps faster once it is in its final form and place."""

from __future__ import annotations

import torch
from diffusers import FirstBlockCacheConfig, ModelMixin, TaylorSeerCacheConfig

from .model.frozen import FREEZES, freeze_branches

RECOMPILE_LIMIT = 64
# Step caches: approximate, the benchmark tells by how much. The first recomputes a step only where the first block's
# output has moved by more than the threshold; 0.12 is what nunchaku's documentation advises for FLUX. The second
# computes every third step and extrapolates the velocity of the others. The last two are our own, see `model.frozen`.
CACHES = {
    "first-block": FirstBlockCacheConfig(threshold=0.12),
    "taylorseer": TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=3, max_order=1, use_lite_mode=True),
    **dict.fromkeys(FREEZES),
}


def speed_up(transformer: ModelMixin, compiled: bool, cache: str | None) -> None:
    """Compile the blocks and set up a step cache.

    Args:
        transformer: Changed in place; fuse and round it before.
        compiled: Whether to compile the repeated blocks; the first step then takes up to a minute.
        cache: A name in `CACHES`, or None.
    """
    if compiled:
        # A block is compiled again for every new way of calling it, such as another size, until PyTorch knows which
        # sizes vary; its default limit of 8 would end a request here.
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
        for block in transformer.modules():
            if type(block).__name__ in transformer._repeated_blocks:
                # The method and not the module, as `compile_repeated_blocks` does: a step cache decides in Python
                # whether a block runs, and its hooks stay outside of the graph.
                block.forward = torch.compile(block.forward, fullgraph=True)
    if cache in FREEZES:
        freeze_branches(transformer, cache, compiled)
    elif cache is not None:
        transformer.enable_cache(CACHES[cache])
