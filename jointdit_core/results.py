"""What was asked for, the result with everything that made it, and the files to take home."""

from __future__ import annotations

import functools
import json
import os
import secrets
import tempfile
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from .decoding import InputError, identify, open_image
from .geometry import export
from .geometry.camera import FOV_DEG
from .geometry.disparity import FAR_OVER_NEAR
from .geometry.edges import EDGE_THRESHOLD
from .geometry.lift import Mesh, PointCloud, lift, lift_mesh
from .geometry.normals import surface_normals
from .geometry.steps import smooth_steps
from .geometry.views import anaglyph, parallax_frames, side_by_side, stereo_pair
from .pipeline import JointDiTOutput, JointDiTPipeline, StepCallback

TASKS = ("joint_generation", "depth_estimation", "depth_to_image")

POINTS = 65_536  # drawn and written by default: a whole 256 x 256 picture
PARALLAX_SIDE = 512  # pixels of the longer side of the animation; larger ones take long to draw


@dataclass(frozen=True)
class Settings:
    """What was asked for; the same settings and input give the same result.

    Attributes:
        task: one of `TASKS`, or `lift` for files that no model made.
        prompt: as typed.
        seed: the one used.
        steps: denoising steps.
        guidance: guidance scale; None where the task has none.
        model: preset name.
        looseness: start sigma in [0, 1] of the picture or disparity that is given: 0 keeps it exactly, 1 ignores it.
        stopped_at: the step after which the visitor stopped the run, or None.
        width: of a joint generation in pixels; None for the model's own size, or that of what is given.
        height: likewise.
    """

    task: str
    prompt: str
    seed: int
    steps: int
    guidance: float | None
    model: str
    looseness: float = 0.0
    stopped_at: int | None = None
    width: int | None = None
    height: int | None = None

    def run(
        self, pipe: JointDiTPipeline, given: Any = None, callback_on_step_end: StepCallback | None = None
    ) -> JointDiTOutput:
        """Do what was asked for.

        Args:
            pipe: the model.
            given: the picture for `depth_estimation`, the disparity for `depth_to_image`, None for `joint_generation`.
            callback_on_step_end: as the pipeline takes it.

        Returns:
            The pipeline's output.

        Raises:
            ValueError: as the pipeline raises it.
        """
        how = {"num_inference_steps": self.steps, "seed": self.seed, "callback_on_step_end": callback_on_step_end}
        if self.task == "depth_estimation":
            return pipe.depth_estimation(given, sigma_start_rgb=self.looseness, **how)
        how["guidance_scale"] = self.guidance
        if self.task == "depth_to_image":
            return pipe.depth_to_image(self.prompt, given, sigma_start_depth=self.looseness, **how)
        return pipe.joint_generation(self.prompt, width=self.width, height=self.height, **how)

    def text(self) -> str:
        """Write the settings as one line of JSON, which `parse` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Settings | None:
        """Read settings as `text` writes them.

        Args:
            text: JSON, perhaps foreign.

        Returns:
            The settings, their types right and their values unchecked; None if it is anything else.
        """
        try:
            settings = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        kinds = {
            str: (settings.prompt, settings.model),
            int: (settings.seed, settings.steps, settings.width or 0, settings.height or 0),
            int | float: (settings.looseness, settings.guidance or 0),
        }
        right = all(isinstance(value, kind) for kind, values in kinds.items() for value in values)
        return settings if right and settings.task in TASKS else None


@dataclass(frozen=True)
class LiftSettings:
    """How a result is lifted into 3D.

    Attributes:
        fov_deg: field of view of the longer side in degrees.
        far_over_near: depth of the far plane over that of the near plane.
        edge_threshold: relative depth jump that counts as an edge; None keeps all points.
        max_points: upper bound on points and mesh vertices.
        drop_sky: leave out what lies on the far plane.
        smooth: smooth the stair-steps of a map of 8 bits.
    """

    fov_deg: float = FOV_DEG
    far_over_near: float = FAR_OVER_NEAR
    edge_threshold: float | None = EDGE_THRESHOLD
    max_points: int = POINTS
    drop_sky: bool = False
    smooth: bool = False


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
        fov_deg: angle across the longer side in degrees where the photo's camera wrote it into the file, else None.
    """

    image: np.ndarray
    disparity: np.ndarray
    settings: Settings
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: secrets.token_hex(4))
    folder: Path | None = None
    fov_deg: float | None = None

    def lift(self, settings: LiftSettings) -> PointCloud:
        """Lift the result into a point cloud; see `geometry.lift.lift`."""
        return lift(self.image, self._disparity(settings), **_shape(settings), max_points=settings.max_points)

    def lift_mesh(self, settings: LiftSettings) -> Mesh:
        """Lift the result into a mesh; see `geometry.lift.lift_mesh`."""
        return lift_mesh(self.image, self._disparity(settings), **_shape(settings), max_vertices=settings.max_points)

    def normals(self, settings: LiftSettings) -> np.ndarray:
        """Find the result's normals; see `geometry.normals.surface_normals`."""
        return surface_normals(self._disparity(settings), settings.fov_deg, settings.far_over_near)

    def at_most(self, side: int) -> Result:
        """Return the result, made smaller if its longer side has more than `side` pixels."""
        height, width = self.disparity.shape
        scale = side / max(height, width)
        if scale >= 1:
            return self
        size = max(2, round(width * scale)), max(2, round(height * scale))
        image = Image.fromarray(self.image).resize(size, Image.Resampling.BOX)
        disparity = Image.fromarray(self.disparity).resize(size, Image.Resampling.BOX)
        return replace(self, image=np.asarray(image), disparity=np.asarray(disparity).clip(0, 1))

    def _disparity(self, settings: LiftSettings) -> np.ndarray:
        return self._smooth if settings.smooth else self.disparity

    @functools.cached_property
    def _smooth(self) -> np.ndarray:  # one set of files asks for it three times, the view once more
        return smooth_steps(self.disparity)


