"""Puts objects where the camera sees them large, whole and apart from each other."""

from __future__ import annotations

import math

import numpy as np

from . import landmarks
from .pack import camera_frame
from .parts import COLORS, WOOD, Model
from .scene import SLOTS, Camera, Material, Primitive, SceneObject, Vec
from .tableware import SMALL

Bounds = tuple[float, float, float, float]
WOODEN = ("chair", "stool", "table", "shelf", "cabinet", "bench", "fence")
PATTERNED = ("ball", "cube", "cylinder", "cone", "vase", "mug", "cake", "gift", "bed", "sofa", "lamp", "tent")
ANY_YAW = (
    "ball",
    "cube",
    "cylinder",
    "cone",
    "gift",
    "plant",
    "apple",
    "book",
    "rock",
    "tree",
    "pine",
    "bush",
    "candle",
)
STONE = ("gray", "beige", "brown")
PALETTES = {
    "apple": ("red", "green", "yellow"),
    "bottle": ("green", "brown", "blue", "red", "turquoise", "purple"),
    "rock": STONE,
    "tower": ("gray", "beige", "brown", "white", "red"),
    "windmill": ("white", "beige", "red", "gray"),
    "fence": ("white", "brown", "red", "blue", "green"),
    "tree": ("green", "green", "green", "orange", "yellow", "pink"),
    "bush": ("green", "green", "pink", "orange"),
    "pine": ("green",),
}
PATTERNS = (("striped", "stripes", 0.22), ("checkered", "checker", 0.24), ("dotted", "dots", 0.26))
NAMES = tuple(COLORS)
COUNT_SHARES = (0.5, 0.32, 0.13, 0.05)  # 1 to 4 main objects


class Stage:
    """A scene in the making: the camera, what stands already, and how many solids are left.

    Args:
        rng: the scene's only source of chance.
        camera: looking at the ground z = 0.
    """

    def __init__(self, rng: np.random.Generator, camera: Camera):
        self.rng = rng
        self.camera = camera
        self.position, self.right, self.up, self.forward = camera_frame(camera)
        self.reach = math.tan(math.radians(camera.fov_deg) / 2)
        self.primitives: list[Primitive] = []
        self.objects: list[SceneObject] = []
        self.free = dict(SLOTS)

    def look(self, point: Vec) -> tuple[float, float, float]:
        """Picture coordinates and depth of a world point."""
        dx, dy, dz = (a - b for a, b in zip(point, self.position, strict=True))
        depth = dx * self.forward[0] + dy * self.forward[1] + dz * self.forward[2]
        scale = max(depth, 0.1) * self.reach * self.reach
        u = (dx * self.right[0] + dy * self.right[1]) / scale
        v = (dx * self.up[0] + dy * self.up[1] + dz * self.up[2]) / scale
        return u, v, depth

    def nearest(self, low: float) -> float:
        """Least depth at which the ground lies above picture height `low`."""
        return self.position[2] / max(-low * self.up[2] - self.forward[2], 0.02)

    def ground(self, u: float, depth: float) -> Vec:
        """The ground point at picture column `u` and optical depth."""
        v = (-self.position[2] / depth - self.forward[2]) / self.up[2]
        return tuple(
            p + depth * (f + u * r + v * t)
            for p, f, r, t in zip(self.position, self.forward, self.right, self.up, strict=True)
        )

    def bounds(self, base: Vec, size: Vec, yaw: float) -> Bounds:
        """Picture bounds of a box of `size` standing on `base`."""
        c, s = math.cos(yaw), math.sin(yaw)
        us, vs = [], []
        for sx in (-0.5, 0.5):
            for sy in (-0.5, 0.5):
                x, y = sx * size[0], sy * size[1]
                for z in (0.0, size[2]):
                    u, v, _ = self.look((base[0] + c * x - s * y, base[1] + s * x + c * y, base[2] + z))
                    us.append(u)
                    vs.append(v)
        return min(us), min(vs), max(us), max(vs)

    def fits(self, model: Model) -> bool:
        """Whether enough slots are left for a model."""
        need = {"box": 0, "cylinder": 0, "ellipsoid": 0}
        for part in model.parts:
            need["box" if part.kind == "gable" else part.kind] += 1
        return all(self.free[k] >= n for k, n in need.items())

    def add(self, model: Model, base: Vec, yaw: float, scale: float, label: SceneObject) -> int:
        """Adds a placed model; gives the object's index."""
        owner = len(self.objects)
        c, s = math.cos(yaw) * scale, math.sin(yaw) * scale
        for part in model.parts:
            x, y, z = part.center
            center = (base[0] + c * x - s * y, base[1] + s * x + c * y, base[2] + scale * z)
            half = (part.half[0] * scale, part.half[1] * scale, part.half[2] * scale)
            self.primitives.append(Primitive(part.kind, center, half, part.material, owner, yaw, part.tilt, part.taper))
            self.free["box" if part.kind == "gable" else part.kind] -= 1
        self.objects.append(label)
        return owner


def dress(rng: np.random.Generator, name: str, avoid: str = "") -> tuple[Material, str, str]:
    """A material for an object, with its colour and pattern words."""
    if name in WOODEN and rng.random() < 0.4:
        return WOOD, "", "wooden"
    choices = PALETTES.get(name, NAMES)
    color = choices[rng.integers(len(choices))]
    if color == avoid:
        color = choices[rng.integers(len(choices))]
    if name == "tree" or name == "bush":
        return landmarks.FOLIAGE[color], color, ""
    if name == "pine":
        return landmarks.PINE, color, ""
    base = COLORS[color]
    jitter = rng.uniform(-0.03, 0.03, 3)
    paint = tuple(min(1.0, max(0.02, c + j)) for c, j in zip(base, jitter.tolist(), strict=True))
    if name in PATTERNED and rng.random() < 0.25:
        word, texture, period = PATTERNS[rng.integers(3)]
        accent = (0.95, 0.95, 0.93) if color not in ("white", "beige", "yellow") else (0.25, 0.25, 0.28)
        return Material(paint, texture, accent, period, 0.2), color, word
    return Material(paint, shine=float(rng.uniform(0.0, 0.5))), color, ""


