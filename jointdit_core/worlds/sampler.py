"""From a seed to a scene."""

from __future__ import annotations

import math

import numpy as np

from . import landmarks, objects
from .objects import COLORS, CREAM, WOOD, Model, Part, box, shade
from .placing import NAMES, Stage, clear, dress, place, stand_on
from .scene import SCENE_KINDS, STYLES, Camera, Light, Material, Scene, SceneObject, Surroundings, Vec

MAX_SEED = 2**63 - 1
STYLE_SHARES = (0.70, 0.12, 0.08, 0.10)  # photo, cartoon, pixel, sketch
KIND_SHARES = (0.32, 0.26, 0.18, 0.24)  # room, table, street, landscape
COUNT_SHARES = (0.34, 0.34, 0.22, 0.10)  # 1 to 4 main objects
WALLS = ("white", "beige", "gray", "blue", "green", "pink", "yellow", "turquoise")
TABLE_HEIGHT = 2.2  # a table-top's small things are drawn three times their size, so its height is too

ROOM_NAMES = ("chair", "chair", "table", "table", "sofa", "sofa", "bed", "bed", "shelf", "cabinet", "lamp", "stool")
ROOM_NAMES += ("plant", "plant", "ball", "cube", "cylinder", "cone", "gift", "chair", "lamp", "ball", "cube")
ROOM_SMALL = ("ball", "cube", "vase", "plant", "book", "mug", "apple", "gift")
TABLE_NAMES = tuple(objects.SMALL) + ("ball", "cube", "vase", "mug", "apple")
STREET_NAMES = ("house", "house", "car", "car", "car", "tree", "mailbox", "lantern", "bench", "fence", "bush", "tower")
LAND_NAMES = ("house", "house", "tree", "tree", "pine", "bush", "bench", "fence", "tower", "rock", "tent", "windmill")
LAND_NAMES += ("ball", "cube", "cone", "tent", "car")
COLORED_TREES = ("tree", "bush")


def _pick(rng: np.random.Generator, shares: tuple[float, ...]) -> int:
    """An index drawn with the given shares, which sum to 1."""
    value, total = rng.random(), 0.0
    for i, share in enumerate(shares):
        total += share
        if value < total:
            return i
    return len(shares) - 1


def _unit(x: float, y: float, z: float) -> Vec:
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length)


def _scaled(color: Vec, factor: float) -> Vec:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def _fill(stage: Stage, names: tuple[str, ...], builders: dict, small: tuple[str, ...], far: float, near: float) -> None:
    """Places one to four main objects in columns across the picture, and sometimes something on top of one."""
    rng = stage.rng
    count = 1 + _pick(rng, COUNT_SHARES)
    alike = count > 1 and rng.random() < 0.3
    slots = [((2 * i + 1) / count - 1.0) * 0.97 for i in range(count)]
    if count == 1:
        slots = [float(rng.uniform(-0.3, 0.3))]
    width = (1.1, 0.95, 0.64, 0.5)[count - 1]
    order = rng.permutation(count)
    name, look = "", (None, "", "")
    for n, i in enumerate(order):
        if n == 0 or not alike:
            name = names[rng.integers(len(names))]
            look = dress(rng, name, avoid=look[1])
        model = builders[name](rng, look[0])
        index = place(stage, name, model, look[1:], (slots[i], width), far, near)
        if index >= 0 and model.room_on_top and rng.random() < 0.5:
            top = small[rng.integers(len(small))]
            material, *words = dress(rng, top, avoid=look[1])
            stand_on(stage, index, model, top, objects.SMALL[top](rng, material), tuple(words))


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
    direction = _unit(side * rng.uniform(0.35, 0.9), rng.uniform(-0.9, -0.25), rng.uniform(0.9, 1.5))
    if rng.random() < 0.22:
        return Light(direction, (0.55, 0.42, 0.28), (0.20, 0.20, 0.27), (0.12, 0.10, 0.10), "dim")
    warm = float(rng.uniform(0.0, 0.12))
    key = float(rng.uniform(0.6, 0.8))
    return Light(direction, (key, key * (1.0 - warm), key * (1.0 - 2 * warm)), (0.46, 0.48, 0.52), (0.34, 0.31, 0.28), "bright")