def _shape(settings: LiftSettings) -> dict[str, Any]:
    """The settings that points and meshes are lifted with alike."""
    names = ("fov_deg", "far_over_near", "edge_threshold", "drop_sky")
    return {name: getattr(settings, name) for name in names}


class Files(NamedTuple):
    """Paths of a result's files, in the order of the download buttons."""

    rgb: Path
    depth_png: Path
    depth_npy: Path
    depth_exr: Path
    normals: Path
    points: Path
    mesh: Path
    mesh_obj: Path
    camera: Path
    stereo: Path
    anaglyph: Path
    settings: Path
    everything: Path


def write_rgb_png(path: Path, image: np.ndarray, settings: Settings) -> None:
    """Write an RGB PNG that carries its settings: one text entry each, and all as JSON under `jointdit`."""
    info = PngImagePlugin.PngInfo()
    for name, value in asdict(settings).items():
        if value is not None:
            info.add_itxt(name, str(value))
    info.add_itxt("jointdit", settings.text())
    Image.fromarray(image).save(path, pnginfo=info, compress_level=export.PNG_LEVEL)


def read_settings(path: str | os.PathLike) -> Settings | None:
    """Read the settings that `write_rgb_png` put into a picture; None if there are none."""
    try:
        path, kind, head = identify(path, "picture")
        if kind != "PNG":
            return None
        with open_image(path, kind, head, "picture") as image:
            return Settings.parse(str(image.info.get("jointdit", "")))
    except InputError:
        return None


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
    names = Files(
        rgb="rgb.png",
        depth_png="depth16.png",
        depth_npy="depth.npy",
        depth_exr="depth.exr",
        normals="normals.png",
        points="points.ply",
        mesh="mesh.glb",
        mesh_obj="mesh-obj.zip",
        camera="camera.json",
        stereo="stereo.png",
        anaglyph="anaglyph.png",
        settings="settings.json",
        everything="all.zip",
    )
    files = Files(*(_path(result, name) for name in names))
    mesh, normals = result.lift_mesh(lifting), result.normals(lifting)
    write_rgb_png(files.rgb, result.image, result.settings)
    export.write_png16(files.depth_png, result.disparity)
    export.write_npy(files.depth_npy, result.disparity)
    export.write_exr(files.depth_exr, result.disparity, lifting.far_over_near)
    export.write_normals(files.normals, normals)
    export.write_ply(files.points, result.lift(lifting), normals)
    export.write_glb(files.mesh, mesh, result.image)
    _write_obj(files.mesh_obj, mesh, result.image)
    export.write_camera(files.camera, mesh.intrinsics, lifting.far_over_near)
    eyes = stereo_pair(mesh, result.image)
    for path, merged in ((files.stereo, side_by_side(*eyes)), (files.anaglyph, anaglyph(*eyes))):
        Image.fromarray(merged).save(path, compress_level=export.PNG_LEVEL)
    settings = {**asdict(result.settings), "lift": asdict(lifting), "notes": result.notes}
    files.settings.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with zipfile.ZipFile(files.everything, "w") as archive:  # stored: most of it is packed already or barely can be
        for path in files[:-1]:
            archive.write(path, path.name)
    return files


def write_parallax(result: Result, lifting: LiftSettings) -> Path:
    """Write the animation of a camera that circles beside the photo's own into the result's folder.

    Args:
        result: the picture and its disparity.
        lifting: how the mesh is made.

    Returns:
        The path of an animated WebP of at most `PARALLAX_SIDE` pixels.

    Raises:
        ValueError: if nothing is left to lift, with a sentence for the visitor.
    """
    smaller = result.at_most(PARALLAX_SIDE)
    frames = parallax_frames(smaller.lift_mesh(lifting), smaller.image)
    return export.write_webp(_path(result, "parallax.webp"), frames)


def _path(result: Result, name: str) -> Path:
    """Where a result's file goes; the folder may have been tidied away meanwhile."""
    result.folder.mkdir(parents=True, exist_ok=True)
    return result.folder / f"jointdit-{result.settings.task.replace('_', '-')}-{result.settings.seed}-{name}"


def _write_obj(path: Path, mesh: Mesh, image: np.ndarray) -> None:
    """Pack the three files of an OBJ, which only work together."""
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for part in export.write_obj(Path(folder) / f"{path.stem.removesuffix('-obj')}.obj", mesh, image):
            archive.write(part, part.name)
