"""Light, texture and sky: from what the rays met to linear colour.

Letters as in `caster`: B scenes, N rays, P solids.
"""

from __future__ import annotations

import torch

from . import caster
from .scene import FAR, TEXTURES

Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _hash(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A repeatable number in [0, 1) for each integer lattice point, without sines so that devices agree."""
    x = (x * 0.3183099 + 0.1).frac().abs() * 17.0
    y = (y * 0.3678794 + 0.7).frac().abs() * 13.0
    return (x * y * (x + y)).frac()


def value_noise(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Smooth noise in [0, 1) of period-one lattice coordinates (same shape)."""
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    low = torch.lerp(_hash(x0, y0), _hash(x0 + 1.0, y0), fx)
    high = torch.lerp(_hash(x0, y0 + 1.0), _hash(x0 + 1.0, y0 + 1.0), fx)
    return torch.lerp(low, high, fy)


def _edge(x: torch.Tensor, width: float) -> torch.Tensor:
    """1 within `width` of an integer, 0 elsewhere."""
    x = x.frac().abs()
    return ((x < width) | (x > 1.0 - width)).float()


def pattern(texture: torch.Tensor, q: Triple, flat: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """How much of the accent colour shows.

    Args:
        texture: (B, N) index into `TEXTURES`.
        q: position on the object in units of the pattern's period, each (B, N).
        flat: the two of these that lie in the surface.

    Returns:
        (B, N) float32 in [0, 1].
    """
    x, y, z = q
    s, t = flat
    stripes = ((z + 0.25).frac().abs() < 0.5).float()
    checker = torch.remainder((x + 0.5).floor() + (y + 0.5).floor() + (z + 0.5).floor(), 2.0)
    cx, cy, cz = (w - w.round() for w in q)
    dots = (cx * cx + cy * cy + cz * cz < 0.12).float()
    row = (t * 2.0).floor()
    brick = torch.maximum(_edge(t * 2.0, 0.07), _edge(s + 0.5 * row, 0.04))
    plank = (t * 1.5).floor()
    wood = 0.55 * _hash(plank, plank * 0.5 + 3.0) + 0.6 * value_noise(s * 1.5 + plank * 7.3, t * 14.0) - 0.2
    wood = torch.maximum(wood.clamp(0.0, 1.0), _edge(t * 1.5, 0.03))
    tiles = torch.maximum(_edge(s, 0.035), _edge(t, 0.035))
    cloudy = 0.6 * value_noise(s * 2.0, t * 2.0) + 0.4 * value_noise(s * 7.0, t * 7.0)
    water = ((value_noise(s * 1.2, t * 5.0) - 0.55) * 5.0).clamp(0.0, 1.0)
    result = torch.zeros_like(x)
    for name, value in (
        ("stripes", stripes), ("checker", checker), ("dots", dots), ("brick", brick), ("wood", wood),
        ("tiles", tiles), ("noise", cloudy), ("water", water),
    ):  # fmt: skip
        result = torch.where(texture == TEXTURES.index(name), value, result)
    return result


def sky(scenes, direction: Triple) -> Triple:
    """Linear sky colour (B, N) a channel, for world directions x, y, z of any length."""
    x, y, z = direction
    length = torch.sqrt(x * x + y * y + z * z)
    up = (z / length).clamp(min=0.0)
    blend = 1.0 - torch.exp(-4.0 * up)
    reach = 2.2 / (up + 0.12) / length
    s, t = x * reach, y * reach
    puff = 0.55 * value_noise(s, t) + 0.3 * value_noise(s * 2.1, t * 2.1) + 0.15 * value_noise(s * 4.3, t * 4.3)
    cover = ((puff - 1.0 + scenes.clouds[:, None]) * 5.0).clamp(0.0, 1.0) * (up * 8.0).clamp(max=1.0)
    cell_s, cell_t = x / length * 45.0, z / length * 45.0
    star = (cell_s - cell_s.round()) ** 2 + (cell_t - cell_t.round()) ** 2 < 0.05
    star = star.float() * (_hash(cell_s.round(), cell_t.round()) > 0.9).float() * scenes.stars[:, None]
    disc = scenes.disc[:, :, None]
    facing = (x * disc[:, 0] + y * disc[:, 1] + z * disc[:, 2]) / length
    angle = torch.sqrt((2.0 - 2.0 * facing).clamp(min=0.0))  # radians, for small angles
    size = scenes.disc_size[:, None]
    inside = ((size - angle) / 0.006 + 0.5).clamp(0.0, 1.0)
    halo = 0.35 * torch.exp(-angle / (2.0 * size))
    channels = []
    for c in range(3):
        color = torch.lerp(
            scenes.horizon[:, c, None].expand_as(blend), scenes.zenith[:, c, None].expand_as(blend), blend
        )
        color = color + star
        bright = scenes.horizon[:, c, None] * 0.5 + 0.5 * scenes.horizon.amax(dim=1)[:, None] * 1.15
        color = torch.lerp(color, bright.expand_as(color), cover * 0.9)
        glare = scenes.disc_color[:, c, None]
        channels.append(torch.lerp(color + halo * glare, glare.expand_as(color), inside * (glare > 0.0).float()))
    return tuple(channels)


def surface(scenes, depth: torch.Tensor, solid: torch.Tensor, direction: Triple, pixel: float):
    """What is known of each ray's hit point.

    Args:
        scenes: a `SceneBatch`.
        depth: (B, N) float32 in metres to the solid, rounded as `caster.decode` gives it.
        solid: (B, N) int64 index of the solid.
        direction: world ray directions, each (B, N).
        pixel: width of a pixel at depth 1 in metres.

    Returns:
        Exact depth (B, N) in metres, index of the solid or P + face of the box around (B, N), point, normal and albedo
        (three (B, N) each; albedo linear), shine and glow (B, N).
    """
    own, count = solid, scenes.affine.shape[1]

    def pick(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return table.gather(1, index)

    rows = [[pick(scenes.affine[:, :, i, j], own) for j in range(4)] for i in range(3)]
    shape = pick(scenes.shape, own)  # taper for cylinders, 2 for boxes, 3 for ellipsoids
    eye = [scenes.camera[:, 0, i, None] for i in range(3)]
    start = tuple(row[0] * eye[0] + row[1] * eye[1] + row[2] * eye[2] + row[3] for row in rows)
    step = tuple(row[0] * direction[0] + row[1] * direction[1] + row[2] * direction[2] for row in rows)
    depth = caster.refine(depth, start, step, shape)
    wall, face = caster.leave_room(scenes, direction)
    is_face = wall < depth
    solid = torch.where(is_face, face + count, own)
    local = [a + depth * b for a, b in zip(start, step, strict=True)]
    depth = torch.minimum(wall, depth)
    point = tuple(e + depth * d for e, d in zip(eye, direction, strict=True))
    sizes = [pick(scenes.half[:, :, i], own) for i in range(3)]
    # unit-solid normals
    ax, ay, az = (w.abs() for w in local)
    on_x, on_y = (ax >= ay) & (ax >= az), (ay > ax) & (ay >= az)
    box = [torch.where(on_x, local[0], 0.0), torch.where(on_y, local[1], 0.0), torch.where(on_x | on_y, 0.0, local[2])]
    slope = (shape - 1.0) * 0.5
    radius = torch.sqrt(local[0] * local[0] + local[1] * local[1]).clamp(min=1e-6)
    cap = (1.0 - az).abs() < ((shape + 1.0) * 0.5 + slope * local[2] - radius).abs()
    tube = [torch.where(cap, 0.0, local[0] / radius), torch.where(cap, 0.0, local[1] / radius)]
    tube.append(torch.where(cap, local[2], -slope))
    is_box, is_ball = (shape > 1.5) & (shape < 2.5), shape > 2.5
    unit = [torch.where(is_ball, local[i], torch.where(is_box, box[i], tube[i])) for i in range(3)]
    normal = [sum(unit[i] * rows[i][j] for i in range(3)) for j in range(3)]
    inward = torch.where(face % 2 == 0, 1.0, -1.0)
    normal = [torch.where(is_face, (face // 2 == j).float() * inward, normal[j]) for j in range(3)]
    length = torch.sqrt(sum(n * n for n in normal)).clamp(min=1e-12)
    normal = tuple(n / length for n in normal)

    # pattern, faded where its period nears a pixel
    look = [pick(scenes.material[:, :, i], solid) for i in range(scenes.material.shape[2])]
    color, accent, period, shine, glow, texture = look[:3], look[3:6], look[6], look[7], look[8], look[9]
    metric = [torch.where(is_face, point[i], local[i] * sizes[i]) / period for i in range(3)]
    metric_normal = [torch.where(is_face, normal[i], unit[i] / sizes[i]).abs() for i in range(3)]
    x_most = (metric_normal[0] >= metric_normal[1]) & (metric_normal[0] >= metric_normal[2])
    z_most = (metric_normal[2] > metric_normal[0]) & (metric_normal[2] >= metric_normal[1])
    s = torch.where(x_most, metric[1], metric[0])
    t = torch.where(z_most, metric[1], metric[2])
    share = pattern(texture.round().long(), tuple(metric), (s, t))
    glance = sum(n * d for n, d in zip(normal, direction, strict=True)).abs().clamp(min=0.05)
    blur = (3.0 * depth * pixel / glance / period - 0.4).clamp(0.0, 1.0)
    share = torch.where(texture > 0.5, torch.lerp(share, torch.full_like(share, 0.35), blur), share)
    albedo = tuple(torch.lerp(c, a, share) for c, a in zip(color, accent, strict=True))
    return depth, solid, point, normal, albedo, shine, glow


def light(scenes, normal: Triple, albedo: Triple, direction: Triple, shine, glow, open_key, open_sky) -> Triple:
    """Linear colour of surfaces under the key light, the sky and a weak light from the camera.

    Args:
        scenes: a `SceneBatch`; `cartoon` scenes get their light in three steps.
        normal: unit, each (B, N).
        albedo: linear, each (B, N).
        direction: of the camera ray, each (B, N).
        shine: (B, N) strength of the highlight.
        glow: (B, N) own light.
        open_key: (B, N) in [0, 1], 1 where the key light arrives.
        open_sky: (B, N) in [0, 1], 0 in tight corners.

    Returns:
        Three (B, N) float32, not clamped.
    """
    toward = scenes.light_direction[:, :, None]
    length = torch.sqrt(sum(d * d for d in direction))
    key = sum(n * toward[:, i] for i, n in enumerate(normal)).clamp(min=0.0) * open_key
    banded = ((key * 2.2 + 0.35).floor() / 2.0).clamp(max=1.0)
    key = torch.where(scenes.style[:, None] == 1, banded, key)
    head = (-sum(n * d for n, d in zip(normal, direction, strict=True)) / length).clamp(min=0.0)
    up = normal[2] * 0.5 + 0.5
    halfway = [toward[:, i] - d / length for i, d in enumerate(direction)]
    size = torch.sqrt(sum(h * h for h in halfway)).clamp(min=1e-6)
    spark = (sum(n * h for n, h in zip(normal, halfway, strict=True)) / size).clamp(min=0.0)
    spark = spark * spark
    spark = spark * spark
    spark = spark * spark
    spark = spark * spark
    spark = spark * spark * shine * open_key * (key > 0.0).float()  # 32nd power
    result = []
    for c in range(3):
        around = torch.lerp(scenes.bounce[:, c, None].expand_as(up), scenes.ambient[:, c, None].expand_as(up), up)
        strength = scenes.key[:, c, None]
        lit = albedo[c] * (key * strength + around * open_sky * (0.75 + 0.25 * head)) + spark * strength * 0.8
        result.append(torch.lerp(lit, albedo[c] * 1.15, glow))
    return tuple(result)


def haze(scenes, color: Triple, depth: torch.Tensor, behind: Triple) -> Triple:
    """Colour seen through the air; outdoors the far rim of the ground melts into the horizon."""
    clear = torch.exp(-scenes.fog[:, None] * depth.clamp(max=2 * FAR))
    rim = ((depth - 0.55 * FAR) / (0.45 * FAR)).clamp(0.0, 1.0)
    clear = clear * (1.0 - 0.8 * rim * rim * (scenes.fog[:, None] > 0.0).float())
    empty = depth > FAR
    return tuple(
        torch.where(empty, b, torch.lerp(scenes.horizon[:, i, None].expand_as(c), c, clear))
        for i, (c, b) in enumerate(zip(color, behind, strict=True))
    )


def closeness(point: Triple, normal: Triple, depth: torch.Tensor, size: int, reach: float) -> torch.Tensor:
    """How open to the sky surfaces are, judged from the neighbouring pixels' points.

    Args:
        point: (B, size * size) each, metres.
        normal: unit, likewise.
        depth: (B, size * size) in metres.
        size: picture side in pixels.
        reach: metres beyond which a neighbour darkens nothing.

    Returns:
        (B, size * size) float32 in [0, 1].
    """
    shape = (-1, size, size)
    p = torch.stack([w.clamp(-100.0, 100.0).reshape(shape) for w in point], dim=1)  # (B, 3, size, size)
    n = torch.stack([w.reshape(shape) for w in normal], dim=1)
    total = torch.zeros_like(p[:, 0])
    near, far = max(1, size // 100), max(2, size // 36)
    for dx, dy in ((near, 0), (-near, 0), (0, near), (0, -near), (far, far), (-far, far), (far, -far), (-far, -far)):
        offset = torch.roll(p, (dy, dx), dims=(2, 3)) - p
        square = (offset * offset).sum(dim=1) + 1e-6
        rise = (offset * n).sum(dim=1) * torch.rsqrt(square)
        total = total + (rise - 0.15).clamp(min=0.0) / (1.0 + square / (reach * reach))
    return (1.0 - 0.22 * total).clamp(0.25, 1.0).reshape(depth.shape)
