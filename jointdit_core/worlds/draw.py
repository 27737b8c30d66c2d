"""Packed scenes to pictures, exact depth and object ids."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from . import caster, shading, styles
from .scene import FAR

# Where the rays of a pixel start, in pixels right and down of its centre. Those off the centre are shared with the
# neighbours, so 2 or 4 rays a pixel give 5 or 9 taps; only the centres are lit.
OFFSETS = {1: ((0.0, 0.0),), 2: ((0.0, 0.0), (0.5, 0.5)), 4: ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))}


class RenderOutput(NamedTuple):
    """A rendered batch.

    rgb (B, 3, H, W) float32 sRGB in [0, 1]; depth (B, H, W) float32 metres along the optical axis, inf for sky;
    ids (B, H, W) int64 index into `Scene.objects`, -1 for walls, ground and sky.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    ids: torch.Tensor


def _grid(size: int, samples: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture coordinates of the rays' columns and rows: two (samples, size) float32, -1 to 1."""
    steps = torch.arange(size, device=device, dtype=torch.float32) + 0.5
    u = [(steps + right) * (2.0 / size) - 1.0 for right, _ in OFFSETS[samples]]
    v = [1.0 - (steps + down) * (2.0 / size) for _, down in OFFSETS[samples]]
    return torch.stack(u), torch.stack(v)


def _resolve(rgb: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Smooths edges: a ray off the centres takes the mean colour of the centres around it that show the same part.

    Args:
        rgb: (B, 3, H, W) float32 at the pixel centres.
        parts: (B, S, H, W) what each ray meets.

    Returns:
        (B, 3, H, W) float32.
    """
    samples = parts.shape[1]
    total = rgb
    for i, (right, down) in enumerate(OFFSETS[samples][1:], start=1):
        around = [(dy, dx) for dy in range(2 if down else 1) for dx in range(2 if right else 1)]
        color, weight = 1e-3 * rgb, torch.full_like(rgb[:, :1], 1e-3)
        for dy, dx in around:
            same = (shifted(parts[:, 0], dy, dx) == parts[:, i]).float()[:, None]
            color, weight = color + same * shifted(rgb, dy, dx), weight + same
        color = color / weight
        share = 1.0 / len(around)
        total = total + sum(share * shifted(color, -dy, -dx) for dy, dx in around)
    return total / samples


def shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """The picture moved so that each pixel shows the one dy below and dx right (0, 1 or -1), edges repeated."""
    if dy > 0:
        image = torch.cat((image[..., 1:, :], image[..., -1:, :]), dim=-2)
    elif dy < 0:
        image = torch.cat((image[..., :1, :], image[..., :-1, :]), dim=-2)
    if dx > 0:
        image = torch.cat((image[..., 1:], image[..., -1:]), dim=-1)
    elif dx < 0:
        image = torch.cat((image[..., :1], image[..., :-1]), dim=-1)
    return image


def _meet(scenes, size: int, samples: int) -> torch.Tensor:
    """Stage 1: the coded first hit of every ray, (B, samples, size, size) float32."""
    return caster.first_hit(scenes, *_grid(size, samples, scenes.camera.device))


def _examine(scenes, code: torch.Tensor):
    """Stage 2: what each ray meets, (B, S, H, W) int32; the centres' directions and all that is known of their hits."""
    samples, size = code.shape[1], code.shape[2]
    u, v = _grid(size, samples, code.device)
    right, up, forward = (scenes.camera[:, i, :, None, None, None] for i in (1, 2, 3))
    rays = tuple(right[:, i] * u[:, None, :] + up[:, i] * v[:, :, None] + forward[:, i] for i in range(3))
    depth, solid = caster.decode(code)
    wall, _ = caster.leave_room(scenes, tuple(r.flatten(1) for r in rays))
    parts = torch.where(wall.reshape(depth.shape) < depth, scenes.affine.shape[1], solid)
    direction = tuple(r[:, 0].flatten(1) for r in rays)
    pixel = 0.7 / size  # metres across at depth 1, near enough for all cameras
    surface = shading.surface(scenes, depth[:, 0].flatten(1), solid[:, 0].flatten(1), direction, pixel)
    return parts.int(), direction, surface


def _cover(scenes, point, normal, depth: torch.Tensor) -> torch.Tensor:
    """Stage 3: shadow, (B, N) float32, 1 where the key light is hidden."""
    lift = 1e-3 + 1e-3 * depth
    return caster.shadowed(scenes, tuple(p + lift * n for p, n in zip(point, normal, strict=True)))


def _finish(scenes, parts: torch.Tensor, direction, surface, dark: torch.Tensor) -> RenderOutput:
    """Stage 4: light, sky, air, style."""
    depth, solid, point, normal, albedo, shine, glow = surface
    size = parts.shape[-1]
    open_sky = shading.closeness(point, normal, depth, size, reach=0.5)
    open_key = styles.soften(1.0 - dark, size)
    color = shading.light(scenes, normal, albedo, direction, shine, glow, open_key, open_sky)
    color = shading.haze(scenes, color, depth, shading.sky(scenes, direction))
    rgb = torch.stack([c.clamp(0.0, 1.0).sqrt().reshape(-1, size, size) for c in color], dim=1)
    rgb = _resolve(rgb, parts)

    seen, solid = depth.reshape(-1, size, size), solid.reshape(-1, size, size)
    empty = seen > FAR
    ids = torch.where(empty, -1, scenes.owner.gather(1, solid.flatten(1)).reshape(solid.shape))
    normals = torch.stack([n.reshape(-1, size, size) for n in normal], dim=1)
    rgb = styles.apply(scenes, rgb, seen.clamp(max=FAR), torch.where(empty, -1, solid), normals)
    return RenderOutput(rgb, torch.where(empty, torch.inf, seen), ids)


@functools.cache
def _compiled(stage):
    """Compiles a stage.

    In the two that reduce over solids everything is inlined into the reduction, so that nothing of the size
    solids x rays is ever stored.
    """
    limits = ("realize_reads_threshold", "realize_acc_reads_threshold", "realize_opcount_threshold")
    options = dict.fromkeys(limits, 10**6)
    return torch.compile(stage, dynamic=False, fullgraph=True, options=options if stage in (_meet, _cover) else None)


def render(scenes, size: int = 256, samples: int = 2, compiled: bool = False) -> RenderOutput:
    """Draws a batch.

    Args:
        scenes: a `SceneBatch` on any device.
        size: picture side in pixels, a multiple of 64.
        samples: rays a pixel, 1, 2 or 4; depth and ids come from the pixel centres alone.
        compiled: compile first (minutes on a small CPU, once per batch size and picture size), then many times faster.

    Returns:
        A `RenderOutput` on the same device.

    Raises:
        ValueError: if `size` or `samples` is none of these.
    """
    if size < 64 or size % 64:
        raise ValueError(f"size must be a multiple of 64, got {size!r}")
    if samples not in OFFSETS:
        raise ValueError(f"samples must be one of {tuple(OFFSETS)}, got {samples!r}")
    stages = (_meet, _examine, _cover, _finish)
    meet, examine, cover, finish = map(_compiled, stages) if compiled else stages
    code = meet(scenes, size, samples)
    parts, direction, surface = examine(scenes, code)
    dark = cover(scenes, surface[2], surface[3], surface[0])
    return finish(scenes, parts, direction, surface, dark)


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
