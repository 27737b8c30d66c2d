"""A result with everything that made it, and the files a visitor can take home."""

from __future__ import annotations

import json
import secrets
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from jointdit_core import PointCloud, lift
from jointdit_core.geometry.camera import FOV_DEG
from jointdit_core.geometry.disparity import FAR_OVER_NEAR
from jointdit_core.geometry.export import write_glb, write_npy, write_ply, write_png16
from jointdit_core.geometry.lift import EDGE_THRESHOLD, Mesh, lift_mesh
from jointdit_core.geometry.views import anaglyph, side_by_side, stereo_pair

POINTS = 65_536  # drawn and written by default: a whole 256 x 256 picture


@dataclass(frozen=True)
class Settings:
    """What was asked for; the same settings and input give the same result.

    Attributes:
        task: `joint_generation`, `depth_estimation` or `depth_to_image`.
        prompt: as typed.
        seed: the one used.
        steps: denoising steps.
        guidance: guidance scale; None where the task has none.
        model: preset name.
        stopped_at: the step after which the visitor stopped the run, or None.
    """

    task: str
    prompt: str
    seed: int
    steps: int
    guidance: float | None
    model: str
    stopped_at: int | None = None


@dataclass(frozen=True)
class LiftSettings:
    """How a result is lifted into 3D.

    Attributes:
        fov_deg: field of view of the longer side in degrees.
        far_over_near: depth of the far plane over that of the near plane.
        edge_threshold: relative depth jump that counts as an edge; None keeps all points.
        max_points: upper bound on points and mesh vertices.
    """

    fov_deg: float = FOV_DEG
    far_over_near: float = FAR_OVER_NEAR
    edge_threshold: float | None = EDGE_THRESHOLD
    max_points: int = POINTS


@dataclass(frozen=True, eq=False)
class Result:
    """A picture with its disparity; compared by identity, which is how the page notices a new one.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        disparity: (H, W) float32 in [0, 1], near = 1.
        settings: what made it.
        seconds: how long it took.
        notes: what was done otherwise than asked.
        key: tells this result from others; a 3D view is kept as long as it stays the same.
        folder: where its files go; None for one that never left memory.
    """

    image: np.ndarray
    disparity: np.ndarray
    settings: Settings
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: secrets.token_hex(4))
    folder: Path | None = None

    def lift(self, settings: LiftSettings) -> PointCloud:
        """Lift the result into a point cloud; see `jointdit_core.lift`."""
        return lift(self.image, self.disparity, **asdict(settings))

    def lift_mesh(self, settings: LiftSettings) -> Mesh:
        """Lift the result into a mesh; see `jointdit_core.geometry.lift.lift_mesh`."""
        shape = asdict(settings)
        return lift_mesh(self.image, self.disparity, max_vertices=shape.pop("max_points"), **shape)


class Files(NamedTuple):
    """Paths of a result's files, in the order of the download buttons."""

    rgb: Path
    depth_png: Path
    depth_npy: Path
    points: Path
    mesh: Path
    stereo: Path
    anaglyph: Path
    settings: Path
    everything: Path


def write_rgb_png(path: Path, image: np.ndarray, settings: Settings) -> None:
    """Write an RGB PNG that carries its settings: one text entry each, and all as JSON under `jointdit`."""
    info = PngImagePlugin.PngInfo()
    entries = asdict(settings)
    for name, value in entries.items():
        if value is not None:
            info.add_itxt(name, str(value))
    info.add_itxt("jointdit", json.dumps(entries, ensure_ascii=False))
    Image.fromarray(image).save(path, pnginfo=info)


def write_files(result: Result, lifting: LiftSettings) -> Files:
    """Write all files of a result into its folder; existing ones are replaced.

    Args:
        result: the picture and its disparity.
        lifting: how the point cloud and the mesh are made.

    Returns:
        The paths.

    Raises:
        ValueError: if nothing is left to lift, with a sentence for the visitor.
    """
    result.folder.mkdir(parents=True, exist_ok=True)  # it may have been tidied away meanwhile
    stem = f"jointdit-{result.settings.task.replace('_', '-')}-{result.settings.seed}"
    names = Files(
        rgb="rgb.png",
        depth_png="depth16.png",
        depth_npy="depth.npy",
        points="points.ply",
        mesh="mesh.glb",
        stereo="stereo.png",
        anaglyph="anaglyph.png",
        settings="settings.json",
        everything="all.zip",
    )
    files = Files(*(result.folder / f"{stem}-{name}" for name in names))
    mesh = result.lift_mesh(lifting)
    write_rgb_png(files.rgb, result.image, result.settings)
    write_png16(files.depth_png, result.disparity)
    write_npy(files.depth_npy, result.disparity)
    write_ply(files.points, result.lift(lifting))
    write_glb(files.mesh, mesh, result.image)
    eyes = stereo_pair(mesh, result.image)
    Image.fromarray(side_by_side(*eyes)).save(files.stereo)
    Image.fromarray(anaglyph(*eyes)).save(files.anaglyph)
    settings = {**asdict(result.settings), "lift": asdict(lifting), "notes": result.notes}
    files.settings.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with zipfile.ZipFile(files.everything, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files[:-1]:
            archive.write(path, path.name)
    return files