def _hang(stage: Stage, name: str, u: float, z: float, half: tuple[float, float], wall: float, parts, color: str) -> None:
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


def _room(rng: np.random.Generator) -> tuple[Stage, Light, Surroundings]:
    """A room with furniture."""
    height = float(rng.uniform(1.15, 1.8))
    target = (float(rng.uniform(-0.5, 0.5)), 3.6, float(rng.uniform(0.45, 0.8)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(48.0, 62.0))))
    _fill(stage, ROOM_NAMES, objects.INDOOR, ROOM_SMALL, far=5.5, near=1.6)
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
    side = Material(_scaled(wall.color, 0.94), wall.texture, wall.accent, wall.period, 0.0)
    faces = (side, side, wall, wall, floor, Material((0.94, 0.93, 0.91), shine=0.0))
    wide = float(rng.uniform(0.0, 1.5))
    low, high = (left - wide, -1.0, 0.0), (right + wide, back, top)
    return stage, _indoor_light(rng), Surroundings(low, high, faces, word, color)


def _tabletop(rng: np.random.Generator) -> tuple[Stage, Light, Surroundings]:
    """Small things on a table, seen from near."""
    height = float(rng.uniform(1.2, 2.2))
    target = (float(rng.uniform(-0.2, 0.2)), 2.8, float(rng.uniform(0.2, 0.45)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(42.0, 54.0))))
    _fill(stage, TABLE_NAMES, objects.SMALL, TABLE_NAMES, far=4.6, near=1.8)
    left, right, back = _around(stage, 0.75)
    wood = rng.random() < 0.55
    tone = COLORS[NAMES[rng.integers(len(NAMES))]]
    top = WOOD if wood else Material(shade(tone, 0.95), "noise", shade(tone, 0.86), 0.4, 0.2)
    if not wood and rng.random() < 0.3:
        top = Material((0.94, 0.93, 0.9), "checker", shade(tone, 1.05), 0.5, 0.1)  # a table cloth
    half = ((right - left) / 2 + 0.3, (back - 0.6) / 2, 0.06)
    center = ((right + left) / 2, (back + 0.6) / 2, -0.06)
    slab = Model((Part("box", (0.0, 0.0, 0.0), half, Material(top.color, top.texture, top.accent, 0.9, top.shine)),), half)
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


SKIES = {  # share, key, ambient, bounce, horizon, zenith, fog per metre; all linear
    "day": (0.42, (0.95, 0.90, 0.80), (0.42, 0.50, 0.62), (0.22, 0.22, 0.18), (0.62, 0.76, 0.90), (0.13, 0.33, 0.78), 0.003),
    "sunset": (0.18, (1.00, 0.58, 0.28), (0.36, 0.32, 0.46), (0.26, 0.18, 0.14), (0.98, 0.50, 0.18), (0.20, 0.16, 0.42), 0.006),
    "night": (0.14, (0.22, 0.26, 0.42), (0.09, 0.11, 0.20), (0.05, 0.06, 0.09), (0.045, 0.06, 0.14), (0.008, 0.012, 0.05), 0.004),
    "overcast": (0.14, (0.18, 0.18, 0.18), (0.62, 0.65, 0.70), (0.28, 0.28, 0.27), (0.62, 0.65, 0.69), (0.42, 0.46, 0.52), 0.008),
    "fog": (0.12, (0.15, 0.15, 0.15), (0.62, 0.64, 0.66), (0.32, 0.32, 0.32), (0.66, 0.68, 0.70), (0.60, 0.62, 0.65), 0.045),
}
GROUNDS = {
    "grass": Material((0.42, 0.62, 0.24), "noise", (0.30, 0.50, 0.17), 0.6, 0.0),
    "snow": landmarks.SNOW,
    "sand": Material((0.88, 0.76, 0.52), "noise", (0.79, 0.66, 0.42), 0.8, 0.0),
    "pavement": Material((0.62, 0.61, 0.60), "tiles", (0.46, 0.46, 0.46), 0.9, 0.0),
}


