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


def label_table(scenes: Sequence[Scene]) -> torch.Tensor:
    """Look up what the object ids of drawn scenes stand for.

    Args:
        scenes: B scenes.

    Returns:
        (B, N + 2, 2) uint8 indices into `OBJECT_CLASSES` and `COLOR_CLASSES`: of sky, of surface, then of each scene's
        objects, up to N, the most that any has.
    """
    most = max(len(scene.objects) for scene in scenes)
    table = torch.zeros(len(scenes), most + 2, 2, dtype=torch.uint8)
    table[:, 0, 0] = OBJECT_CLASSES.index("sky")
    for rows, scene in zip(table, scenes, strict=True):
        named = [(OBJECT_CLASSES.index(o.name), COLOR_CLASSES.index(o.color or "none")) for o in scene.objects]
        rows[2 : 2 + len(named)] = torch.tensor(named, dtype=torch.uint8)
    return table


def cell_labels(table: torch.Tensor, drawn: RenderOutput, cells: int) -> torch.Tensor:
    """Name what covers most of each cell of a square grid over the picture.

    Args:
        table: Of the B scenes that were drawn, from `label_table`.
        drawn: Their pictures, sides a multiple of `SAMPLES * cells`.
        cells: Cells along each side of the picture.

    Returns:
        (B, 2, cells, cells) uint8 on the pictures' device: indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.
    """
    stride = drawn.ids.shape[-1] // (SAMPLES * cells)
    ids, depth = (full[:, stride // 2 :: stride, stride // 2 :: stride] for full in (drawn.ids, drawn.depth))
    ids = torch.where(depth.isinf(), -2, ids)  # sky; -1 is surface
    blocks = ids.unflatten(1, (cells, SAMPLES)).unflatten(3, (cells, SAMPLES)).transpose(2, 3).flatten(3)
    most = blocks.mode(dim=-1).values.flatten(1) + 2  # (B, cells * cells) rows of the table
    names = table.to(most.device).gather(1, most[..., None].expand(-1, -1, 2))
    return names.mT.unflatten(2, (cells, cells)).contiguous()
