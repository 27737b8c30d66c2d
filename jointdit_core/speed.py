"""Switches that make a transformer's steps faster once it is in its final form and place."""

from __future__ import annotations

from diffusers import FirstBlockCacheConfig, ModelMixin, TaylorSeerCacheConfig

# Step caches: approximate, the benchmark tells by how much. The first recomputes a step only where the first block's
# output has moved by more than the threshold; 0.12 is what nunchaku's documentation advises for FLUX. The second
# computes every third step and extrapolates the others.
CACHES = {
    "first-block": FirstBlockCacheConfig(threshold=0.12),
    "taylorseer": TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=3, max_order=1),
}


def speed_up(transformer: ModelMixin, compiled: bool, cache: str | None) -> None:
    """Compile the blocks and set up a step cache.

    Args:
        transformer: Changed in place; fuse and round it before.
        compiled: Whether to compile the repeated blocks; the first step then takes up to a minute.
        cache: A name in `CACHES`, or None.
    """
    if compiled:
        # A step cache decides in Python whether a block runs, which breaks the graph around it.
        transformer.compile_repeated_blocks(fullgraph=cache is None)
    if cache is not None:
        transformer.enable_cache(CACHES[cache])
