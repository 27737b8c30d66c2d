"""Pictures for two eyes, and a short film around a result, all drawn from its mesh."""

from __future__ import annotations

import math

import numpy as np

from .lift import Mesh
from .render import fill_holes, render

STEREO_SHIFT = 0.03  # of the picture's width between the two eyes' pictures: comfortable on a screen
PARALLAX_SHIFT = 0.02
PARALLAX_FRAMES = 24
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, which suits gamma-coded values


def stereo_pair(mesh: Mesh, image: np.ndarray, shift: float = STEREO_SHIFT) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene for the left and the right eye; the middle of its depth lies in the screen.

    Args:
        mesh: the surface.
        image: uint8 (H, W, 3) RGB, its texture.
        shift: largest offset between the two views, as a share of the width, in (0, 0.2].

    Returns:
        left, right: each uint8 (H, W, 3) RGB, without holes.

    Raises:
        ValueError: for a shift out of range or another picture than the mesh's.
    """
    pivot, reach = _pivot(mesh, shift)
    return _view(mesh, image, (-reach / 2, 0.0), pivot), _view(mesh, image, (reach / 2, 0.0), pivot)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put the two eyes' pictures next to each other for parallel viewing: uint8 (H, 2 W, 3) from two (H, W, 3)."""
    return np.concatenate([left, right], axis=1)


def anaglyph(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Merge the two eyes' pictures for red-cyan glasses, red on the left eye.

    The red channel holds the left picture's luminance instead of its red: a red thing would else be bright for one eye
    and dark for the other.

    Args:
        left: uint8 (H, W, 3) RGB.
        right: uint8 (H, W, 3) RGB.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    merged = right.copy()
    merged[..., 0] = np.rint(left @ np.array(_LUMINANCE))
    return merged


def parallax_frames(
    mesh: Mesh, image: np.ndarray, shift: float = PARALLAX_SHIFT, frames: int = PARALLAX_FRAMES
) -> list[np.ndarray]:
    """Draw one round of a camera circling beside the photo's own; the last frame leads back to the first.

    Args:
        mesh: the surface.
        image: uint8 (H, W, 3) RGB, its texture.
        shift: largest offset from the photo, as a share of the width, in (0, 0.2].
        frames: number of pictures, >= 2.

    Returns:
        Pictures, each uint8 (H, W, 3) RGB without holes.

    Raises:
        ValueError: for a shift or number out of range, or another picture than the mesh's.
    """
    if frames < 2:
        raise ValueError(f"frames: got {frames}, allowed is at least 2")
    pivot, reach = _pivot(mesh, shift)
    turns = [2 * math.pi * k / frames for k in range(frames)]
    return [_view(mesh, image, (reach * math.cos(t), reach / 2 * math.sin(t)), pivot) for t in turns]


def _pivot(mesh: Mesh, shift: float) -> tuple[float, float]:
    """Return the depth that stays in place and the camera's reach (see `render`) that moves nothing more than asked."""
    if not 0 < shift <= 0.2:
        raise ValueError(f"shift: got {shift}, allowed is (0, 0.2]")
    near = 1 / mesh.vertices[:, 2]
    middle = float(near.min() + near.max()) / 2
    spread = float(near.max() - near.min()) / 2
    # A flat wall shows no parallax, however far the camera goes.
    return 1 / middle, shift * mesh.intrinsics.width / spread if spread > 1e-4 * middle else 0.0


def _view(mesh: Mesh, image: np.ndarray, moved_px: tuple[float, float], pivot: float) -> np.ndarray:
    return fill_holes(*render(mesh, image, moved_px, pivot))
