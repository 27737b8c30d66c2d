"""What stands outdoors; conventions as in `parts`."""

from __future__ import annotations

import math

from .furniture import INDOOR
from .parts import (
    BARK,
    CREAM,
    DARK,
    GLASS,
    GLOW,
    LEAF,
    QUARTER,
    WOOD,
    Builder,
    Model,
    Part,
    Random,
    ball,
    box,
    dark,
    shade,
    tube,
)
from .scene import Material

SNOW = Material((0.95, 0.96, 0.98), "noise", (0.88, 0.91, 0.96), 0.3, 0.05)
ROOF_COLORS = ((0.62, 0.24, 0.16), (0.36, 0.24, 0.20), (0.33, 0.36, 0.42), (0.55, 0.35, 0.20))


def _roof(rng: Random, z: float, w: float, d: float, h: float) -> Part:
    """A gable roof whose eaves lie near height z; the prism's lower half hides in the walls."""
    color = ROOF_COLORS[rng.integers(len(ROOF_COLORS))]
    return Part("gable", (0.0, 0.0, z), (w, d, h), Material(color, "stripes", shade(color, 0.82), 0.22, 0.02))


def _house(rng: Random, m: Material) -> Model:
    w, d, h, r = rng.uniform(1.5, 2.1), rng.uniform(1.3, 1.6), rng.uniform(1.1, 1.5), rng.uniform(0.9, 1.3)
    pane = Material((1.0, 0.86, 0.5), glow=0.8) if rng.random() < 0.4 else GLASS
    door = 1 if rng.random() < 0.5 else -1
    parts = [
        box(0, 0, h, w, d, h, m),
        _roof(rng, 2 * h, w + 0.22, d + 0.28, r),
        box(door * w * 0.45, -d, 0.62, 0.32, 0.05, 0.62, WOOD),
        box(-door * w * 0.45, -d, h * 1.15, 0.48, 0.04, 0.46, CREAM),
        box(-door * w * 0.45, -d - 0.02, h * 1.15, 0.4, 0.04, 0.38, pane),
    ]
    if rng.random() < 0.6:
        brick = Material((0.55, 0.27, 0.2), "brick", CREAM.color, 0.3)
        parts.append(box(-door * w * 0.5, 0.2, 2 * h + r * 0.85, 0.2, 0.2, 0.5, brick))
    return Model(tuple(parts), (2 * w + 0.44, 2 * d + 0.56, 2 * h + r))


def _tree(rng: Random, m: Material) -> Model:
    h, r = rng.uniform(0.8, 1.2), rng.uniform(0.95, 1.25)
    top = 2 * h + 0.6 * r
    parts = [tube(0, 0, h, 0.19, h, BARK, 0.7)]
    for i in range(3):
        a = i * 2.1 + rng.uniform(0.0, 1.0)
        x, y = 0.4 * r * math.cos(a), 0.4 * r * math.sin(a)
        parts.append(ball(x, y, top + 0.2 * (i - 1), 0.75 * r, 0.75 * r, 0.7 * r, m))
    return Model(tuple(parts), (2.1 * r, 2.1 * r, top + 0.9 * r))


def _pine(rng: Random, m: Material) -> Model:
    h, r = rng.uniform(1.5, 2.0), rng.uniform(0.75, 0.95)
    parts = [tube(0, 0, 0.3, 0.15, 0.3, BARK)]
    parts += [tube(0, 0, 0.5 + h * (0.32 + 0.5 * i), r * (1.0 - 0.24 * i), 0.36 * h, m, 0.12) for i in range(3)]
    return Model(tuple(parts), (2 * r, 2 * r, 0.5 + 1.68 * h))


def _bush(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.5, 0.7)
    places = ((-0.6, 0.0), (0.6, 0.1), (0.0, -0.15))
    parts = tuple(ball(x * r, y * r, 0.45 * r, 0.7 * r, 0.7 * r, 0.65 * r, m) for x, y in places)
    return Model(parts, (2.6 * r, 1.7 * r, 1.1 * r))


