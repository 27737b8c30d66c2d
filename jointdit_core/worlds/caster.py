"""Analytic ray casting of packed scenes: solids are affine images of unit solids, so every hit is a closed form.

Letters: B scenes, K solids of one family, P all solids, N rays. A ray is origin + t * direction with a direction of
length 1 along the optical axis, so t is the depth.
"""

from __future__ import annotations

import torch

Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
MISS = 1e9
NEAR = 1e-3  # metres; hits nearer than this are the surface the ray starts on
TINY = 1e-9


def hit_boxes(origin: Triple, direction: Triple) -> torch.Tensor:
    """Where rays enter the box [-1, 1]^3.

    Args:
        origin: three tensors broadcastable to (B, K, N).
        direction: likewise.

    Returns:
        (B, K, N) float32 ray parameter, `MISS` where there is no hit.
    """
    near = far = None
    for start, step in zip(origin, direction, strict=True):
        inverse = 1.0 / (step + TINY)
        middle, half = -start * inverse, inverse.abs()
        near = middle - half if near is None else torch.maximum(near, middle - half)
        far = middle + half if far is None else torch.minimum(far, middle + half)
    return torch.where((near <= far) & (near > NEAR), near, MISS)


def hit_ellipsoids(origin: Triple, direction: Triple) -> torch.Tensor:
    """Where rays enter the unit ball; arguments and result as in `hit_boxes`."""
    ox, oy, oz = origin
    dx, dy, dz = direction
    a = dx * dx + dy * dy + dz * dz
    closest = -(ox * dx + oy * dy + oz * dz) / a
    qx, qy, qz = ox + closest * dx, oy + closest * dy, oz + closest * dz
    rest = 1.0 - (qx * qx + qy * qy + qz * qz)
    t = closest - torch.sqrt(rest.clamp(min=0.0) / a)
    return torch.where((rest > 0.0) & (t > NEAR), t, MISS)


def hit_cylinders(origin: Triple, direction: Triple, taper: torch.Tensor) -> torch.Tensor:
    """Where rays enter the capped cone of radius 1 at z = -1 and `taper` at z = 1; otherwise as `hit_boxes`.

    Args:
        origin: three tensors broadcastable to (B, K, N).
        direction: likewise.
        taper: (B, K, 1) in [0, 1].

    Returns:
        (B, K, N) float32 ray parameter, `MISS` where there is no hit.
    """
    ox, oy, oz = origin
    dx, dy, dz = direction
    slope = (taper - 1.0) * 0.5
    radius = (taper + 1.0) * 0.5 + slope * oz  # cone radius at the origin's height
    growth = slope * dz
    # (ox + t dx)^2 + (oy + t dy)^2 = (radius + t growth)^2
    a = dx * dx + dy * dy - growth * growth
    a = torch.where(a.abs() < TINY, TINY, a)
    inverse = 1.0 / a
    b = (ox * dx + oy * dy - radius * growth) * inverse
    c = (ox * ox + oy * oy - radius * radius) * inverse
    square = b * b - c
    root = torch.sqrt(square.clamp(min=0.0))
    nearest = None
    for t in (-b - root, -b + root):
        on_side = (square > 0.0) & ((oz + t * dz).abs() <= 1.0) & (t > NEAR)
        hit = torch.where(on_side, t, MISS)
        nearest = hit if nearest is None else torch.minimum(nearest, hit)
    side = torch.where(dz > 0.0, -1.0, 1.0)  # the cap that faces the ray
    t = (side - oz) / torch.where(dz.abs() < TINY, TINY, dz)
    reach = torch.where(side > 0.0, taper, 1.0)
    px, py = ox + t * dx, oy + t * dy
    on_cap = (px * px + py * py <= reach * reach) & (t > NEAR)
    return torch.minimum(nearest, torch.where(on_cap, t, MISS))


def _local_primary(affine: torch.Tensor, camera: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> tuple[Triple, Triple]:
    """Camera rays in each solid's own frame: (B, K, 1) origins and (B, K, N) directions, affine in the picture."""
    linear, shift = affine[..., :3], affine[..., 3]  # (B, K, 3, 3), (B, K, 3)
    origin = torch.einsum("bkij,bj->bki", linear, camera[:, 0]) + shift
    axes = torch.einsum("bkij,baj->bkia", linear, camera[:, 1:])  # right, up, forward
    direction = tuple(axes[:, :, i, 0, None] * u + axes[:, :, i, 1, None] * v + axes[:, :, i, 2, None] for i in range(3))
    return tuple(origin[:, :, i, None] for i in range(3)), direction


def _local_shadow(affine: torch.Tensor, point: Triple, toward: torch.Tensor) -> tuple[Triple, Triple]:
    """Rays from surface points to the key light in each solid's own frame: (B, K, N) origins, (B, K, 1) directions."""
    turned = torch.einsum("bkij,bj->bki", affine[..., :3], toward)
    x, y, z = (p[:, None] for p in point)
    origin = tuple(
        affine[:, :, i, 0, None] * x + affine[:, :, i, 1, None] * y + affine[:, :, i, 2, None] * z + affine[:, :, i, 3, None]
        for i in range(3)
    )
    return origin, tuple(turned[:, :, i, None] for i in range(3))


def first_hit(scenes, u: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The solid each camera ray meets first.

    Args:
        scenes: a `SceneBatch`.
        u: (N,) float32 picture coordinate in [-1, 1], right.
        v: (N,) float32, up.

    Returns:
        Depth (B, N) float32 in metres, `MISS` where nothing is hit, and the solid's index (B, N) int64 in the order
        boxes, cylinders, ellipsoids.
    """
    best, index, first = None, None, 0
    for family in ("boxes", "cylinders", "ellipsoids"):
        affine = getattr(scenes, family)
        origin, direction = _local_primary(affine, scenes.camera, u, v)
        if family == "boxes":
            t = hit_boxes(origin, direction)
        elif family == "cylinders":
            t = hit_cylinders(origin, direction, scenes.taper[:, :, None])
        else:
            t = hit_ellipsoids(origin, direction)
        t, which = t.min(dim=1)  # (B, N)
        which = which + first
        if best is None:
            best, index = t, which
        else:
            index = torch.where(t < best, which, index)
            best = torch.minimum(t, best)
        first += affine.shape[1]
    return best, index


def shadowed(scenes, point: Triple) -> torch.Tensor:
    """Whether something stands between surface points and the key light.

    Args:
        scenes: a `SceneBatch`.
        point: x, y, z of shape (B, N), lifted a little off their surface.

    Returns:
        (B, N) float32, 1 where the key light is hidden.
    """
    origin, direction = _local_shadow(scenes.boxes, point, scenes.light_direction)
    nearest = hit_boxes(origin, direction).amin(dim=1)
    origin, direction = _local_shadow(scenes.cylinders, point, scenes.light_direction)
    nearest = torch.minimum(nearest, hit_cylinders(origin, direction, scenes.taper[:, :, None]).amin(dim=1))
    origin, direction = _local_shadow(scenes.ellipsoids, point, scenes.light_direction)
    nearest = torch.minimum(nearest, hit_ellipsoids(origin, direction).amin(dim=1))
    return (nearest < MISS).float()


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
