"""What a world is made of: frozen descriptions, in metres, z up; no drawing and no randomness here."""

from __future__ import annotations

from dataclasses import dataclass

Vec = tuple[float, float, float]

KINDS = ("box", "gable", "cylinder", "ellipsoid")
TEXTURES = ("plain", "stripes", "checker", "dots", "brick", "wood", "tiles", "noise", "water")
STYLES = ("photo", "cartoon", "pixel", "sketch")
SCENE_KINDS = ("room", "table", "street", "landscape")
FAR = 40.0  # metres; what lies farther along the optical axis is sky

# Slots a packed scene has for each family of primitives; the sampler keeps within them.
SLOTS = {"box": 26, "cylinder": 12, "ellipsoid": 12}


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks.

    Args:
        color: sRGB in [0, 1].
        texture: one of `TEXTURES`.
        accent: sRGB of the pattern.
        period: size of one repeat of the pattern in metres.
        shine: strength of the highlight in [0, 1].
        glow: light the surface gives off itself, in units of its color.
    """

    color: Vec
    texture: str = "plain"
    accent: Vec = (1.0, 1.0, 1.0)
    period: float = 0.3
    shine: float = 0.15
    glow: float = 0.0


@dataclass(frozen=True, slots=True)
class Primitive:
    """A solid: the unit box, roof prism, capped (tapered) cylinder or ball, scaled, tilted about x, turned about z.

    Args:
        kind: one of `KINDS`.
        center: world position in metres.
        half: half sizes along the solid's own axes in metres.
        material: its surface.
        owner: index into `Scene.objects`.
        yaw: turn about the vertical in radians.
        tilt: turn about the solid's own x axis in radians, before the yaw.
        taper: top radius over bottom radius of a cylinder; 0 is a cone.
    """

    kind: str
    center: Vec
    half: Vec
    material: Material
    owner: int
    yaw: float = 0.0
    tilt: float = 0.0
    taper: float = 1.0


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An exact label of something that is in the picture.

    Args:
        name: the object's word, e.g. "chair".
        color: a colour word, or "" where the object has no single colour.
        size: "small", "big", "tall" or "".
        pattern: "striped", "checkered", "dotted", "wooden" or "".
        role: "main", "detail" (walls, ground) or "background".
        center: middle of the object in metres.
        bounds: (left, bottom, right, top) in picture coordinates, -1..1, x right, y up.
        depth: distance of the centre along the optical axis in metres.
        support: index of the object it stands on, or -1 for the ground.
    """

    name: str
    color: str
    size: str
    pattern: str
    role: str
    center: Vec
    bounds: tuple[float, float, float, float]
    depth: float
    support: int = -1


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole without roll.

    Args:
        position: in metres.
        target: the point in the middle of the picture.
        fov_deg: full angle of view, the picture being square.
    """

    position: Vec
    target: Vec
    fov_deg: float


@dataclass(frozen=True, slots=True)
class Light:
    """The key light, the light from all around, and what the hour is called.

    Args:
        direction: towards the key light, unit length.
        color: of the key light, linear.
        ambient: linear light from above.
        bounce: linear light from below.
        time: "day", "sunset", "night", "overcast", "fog", "bright" or "dim".
    """

    direction: Vec
    color: Vec
    ambient: Vec
    bounce: Vec
    time: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The box the scene is in; outdoors only its floor lies within sight and the rest is sky.

    Args:
        low: the box's smallest x, y, z in metres.
        high: the largest.
        faces: six materials for -x, +x, -y, +y, -z, +z.
        ground: "grass", "snow", "sand", "pavement", or indoors "wooden", "tiled", "checkered" or "plain".
        wall: colour word of the walls, "" outdoors.
        horizon: linear colour of the sky at the horizon, and of the haze.
        zenith: linear colour of the sky above.
        fog: haze per metre.
        disc: direction of sun or moon.
        disc_color: linear; black where none is seen.
        disc_size: its radius in radians.
        clouds: share of the sky they cover in [0, 1].
        stars: brightness of stars in [0, 1].
    """

    low: Vec
    high: Vec
    faces: tuple[Material, ...]
    ground: str
    wall: str
    horizon: Vec = (0.5, 0.6, 0.8)
    zenith: Vec = (0.2, 0.35, 0.8)
    fog: float = 0.0
    disc: Vec = (0.0, 1.0, 0.2)
    disc_color: Vec = (0.0, 0.0, 0.0)
    disc_size: float = 0.05
    clouds: float = 0.0
    stars: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole world with its labels; `sample_scene` makes it from `seed`.

    Args:
        seed: what it was made from.
        kind: one of `SCENE_KINDS`.
        style: one of `STYLES`.
        block: pixel-art blocks across the picture (used by that style only).
        camera, light, surroundings: see their classes.
        primitives: all solids; within `SLOTS`.
        objects: the labels; `Primitive.owner` and the id map count in this order.
    """

    seed: int
    kind: str
    style: str
    block: int
    camera: Camera
    light: Light
    surroundings: Surroundings
    primitives: tuple[Primitive, ...]
    objects: tuple[SceneObject, ...]
