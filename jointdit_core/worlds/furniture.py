"""Plain shapes and what stands in rooms; conventions as in `parts`."""

from __future__ import annotations

import math

from .parts import (
    COLORS,
    CREAM,
    DARK,
    LEAF,
    METAL,
    WOOD,
    Builder,
    Model,
    Random,
    ball,
    box,
    dark,
    shade,
    tube,
)
from .scene import Material


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
        parts = (
            tube(0, 0, h, r, 0.04, m),
            tube(0, 0, h / 2, 0.07, h / 2, dark(m)),
            tube(0, 0, 0.03, 0.3, 0.03, dark(m)),
        )
        return Model(parts, (2 * r, 2 * r, h + 0.04), h + 0.04, 0.8)
    w, leg = rng.uniform(0.6, 0.85), 0.045
    parts = [box(sx * (w - 0.07), sy * (d - 0.07), h / 2, leg, leg, h / 2, dark(m)) for sx in (-1, 1) for sy in (-1, 1)]
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
        parts.append(
            box(0, -d, z, w - 0.05, 0.012, h * 0.4, Material(shade(m.color, 1.2), m.texture, m.accent, m.period))
        )
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


INDOOR: dict[str, Builder] = {
    "ball": _shape_ball, "cube": _shape_cube, "cylinder": _shape_cylinder, "cone": _shape_cone, "gift": _gift,
    "chair": _chair, "stool": _stool, "table": _table, "sofa": _sofa, "bed": _bed, "shelf": _shelf,
    "cabinet": _cabinet, "lamp": _lamp, "plant": _plant,
}  # fmt: skip
