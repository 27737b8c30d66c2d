"""What objects are built from: colours, common materials, and single solids in an object's own frame.

Builders stand their object on z = 0 at the origin, facing -y, in metres.
"""

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
    """A box with centre x, y, z and half sizes, in metres."""
    return Part("box", (x, y, z), (hx, hy, hz), m, tilt)


def tube(x, y, z, r, hz, m, taper=1.0, tilt=0.0) -> Part:
    """A cylinder or cone of radius `r` and half height `hz` around x, y, z, in metres."""
    return Part("cylinder", (x, y, z), (r, r, hz), m, tilt, taper)


def ball(x, y, z, rx, ry, rz, m) -> Part:
    """An ellipsoid with centre x, y, z and radii, in metres."""
    return Part("ellipsoid", (x, y, z), (rx, ry, rz), m)


def dark(m: Material, factor: float = 0.7) -> Material:
    """The same material in a darker colour."""
    return Material(shade(m.color, factor), m.texture, shade(m.accent, factor), m.period, m.shine)


def plain(m: Material, factor: float = 1.0) -> Material:
    """The material's colour alone, times a factor."""
    return Material(shade(m.color, factor), shine=m.shine)


Random = np.random.Generator
Builder = Callable[[Random, Material], Model]
