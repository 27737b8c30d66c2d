"""What can truthfully be said of a scene: a small grammar over its labels."""

from __future__ import annotations

import numpy as np

from .placing import overlap
from .scene import Scene, SceneObject

MAX_TOKENS = 23  # words and commas; the mini reads 24 tokens, the last of which ends the prompt
NOUNS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "sphere"), "cube": ("cube", "cube", "block"), "cylinder": ("cylinder",),
    "cone": ("cone",), "gift": ("gift", "present"), "chair": ("chair",), "stool": ("stool",), "table": ("table",),
    "sofa": ("sofa", "couch"), "bed": ("bed",), "shelf": ("shelf", "bookshelf"), "cabinet": ("cabinet", "dresser"),
    "lamp": ("lamp", "floor lamp"), "plant": ("plant", "potted plant"), "vase": ("vase",), "mug": ("mug", "cup"),
    "bowl": ("bowl",), "bottle": ("bottle",), "book": ("book",), "candle": ("candle",), "apple": ("apple",),
    "cake": ("cake",), "house": ("house", "house", "cottage"), "tree": ("tree",),
    "pine": ("pine tree", "fir tree", "pine"), "bush": ("bush", "shrub"), "car": ("car",), "bench": ("bench",),
    "fence": ("fence",), "tower": ("tower",), "snowman": ("snowman",), "mailbox": ("mailbox",),
    "lantern": ("street lamp", "lantern"), "rock": ("rock", "boulder"), "tent": ("tent",), "windmill": ("windmill",),
    "window": ("window",), "door": ("door",), "picture": ("picture", "painting"), "rug": ("rug", "carpet"),
    "hill": ("hill",), "mountain": ("mountain",), "lake": ("lake", "pond"),
}  # fmt: skip
PLURALS = {
    "shelf": "shelves", "bookshelf": "bookshelves", "bench": "benches", "bush": "bushes", "mailbox": "mailboxes",
    "snowman": "snowmen",
}  # fmt: skip
MAX_PLURAL = ("zero", "one", "two", "three", "four", "five", "six")
RELATIONS = {
    "left": ("left of", "to the left of"), "right": ("right of", "to the right of"),
    "front": ("in front of",), "behind": ("behind",), "on": ("on", "on top of"), "near": ("next to", "beside", "near"),
}  # fmt: skip
TIMES = {
    "day": ("on a sunny day", "in the daytime", "under a blue sky", ""),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "under the stars"), "overcast": ("on a cloudy day", "under a gray sky", "on an overcast day"),
    "fog": ("in the fog", "on a foggy day", "in the mist"),
}  # fmt: skip
GROUNDS = {
    "grass": ("on the grass", "in a meadow", "on a green field"), "snow": ("in the snow", "on snow", "in winter"),
    "sand": ("on sand", "in the desert"), "pavement": ("on the pavement",),
}  # fmt: skip
STYLE_FRONTS = {
    "photo": ("a photo of", "a photograph of"), "cartoon": ("a cartoon of", "a cartoon drawing of"),
    "pixel": ("pixel art of", "a pixel art image of"),
    "sketch": ("a pencil sketch of", "a pencil drawing of", "a sketch of"),
}  # fmt: skip
STYLE_ENDS = {
    "photo": ("photo", "realistic"), "cartoon": ("cartoon style", "cartoon"), "pixel": ("pixel art", "pixel art style"),
    "sketch": ("pencil sketch", "pencil drawing"),
}  # fmt: skip
ADJECTIVES = ("big", "large", "small", "little", "striped", "checkered", "dotted", "wooden")
COLOR_WORDS = (
    "red", "orange", "yellow", "lime", "green", "turquoise", "blue", "purple", "pink", "brown", "beige", "white",
    "gray", "black",
)  # fmt: skip
GLUE = (
    "a an the and of in with on to by there is are pot hat walls wall floor room bright dim brick tiled plain inside "
    "outside background street road landscape scene view garden still life indoors outdoors behind it"
)  # fmt: skip
SIZES = {"big": ("big", "large"), "small": ("small", "little")}
COLORLESS = ("pine", "lantern", "windmill", "lake")


def plural(noun: str) -> str:
    """The plural of a noun phrase, by its last word."""
    head, _, last = noun.rpartition(" ")
    last = PLURALS.get(last, last + "s")
    return f"{head} {last}" if head else last


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _vocabulary() -> tuple[str, ...]:
    phrases = (
        [n for nouns in NOUNS.values() for n in nouns] + list(MAX_PLURAL[2:]) + list(ADJECTIVES) + list(COLOR_WORDS)
    )
    phrases += [plural(n) for nouns in NOUNS.values() for n in nouns] + [GLUE, ","]
    for table in (RELATIONS, TIMES, GROUNDS, STYLE_FRONTS, STYLE_ENDS):
        phrases += [p for choices in table.values() for p in choices]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