def _car(rng: Random, m: Material) -> Model:
    paint, window = Material(m.color, shine=0.8), Material((0.2, 0.27, 0.33), shine=0.9)
    parts = [
        box(0, 0, 0.52, 1.55, 0.68, 0.26, paint),
        box(-0.15, 0, 0.98, 0.85, 0.58, 0.24, paint),
        box(-0.15, 0, 0.97, 0.72, 0.6, 0.17, window),
        box(-0.15, 0, 0.97, 0.87, 0.48, 0.16, window),
        box(1.53, 0, 0.55, 0.04, 0.55, 0.07, Material((1.0, 0.95, 0.75), glow=0.7)),
    ]
    parts += [tube(x, y, 0.31, 0.31, 0.11, DARK, 1.0, QUARTER) for x in (-0.95, 0.95) for y in (-0.6, 0.6)]
    return Model(tuple(parts), (3.2, 1.42, 1.22))


def _bench(rng: Random, m: Material) -> Model:
    w = rng.uniform(0.8, 1.0)
    parts = [box(sx * (w - 0.15), 0, 0.22, 0.05, 0.22, 0.22, DARK) for sx in (-1, 1)]
    parts += [box(0, y, 0.46, w, 0.09, 0.03, m) for y in (-0.16, 0.06)]
    parts += [box(0, 0.24, z, w, 0.03, 0.09, m) for z in (0.68, 0.92)]
    parts += [box(sx * (w - 0.15), 0.27, 0.72, 0.04, 0.03, 0.3, DARK) for sx in (-1, 1)]
    return Model(tuple(parts), (2 * w, 0.55, 1.02))


def _fence(rng: Random, m: Material) -> Model:
    step = 0.34
    parts = [box((i - 2.5) * step, 0, 0.5, 0.09, 0.03, 0.5, m) for i in range(6)]
    parts += [box(0, 0.05, z, step * 3.0, 0.025, 0.06, m) for z in (0.3, 0.75)]
    return Model(tuple(parts), (step * 6, 0.16, 1.0))


def _tower(rng: Random, m: Material) -> Model:
    r, h = rng.uniform(0.75, 0.95), rng.uniform(1.7, 2.2)
    parts = (
        tube(0, 0, h, r, h, Material(m.color, "brick", shade(m.color, 0.7), 0.6), 0.85),
        tube(0, 0, 2 * h + 0.15, r * 1.08, 0.18, dark(m, 0.85)),
        tube(0, 0, 2 * h + 0.95, r * 1.2, 0.65, Material(ROOF_COLORS[rng.integers(len(ROOF_COLORS))]), 0.0),
        box(0, -r * 0.97, 0.5, 0.3, 0.08, 0.5, WOOD),
        box(0, -r * 0.88, 1.3 * h, 0.17, 0.08, 0.26, DARK),
    )
    return Model(parts, (2.4 * r, 2.4 * r, 2 * h + 1.6))


def _snowman(rng: Random, m: Material) -> Model:
    k = rng.uniform(0.95, 1.15)
    coal = Material((0.06, 0.06, 0.07))
    parts = [ball(0, 0, z * k, r * k, r * k, r * k, SNOW) for z, r in ((0.42, 0.46), (1.02, 0.34), (1.5, 0.24))]
    parts += [ball(x * k, -0.215 * k, 1.56 * k, 0.035, 0.03, 0.035, coal) for x in (-0.085, 0.085)]
    parts += [ball(0, -0.33 * k, z * k, 0.035, 0.03, 0.035, coal) for z in (0.95, 1.12)]
    parts.append(tube(0, -0.36 * k, 1.49 * k, 0.055, 0.14, Material((0.95, 0.45, 0.08)), 0.0, QUARTER))
    parts += [tube(0, 0, 1.70 * k, 0.27 * k, 0.025, m), tube(0, 0, 1.86 * k, 0.18 * k, 0.16, m)]
    return Model(tuple(parts), (0.92 * k, 0.92 * k, 2.02 * k))


