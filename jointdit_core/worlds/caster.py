"""Analytic ray casting of packed scenes: solids are affine images of unit solids, so every hit is a closed form.

Letters: B scenes, K solids of one family, P all solids, S rays a pixel, H x W pixels, N = S * H * W rays. A ray is
origin + t * direction with a direction of length 1 along the optical axis, so t is the depth.
"""

from __future__ import annotations

import torch

Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
MISS = 1e9
NEAR = 1e-3  # metres; hits nearer than this are the surface the ray starts on
TINY = 1e-9
# The nearest solid is found by one minimum over depth * _STEPS * _CODES + index: whole numbers float32 holds exactly.
_CODES = 64
_STEPS = 4096
_REACH = 63.99


def hit_boxes(origin: Triple, direction: Triple) -> torch.Tensor:
    """Where rays enter the box [-1, 1]^3.

    Args:
        origin: three tensors, broadcastable with the directions.
        direction: likewise.

    Returns:
        float32 ray parameter of the broadcast shape, `MISS` where there is no hit.
    """
    near, far = _slab(origin[0], direction[0])
    for start, step in zip(origin[1:], direction[1:], strict=True):
        low, high = _slab(start, step)
        near, far = torch.maximum(near, low), torch.minimum(far, high)
    return torch.where((near <= far) & (near > NEAR), near, MISS)


