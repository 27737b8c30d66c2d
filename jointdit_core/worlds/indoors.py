"""Rooms and table-tops."""

from __future__ import annotations

import numpy as np

from .furniture import INDOOR
from .parts import COLORS, CREAM, WOOD, Model, Part, box, shade
from .placing import NAMES, Stage, clear, dress, fill, unit
from .scene import Camera, Light, Material, SceneObject, Surroundings
from .tableware import ON_TOP, SMALL

WALLS = ("white", "beige", "gray", "blue", "green", "pink", "yellow", "turquoise")
TABLE_HEIGHT = 2.2  # a table-top's small things are drawn three times their size, so its height is too
ROOM_NAMES = ("chair", "chair", "table", "table", "sofa", "sofa", "bed", "bed", "shelf", "cabinet", "lamp", "stool")
ROOM_NAMES += ("plant", "plant", "ball", "cube", "cylinder", "cone", "gift", "chair", "lamp", "ball", "cube")
TABLE_NAMES = tuple(SMALL) + ("ball", "cube", "vase", "mug", "apple")


def _floor(rng: np.random.Generator) -> tuple[Material, str]:
    """An indoor floor and its word."""
    kind = rng.random()
    if kind < 0.4:
        tone = (0.66, 0.47, 0.29) if rng.random() < 0.6 else (0.45, 0.30, 0.18)
        return Material(tone, "wood", shade(tone, 0.68), 0.9, 0.15), "wooden"
    if kind < 0.6:
        tone = COLORS[("gray", "beige", "white")[rng.integers(3)]]
        return Material(tone, "tiles", shade(tone, 0.6), 0.6, 0.4), "tiled"
    if kind < 0.75:
        tone = COLORS[("gray", "red", "blue", "green")[rng.integers(4)]]
        return Material((0.92, 0.91, 0.88), "checker", shade(tone, 0.9), 0.55, 0.3), "checkered"
    tone = COLORS[("gray", "beige", "brown", "blue", "green")[rng.integers(5)]]
    return Material(shade(tone, 0.9), "noise", shade(tone, 0.78), 0.5, 0.02), "plain"


