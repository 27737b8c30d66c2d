"""Packed scenes to pictures, exact depth and object ids."""

from __future__ import annotations

from typing import NamedTuple

import torch

from . import caster, shading, styles
from .scene import FAR

# Where the rays of a pixel start, in pixels right and down of its centre. Those off the centre are shared with the
# neighbour, so 2 or 4 rays a pixel give 5 or 9 taps.
OFFSETS = {1: ((0.0, 0.0),), 2: ((0.0, 0.0), (0.5, 0.5)), 4: ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))}


class RenderOutput(NamedTuple):
    """A rendered batch.

    rgb (B, 3, H, W) float32 sRGB in [0, 1]; depth (B, H, W) float32 metres along the optical axis, inf for sky;
    ids (B, H, W) int64 index into `Scene.objects`, -1 for walls, ground and sky.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    ids: torch.Tensor


def _rays(size: int, samples: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture coordinates of all rays, the pixel centres first: two (samples * size * size,) float32 in [-1, 1]."""
    steps = torch.arange(size, device=device, dtype=torch.float32) + 0.5
    u, v = [], []
    for right, down in OFFSETS[samples]:
        u.append((((steps + right) * (2.0 / size) - 1.0)[None, :]).expand(size, size).reshape(-1))
        v.append(((1.0 - (steps + down) * (2.0 / size))[:, None]).expand(size, size).reshape(-1))
    return torch.cat(u), torch.cat(v)


def _resolve(channel: torch.Tensor, size: int, samples: int) -> torch.Tensor:
    """Averages the rays of each pixel: (B, samples * size * size) to (B, size, size)."""
    grids = channel.reshape(-1, samples, size, size).unbind(dim=1)
    total = None
    for grid, (right, down) in zip(grids, OFFSETS[samples], strict=True):
        if right:
            grid = 0.5 * (grid + torch.cat((grid[:, :, :1], grid[:, :, :-1]), dim=2))
        if down:
            grid = 0.5 * (grid + torch.cat((grid[:, :1], grid[:, :-1]), dim=1))
        total = grid if total is None else total + grid
    return total / samples


def _spread(center: torch.Tensor, solid: torch.Tensor, size: int, samples: int) -> torch.Tensor:
    """Gives the rays off the pixel centres the mean of the neighbouring centres that show the same solid.

    Args:
        center: (B, size * size) float32 known at the pixel centres.
        solid: (B, samples * size * size) int64.
        size: picture side in pixels.
        samples: rays a pixel.

    Returns:
        (B, samples * size * size) float32.
    """
    value = center.reshape(-1, size, size)
    ids = solid.reshape(-1, samples, size, size)
    out = [center]
    for i, (right, down) in enumerate(OFFSETS[samples][1:], start=1):
        total, weight = value * 1e-3, torch.full_like(value, 1e-3)
        for dy in range(2 if down else 1):
            for dx in range(2 if right else 1):
                same = (torch.roll(ids[:, 0], (-dy, -dx), dims=(1, 2)) == ids[:, i]).float()
                total, weight = total + same * torch.roll(value, (-dy, -dx), dims=(1, 2)), weight + same
        out.append((total / weight).reshape(center.shape))
    return torch.cat(out, dim=1)


def render(scenes, size: int = 256, samples: int = 2) -> RenderOutput:
    """Draws a batch.

    Args:
        scenes: a `SceneBatch` on any device.
        size: picture side in pixels.
        samples: rays a pixel, 1, 2 or 4; depth and ids come from the pixel centres alone.

    Returns:
        A `RenderOutput` on the same device.
    """
    pixels = size * size
    u, v = _rays(size, samples, scenes.camera.device)
    right, up, forward = (scenes.camera[:, i, :, None] for i in (1, 2, 3))
    direction = tuple(right[:, i] * u + up[:, i] * v + forward[:, i] for i in range(3))  # (B, N) each
    depth, solid = caster.first_hit(scenes, u, v)
    wall, face = caster.leave_room(scenes, direction)
    solid = torch.where(wall < depth, face + scenes.affine.shape[1], solid)
    depth = torch.minimum(wall, depth)
    pixel = 0.7 / size  # metres across at depth 1, near enough for all cameras
    point, normal, albedo, shine, glow = shading.surface(scenes, depth, solid, face, direction, pixel)

    center = tuple(p[:, :pixels] for p in point)
    center_normal = tuple(n[:, :pixels] for n in normal)
    lift = 1e-3 + 1e-3 * depth[:, :pixels]
    dark = caster.shadowed(scenes, tuple(p + lift * n for p, n in zip(center, center_normal, strict=True)))
    room = shading.closeness(center, center_normal, depth[:, :pixels], size, reach=0.5)
    open_key = _spread(styles.soften(1.0 - dark, size), solid, size, samples)
    open_sky = _spread(room, solid, size, samples)

    color = shading.light(scenes, normal, albedo, direction, shine, glow, open_key, open_sky)
    color = shading.haze(scenes, color, depth, shading.sky(scenes, direction))
    rgb = torch.stack([_resolve(c.clamp(0.0, 1.0).sqrt(), size, samples) for c in color], dim=1)

    seen = depth[:, :pixels].reshape(-1, size, size)
    ids = scenes.owner.gather(1, solid[:, :pixels]).reshape(-1, size, size)
    empty = seen > FAR
    ids = torch.where(empty, -1, ids)
    parts = torch.where(empty, -1, solid[:, :pixels].reshape(-1, size, size))
    normals = torch.stack([n.reshape(-1, size, size) for n in center_normal], dim=1)
    rgb = styles.apply(scenes, rgb, seen.clamp(max=FAR), parts, normals)
    return RenderOutput(rgb, torch.where(empty, torch.inf, seen), ids)


def to_disparity(depth: torch.Tensor) -> torch.Tensor:
    """Relative inverse depth, min-max normalised per picture.

    Args:
        depth: (B, H, W) float32 in metres, inf for sky.

    Returns:
        (B, H, W) float32 in [0, 1]: 1 nearest, 0 farthest or sky.
    """
    inverse = 1.0 / depth
    low = inverse.amin(dim=(1, 2), keepdim=True)
    high = inverse.amax(dim=(1, 2), keepdim=True)
    return (inverse - low) / (high - low).clamp(min=1e-6)