VOCABULARY = _vocabulary()


def visible_share(scene: Scene, index: int) -> float:
    """A lower guess of how much of the picture an object takes, hidden parts left out, by the labels' bounds."""
    one = scene.objects[index]
    left, bottom = max(one.bounds[0], -1.0), max(one.bounds[1], -1.0)
    right, top = min(one.bounds[2], 1.0), min(one.bounds[3], 1.0)
    area = max(right - left, 0.0) * max(top - bottom, 0.0)
    for i, other in enumerate(scene.objects):
        if i == index or other.depth >= one.depth or other.name in ("rug", "road", "table"):
            continue
        area -= overlap((left, bottom, right, top), other.bounds)
    return area / 4.0


class _Writer:
    """Says things about one scene; `rng` chooses the words."""

    def __init__(self, scene: Scene, rng: np.random.Generator):
        self.scene = scene
        self.rng = rng
        self.main = [o for o in scene.objects if o.role == "main"]
        self.colored = scene.style != "sketch"

    def choose(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.random() * len(options))]

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def noun(self, one: SceneObject, detail: float, count: int = 1) -> str:
        """A noun phrase without article; `detail` is the chance of each adjective."""
        words = []
        if (
            one.size
            and count == 1
            and one.name in ("ball", "cube", "cone", "cylinder", "house", "tree")
            and self.chance(0.4 * detail)
        ):
            words.append(self.choose(SIZES[one.size]))
        if one.pattern and self.chance(detail):
            words.append(one.pattern)
        noun = self.choose(NOUNS[one.name])
        noun = plural(noun) if count > 1 else noun
        tail = ""
        if one.color and one.name not in COLORLESS and self.colored and self.chance(detail):
            if one.name == "snowman":
                tail = f" with a {one.color} hat" if count == 1 and one.color != "orange" else ""
            elif one.name == "plant" and count == 1 and one.color != "orange":
                tail = f" in a {one.color} pot" if self.chance(0.6) else ""
            elif one.name != "plant":
                words.append(one.color)
        return " ".join((*words, noun)) + tail

    def groups(self) -> list[tuple[SceneObject, int]]:
        """Main objects, those that look alike counted together, the largest first."""
        found: dict[tuple[str, str, str], list[SceneObject]] = {}
        for one in self.main:
            found.setdefault((one.name, one.color if self.colored else "", one.pattern), []).append(one)
        area = {k: max((o.bounds[2] - o.bounds[0]) * (o.bounds[3] - o.bounds[1]) for o in v) for k, v in found.items()}
        return [(found[k][0], len(found[k])) for k in sorted(found, key=lambda k: -area[k])]

    def counted(self, one: SceneObject, count: int, detail: float) -> str:
        """Writes "a red ball" or "two red balls"; where only names are alike, colours keep the count true."""
        alone = sum(o.name == one.name for o in self.main) == count
        phrase = self.noun(one, detail if alone else 1.0, count)
        return with_article(phrase) if count == 1 else f"{MAX_PLURAL[count]} {phrase}"

    def relation(self) -> str:
        """One true relation between two main objects that words can tell apart, or ""."""
        names = [o.name for o in self.main]
        lone = [o for o in self.main if names.count(o.name) == 1]
        if len(lone) < 2:
            return ""
        i = int(self.rng.random() * len(lone))
        one, two = lone[i], lone[(i + 1 + int(self.rng.random() * (len(lone) - 1))) % len(lone)]
        kinds = relations(self.scene, one, two)
        if not kinds:
            return ""
        word = self.choose(RELATIONS["on" if "on" in kinds else self.choose(kinds)])
        detail = 0.85
        return f"{with_article(self.noun(one, detail))} {word} {with_article(self.noun(two, detail))}"

    def subject(self, most: int) -> str:
        """The main objects, or the first few of them, joined by "and"."""
        groups = self.groups()[:most]
        parts = [self.counted(o, n, 0.9) for o, n in groups]
        if len(parts) == 1:
            return parts[0]
        return ", ".join(parts[:-1]) + " and " + parts[-1]

    def place(self) -> str:
        """Where it is."""
        scene, around = self.scene, self.scene.surroundings
        if scene.kind == "table":
            table = next(o for o in scene.objects if o.role == "detail")
            wall = around.wall not in ("", "brick") and self.colored and self.chance(0.2)
            said = "on a wooden table" if table.pattern and self.chance(0.6) else "on a table"
            return f"{said} in front of a {around.wall} wall" if wall else said
        if scene.kind == "room":
            light = scene.light.time if self.chance(0.5 if scene.light.time == "dim" else 0.15) else ""
            said = f"in a {light} room" if light else "in a room"
            choice = self.rng.random()
            if choice < 0.25 and (self.colored or around.wall == "brick"):
                said += " with a brick wall" if around.wall == "brick" else f" with {around.wall} walls"
            elif choice < 0.45 and around.ground != "plain":
                said += f" with {with_article(around.ground)} floor"
            return said
        if scene.kind == "street" and self.chance(0.7):
            return "on a street"
        return self.choose(GROUNDS[around.ground])

    def extra(self) -> str:
        """Something else that is plainly to be seen, or ""."""
        scene = self.scene
        if scene.light.time in ("fog", "night"):
            return ""
        options = []
        for i, one in enumerate(scene.objects):
            if one.role == "main" or one.name in ("table", "road") or one.name in [o.name for o in self.main]:
                continue
            if visible_share(scene, i) < (0.03 if one.role == "background" else 0.015):
                continue
            alike = sum(o.name == one.name for o in scene.objects)
            if one.role == "detail":
                options.append("with " + with_article(self.noun(one, 0.7)))
            elif alike == 1 or one.name == "lake":
                options.append(f"with {with_article(self.choose(NOUNS[one.name]))} in the background")
        return self.choose(tuple(options)) if options else ""

    def sentence(self) -> str:
        """One caption, long or short."""
        scene, form = self.scene, self.rng.random()
        told = 1.0 if scene.style != "photo" else 0.1
        if form < 0.16:
            body = self.subject(1)
            body = body.removeprefix("a ").removeprefix("an ") if self.chance(0.3) else body
        elif form < 0.5 and (related := self.relation()):
            body = related
            body += f" {self.place()}" if self.chance(0.5) else ""
        else:
            body = self.subject(1 if self.chance(0.25) else 4)
            if self.chance(0.7) and not (scene.kind == "table" and any(o.support >= 0 for o in self.main)):
                body += f" {self.place()}"
            if self.chance(0.3) and (more := self.extra()):
                body += f" {more}"
        if scene.light.time in TIMES and form >= 0.16 and self.chance(0.65):
            time = self.choose(TIMES[scene.light.time])
            body += f" {time}" if time and (self.colored or scene.light.time == "fog") else ""
        if self.chance(told * 0.95):
            if self.chance(0.65):
                return f"{self.choose(STYLE_FRONTS[scene.style])} {body}"
            return f"{body}, {self.choose(STYLE_ENDS[scene.style])}"
        return body


