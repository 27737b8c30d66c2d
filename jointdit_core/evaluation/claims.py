"""What a caption of the worlds promises, and whether a map of labels keeps it.

Letters: h x w cells of a label map, see `worlds.cell_labels`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..worlds import COLOR_CLASSES, OBJECT_CLASSES
from ..worlds.grammar import ADJECTIVES, COLOR_WORDS, MAX_PLURAL, NOUNS, plural

MIN_CELLS = 2  # cells of 16 pixels that an object must cover to count as seen
TOUCHING = np.ones((3, 3), dtype=int)  # cells that touch at a corner belong to one object
# Words for the object a colour follows: "a plant in a red pot".
PARTS = {"pot": "plant", "hat": "snowman"}


@dataclass(frozen=True)
class Claim:
    """One promise of a caption.

    Attributes:
        name: Key of `NOUNS`.
        color: A colour word, or "" if none is promised.
        count: How many, 1 for "a".
    """

    name: str
    color: str
    count: int


@dataclass(frozen=True)
class Kept:
    """How much of a claim a picture keeps: `seen` the object at all, `colored` in its colour, `counted` that many."""

    seen: bool
    colored: bool
    counted: bool


def _spoken() -> dict[tuple[str, ...], str]:
    """Every way to say a noun, as words -> key of `NOUNS`."""
    ways = {}
    for name, nouns in NOUNS.items():
        for noun in nouns:
            ways[tuple(noun.split())] = name
            ways[tuple(plural(noun).split())] = name
    return ways


SPOKEN = _spoken()
LONGEST = max(map(len, SPOKEN))


def claims(caption: str) -> list[Claim]:
    """Read the promises out of a caption of the worlds' grammar.

    Args:
        caption: Text; words that promise no object are passed over.

    Returns:
        One claim for each noun phrase, in order.
    """
    words = caption.replace(",", " ,").split()
    found: list[Claim] = []
    color, count, i = "", 1, 0
    while i < len(words):
        length = next((n for n in range(LONGEST, 0, -1) if tuple(words[i : i + n]) in SPOKEN), 0)
        if length:
            found.append(Claim(SPOKEN[tuple(words[i : i + length])], color, count))
            color, count = "", 1
        elif words[i] in COLOR_WORDS:
            color = words[i]
        elif words[i] in MAX_PLURAL:
            count = MAX_PLURAL.index(words[i])
        elif words[i] in PARTS and found and found[-1].name == PARTS[words[i]]:
            found[-1] = Claim(found[-1].name, color, found[-1].count)
            color, count = "", 1
        elif words[i] not in ADJECTIVES:
            color, count = "", 1  # of something else: "pink walls", "under a gray sky"
        i += max(length, 1)
    return found


def check(claim: Claim, labels: np.ndarray) -> Kept:
    """Look for what was promised in a label map.

    Args:
        claim: The promise.
        labels: (2, h, w) indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.

    Returns:
        What of it is there. Objects are groups of touching cells, and a group's colour is that of most of its cells.
        "a ball" is kept by any number of balls, "two balls" by exactly two groups.
    """
    objects, colors = labels
    groups, number = ndimage.label(objects == OBJECT_CLASSES.index(claim.name), structure=TOUCHING)
    areas = [colors[groups == i] for i in range(1, number + 1)]
    areas = [area for area in areas if len(area) >= MIN_CELLS]
    right = areas
    if claim.color:
        wanted = COLOR_CLASSES.index(claim.color)
        right = [area for area in areas if np.bincount(area).argmax() == wanted]
    counted = len(right) == claim.count if claim.count > 1 else bool(right)
    return Kept(seen=bool(areas), colored=bool(right), counted=counted)
