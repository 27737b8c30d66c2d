"""What follows from a result without the device: its 3D view, its files, its colours, its way to the other tabs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from app import viewer, words
from app.session import Sessions
from jointdit_core import reading
from jointdit_core.geometry.disparity import colorize
from jointdit_core.geometry.export import write_npy
from jointdit_core.geometry.recover import estimate_camera
from jointdit_core.results import Files, LiftSettings, Result, write_files, write_parallax, write_rgb_png

FOV_RANGE_DEG, FAR_OVER_NEAR_RANGE = (10, 120), (1.5, 50)  # of the lift's sliders
REVERSED, CLIPPED = "_r", "@"  # the first as matplotlib has it
SAME: Any = gr.skip()
NO_PICTURE = "There is no picture yet; press Generate first."


class Panel(NamedTuple):
    """What a handler changes on the shared result panel; `SAME` leaves a part as it is."""

    rgb: Any = SAME
    depth: Any = SAME
    bar: Any = SAME
    stop: Any = SAME
    caption: Any = SAME
    result: Any = SAME
    variants: Any = SAME
    chosen: Any = SAME
    seed: Any = SAME


class Shown:
    """The handlers of the result panel; holds nothing of a request."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def choose(self, variants: list[Result], chosen: str | None, colormap: str) -> tuple:
        """Show another of the variants that one run made.

        Returns:
            Picture, depth, caption and result.
        """
        if chosen not in (names := variant_names(variants)):
            return (SAME,) * 4
        result = variants[names.index(chosen)]
        return result.image, colored(result.disparity, colormap), words.caption(result), result

    def view(self, result: Result | None, solid: bool, *controls: Any) -> Any:
        """Lift the result into 3D, as a surface if it is to be solid; the controls are those of `lifting`."""
        if result is None:
            return SAME
        if solid:
            return viewer.surface(checked(result.lift_mesh, lifting(*controls)), result)
        return viewer.figure(checked(result.lift, lifting(*controls)), result)

    def files(self, result: Result | None, *controls: Any) -> tuple:
        """Write the result's files and return their paths, as `Files` has them."""
        if result is None:
            return (SAME,) * len(Files._fields)
        return tuple(map(str, written(write_files, result, lifting(*controls))))

    def parallax(self, result: Result | None, *controls: Any) -> str:
        """Draw the result's animation, which takes seconds, and return its path."""
        if result is None:
            raise refusal(NO_PICTURE)
        return str(written(write_parallax, result, lifting(*controls)))

    def recolor(self, result: Result | None, colormap: str) -> Any:
        """Show the depth in another colour map."""
        return SAME if result is None else colored(result.disparity, colormap)

    def compare(self, result: Result | None, colormap: str, comparing: bool) -> tuple:
        """Swap the picture for a slider between the picture and its depth, or back.

        Returns:
            Whether it compares now, the picture, the slider, and the button's next offer.
        """
        if result is None:
            raise refusal(NO_PICTURE)
        if comparing:
            return False, gr.update(visible=True), gr.update(visible=False), "Compare"
        pair = self.pair(result, colormap, True)
        return True, gr.update(visible=False), gr.update(value=pair, visible=True), "RGB alone"

    def pair(self, result: Result | None, colormap: str, comparing: bool) -> Any:
        """Return the picture and its depth for the slider, where it is shown."""
        return (result.image, colored(result.disparity, colormap)) if comparing and result is not None else SAME

    def use_image(self, result: Result | None, request: gr.Request) -> tuple:
        """Hand the result's picture to the tab Image -> depth."""
        if result is None:
            raise refusal(NO_PICTURE)
        path = self.sessions.folder(owner_of(request)) / "picture.png"
        write_rgb_png(path, result.image, result.settings)
        return gr.Tabs(selected="depth_estimation"), str(path)

    def use_depth(self, result: Result | None, request: gr.Request) -> tuple:
        """Hand the result's disparity to the tab Depth -> image, in full precision."""
        if result is None:
            raise refusal("There is no depth yet; press Generate first.")
        path = write_npy(self.sessions.folder(owner_of(request)) / "depth.npy", result.disparity)
        return gr.Tabs(selected="depth_to_image"), str(path), reading.RELATIVE, reading.NEAR_IS_BRIGHT

    def preview_depth(self, path: str | None, kind: str, polarity: str) -> Any:
        """Show an uploaded depth map as the model will read it."""
        if path is None:
            return gr.update(value=None, visible=False)
        return gr.update(value=colorize(checked(reading.read_depth, path, kind, polarity), "gray"), visible=True)

    def estimate_camera(self, result: Result | None) -> tuple:
        """Set field of view and far/near to what makes the result's flat surfaces square to each other.

        A field of view that the photo's camera wrote into the file is taken as it is.
        """
        if result is None:
            raise refusal("There is no depth yet; press Generate first.")
        camera = checked(estimate_camera, result.disparity, result.fov_deg)
        if camera.planes < 2:
            raise refusal("This picture shows too few flat surfaces to tell its camera from; the sliders stay.")
        gr.Info(f"Estimated from {camera.planes} flat surfaces. Move the sliders if it looks wrong.")
        ratio = 0.5 * round(2 * camera.far_over_near)  # the slider's step
        return round(np.clip(camera.fov_deg, *FOV_RANGE_DEG)), float(np.clip(ratio, *FAR_OVER_NEAR_RANGE))


def variant_names(variants: list[Result]) -> list[str]:
    """Return what the variants are called: 1, 2, ..."""
    return [str(number) for number in range(1, len(variants) + 1)]


def lifting(
    fov_deg: float, far_over_near: float, edge_percent: float, points: float, drop_sky: bool, smooth: bool
) -> LiftSettings:
    """Return the lift settings of the page's controls; an edge cut of 0 keeps all points."""
    return LiftSettings(fov_deg, far_over_near, edge_percent / 100 or None, int(points), drop_sky, smooth)


def colored(disparity: np.ndarray, look: str) -> np.ndarray:
    """Colour a disparity map.

    Args:
        disparity: (H, W) float32 in [0, 1].
        look: a colour map's name, followed by `REVERSED` for one that is turned round, then perhaps by `CLIPPED` and
            the percentage of pixels at each end that get the end's colour.

    Returns:
        (H, W, 3) uint8.
    """
    name, _, clipped = look.partition(CLIPPED)

    def paint() -> np.ndarray:
        return colorize(disparity, name.removesuffix(REVERSED), name.endswith(REVERSED), float(clipped or 0))

    return checked(paint)


def owner_of(request: gr.Request) -> str:
    """Return what names a visitor."""
    return request.session_hash or "nobody"


def refusal(reason: object) -> gr.Error:
    """Return a sentence for the visitor as the error that shows it."""
    return gr.Error(str(reason), title="Please check", print_exception=False)


def checked(function: Callable, *arguments: Any) -> Any:
    """Call a function whose `ValueError` is a sentence for the visitor."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise refusal(error) from None


def written(write: Callable[[Result, LiftSettings], Any], result: Result, settings: LiftSettings) -> Any:
    """Call a function that writes files of a result, all or none."""
    try:
        return checked(write, result, settings)
    except OSError:
        shutil.rmtree(result.folder, ignore_errors=True)
        raise