def _mailbox(rng: Random, m: Material) -> Model:
    flag = Material((0.9, 0.1, 0.1) if m.color[0] < 0.8 else (0.95, 0.95, 0.95))
    parts = (
        box(0, 0, 0.45, 0.06, 0.06, 0.45, WOOD),
        box(0, 0, 1.05, 0.2, 0.34, 0.15, m),
        Part("cylinder", (0, 0, 1.2), (0.2, 0.2, 0.34), m, QUARTER),
        box(0.22, -0.05, 1.28, 0.015, 0.09, 0.11, flag),
    )
    return Model(parts, (0.46, 0.7, 1.4))


def _lantern(rng: Random, m: Material) -> Model:
    h = rng.uniform(1.1, 1.4)
    parts = (
        tube(0, 0, 0.1, 0.22, 0.1, DARK),
        tube(0, 0, h, 0.07, h, DARK),
        tube(0, 0, 2 * h + 0.16, 0.24, 0.22, GLOW, 0.6, math.pi),
        tube(0, 0, 2 * h + 0.48, 0.32, 0.12, DARK, 0.0),
    )
    return Model(parts, (0.64, 0.64, 2 * h + 0.6))


def _rock(rng: Random, m: Material) -> Model:
    r = rng.uniform(0.55, 0.8)
    stone = Material(m.color, "noise", shade(m.color, 0.72), 0.5, 0.02)
    parts = (
        ball(0, 0, 0.25 * r, r, 0.8 * r, 0.7 * r, stone),
        ball(0.55 * r, -0.15 * r, 0.15 * r, 0.6 * r, 0.6 * r, 0.45 * r, stone),
    )
    return Model(parts, (2.1 * r, 1.6 * r, 0.95 * r))


def _tent(rng: Random, m: Material) -> Model:
    w, h = rng.uniform(0.9, 1.15), rng.uniform(1.1, 1.4)
    parts = [Part("gable", (0, 0, 0), (1.1, w, h), m)]
    parts += [Part("gable", (x, 0, 0), (0.02, w * 0.42, h * 0.72), dark(m, 0.3)) for x in (-1.09, 1.09)]
    return Model(tuple(parts), (2.24, 2 * w, h))


def _windmill(rng: Random, m: Material) -> Model:
    h = rng.uniform(1.5, 1.8)
    blade = Material((0.9, 0.88, 0.82))
    z, y = 2 * h + 0.1, -0.85
    parts = (
        tube(0, 0, h, 0.85, h, m, 0.65),
        tube(0, 0, 2 * h + 0.3, 0.6, 0.32, Material(ROOF_COLORS[rng.integers(len(ROOF_COLORS))]), 0.0),
        tube(0, y + 0.15, z, 0.1, 0.25, DARK, 1.0, QUARTER),
        box(0, y, z, 0.11, 0.02, 1.35, blade),
        box(0, y, z, 1.35, 0.02, 0.11, blade),
        box(0, -0.83, 0.5, 0.26, 0.1, 0.5, WOOD),
    )
    return Model(parts, (2.7, 1.8, 2 * h + 1.45))


OUTDOOR: dict[str, Builder] = {
    "house": _house, "tree": _tree, "pine": _pine, "bush": _bush, "car": _car, "bench": _bench, "fence": _fence,
    "tower": _tower, "snowman": _snowman, "mailbox": _mailbox, "lantern": _lantern, "rock": _rock, "tent": _tent,
    "windmill": _windmill, "ball": INDOOR["ball"], "cube": INDOOR["cube"], "cone": INDOOR["cone"],
}  # fmt: skip
FOLIAGE = {
    "green": LEAF,
    "orange": Material((0.90, 0.47, 0.10), "noise", (0.72, 0.30, 0.06), 0.4, 0.05),
    "yellow": Material((0.93, 0.78, 0.18), "noise", (0.78, 0.58, 0.10), 0.4, 0.05),
    "pink": Material((0.97, 0.66, 0.78), "noise", (0.88, 0.48, 0.64), 0.4, 0.05),
}
PINE = Material((0.10, 0.38, 0.20), "noise", (0.06, 0.27, 0.14), 0.3, 0.03)
