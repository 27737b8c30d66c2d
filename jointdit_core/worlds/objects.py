"""From an object's word to its solids: each builder stands on z = 0 at the origin and faces -y, in metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .scene import Material, Vec

COLORS: dict[str, Vec] = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.96, 0.52, 0.10),
    "yellow": (0.96, 0.85, 0.16),
    "lime": (0.62, 0.87, 0.18),
    "green": (0.12, 0.55, 0.20),
    "turquoise": (0.15, 0.78, 0.75),
    "blue": (0.13, 0.30, 0.85),
    "purple": (0.52, 0.20, 0.75),
    "pink": (0.97, 0.55, 0.72),
    "brown": (0.48, 0.29, 0.15),
    "beige": (0.87, 0.77, 0.60),
    "white": (0.95, 0.95, 0.94),
    "gray": (0.52, 0.53, 0.55),
    "black": (0.10, 0.10, 0.11),
}
QUARTER = math.pi / 2


@dataclass(frozen=True, slots=True)
class Part:
    """One solid of an object, in the object's own frame; fields as in `scene.Primitive`."""

    kind: str
    center: Vec
    half: Vec
    material: Material
    tilt: float = 0.0
    taper: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """An object before it is placed.

    Args:
        parts: its solids.
        size: width (x), depth (y), height in metres.
        top: height of a surface that can carry something, or 0.
        room_on_top: the widest thing it can carry, in metres.
    """

    parts: tuple[Part, ...]
    size: Vec
    top: float = 0.0
    room_on_top: float = 0.0


def shade(color: Vec, factor: float) -> Vec:
    """A darker (below 1) or lighter (above 1) version of a colour."""
    if factor <= 1.0:
        return (color[0] * factor, color[1] * factor, color[2] * factor)
    mix = factor - 1.0
    return tuple(c + (1.0 - c) * mix for c in color)


WOOD = Material((0.60, 0.40, 0.22), "wood", (0.42, 0.26, 0.13), 0.5)
DARK = Material((0.16, 0.16, 0.18), shine=0.3)
METAL = Material((0.62, 0.64, 0.67), shine=0.7)
GLASS = Material((0.55, 0.75, 0.88), shine=0.8)
CREAM = Material((0.95, 0.93, 0.86))
LEAF = Material((0.22, 0.52, 0.18), "noise", (0.12, 0.36, 0.10), 0.35, 0.05)
BARK = Material((0.42, 0.29, 0.18), "noise", (0.30, 0.20, 0.12), 0.2, 0.02)
GLOW = Material((1.0, 0.93, 0.70), glow=0.9)


def box(x, y, z, hx, hy, hz, m, tilt=0.0) -> Part:
    return Part("box", (x, y, z), (hx, hy, hz), m, tilt)


def tube(x, y, z, r, hz, m, taper=1.0, tilt=0.0) -> Part:
    return Part("cylinder", (x, y, z), (r, r, hz), m, tilt, taper)


def ball(x, y, z, rx, ry, rz, m) -> Part:
    return Part("ellipsoid", (x, y, z), (rx, ry, rz), m)


def dark(m: Material, factor: float = 0.7) -> Material:
    return Material(shade(m.color, factor), m.texture, shade(m.accent, factor), m.period, m.shine)


def plain(m: Material, factor: float = 1.0) -> Material:
    return Material(shade(m.color, factor), shine=m.shine)


Random = np.random.Generator
Builder = Callable[[Random, Material], Model]


def _shape_ball(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.35, 0.55)
    return Model((ball(0, 0, r, r, r, r, m),), (2 * r, 2 * r, 2 * r))


def _shape_cube(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.3, 0.48)
    return Model((box(0, 0, r, r, r, r, m),), (2 * r, 2 * r, 2 * r), 2 * r, 1.4 * r)


def _shape_cylinder(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.28, 0.42), rng.uniform(0.38, 0.6)
    return Model((tube(0, 0, h, r, h, m),), (2 * r, 2 * r, 2 * h), 2 * h, 1.3 * r)


def _shape_cone(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.36, 0.5), rng.uniform(0.45, 0.65)
    return Model((tube(0, 0, h, r, h, m, 0.0),), (2 * r, 2 * r, 2 * h))


