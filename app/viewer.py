"""PointCloud -> interactive plotly figure, first seen through the photo's own camera.

World units: plotly's x, y, z are the camera's x (right), z (forward) and -y (up), times the constant ``SCALE``. The
photo's camera therefore sits at the origin whatever the lift controls say, which is what lets a turned view survive them.

How it reaches the page: `gr.Plot` rebuilds its element, camera and WebGL context at every update, so it gets one empty
figure, and every later figure travels as JSON through a hidden `gr.HTML` whose script redraws the existing plot in place.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
from gradio.components.plot import PlotData
from PIL import Image

from jointdit_core import PointCloud

SCALE = 0.25  # plotly world units per near-plane distance
GROUPS, COLORS_PER_GROUP = 16, 256  # two-stage palette: 256 colours alone are visibly posterised
PALETTE_SIZE = GROUPS * COLORS_PER_GROUP
HOVER = (
    "pixel (%{customdata[0]:.0f}, %{customdata[1]:.0f})<br>depth %{y:.2f} × the nearest"
    "<br><i>relative, not metres</i><extra></extra>"
)
MARKER_SIZE = 2.2


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


def photo_camera(cloud: PointCloud) -> dict[str, Any]:
    """Return plotly's camera for the photo's own view: at the origin, looking along depth, turning about the middle."""
    middle = float(np.median(cloud.points[:, 2])) if len(cloud.points) else 1.0
    return {
        "eye": {"x": 0.0, "y": 0.0, "z": 0.0},
        "center": {"x": 0.0, "y": middle * SCALE, "z": 0.0},
        "up": {"x": 0.0, "y": 0.0, "z": 1.0},
    }


def figure(cloud: PointCloud, key: str) -> str:
    """Draw a point cloud.

    Args:
        cloud: the points.
        key: names the result; the page keeps the camera while it stays the same.

    Returns:
        The figure's JSON, data and layout.
    """
    photo = cloud.intrinsics
    x, y, z = cloud.points.T.astype(np.float32)
    index, palette = quantize(cloud.colors)
    trace = go.Scatter3d(
        x=x,
        y=z,
        z=-y,
        mode="markers",
        customdata=cloud.pixel.astype(np.uint16),
        hovertemplate=HOVER,
        marker={
            "size": MARKER_SIZE,
            "symbol": "square",
            "line": {"width": 0},
            "color": index,
            "colorscale": [[i / (PALETTE_SIZE - 1), f"rgb({r},{g},{b})"] for i, (r, g, b) in enumerate(palette.tolist())],
            "cmin": 0,
            "cmax": PALETTE_SIZE - 1,
        },
    )
    layout = _layout(float(np.abs(cloud.points).max()) * 1.01, photo_camera(cloud))
    layout.meta = {"key": key, "fov_deg": photo.fov_deg, "aspect": photo.width / photo.height}
    return _to_json(trace, layout)


def empty() -> PlotData:
    """Return the figure the page starts with, with the settings that make it quick to draw."""
    layout = _layout(1.0, {})
    config = {"plotGlPixelRatio": 1, "displayModeBar": False, "scrollZoom": True}
    plot = json.loads(_to_json(go.Scatter3d(x=[], y=[], z=[], mode="markers"), layout)) | {"config": config}
    return PlotData(type="plotly", plot=json.dumps(plot))


def _layout(reach: float, camera: dict[str, Any]) -> go.Layout:
    axis = {"visible": False, "range": [-reach, reach], "showspikes": False}
    return go.Layout(
        template=None,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"bgcolor": "#111827", "font": {"color": "#f9fafb"}},
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "manual",
            "aspectratio": dict.fromkeys("xyz", 2 * reach * SCALE),
            "camera": camera,
            "dragmode": "turntable",
            "bgcolor": "rgba(0,0,0,0)",
        },
    )


def _to_json(trace: go.Scatter3d, layout: go.Layout) -> str:
    return go.Figure([trace], layout).to_json()


# Runs once when the hidden channel loads. Plotly fixes the field of view at 45 degrees, so the photo's own is set on the
# scene itself, wide enough that the whole photo fits the canvas.
CHANNEL = """
const plot = () => document.querySelector('#viewer .js-plotly-plot');
const scene = (gd) => gd._fullLayout?.scene?._scene;
const fit = (gd) => {
  const s = scene(gd), meta = gd.layout.meta;
  if (!s?.glplot || !meta) return;
  const long = Math.tan(meta.fov_deg * Math.PI / 360);
  const high = meta.aspect >= 1 ? long / meta.aspect : long;
  const wide = meta.aspect >= 1 ? long : long * meta.aspect;
  const canvas = gd.clientWidth / Math.max(gd.clientHeight, 1);
  const fovy = 2 * Math.atan(Math.max(high, wide / canvas));
  if (Math.abs(s.glplot.fovy - fovy) > 1e-6) { s.glplot.fovy = fovy; s.glplot.update?.({}); s.glplot.redraw?.(); }
};
let home = null;
const draw = async () => {
  const value = props.value;
  if (!value) return;
  while (!(window.Plotly && plot()?._fullLayout)) await new Promise((done) => setTimeout(done, 50));
  if (value !== props.value) return;
  const gd = plot(), figure = JSON.parse(value);
  home = structuredClone(figure.layout.scene.camera);
  if (gd.layout.meta?.key === figure.layout.meta.key) figure.layout.scene.camera = scene(gd).getCamera();
  figure.layout.autosize = true;
  if (!gd.dataset.fitted) { gd.dataset.fitted = '1'; gd.on('plotly_afterplot', () => fit(gd)); }
  await window.Plotly.react(gd, figure.data, figure.layout);
  fit(gd);
  gd.dataset.drawn = String(Number(gd.dataset.drawn || 0) + 1);
};
window.studioReset = () => { if (home) window.Plotly.relayout(plot(), { 'scene.camera': structuredClone(home) }); };
watch('value', draw);
draw();
"""
RESET = "() => window.studioReset()"