def _outdoor_light(rng: np.random.Generator) -> tuple[Light, dict]:
    """The hour's light, and what the sky needs of it."""
    time = tuple(SKIES)[_pick(rng, tuple(s[0] for s in SKIES.values()))]
    _, key, ambient, bounce, horizon, zenith, fog = SKIES[time]
    side = 1.0 if rng.random() < 0.5 else -1.0
    high = {"sunset": rng.uniform(0.28, 0.5)}.get(time, rng.uniform(0.7, 1.4))
    direction = _unit(side * float(rng.uniform(0.5, 1.0)), -float(rng.uniform(0.3, 0.9)), float(high))
    disc_color = {"day": (3.0, 2.8, 2.2), "sunset": (2.5, 1.5, 0.5), "night": (1.2, 1.2, 1.05)}.get(time, (0.0, 0.0, 0.0))
    if time == "day" and rng.random() < 0.6:
        disc_color = (0.0, 0.0, 0.0)
    rise = float(rng.uniform(0.05, 0.14)) if time == "sunset" else float(rng.uniform(0.22, 0.36))
    sky = {
        "horizon": horizon, "zenith": zenith, "fog": fog, "disc_color": disc_color,
        "disc": _unit(side * float(rng.uniform(0.1, 0.4)), 1.0, rise),
        "disc_size": float(rng.uniform(0.045, 0.07)),
        "clouds": {"day": 0.55, "sunset": 0.55, "overcast": 0.8}.get(time, 0.0) * float(rng.random() < 0.75),
        "stars": 1.0 if time == "night" else 0.0,
    }  # fmt: skip
    return Light(direction, key, ambient, bounce, time), sky


def _background(stage: Stage, name: str, part: Part, base: Vec, color: str = "") -> None:
    """Adds a one-solid thing far away or on the ground."""
    size = (2 * part.half[0], 2 * part.half[1], part.center[2] + part.half[2])
    bounds = stage.bounds(base, size, 0.0)
    label = SceneObject(name, color, "", "", "background", base, bounds, stage.look(base)[2])
    stage.add(Model((part,), size), base, 0.0, 1.0, label)


def _hills(stage: Stage, ground: Material, snowy: bool) -> None:
    """Hills or mountains against the sky."""
    rng = stage.rng
    peaks = rng.random() < 0.4
    tone = shade(ground.color, 0.9) if not peaks else (0.45, 0.46, 0.52)
    for _ in range(min(int(rng.integers(1, 4)), stage.free["cylinder" if peaks else "ellipsoid"])):
        x, y = float(rng.uniform(-16.0, 16.0)), float(rng.uniform(26.0, 31.0))
        if peaks:
            half = (float(rng.uniform(6.0, 8.0)), 6.0, float(rng.uniform(3.5, 6.0)))
            rock = Material(tone, "noise", (0.80, 0.83, 0.88) if snowy else shade(tone, 0.8), 3.0, 0.0)
            part = Part("cylinder", (0.0, 0.0, half[2] - 0.3), half, rock, 0.0, 0.05)
        else:
            half = (float(rng.uniform(9.0, 14.0)), 7.0, float(rng.uniform(2.5, 4.5)))
            part = Part("ellipsoid", (0.0, 0.0, 0.0), half, Material(tone, "noise", shade(tone, 0.85), 2.0, 0.0))
        _background(stage, "mountain" if peaks else "hill", part, (x, y, 0.0))


def _woods(stage: Stage, names: tuple[str, ...]) -> None:
    """A few trees or houses far behind, where the picture is free."""
    rng = stage.rng
    name = names[rng.integers(len(names))]
    taken = {o.name for o in stage.objects}
    if name in taken:
        return
    for _ in range(int(rng.integers(1, 4))):
        material, color, pattern = dress(rng, name)
        model = landmarks.OUTDOOR[name](rng, material)
        base = stage.ground(float(rng.uniform(-0.95, 0.95)), float(rng.uniform(17.0, 24.0)))
        bounds = stage.bounds(base, model.size, 0.0)
        if stage.fits(model) and clear(stage, bounds, 0.35):
            label = SceneObject(name, color, "", pattern, "background", base, bounds, stage.look(base)[2])
            stage.add(model, base, float(rng.uniform(-0.4, 0.4)), 1.0, label)


