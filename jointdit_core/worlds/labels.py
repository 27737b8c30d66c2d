"""What each cell of a picture shows, from the scene's exact labels: an object's word and its colour's word."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .draw import RenderOutput
from .grammar import COLOR_WORDS, NOUNS
from .scene import Scene

BACKGROUND = ("surface", "sky", "road")  # "surface": walls, floor, ground; captions name none of them
OBJECT_CLASSES = (*BACKGROUND, *NOUNS)
COLOR_CLASSES = ("none", *COLOR_WORDS)  # "none": no object, or one without a single colour
SAMPLES = 4  # along each side of a cell


def cell_labels(scenes: Sequence[Scene], drawn: RenderOutput, cells: int) -> torch.Tensor:
    """Name what covers most of each cell of a square grid over the picture.

    Args:
        scenes: The B scenes that were drawn.
        drawn: Their pictures, sides a multiple of `SAMPLES * cells`.
        cells: Cells along each side of the picture.

    Returns:
        (B, 2, cells, cells) uint8 on the CPU: indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.
    """
    stride = drawn.ids.shape[-1] // (SAMPLES * cells)
    ids, depth = (full[:, stride // 2 :: stride, stride // 2 :: stride].cpu() for full in (drawn.ids, drawn.depth))
    ids = torch.where(depth.isinf(), -2, ids)  # sky; -1 is surface
    blocks = ids.unflatten(1, (cells, SAMPLES)).unflatten(3, (cells, SAMPLES)).transpose(2, 3).flatten(3)
    most = blocks.mode(dim=-1).values  # (B, cells, cells)
    names = torch.empty(len(scenes), 2, cells, cells, dtype=torch.uint8)
    for i, scene in enumerate(scenes):
        rows = [(OBJECT_CLASSES.index("sky"), 0), (OBJECT_CLASSES.index("surface"), 0)]
        rows += [(OBJECT_CLASSES.index(o.name), COLOR_CLASSES.index(o.color or "none")) for o in scene.objects]
        names[i] = torch.tensor(rows, dtype=torch.uint8)[most[i] + 2].movedim(-1, 0)
    return names