def _gift(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.35, 0.48), rng.uniform(0.25, 0.42)
    ribbon = Material((0.97, 0.9, 0.3)) if max(m.color[0] - m.color[2], 0) < 0.45 else Material((0.95, 0.95, 0.95))
    e = r + 0.012
    return Model(
        (
            box(0, 0, h, r, r, h, m),
            box(0, 0, h + 0.006, 0.07, e, h + 0.006, ribbon),
            box(0, 0, h + 0.006, e, 0.07, h + 0.006, ribbon),
            ball(-0.11, 0, 2 * h + 0.07, 0.13, 0.07, 0.08, ribbon),
            ball(0.11, 0, 2 * h + 0.07, 0.13, 0.07, 0.08, ribbon),
        ),
        (2 * e, 2 * e, 2 * h + 0.14),
    )


def _chair(rng: Random, m: Material) -> Model:
    w, seat, back = rng.uniform(0.26, 0.31), rng.uniform(0.46, 0.52), rng.uniform(0.30, 0.40)
    leg = 0.035
    x = w - leg
    parts = [box(sx * x, sy * x, seat / 2, leg, leg, seat / 2, dark(m)) for sx in (-1, 1) for sy in (-1, 1)]
    parts.append(box(0, 0, seat, w, w, 0.04, m))
    if rng.random() < 0.5:
        parts.append(box(0, x, seat + back, w, 0.035, back, m))
    else:
        parts += [box(sx * x, x, seat + back, leg, leg, back, m) for sx in (-1, 1)]
        parts.append(box(0, x, seat + 1.55 * back, w, 0.025, 0.4 * back, m))
    return Model(tuple(parts), (2 * w, 2 * w, seat + 2 * back), seat + 0.04, 0.0)


def _stool(rng: Random, m: Material) -> Model:
    h, r = rng.uniform(0.5, 0.65), 0.3
    x = 0.19
    parts = [tube(sx * x, sy * x, h / 2, 0.035, h / 2, dark(m)) for sx in (-1, 1) for sy in (-1, 1)]
    return Model((*parts, tube(0, 0, h, r, 0.05, m)), (2 * r, 2 * r, h + 0.05), h + 0.05, 0.45)


def _table(rng: Random, m: Material) -> Model:
    h, d = rng.uniform(0.66, 0.78), rng.uniform(0.36, 0.5)
    if rng.random() < 0.3:
        r = rng.uniform(0.5, 0.68)
        parts = (tube(0, 0, h, r, 0.04, m), tube(0, 0, h / 2, 0.07, h / 2, dark(m)), tube(0, 0, 0.03, 0.3, 0.03, dark(m)))
        return Model(parts, (2 * r, 2 * r, h + 0.04), h + 0.04, 0.8)
    w, leg = rng.uniform(0.6, 0.85), 0.045
    parts = [
        box(sx * (w - 0.07), sy * (d - 0.07), h / 2, leg, leg, h / 2, dark(m)) for sx in (-1, 1) for sy in (-1, 1)
    ]
    return Model((*parts, box(0, 0, h, w, d, 0.04, m)), (2 * w, 2 * d, h + 0.04), h + 0.04, 0.7)


def _sofa(rng: Random, m: Material) -> Model:
    w, d, arm = rng.uniform(0.85, 1.05), 0.42, 0.12
    soft = Material(shade(m.color, 1.12), m.texture, m.accent, m.period, m.shine)
    inner = (w - 2 * arm) / 2
    parts = (
        box(0, 0, 0.19, w - 0.02, d, 0.15, dark(m, 0.8)),
        box(0, d - 0.1, 0.5, w, 0.13, 0.38, m),
        box(-w + arm, 0, 0.34, arm, d + 0.02, 0.28, m),
        box(w - arm, 0, 0.34, arm, d + 0.02, 0.28, m),
        box(-inner, -0.06, 0.4, inner - 0.015, d - 0.05, 0.08, soft),
        box(inner, -0.06, 0.4, inner - 0.015, d - 0.05, 0.08, soft),
    )
    return Model(parts, (2 * w, 2 * d + 0.06, 0.88))


def _bed(rng: Random, m: Material) -> Model:
    w, d = rng.uniform(0.6, 0.85), 1.0
    parts = (
        box(0, 0, 0.2, w, d, 0.12, WOOD),
        box(0, d, 0.45, w + 0.03, 0.05, 0.45, WOOD),
        box(0, 0, 0.4, w - 0.03, d - 0.04, 0.1, CREAM),
        box(0, -0.3, 0.42, w, d - 0.28, 0.1, m),
        ball(-w * 0.45, d - 0.3, 0.54, 0.3, 0.2, 0.09, CREAM),
        ball(w * 0.45, d - 0.3, 0.54, 0.3, 0.2, 0.09, CREAM),
    )
    return Model(parts, (2 * w + 0.06, 2 * d, 0.9))


