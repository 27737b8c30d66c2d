"""Points or surface -> interactive plotly figure, first seen through the photo's own camera.

World units: plotly's x, y, z are the camera's x (right), z (forward) and -y (up), times the constant `SCALE`. The
photo's camera therefore sits at the origin whatever the lift controls say, so a turned view survives them.

How it reaches the page: `gr.Plot` rebuilds its element, camera and WebGL context at every update, so it gets one empty
figure, and every later figure travels as JSON through a hidden `gr.HTML` whose script redraws that plot in place.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from gradio.components.plot import PlotData
from PIL import Image

from jointdit_core import PointCloud
from jointdit_core.geometry.camera import Intrinsics
from jointdit_core.geometry.lift import Mesh
from jointdit_core.results import Result

SCALE = 0.25  # plotly world units per near-plane distance
GROUPS, COLORS_PER_GROUP = 16, 256  # two-stage palette: 256 colours alone are visibly posterised
PALETTE_SIZE = GROUPS * COLORS_PER_GROUP
MOST_PAINTED = 3 * 2**20  # values of a picture that is quantised whole
HOVER = (
    "pixel (%{customdata[0]:.0f}, %{customdata[1]:.0f})<br>depth %{y:.2f} × the nearest"
    "<br><i>relative, not metres</i><extra></extra>"
)


def quantize(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise colours to at most 4096, in two median cuts.

    Args:
        colors: (N, 3) uint8 RGB.

    Returns:
        index: (N,) uint16 into the palette.
        palette: (4096, 3) uint8 RGB; unused entries are black.
    """
    index = np.zeros(len(colors), np.uint16)
    palette = np.zeros((PALETTE_SIZE, 3), np.uint8)
    groups, _ = _median_cut(colors, GROUPS)
    for group in range(GROUPS):
        members = np.flatnonzero(groups == group)
        if len(members) == 0:
            continue
        inner, inner_palette = _median_cut(colors[members], COLORS_PER_GROUP)
        first = group * COLORS_PER_GROUP
        index[members] = first + inner
        palette[first : first + len(inner_palette)] = inner_palette
    return index, palette


def _median_cut(colors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    row = Image.fromarray(np.ascontiguousarray(colors)[None], "RGB").quantize(count, Image.Quantize.MEDIANCUT)
    palette = np.array(row.getpalette(), np.uint8).reshape(-1, 3)[:count]
    return np.asarray(row, np.uint16)[0], palette


_PALETTES: WeakKeyDictionary[Result, tuple[np.ndarray, np.ndarray]] = WeakKeyDictionary()  # gone with their results


def _painted(cloud: PointCloud, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a cloud's colours; those of an ordinary picture once for all its lifts, since it takes longest."""
    if result.image.size > MOST_PAINTED:
        return quantize(cloud.colors)
    if (known := _PALETTES.get(result)) is None:
        index, palette = quantize(result.image.reshape(-1, 3))
        known = _PALETTES[result] = index.reshape(result.image.shape[:2]), palette
    x, y = cloud.pixel.T
    return known[0][y, x], known[1]


def photo_camera(points: np.ndarray) -> dict[str, Any]:
    """Return plotly's camera for the photo's own view: at the origin, looking along depth, turning about the middle."""
    middle = float(np.median(points[:, 2])) if len(points) else 1.0
    return {
        "eye": {"x": 0.0, "y": 0.0, "z": 0.0},
        "center": {"x": 0.0, "y": middle * SCALE, "z": 0.0},
        "up": {"x": 0.0, "y": 0.0, "z": 1.0},
    }


def figure(cloud: PointCloud, result: Result) -> str:
    """Draw a point cloud.

    Args:
        cloud: the points.
        result: what they were lifted from; the page keeps the camera while its key stays the same.

    Returns:
        The figure's JSON, data and layout, as plotly.js reads it.
    """
    index, palette = _painted(cloud, result)
    marker = {
        "symbol": "square",
        "line": {"width": 0},
        "color": _typed(index),
        "colorscale": [[i / (PALETTE_SIZE - 1), f"#{r:02x}{g:02x}{b:02x}"] for i, (r, g, b) in enumerate(palette)],
        "cmin": 0,
        "cmax": PALETTE_SIZE - 1,
    }
    trace = {"type": "scatter3d", "mode": "markers", "marker": marker}
    side = max(len(np.unique(line)) for line in cloud.pixel.T)  # points along the longer side
    return _figure(trace, cloud.points, cloud.pixel, cloud.intrinsics, {"key": result.key, "side": side})


def surface(mesh: Mesh, result: Result) -> str:
    """Draw a surface in the photo's own colours, unlit; arguments and result are those of `figure`."""
    i, j, k = mesh.faces.T
    trace = {
        "type": "mesh3d",
        "i": _typed(i),
        "j": _typed(j),
        "k": _typed(k),
        "vertexcolor": _typed(mesh.colors.astype(np.float32) / 255),
        "flatshading": True,
        "lighting": {"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0},
    }
    pixel = mesh.uv * (mesh.intrinsics.width, mesh.intrinsics.height)  # floored to whole ones when they are sent
    return _figure(trace, mesh.vertices, pixel, mesh.intrinsics, {"key": result.key})


def _figure(
    trace: dict[str, Any], points: np.ndarray, pixel: np.ndarray, photo: Intrinsics, meta: dict[str, Any]
) -> str:
    """Place a trace's points (N, 3), OpenCV axes, and let each tell its pixel (N, 2) and depth."""
    x, y, z = points.T.astype(np.float32)
    trace |= {
        "x": _typed(x),
        "y": _typed(z),
        "z": _typed(-y),
        "customdata": _typed(pixel.astype(np.uint16)),
        "hovertemplate": HOVER,
    }
    layout = _layout(float(np.abs(points).max()) * 1.01, photo_camera(points))
    layout["meta"] = meta | {"fov_deg": photo.fov_deg, "aspect": photo.width / photo.height}
    return json.dumps({"data": [trace], "layout": layout}, separators=(",", ":"))


def empty() -> PlotData:
    """Return the figure the page starts with, with the settings that make it quick to draw."""
    trace = {"type": "scatter3d", "mode": "markers", "x": [], "y": [], "z": []}
    config = {"plotGlPixelRatio": 1, "displayModeBar": False, "scrollZoom": True}
    return PlotData(type="plotly", plot=json.dumps({"data": [trace], "layout": _layout(1.0, {}), "config": config}))


def _layout(reach: float, camera: dict[str, Any]) -> dict[str, Any]:
    axis = {"visible": False, "range": [-reach, reach], "showspikes": False}
    return {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hoverlabel": {"bgcolor": "#111827", "font": {"color": "#f9fafb"}},
        "scene": {
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "manual",
            "aspectratio": dict.fromkeys("xyz", 2 * reach * SCALE),
            "camera": camera,
            "dragmode": "turntable",
            "bgcolor": "rgba(0,0,0,0)",
        },
    }


def _typed(values: np.ndarray) -> dict[str, str]:
    """Encode an array as plotly.js reads it without parsing numbers."""
    values = np.ascontiguousarray(values)
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    return {
        "dtype": kind,
        "bdata": base64.b64encode(values).decode("ascii"),
        "shape": ", ".join(map(str, values.shape)),
    }


CHANNEL = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
RESET = "() => window.studioReset()"