def relations(scene: Scene, one: SceneObject, two: SceneObject) -> tuple[str, ...]:
    """Which of `RELATIONS` hold, as the camera sees it, from `one` to `two`."""
    if one.support >= 0 and scene.objects[one.support] is two:
        return ("on",)
    if two.support >= 0 and scene.objects[two.support] is one:
        return ()
    found = []
    if one.bounds[2] < two.bounds[0] + 0.03:
        found.append("left")
        gap = two.bounds[0] - one.bounds[2]
    elif one.bounds[0] > two.bounds[2] - 0.03:
        found.append("right")
        gap = one.bounds[0] - two.bounds[2]
    else:
        gap = 0.0
    level = one.support == two.support == -1
    if level and one.depth < 0.75 * two.depth:
        found.append("front")
    elif level and one.depth > 1.33 * two.depth:
        found.append("behind")
    elif level and gap < 0.3:
        found.append("near")
    return tuple(found)


def count_tokens(caption: str) -> int:
    """Words and commas of a caption: what the mini's tokenizer makes of it, without the end token."""
    return len(caption.split()) + caption.count(",")


def captions(scene: Scene, n: int) -> list[str]:
    """True things to say of a scene, from the seed, so that they are the same everywhere.

    Args:
        scene: what to describe.
        n: how many; they vary in length, detail and words, and may repeat.

    Returns:
        Lower-case captions of at most `MAX_TOKENS` words of `VOCABULARY` and commas, which follow their word directly.
    """
    writer = _Writer(scene, np.random.Generator(np.random.PCG64([scene.seed, 1])))
    found = []
    while len(found) < n:
        text = writer.sentence()
        if count_tokens(text) <= MAX_TOKENS:
            found.append(text)
    return found
