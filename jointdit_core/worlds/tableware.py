"""Small things for table-tops; conventions as in `parts`, but drawn three times their size."""

from __future__ import annotations

import math

from .furniture import INDOOR
from .parts import (
    BARK,
    CREAM,
    DARK,
    GLOW,
    LEAF,
    METAL,
    Builder,
    Model,
    Random,
    ball,
    box,
    plain,
    tube,
)
from .scene import Material


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
        parts += [
            ball(x, y, 2 * h + 0.05, 0.15, 0.15, 0.15, fruit) for x, y in ((-0.17, 0.06), (0.16, 0.1), (0.0, -0.16))
        ]
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
        ball(
            0.65 * r * math.cos(a), 0.65 * r * math.sin(a), 2 * h + 0.13, 0.07, 0.07, 0.07, Material((0.8, 0.08, 0.12))
        )
        for a in (0.3, 1.56, 2.8, 4.07, 5.33)
    ]
    return Model(tuple(parts), (2.5 * r, 2.5 * r, 2 * h + 0.2))


SMALL: dict[str, Builder] = {
    **{name: INDOOR[name] for name in ("ball", "cube", "cylinder", "cone", "gift", "plant")},
    "vase": _vase, "mug": _mug, "bowl": _bowl, "bottle": _bottle, "book": _book, "candle": _candle, "apple": _apple,
    "cake": _cake,
}  # fmt: skip
ON_TOP = ("ball", "cube", "vase", "plant", "book", "mug", "apple", "gift")  # what other objects may carry