def _shelf(rng: Random, m: Material) -> Model:
    w, d, h = rng.uniform(0.45, 0.6), 0.17, rng.uniform(0.75, 0.95)
    parts = [box(sx * w, 0, h, 0.03, d, h, m) for sx in (-1, 1)]
    parts.append(box(0, d - 0.01, h, w, 0.012, h, dark(m, 0.6)))
    levels = [0.05 + (2 * h - 0.08) * i / 3 for i in range(4)]
    parts += [box(0, 0, z, w, d, 0.025, m) for z in levels]
    names = list(COLORS)
    for z in levels[:3]:
        width = rng.uniform(0.12, 0.3)
        x = rng.uniform(-w + width + 0.03, w - width - 0.03)
        tone = Material(COLORS[names[rng.integers(len(names))]])
        parts.append(box(x, -0.02, z + 0.17, width, 0.11, 0.145, tone))
    return Model(tuple(parts), (2 * w + 0.06, 2 * d, 2 * h))


def _cabinet(rng: Random, m: Material) -> Model:
    w, h, d = rng.uniform(0.42, 0.6), rng.uniform(0.45, 0.55), 0.25
    parts = [box(0, 0, h + 0.03, w, d, h - 0.03, m), box(0, 0, 2 * h, w + 0.03, d + 0.03, 0.025, dark(m, 0.8))]
    for i in range(2):
        z = h * (0.55 + 0.92 * i)
        parts.append(box(0, -d, z, w - 0.05, 0.012, h * 0.4, Material(shade(m.color, 1.2), m.texture, m.accent, m.period)))
        parts.append(ball(0, -d - 0.03, z, 0.04, 0.03, 0.03, METAL))
    return Model(tuple(parts), (2 * w + 0.06, 2 * d + 0.06, 2 * h + 0.025), 2 * h + 0.025, 0.6)


def _lamp(rng: Random, m: Material) -> Model:
    h = rng.uniform(0.7, 0.85)
    glowing = Material(m.color, m.texture, m.accent, m.period, glow=0.45)
    parts = (
        tube(0, 0, 0.03, 0.2, 0.03, DARK),
        tube(0, 0, h * 0.8, 0.03, h * 0.8, DARK),
        tube(0, 0, h * 1.75, 0.33, 0.22, glowing, 0.55),
    )
    return Model(parts, (0.66, 0.66, h * 1.75 + 0.22))


def _plant(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.2, 0.26)
    parts = [tube(0, 0, 0.22, r, 0.22, m, 0.72, math.pi)]
    for i in range(5):
        a = i * 1.257 + rng.uniform(-0.3, 0.3)
        reach, z = rng.uniform(0.1, 0.2), rng.uniform(0.62, 0.98)
        parts.append(ball(reach * math.cos(a), reach * math.sin(a), z, 0.15, 0.15, 0.24, LEAF))
    return Model(tuple(parts), (0.62, 0.62, 1.2))


def _vase(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.24, 0.32), rng.uniform(0.32, 0.42)
    parts = (
        tube(0, 0, 0.05, r * 0.62, 0.05, m),
        ball(0, 0, h, r, r, h * 0.95, m),
        tube(0, 0, 1.9 * h + 0.08, r * 0.55, 0.12, m, 0.65, math.pi),
        tube(0, 0, 1.9 * h + 0.2, r * 0.46, 0.004, DARK),
    )
    return Model(parts, (2 * r, 2 * r, 1.9 * h + 0.2))


def _mug(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.26, 0.32), rng.uniform(0.29, 0.36)
    side = 1 if rng.random() < 0.5 else -1
    x = side * (r + 0.1)
    parts = (
        tube(0, 0, h, r, h, m),
        tube(0, 0, 2 * h, r * 0.86, 0.004, Material((0.25, 0.14, 0.07))),
        box(x, 0, h * 1.45, 0.12, 0.045, 0.035, m),
        box(x, 0, h * 0.6, 0.12, 0.045, 0.035, m),
        box(x + side * 0.1, 0, h * 1.03, 0.035, 0.045, h * 0.45, m),
    )
    return Model(parts, (2 * r + 0.44, 2 * r, 2 * h))