def _outdoors(rng: np.random.Generator, kind: str) -> tuple[Stage, Light, Surroundings]:
    """A street or a landscape."""
    height = float(rng.uniform(1.5, 2.8))
    target = (float(rng.uniform(-0.8, 0.8)), 9.0, float(rng.uniform(0.7, 1.5)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(46.0, 60.0))))
    if kind == "street":
        word = "pavement" if rng.random() < 0.6 else "grass"
        _fill(stage, STREET_NAMES, landmarks.OUTDOOR, ROOM_SMALL, far=16.0, near=2.8)
    else:
        word = ("grass", "grass", "grass", "snow", "sand")[rng.integers(5)]
        names = LAND_NAMES + (("snowman",) * 4 + ("pine",) * 2 if word == "snow" else ())
        _fill(stage, names, landmarks.OUTDOOR, ROOM_SMALL, far=15.0, near=2.6)
    ground = GROUNDS[word]
    if kind == "street":
        y = max(o.center[1] for o in stage.objects) + 5.0 if stage.objects else 12.0
        asphalt = Material((0.30, 0.30, 0.32), "noise", (0.25, 0.25, 0.27), 0.4, 0.0)
        if rng.random() < 0.5:
            road = Part("box", (0.0, 0.0, 0.01), (60.0, 1.9, 0.01), asphalt)
            base = (0.0, min(y, 18.0), 0.0)
        else:
            road = Part("box", (0.0, 0.0, 0.01), (1.7, 40.0, 0.01), asphalt)
            base = (float(rng.uniform(-2.0, 2.0)), 20.0, 0.0)
        _background(stage, "road", road, base)
        _woods(stage, ("house", "tree", "tree"))
    else:
        if rng.random() < 0.55:
            _hills(stage, ground, word == "snow")
        if rng.random() < 0.22 and stage.free["cylinder"]:
            lake = Material((0.20, 0.45, 0.68), "water", (0.55, 0.74, 0.88), 1.2, 0.6)
            half = (float(rng.uniform(6.0, 10.0)), float(rng.uniform(2.5, 3.5)), 0.012)
            back = max([o.center[1] for o in stage.objects if o.role == "main"] + [5.0])
            base = (float(rng.uniform(-3.0, 3.0)), min(back + 2.5 + half[1], 20.0), 0.0)
            _background(stage, "lake", Part("cylinder", (0.0, 0.0, 0.012), half, lake), base)
        _woods(stage, ("tree", "pine", "pine", "house", "tree"))
    light, sky = _outdoor_light(rng)
    faces = (ground,) * 6
    edge = 1e4
    return stage, light, Surroundings((-edge, -edge, 0.0), (edge, edge, edge), faces, word, "", **sky)


def sample_scene(seed: int) -> Scene:
    """Makes the scene that belongs to a seed, the same on every machine.

    Args:
        seed: from 0 to 2**63 - 1.

    Returns:
        The scene, with at least one main object.

    Raises:
        ValueError: if the seed is no integer in that range.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    rng = np.random.Generator(np.random.PCG64(int(seed)))
    kind = SCENE_KINDS[_pick(rng, KIND_SHARES)]
    style = STYLES[_pick(rng, STYLE_SHARES)]
    block = 32 if rng.random() < 0.3 else 64
    while True:
        if kind == "room":
            stage, light, surroundings = _room(rng)
        elif kind == "table":
            stage, light, surroundings = _tabletop(rng)
        else:
            stage, light, surroundings = _outdoors(rng, kind)
        if any(o.role == "main" for o in stage.objects):
            break
    return Scene(
        int(seed), kind, style, block, stage.camera, light, surroundings, tuple(stage.primitives), tuple(stage.objects)
    )
