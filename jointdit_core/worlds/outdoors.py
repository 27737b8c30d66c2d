"""Streets and landscapes."""

from __future__ import annotations

import numpy as np

from . import landmarks
from .parts import Model, Part, shade
from .placing import Stage, clear, dress, fill, pick, unit
from .scene import Camera, Light, Material, SceneObject, Surroundings, Vec
from .tableware import ON_TOP

STREET_NAMES = ("house", "house", "car", "car", "car", "tree", "mailbox", "lantern", "bench", "fence", "bush", "tower")
LAND_NAMES = ("house", "house", "tree", "tree", "pine", "bush", "bench", "fence", "tower", "rock", "tent", "windmill")
LAND_NAMES += ("ball", "cube", "cone", "tent", "car")

SKIES = {  # share, key, ambient, bounce, horizon, zenith, fog per metre; all linear
    "day": (
        0.42,
        (0.95, 0.90, 0.80),
        (0.42, 0.50, 0.62),
        (0.22, 0.22, 0.18),
        (0.62, 0.76, 0.90),
        (0.13, 0.33, 0.78),
        0.003,
    ),
    "sunset": (
        0.18,
        (1.00, 0.58, 0.28),
        (0.36, 0.32, 0.46),
        (0.26, 0.18, 0.14),
        (0.98, 0.50, 0.18),
        (0.20, 0.16, 0.42),
        0.006,
    ),
    "night": (
        0.14,
        (0.22, 0.26, 0.42),
        (0.09, 0.11, 0.20),
        (0.05, 0.06, 0.09),
        (0.045, 0.06, 0.14),
        (0.008, 0.012, 0.05),
        0.004,
    ),
    "overcast": (
        0.14,
        (0.18, 0.18, 0.18),
        (0.62, 0.65, 0.70),
        (0.28, 0.28, 0.27),
        (0.62, 0.65, 0.69),
        (0.42, 0.46, 0.52),
        0.008,
    ),
    "fog": (
        0.12,
        (0.15, 0.15, 0.15),
        (0.62, 0.64, 0.66),
        (0.32, 0.32, 0.32),
        (0.66, 0.68, 0.70),
        (0.60, 0.62, 0.65),
        0.045,
    ),
}
GROUNDS = {
    "grass": Material((0.42, 0.62, 0.24), "noise", (0.30, 0.50, 0.17), 0.6, 0.0),
    "snow": landmarks.SNOW,
    "sand": Material((0.88, 0.76, 0.52), "noise", (0.79, 0.66, 0.42), 0.8, 0.0),
    "pavement": Material((0.62, 0.61, 0.60), "tiles", (0.46, 0.46, 0.46), 0.9, 0.0),
}


def _outdoor_light(rng: np.random.Generator) -> tuple[Light, dict]:
    """The hour's light, and what the sky needs of it."""
    time = tuple(SKIES)[pick(rng, tuple(s[0] for s in SKIES.values()))]
    _, key, ambient, bounce, horizon, zenith, fog = SKIES[time]
    side = 1.0 if rng.random() < 0.5 else -1.0
    high = {"sunset": rng.uniform(0.28, 0.5)}.get(time, rng.uniform(0.7, 1.4))
    direction = unit(side * float(rng.uniform(0.5, 1.0)), -float(rng.uniform(0.3, 0.9)), float(high))
    disc_color = {"day": (3.0, 2.8, 2.2), "sunset": (2.5, 1.5, 0.5), "night": (1.2, 1.2, 1.05)}.get(
        time, (0.0, 0.0, 0.0)
    )
    if time == "day" and rng.random() < 0.6:
        disc_color = (0.0, 0.0, 0.0)
    rise = float(rng.uniform(0.05, 0.14)) if time == "sunset" else float(rng.uniform(0.22, 0.36))
    sky = {
        "horizon": horizon, "zenith": zenith, "fog": fog, "disc_color": disc_color,
        "disc": unit(side * float(rng.uniform(0.1, 0.4)), 1.0, rise),
        "disc_size": float(rng.uniform(0.045, 0.07)),
        "clouds": {"day": 0.55, "sunset": 0.55, "overcast": 0.8}.get(time, 0.0) * float(rng.random() < 0.75),
        "stars": 1.0 if time == "night" else 0.0,
    }  # fmt: skip
    return Light(direction, key, ambient, bounce, time), sky


def _background(stage: Stage, name: str, part: Part, base: Vec, color: str = "") -> None:
    """Adds a one-solid thing far away or on the ground."""
    size = (2 * part.half[0], 2 * part.half[1], part.center[2] + part.half[2])
    model = Model((part,), size)
    if not stage.fits(model):
        return
    bounds = stage.bounds(base, size, 0.0)
    label = SceneObject(name, color, "", "", "background", base, bounds, stage.look(base)[2])
    stage.add(model, base, 0.0, 1.0, label)


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


def outdoors(rng: np.random.Generator, kind: str) -> tuple[Stage, Light, Surroundings]:
    """A street or a landscape."""
    height = float(rng.uniform(1.5, 2.8))
    target = (float(rng.uniform(-0.8, 0.8)), 9.0, float(rng.uniform(0.7, 1.5)))
    stage = Stage(rng, Camera((0.0, 0.0, height), target, float(rng.uniform(36.0, 60.0))))
    if kind == "street":
        word = "pavement" if rng.random() < 0.6 else "grass"
        fill(stage, STREET_NAMES, landmarks.OUTDOOR, ON_TOP, far=16.0, near=2.8)
    else:
        word = ("grass", "grass", "grass", "snow", "sand")[rng.integers(5)]
        names = LAND_NAMES + (("snowman",) * 4 + ("pine",) * 2 if word == "snow" else ())
        fill(stage, names, landmarks.OUTDOOR, ON_TOP, far=15.0, near=2.6)
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