def _bowl(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.42, 0.52), rng.uniform(0.16, 0.2)
    parts = [tube(0, 0, h, r, h, m, 0.5, math.pi), tube(0, 0, 2 * h, r * 0.9, 0.005, plain(m, 0.45))]
    if rng.random() < 0.5:
        fruit = Material((0.95, 0.6, 0.1)) if rng.random() < 0.5 else Material((0.8, 0.12, 0.1))
        parts += [ball(x, y, 2 * h + 0.05, 0.15, 0.15, 0.15, fruit) for x, y in ((-0.17, 0.06), (0.16, 0.1), (0.0, -0.16))]
        return Model(tuple(parts), (2 * r, 2 * r, 2 * h + 0.2))
    return Model(tuple(parts), (2 * r, 2 * r, 2 * h))


def _bottle(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.17, 0.22), rng.uniform(0.34, 0.42)
    glass = Material(m.color, shine=0.9)
    parts = (
        tube(0, 0, h, r, h, glass),
        tube(0, 0, 2 * h + 0.1, r, 0.1, glass, 0.35),
        tube(0, 0, 2 * h + 0.32, r * 0.35, 0.14, glass),
        tube(0, 0, 2 * h + 0.48, r * 0.42, 0.05, DARK),
        tube(0, 0, h, r * 1.01, h * 0.4, CREAM),
    )
    return Model(parts, (2 * r, 2 * r, 2 * h + 0.53))


def _book(rng: Random, m: Material) -> Model:
    w, d, h = rng.uniform(0.36, 0.46), rng.uniform(0.27, 0.33), rng.uniform(0.07, 0.11)
    parts = (
        box(0, 0, 0.02, w, d, 0.02, m),
        box(0, 0, 2 * h - 0.02, w, d, 0.02, m),
        box(-w + 0.02, 0, h, 0.02, d, h, m),
        box(0.0, 0, h, w - 0.03, d - 0.03, h - 0.02, CREAM),
    )
    return Model(parts, (2 * w, 2 * d, 2 * h), 2 * h, 0.5)


def _candle(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.12, 0.17), rng.uniform(0.3, 0.45)
    parts = (
        tube(0, 0, 0.03, r * 2.0, 0.03, METAL),
        tube(0, 0, h, r, h, m),
        tube(0, 0, 2 * h + 0.03, 0.015, 0.03, DARK),
        ball(0, 0, 2 * h + 0.13, 0.05, 0.05, 0.11, GLOW),
    )
    return Model(parts, (4 * r, 4 * r, 2 * h + 0.24))


def _apple(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.24, 0.32)
    parts = (
        ball(0, 0, r * 0.93, r, r, r * 0.93, Material(m.color, shine=0.5)),
        tube(0, 0, r * 1.95, 0.025, r * 0.22, BARK),
        ball(0.1, 0, r * 2.08, 0.11, 0.05, 0.03, LEAF),
    )
    return Model(parts, (2 * r, 2 * r, 2.1 * r))


def _cake(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.4, 0.5), rng.uniform(0.18, 0.24)
    parts = [
        tube(0, 0, 0.02, r * 1.25, 0.02, METAL),
        tube(0, 0, h + 0.04, r, h, m),
        tube(0, 0, 2 * h + 0.06, r * 1.02, 0.04, CREAM),
    ]
    parts += [
        ball(0.65 * r * math.cos(a), 0.65 * r * math.sin(a), 2 * h + 0.13, 0.07, 0.07, 0.07, Material((0.8, 0.08, 0.12)))
        for a in (0.3, 1.56, 2.8, 4.07, 5.33)
    ]
    return Model(tuple(parts), (2.5 * r, 2.5 * r, 2 * h + 0.2))


INDOOR: dict[str, Builder] = {
    "ball": _shape_ball, "cube": _shape_cube, "cylinder": _shape_cylinder, "cone": _shape_cone, "gift": _gift,
    "chair": _chair, "stool": _stool, "table": _table, "sofa": _sofa, "bed": _bed, "shelf": _shelf,
    "cabinet": _cabinet, "lamp": _lamp, "plant": _plant,
}  # fmt: skip
SMALL: dict[str, Builder] = {
    "ball": _shape_ball, "cube": _shape_cube, "cylinder": _shape_cylinder, "cone": _shape_cone, "gift": _gift,
    "plant": _plant, "vase": _vase, "mug": _mug, "bowl": _bowl, "bottle": _bottle, "book": _book, "candle": _candle,
    "apple": _apple, "cake": _cake,
}  # fmt: skip
# Colours an object can have where not any will do, and objects whose name is never joined by a colour.
PALETTE = {"apple": ("red", "green", "yellow"), "bottle": ("green", "brown", "blue", "red", "turquoise", "purple")}