def _slab(start: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ray parameters between which one coordinate is within [-1, 1]."""
    inverse = (step + TINY).reciprocal()
    middle, half = -start * inverse, inverse.abs()
    return middle - half, middle + half


def hit_ellipsoids(origin: Triple, direction: Triple) -> torch.Tensor:
    """Where rays enter the unit ball; arguments and result as in `hit_boxes`."""
    ox, oy, oz = origin
    dx, dy, dz = direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - 1.0
    t = (-b - torch.sqrt(b * b - a * c)) / a  # not a number, and so no hit, where the ray passes by
    return torch.where(t > NEAR, t, MISS)


def hit_cylinders(origin: Triple, direction: Triple, taper: torch.Tensor) -> torch.Tensor:
    """Where rays enter the capped cone of radius 1 at z = -1 and `taper` at z = 1; otherwise as `hit_boxes`.

    Args:
        origin: three tensors, broadcastable with the directions.
        direction: likewise.
        taper: in [0, 1], broadcastable too.

    Returns:
        float32 ray parameter of the broadcast shape, `MISS` where there is no hit.
    """
    ox, oy, oz = origin
    dx, dy, dz = direction
    slope = (taper - 1.0) * 0.5
    radius = (taper + 1.0) * 0.5 + slope * oz  # of the cone at the origin's height
    growth = slope * dz
    # (ox + t dx)^2 + (oy + t dy)^2 = (radius + t growth)^2
    a = dx * dx + dy * dy - growth * growth + TINY
    b = ox * dx + oy * dy - radius * growth
    c = ox * ox + oy * oy - radius * radius
    root, inverse = torch.sqrt(b * b - a * c), a.reciprocal()
    # A ray steeper than the side (a < 0) meets this cone and its mirror image once each, and stays inside after or
    # before; which, its vertical sense tells.
    enter = torch.where((a < 0.0) & (dz >= 0.0), -MISS, (-b - root) * inverse)
    leave = torch.where((a < 0.0) & (dz < 0.0), MISS, (root - b) * inverse)
    low, high = _slab(oz, dz)
    near, far = torch.maximum(enter, low), torch.minimum(leave, high)
    return torch.where((near <= far) & (near > NEAR), near, MISS)


def _nearest(t: torch.Tensor, first: int) -> torch.Tensor:
    """The least depth over dimension 1 with the index of its solid, as one number (see `_CODES`)."""
    shape = (-1,) + (1,) * (t.dim() - 2)
    codes = torch.arange(first, first + t.shape[1], device=t.device, dtype=torch.float32).reshape(shape)
    return (torch.floor(t.clamp(max=_REACH) * _STEPS) * _CODES + codes).amin(dim=1)


def first_hit(scenes, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The solid each camera ray meets first.

    Args:
        scenes: a `SceneBatch`.
        u: (S, W) float32 picture coordinates of the columns, -1 to 1.
        v: (S, H) float32 of the rows, up.

    Returns:
        (B, S, H, W) float32, the solid's index + `_CODES` * its depth in steps of 1 / `_STEPS` m; see `decode`.
    """
    best, first = None, 0
    for family in ("boxes", "cylinders", "ellipsoids"):
        affine = getattr(scenes, family)
        start = torch.einsum("bkij,bj->bki", affine[..., :3], scenes.camera[:, 0]) + affine[..., 3]
        axes = torch.einsum("bkij,baj->bkia", affine[..., :3], scenes.camera[:, 1:])  # right, up, forward
        # directions are a part of the column plus a part of the row
        column = axes[..., 0, None, None] * u  # (B, K, 3, S, W)
        row = axes[..., 1, None, None] * v + axes[..., 2, None, None]  # (B, K, 3, S, H)
        origin = tuple(start[:, :, i, None, None, None] for i in range(3))
        direction = tuple(column[:, :, i, :, None, :] + row[:, :, i, :, :, None] for i in range(3))
        if family == "boxes":
            t = hit_boxes(origin, direction)
        elif family == "cylinders":
            t = hit_cylinders(origin, direction, scenes.taper[:, :, None, None, None])
        else:
            t = hit_ellipsoids(origin, direction)
        nearest = _nearest(t, first)
        best = nearest if best is None else torch.minimum(best, nearest)
        first += affine.shape[1]
    return best


def decode(code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth in metres (rounded down to 1 / `_STEPS`; `MISS` where nothing is hit) and solid index from `first_hit`."""
    steps = torch.floor(code / _CODES)
    depth = torch.where(steps >= int(_REACH * _STEPS), MISS, steps / _STEPS)
    return depth, (code - steps * _CODES).long()


def refine(depth: torch.Tensor, origin: Triple, direction: Triple, shape: torch.Tensor) -> torch.Tensor:
    """The exact depth of rays whose solid is known.

    Args:
        depth: (B, N) float32 rounded depth in metres.
        origin: of the rays in their solid's own frame, each (B, N).
        direction: likewise.
        shape: (B, N) 2 for boxes, 3 for ellipsoids, else the cylinder's taper.

    Returns:
        (B, N) float32 depth in metres; the rounded one where rounding decides whether the solid is hit at all.
    """
    tube = hit_cylinders(origin, direction, shape.clamp(max=1.0))
    exact = torch.where(shape > 2.5, hit_ellipsoids(origin, direction), hit_boxes(origin, direction))
    exact = torch.where(shape < 1.5, tube, exact)
    return torch.where((exact - depth).abs() < 0.05, exact, depth)


def shadowed(scenes, point: Triple) -> torch.Tensor:
    """Whether something stands between surface points and the key light.

    Args:
        scenes: a `SceneBatch`.
        point: x, y, z of shape (B, N), lifted a little off their surface.

    Returns:
        (B, N) float32, 1 where the key light is hidden.
    """
    x, y, z = (p[:, None] for p in point)
    best = None
    for family in ("boxes", "cylinders", "ellipsoids"):
        affine = getattr(scenes, family)
        turned = torch.einsum("bkij,bj->bki", affine[..., :3], scenes.light_direction)
        cells = [[affine[:, :, i, j, None] for j in range(4)] for i in range(3)]
        origin = tuple(c[0] * x + c[1] * y + c[2] * z + c[3] for c in cells)
        direction = tuple(turned[:, :, i, None] for i in range(3))
        if family == "boxes":
            t = hit_boxes(origin, direction)
        elif family == "cylinders":
            t = hit_cylinders(origin, direction, scenes.taper[:, :, None])
        else:
            t = hit_ellipsoids(origin, direction)
        nearest = t.amin(dim=1)
        best = nearest if best is None else torch.minimum(best, nearest)
    return (best < MISS).float()


def leave_room(scenes, direction: Triple) -> tuple[torch.Tensor, torch.Tensor]:
    """Where camera rays meet the box around the scene, from within.

    Args:
        scenes: a `SceneBatch`.
        direction: world x, y, z of the rays, each (B, N).

    Returns:
        Depth (B, N) float32 in metres and the face's index (B, N) int64 in the order -x, +x, -y, +y, -z, +z.
    """
    best, face = None, None
    for axis, step in enumerate(direction):
        start = scenes.camera[:, 0, axis, None]
        bound = torch.where(step > 0.0, scenes.high[:, axis, None], scenes.low[:, axis, None])
        t = (bound - start) / torch.where(step.abs() < TINY, TINY, step)
        side = 2 * axis + (step > 0.0).long()
        if best is None:
            best, face = t, side
        else:
            face = torch.where(t < best, side, face)
            best = torch.minimum(best, t)
    return best, face
