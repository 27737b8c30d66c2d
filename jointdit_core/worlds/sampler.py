"""From a seed to a scene."""

from __future__ import annotations

import numpy as np

from .indoors import room, tabletop
from .outdoors import outdoors
from .placing import pick
from .scene import SCENE_KINDS, STYLES, Scene

MAX_SEED = 2**63 - 1
STYLE_SHARES = (0.70, 0.12, 0.08, 0.10)  # photo, cartoon, pixel, sketch
KIND_SHARES = (0.32, 0.26, 0.18, 0.24)  # room, table, street, landscape


def sample_scene(seed: int) -> Scene:
    """Makes the scene that belongs to a seed, the same on every machine.

    Args:
        seed: from 0 to 2**63 - 1.

    Returns:
        The scene, with at least one main object.

    Raises:
        ValueError: if the seed is no integer in that range.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    rng = np.random.Generator(np.random.PCG64(int(seed)))
    kind = SCENE_KINDS[pick(rng, KIND_SHARES)]
    style = STYLES[pick(rng, STYLE_SHARES)]
    block = 32 if rng.random() < 0.3 else 64
    while True:
        if kind == "room":
            stage, light, surroundings = room(rng)
        elif kind == "table":
            stage, light, surroundings = tabletop(rng)
        else:
            stage, light, surroundings = outdoors(rng, kind)
        if any(o.role == "main" for o in stage.objects):
            break
    return Scene(
        int(seed), kind, style, block, stage.camera, light, surroundings, tuple(stage.primitives), tuple(stage.objects)
    )