def turn(rng: np.random.Generator, name: str) -> float:
    """A yaw that shows the object well."""
    if name in ANY_YAW:
        return float(rng.uniform(-math.pi, math.pi))
    if name == "car":
        return float(rng.uniform(-0.6, 0.6)) + (math.pi if rng.random() < 0.5 else 0.0)
    if name == "tent":
        return float(rng.uniform(0.6, 2.4))
    if name in ("sofa", "bed", "house", "windmill", "tower", "shelf", "fence"):
        return float(rng.uniform(-0.45, 0.45))
    return float(rng.uniform(-0.8, 0.8))


def overlap(one: Bounds, two: Bounds) -> float:
    """The area that two picture rectangles share."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    return max(0.0, width) * max(0.0, min(one[3], two[3]) - max(one[1], two[1]))


def clear(stage: Stage, bounds: Bounds, allowed: float) -> bool:
    """Whether main objects in the picture overlap `bounds` by at most a share of the smaller one's area."""
    area = overlap(bounds, bounds)
    for other in stage.objects:
        if other.role == "background":
            continue
        if overlap(bounds, other.bounds) > allowed * min(area, overlap(other.bounds, other.bounds)):
            return False
    return True


def size_word(bounds: Bounds) -> str:
    """Names what is big or small by the share of the picture that the bounds take."""
    share = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) / 4.0
    return "big" if share > 0.3 else "small" if share < 0.06 else ""


def place(
    stage: Stage,
    name: str,
    model: Model,
    look: tuple[str, str],
    slot: tuple[float, float],
    far: float,
    near: float = 1.5,
) -> int:
    """Stands a main object in a column of the picture, as large as it fits there.

    Args:
        stage: the scene so far.
        name: its word.
        model: its solids.
        look: colour and pattern words.
        slot: middle and width of the column in picture coordinates.
        far: greatest depth in metres.
        near: least depth in metres.

    Returns:
        The object's index, or -1 where it found no place.
    """
    rng = stage.rng
    yaw = turn(rng, name)
    c, s = abs(math.cos(yaw)), abs(math.sin(yaw))
    width, deep = c * model.size[0] + s * model.size[1], s * model.size[0] + c * model.size[1]
    if not stage.fits(model):
        return -1
    for attempt in range(3):
        share = float(rng.uniform(0.7, 1.0)) * (1.0 - 0.15 * attempt)
        depth = max(width / (share * slot[1]), model.size[2] / float(rng.uniform(1.3, 1.75))) / stage.reach
        depth = max(depth, near, stage.nearest(-0.93) + 0.5 * deep)
        if depth > far:
            depth = far
        u = slot[0] + float(rng.uniform(-0.08, 0.08))
        base = stage.ground(u, depth)
        facing = yaw + math.atan2(stage.forward[1], stage.forward[0]) - math.pi / 2
        bounds = stage.bounds(base, model.size, facing)
        inside = bounds[0] > -1.06 and bounds[2] < 1.06 and bounds[1] > -1.04 and bounds[3] < 1.04
        if inside and clear(stage, bounds, 0.06):
            center = (base[0], base[1], base[2] + model.size[2] / 2)
            label = SceneObject(
                name, look[0], size_word(bounds), look[1], "main", center, bounds, stage.look(center)[2]
            )
            return stage.add(model, base, facing, 1.0, label)
    return -1


def stand_on(stage: Stage, support: int, carrier: Model, name: str, model: Model, look: tuple[str, str]) -> int:
    """Puts a small object on another's top; arguments as in `place`, the carrier being the supporting model."""
    below = stage.objects[support]
    scale = min(1.0, carrier.room_on_top / max(model.size[0], model.size[1]))
    base = (below.center[0], below.center[1], carrier.top)
    size = tuple(scale * w for w in model.size)
    yaw = turn(stage.rng, name)
    bounds = stage.bounds(base, size, yaw)
    if not stage.fits(model) or bounds[3] > 1.03 or (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) < 0.05:
        return -1
    center = (base[0], base[1], base[2] + size[2] / 2)
    label = SceneObject(
        name, look[0], size_word(bounds), look[1], "main", center, bounds, stage.look(center)[2], support
    )
    return stage.add(model, base, yaw, scale, label)


def pick(rng: np.random.Generator, shares: tuple[float, ...]) -> int:
    """An index drawn with the given shares, which sum to 1."""
    value, total = rng.random(), 0.0
    for i, share in enumerate(shares):
        total += share
        if value < total:
            return i
    return len(shares) - 1


def unit(x: float, y: float, z: float) -> Vec:
    """The direction of a vector."""
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length)


def fill(stage: Stage, names: tuple[str, ...], builders: dict, small: tuple[str, ...], far: float, near: float) -> None:
    """Places one to four main objects in columns across the picture, and sometimes something on top of one."""
    rng = stage.rng
    count = 1 + pick(rng, COUNT_SHARES)
    alike = count > 1 and rng.random() < 0.3
    slots = [((2 * i + 1) / count - 1.0) * 0.97 for i in range(count)]
    if count == 1:
        slots = [float(rng.uniform(-0.3, 0.3))]
    width = (1.5, 0.98, 0.66, 0.5)[count - 1]
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
            stand_on(stage, index, model, top, SMALL[top](rng, material), tuple(words))
