"""What a pipeline call gives, and how it is watched and stopped on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Preview = Callable[[], tuple[Image.Image | list[Image.Image], np.ndarray | list[np.ndarray]]]
StepCallback = Callable[[int, int, Preview], bool | None]


class Interrupted(Exception):
    """A callback asked to stop; raise it there, or return False."""


@dataclass(frozen=True)
class JointDiTOutput:
    """Result of a pipeline call; lists where the call was given a list.

    Attributes:
        image: RGB picture.
        disparity: (H, W) float32 in [0, 1], near = 1.
        seed: What reproduces the result.
        notes: Plain sentences on what was done otherwise than asked, such as a prompt that was cut.
        model: Name of the preset that answered in place of the one asked; None otherwise.
    """

    image: Image.Image | list[Image.Image]
    disparity: np.ndarray | list[np.ndarray]
    seed: int | list[int]
    notes: tuple[str, ...]
    model: str | None = None
