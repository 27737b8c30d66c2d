"""Unseen worlds as the geometry's evaluation sees them: exact depth, true camera, and the maps made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..worlds import Scene, batch, render, sample_scene
from ..worlds.scene import FAR

FIRST_SEED = 20_000  # unseen: training starts at 1,000,000, the autoencoder's scenes at 500,000
TUNING_SEED = 40_000  # where this package's own constants were chosen; never evaluated on


@dataclass(frozen=True)
class World:
    """A drawn scene.

    Attributes:
        scene: its description, which holds the true camera.
        image: uint8 (S, S, 3) RGB.
        depth: float32 (S, S) in metres along the optical axis; sky is a wall `FAR` metres away.
        ids: int64 (S, S), index into `scene.objects`, -1 for walls, ground and sky.
    """

    scene: Scene
    image: np.ndarray
    depth: np.ndarray
    ids: np.ndarray

    @property
    def near(self) -> float:
        """Metres that the lift calls 1."""
        return float(self.depth.min())

    @property
    def far_over_near(self) -> float:
        """The true ratio of far to near plane."""
        return float(self.depth.max()) / self.near

    @property
    def disparity(self) -> np.ndarray:
        """Exact disparity, float32 (S, S) in [0, 1]."""
        return depth_to_disparity(self.depth, self.depth)


def draw(
    count: int,
    size: int,
    kinds: tuple[str, ...] | None = None,
    first_seed: int = FIRST_SEED,
    fov_deg: tuple[float, float] | None = None,
) -> Iterator[World]:
    """Draw scenes one after the other.

    Args:
        count: how many.
        size: side S in pixels, a multiple of 64.
        kinds: scene kinds to take, others are skipped; None takes all.
        first_seed: where the seeds start.
        fov_deg: lowest and highest angle of view to take the scenes with, spread evenly over them in random order;
            None keeps each scene's own.

    Yields:
        The worlds, always the same.
    """
    rng = np.random.default_rng(first_seed)
    lenses = None if fov_deg is None else rng.permutation(np.linspace(*fov_deg, count))
    seed, drawn = first_seed, 0
    while drawn < count:
        scene = sample_scene(seed)
        seed += 1
        if kinds is not None and scene.kind not in kinds:
            continue
        if lenses is not None:
            scene = replace(scene, camera=replace(scene.camera, fov_deg=float(lenses[drawn])))
        drawn += 1
        with torch.inference_mode():
            shown = render(batch([scene]), size, 1)
        image = (shown.rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
        yield World(scene, image, shown.depth[0].clamp(max=FAR).numpy(), shown.ids[0].numpy())


def depth_to_disparity(depth: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Normalise inverse depth by the nearest and farthest of `limits`: float32 in [0, 1], near = 1."""
    low, high = 1 / float(limits.max()), 1 / float(limits.min())
    return np.clip((1 / depth.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def quantise(disparity: np.ndarray, bits: int) -> np.ndarray:
    """Round disparity to the levels of a file of so many bits: float32 in [0, 1]."""
    top = 2**bits - 1
    return (np.rint(disparity.astype(np.float64) * top) / top).astype(np.float32)