def _indoor_light(rng: np.random.Generator) -> Light:
    """A high key light from one side and in front, and a share from all around."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    direction = unit(side * rng.uniform(0.35, 0.9), rng.uniform(-0.9, -0.25), rng.uniform(0.9, 1.5))
    if rng.random() < 0.22:
        return Light(direction, (0.55, 0.42, 0.28), (0.20, 0.20, 0.27), (0.12, 0.10, 0.10), "dim")
    warm = float(rng.uniform(0.0, 0.12))
    key = float(rng.uniform(0.6, 0.8))
    return Light(
        direction, (key, key * (1.0 - warm), key * (1.0 - 2 * warm)), (0.46, 0.48, 0.52), (0.34, 0.31, 0.28), "bright"
    )


def _hang(
    stage: Stage, name: str, u: float, z: float, half: tuple[float, float], wall: float, parts, color: str
) -> None:
    """Puts a flat thing on the back wall if it is in the picture and not behind a main object."""
    x = stage.position[0] + (wall - stage.position[1]) * (stage.forward[0] + u * stage.right[0]) / (
        stage.forward[1] + u * stage.right[1]
    )
    base = (x, wall, z - half[1])
    size = (2 * half[0], 0.1, 2 * half[1])
    bounds = stage.bounds(base, size, 0.0)
    model = Model(parts, size)
    if bounds[0] < -0.98 or bounds[2] > 0.98 or bounds[3] > 0.99 or not stage.fits(model):
        return
    if clear(stage, bounds, 0.3):
        center = (x, wall, z)
        label = SceneObject(name, color, "", "", "detail", center, bounds, stage.look(center)[2])
        stage.add(model, base, 0.0, 1.0, label)


def _decorate(stage: Stage, wall: float, height: float) -> None:
    """A window, door or picture on the back wall, and a rug."""
    rng = stage.rng
    names = ("window", "door", "picture")
    start = int(rng.integers(3))
    for name in names[start : start + int(rng.integers(0, 3))]:
        u = float(rng.uniform(-0.75, 0.75))
        if name == "window":
            w, h = float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.45, 0.6))
            sky = Material((0.62, 0.82, 0.98), glow=0.9)
            parts = (
                box(0, 0, h, w, 0.06, h, CREAM), box(0, -0.02, h, w - 0.08, 0.06, h - 0.08, sky),
                box(0, -0.03, h, 0.03, 0.06, h - 0.05, CREAM), box(0, -0.03, h, w - 0.05, 0.06, 0.03, CREAM),
            )  # fmt: skip
            _hang(stage, name, u, min(1.6, height - h - 0.2), (w, h), wall, parts, "")
        elif name == "door":
            material, color, _ = (WOOD, "", "") if rng.random() < 0.5 else dress(rng, name)
            parts = (
                box(0, 0, 1.0, 0.46, 0.05, 1.0, CREAM), box(0, -0.03, 0.97, 0.4, 0.05, 0.97, material),
                Part("ellipsoid", (0.3, -0.12, 0.95), (0.05, 0.05, 0.05), Material((0.85, 0.7, 0.3), shine=0.8)),
            )  # fmt: skip
            _hang(stage, name, u, 1.0, (0.46, 1.0), wall, parts, color)
        else:
            w, h = float(rng.uniform(0.3, 0.55)), float(rng.uniform(0.3, 0.45))
            tone, other = (COLORS[NAMES[rng.integers(len(NAMES))]] for _ in range(2))
            art = Material(tone, ("dots", "stripes", "noise", "checker")[rng.integers(4)], other, 0.25)
            parts = (box(0, 0, h, w, 0.04, h, WOOD), box(0, -0.02, h, w - 0.06, 0.04, h - 0.06, art))
            _hang(stage, name, u, 1.65, (w, h), wall, parts, "")
    if rng.random() < 0.35 and stage.free["cylinder"] and stage.objects:
        target = stage.objects[0].center
        material, color, pattern = dress(rng, "rug")
        radius = float(rng.uniform(0.9, 1.3))
        base = (target[0], target[1], 0.0)
        bounds = stage.bounds(base, (2 * radius, 2 * radius, 0.02), 0.0)
        part = Part("cylinder", (0.0, 0.0, 0.01), (radius, radius, 0.01), material)
        label = SceneObject("rug", color, "", pattern, "detail", base, bounds, stage.look(base)[2])
        stage.add(Model((part,), (2 * radius, 2 * radius, 0.02)), base, 0.0, 1.0, label)


def _around(stage: Stage, margin: float) -> tuple[float, float, float]:
    """Left and right walls and back wall that leave room for everything placed."""
    left = min([o.center[0] for o in stage.objects] + [-0.5]) - margin
    right = max([o.center[0] for o in stage.objects] + [0.5]) + margin
    back = max([o.center[1] for o in stage.objects] + [2.5]) + margin
    return left, right, back


def room(rng: np.random.Generator) -> tuple[Stage, Light, Surroundings]:
    """A room with furniture."""
    height = float(rng.uniform(1.15, 1.8))
    target = (float(rng.uniform(-0.5, 0.5)), 3.6, float(rng.uniform(0.45, 0.8)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(38.0, 62.0))))
    fill(stage, ROOM_NAMES, INDOOR, ON_TOP, far=5.5, near=1.6)
    margin = float(rng.uniform(1.15, 1.6))
    left, right, back = _around(stage, margin)
    back += float(rng.uniform(0.0, 1.0))
    top = float(rng.uniform(2.5, 3.0))
    _decorate(stage, back, top)
    color = WALLS[rng.integers(len(WALLS))]
    tone = shade(COLORS[color], 1.35) if color not in ("white", "beige") else COLORS[color]
    paper = rng.random()
    wall = Material(tone, shine=0.0)
    if paper < 0.12:
        wall = Material((0.72, 0.42, 0.34), "brick", (0.85, 0.82, 0.76), 0.5, 0.0)
        color = "brick"
    elif paper < 0.24:
        wall = Material(tone, "dots", shade(tone, 0.85), 0.5, 0.0)
    floor, word = _floor(rng)
    side = Material(shade(wall.color, 0.94), wall.texture, wall.accent, wall.period, 0.0)
    faces = (side, side, wall, wall, floor, Material((0.94, 0.93, 0.91), shine=0.0))
    wide = float(rng.uniform(0.0, 1.5))
    low, high = (left - wide, -1.0, 0.0), (right + wide, back, top)
    return stage, _indoor_light(rng), Surroundings(low, high, faces, word, color)


def tabletop(rng: np.random.Generator) -> tuple[Stage, Light, Surroundings]:
    """Small things on a table, seen from near."""
    height = float(rng.uniform(1.2, 2.2))
    target = (float(rng.uniform(-0.2, 0.2)), 2.8, float(rng.uniform(0.2, 0.45)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(30.0, 54.0))))
    stage.free["box"] -= 1  # kept for the table itself
    fill(stage, TABLE_NAMES, SMALL, TABLE_NAMES, far=4.6, near=1.8)
    stage.free["box"] += 1
    left, right, back = _around(stage, 0.75)
    wood = rng.random() < 0.55
    tone = COLORS[NAMES[rng.integers(len(NAMES))]]
    top = WOOD if wood else Material(shade(tone, 0.95), "noise", shade(tone, 0.86), 0.4, 0.2)
    if not wood and rng.random() < 0.3:
        top = Material((0.94, 0.93, 0.9), "checker", shade(tone, 1.05), 0.5, 0.1)  # a table cloth
    half = ((right - left) / 2 + 0.3, (back - 0.6) / 2, 0.06)
    center = ((right + left) / 2, (back + 0.6) / 2, -0.06)
    slab = Model(
        (Part("box", (0.0, 0.0, 0.0), half, Material(top.color, top.texture, top.accent, 0.9, top.shine)),), half
    )
    bounds = stage.bounds((center[0], center[1], -0.06), (2 * half[0], 2 * half[1], 0.06), 0.0)
    label = SceneObject("table", "", "", "wooden" if wood else "", "detail", center, bounds, stage.look(center)[2])
    stage.add(slab, center, 0.0, 1.0, label)
    color = WALLS[rng.integers(len(WALLS))]
    wall = Material(shade(COLORS[color], 1.25) if color != "white" else COLORS[color], shine=0.0)
    floor, word = _floor(rng)
    faces = (wall, wall, wall, wall, floor, CREAM)
    depth = back + float(rng.uniform(0.5, 2.5))
    low, high = (left - 3.0, -1.0, -TABLE_HEIGHT), (right + 3.0, depth, 6.0)
    return stage, _indoor_light(rng), Surroundings(low, high, faces, "", color)
