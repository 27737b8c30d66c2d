"""Points or surface -> interactive plotly figure, first seen through the photo's own camera.

World units: plotly's x, y, z are the camera's x (right), z (forward) and -y (up), times the constant `SCALE`. The
photo's camera therefore sits at the origin whatever the lift controls say, so a turned view survives them.

How it reaches the page: `gr.Plot` rebuilds its element, camera and WebGL context at every update, so it gets one empty
figure, and every later figure travels as JSON through a hidden `gr.HTML` whose script redraws that plot in place.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
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
        JSON of data and layout, as plotly.js reads it.
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
    x, y, z = cloud.points.T.astype(np.float32)
    trace = {
        "type": "scatter3d",
        "mode": "markers",
        "marker": marker,
        "x": _typed(x),
        "y": _typed(z),
        "z": _typed(-y),
        "customdata": _typed(cloud.pixel.astype(np.uint16)),
        "hovertemplate": HOVER,
    }
    side = max(len(np.unique(line)) for line in cloud.pixel.T)  # points along the longer side
    return _message({"data": [trace]}, cloud.points, cloud.intrinsics, {"key": result.key, "side": side})


def surface(mesh: Mesh, result: Result) -> str:
    """Draw a surface in the photo's own colours, unlit.

    Args:
        mesh: the surface, its vertices on a regular grid of the picture's pixels.
        result: as for `figure`.

    Returns:
        JSON of the layout, as plotly.js reads it, and of the grid, which surface.js makes plotly's arrays of: they are
        seven times as large.
    """
    pixel = (mesh.uv * (mesh.intrinsics.width, mesh.intrinsics.height)).astype(np.uint16)  # they hold pixels' centres
    (columns, x), (rows, y) = (_lines(along) for along in pixel.T)
    grid = {
        "columns": columns.tolist(),
        "rows": rows.tolist(),
        "cells": _base64(_cells(x, y, mesh.faces)),
        "depth": _base64(mesh.vertices[:, 2]),
        "colors": _base64(mesh.colors),
        "camera": asdict(mesh.intrinsics),
        "hover": HOVER,
    }
    return _message({"grid": grid}, mesh.vertices, mesh.intrinsics, {"key": result.key})


def _lines(along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different ones among whole numbers (N,), in order, and which of these each is."""
    there = np.bincount(along) > 0
    return np.flatnonzero(there), (np.cumsum(there, dtype=np.int32) - 1)[along]


def _cells(x: np.ndarray, y: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Tell which triangles each cell of a grid has.

    Args:
        x: int (N,), the column of each vertex.
        y: int (N,), its row.
        faces: int32 (M, 3), vertices that are three corners of a cell each.

    Returns:
        uint8 (rows - 1, columns - 1): bit 0 for the triangle without the cell's lower right corner, bit 1 for the one
        without the lower left, bit 2 without the upper right, bit 3 without the upper left.
    """
    corners = np.ascontiguousarray(faces.T)  # (3, M)
    across, down = x[corners], y[corners]
    left, top = across.min(axis=0), down.min(axis=0)
    right, low = (lines.sum(axis=0, dtype=np.int32) - 3 * first - 1 for lines, first in ((across, left), (down, top)))
    bit = right + 2 * low  # each is 1 where two of the corners are on that side
    shape = y.max(), x.max()
    return np.bincount(top * shape[1] + left, 1 << bit, shape[0] * shape[1]).astype(np.uint8).reshape(shape)


def _message(drawn: dict[str, Any], points: np.ndarray, photo: Intrinsics, meta: dict[str, Any]) -> str:
    """Pack what is drawn, points (N, 3) in OpenCV axes, with the layout that shows it."""
    layout = _layout(float(np.abs(points).max()) * 1.01, photo_camera(points))
    layout["meta"] = meta | {"fov_deg": photo.fov_deg, "aspect": photo.width / photo.height}
    return json.dumps({**drawn, "layout": layout}, separators=(",", ":"))


def empty() -> PlotData:
    """Return the figure the page starts with, a surface that shows nothing, with what makes it quick to draw."""
    trace = {"type": "mesh3d"} | {axis: [0, 0, 0] for axis in "xyz"} | {"i": [0], "j": [1], "k": [2]}
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
    return {"dtype": kind, "bdata": _base64(values), "shape": ", ".join(map(str, values.shape))}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values)).decode("ascii")


CHANNEL = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("surface.js", "viewer.js"))
RESET = "() => window.studioReset()"
