"""Drawn worlds written as the depth benchmarks lie on disk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jointdit_core.evaluation.mini import Worlds, draw_worlds

COUNT = 8


@cache
def _worlds() -> Worlds:
    return draw_worlds(COUNT, 64, torch.device("cpu"))


def drawn_pairs(height: int, width: int, median: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Worlds at any size: pictures (H, W, 3) uint8 and depths (H, W) float32 in metres of a given median, sky inf."""
    worlds, pairs = _worlds(), []
    for image, depth in zip(worlds.images, worlds.depths, strict=True):
        rows, columns = np.arange(height) * 64 // height, np.arange(width) * 64 // width
        scale = median / np.median(depth[np.isfinite(depth)])
        pixels, scaled = np.asarray(image), (depth * scale).astype(np.float32)
        pairs.append((pixels[rows[:, None], columns], scaled[rows[:, None], columns]))
    return pairs


def _save(folder: Path, name: str, pixels: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _png16(folder: Path, name: str, depth: np.ndarray, per_metre: float) -> None:
    stored = np.where(np.isfinite(depth), np.minimum(np.round(depth * per_metre), 65535), 0).astype(np.uint16)
    _save(folder, name, stored)


def write_nyu(folder: Path) -> list[np.ndarray]:
    pairs = drawn_pairs(480, 640, 3.0)
    for i, (pixels, depth) in enumerate(pairs, 1):
        _save(folder, f"test/kitchen_0004/rgb_{i:04d}.png", pixels)
        _png16(folder, f"test/kitchen_0004/depth_{i:04d}.png", depth, 1000)
        _png16(folder, f"test/kitchen_0004/filled_{i:04d}.png", np.full_like(depth, 9.0), 1000)
    return [depth for _, depth in pairs]


def write_scannet(folder: Path) -> list[np.ndarray]:
    pairs = [(pixels, depth[::2, ::2][2:482, 4:644]) for pixels, depth in drawn_pairs(968, 1296, 2.0)]
    for i, (pixels, depth) in enumerate(pairs):
        _save(folder, f"scene0406_02/color/{100 * i:06d}.jpg", pixels)
        _png16(folder, f"scene0406_02/depth/{100 * i:06d}.png", depth, 1000)
    return [depth for _, depth in pairs]


def write_kitti(folder: Path) -> list[np.ndarray]:
    pairs = drawn_pairs(375, 1242, 20.0)
    for i, (pixels, depth) in enumerate(pairs):
        _save(folder, f"2011_09_26/2011_09_26_drive_0002_sync/image_02/data/{i:010d}.png", pixels)
        depth[::2] = np.inf  # the laser leaves gaps
        _png16(folder, f"2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/{i:010d}.png", depth, 256)
    return [depth[375 - 352 :, 13 : 13 + 1216] for _, depth in pairs]


def write_diode(folder: Path) -> list[np.ndarray]:
    pairs = drawn_pairs(768, 1024, 8.0)
    for i, (pixels, depth) in enumerate(pairs):
        name = f"indoors/scene_00021/scan_00189/00021_00189_indoors_200_{i:03d}"
        _save(folder, f"{name}.png", pixels)
        np.save(folder / f"{name}_depth.npy", np.where(np.isfinite(depth), depth, 0)[..., None])
        np.save(folder / f"{name}_depth_mask.npy", np.isfinite(depth).astype(np.float32))
    return [depth for _, depth in pairs]


def write_eth3d(folder: Path) -> list[np.ndarray]:
    pairs = drawn_pairs(128, 192, 5.0)  # 4032 x 6048 pixels on disk; the reader takes the picture's own size
    for i, (pixels, depth) in enumerate(pairs):
        _save(folder, f"rgb/office/images/dslr_images/DSC_{i:04d}.JPG", pixels)
        path = folder / f"depth/office_dslr_depth/office/ground_truth_depth/dslr_images/DSC_{i:04d}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(depth.astype("<f4").tobytes())
    return [depth for _, depth in pairs]


WRITERS = {
    "nyu": write_nyu,
    "scannet": write_scannet,
    "kitti": write_kitti,
    "diode": write_diode,
    "eth3d": write_eth3d,
}
# Of stored depth, in metres.
STEP = {"nyu": 1 / 1000, "scannet": 1 / 1000, "kitti": 1 / 256, "diode": 0.0, "eth3d": 0.0}
