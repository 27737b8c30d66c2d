"""The page's sentences: run bar, caption, title line. All text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from app.lane import Progress
from jointdit_core.results import Result, Settings

TASK_TITLES = {
    "joint_generation": "Text → RGB + depth",
    "depth_estimation": "Image → depth",
    "depth_to_image": "Depth → image",
}


def seconds(value: float) -> str:
    """Return a duration for people: "0.8 s", "12 s", "2 min 5 s"."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def size_title(width: int, height: int) -> str:
    """Return a size as its menu shows it."""
    shape = "Square" if width == height else "Wide" if width > height else "Tall"
    return f"{shape} · {width} × {height}"


def run_bar(text: str, share: float = 0.0) -> str:
    """Return the run bar's HTML: a sentence over a track filled to `share`."""
    percent = round(100 * share)
    return (
        f'<div class="run"><span role="status">{escape(text)}</span>'
        f'<div class="track" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><i style="width:{percent}%"></i></div></div>'
    )


def running(progress: Progress, which: str = "") -> str:
    """Return the run bar of a waiting or running job; `which` begins its sentence."""
    if progress.ahead:
        runs = "1 run is" if progress.ahead == 1 else f"{progress.ahead} runs are"
        wait = "" if progress.wait_s is None else f" · about {seconds(max(1.0, progress.wait_s))} to wait"
        return run_bar(f"{which}Waiting: {runs} before yours{wait}")
    if not progress.total:
        return run_bar(f"{which}Starting …")
    text = f"{which}Step {progress.step} of {progress.total}"
    if progress.left_s is not None:
        text += f" · about {seconds(progress.left_s)} left"
    return run_bar(text, progress.step / progress.total)


def run_title(settings: Settings) -> str:
    """Return an earlier run's line in the menu."""
    what = settings.prompt.strip() or TASK_TITLES[settings.task]
    return f"{what} · seed {settings.seed} · {settings.steps} steps"


def caption(result: Result) -> str:
    """Return the line under the pictures: what they show and how to make them again."""
    settings = result.settings
    height, width = result.disparity.shape
    prompt = f"“{escape(settings.prompt.strip())}”" if settings.prompt.strip() else TASK_TITLES[settings.task]
    facts = [f"seed {settings.seed}", f"{settings.steps} steps", f"{width} × {height} px"]
    if settings.guidance is not None:
        facts.insert(2, f"guidance {settings.guidance:g}")
    if settings.looseness:
        facts.append(f"looseness {settings.looseness:g}")
    if result.seconds:
        facts.append(f"took {seconds(result.seconds)}")
    if settings.stopped_at is not None:
        facts.append(f"stopped after step {settings.stopped_at}")
    facts_line = " · ".join(fact.replace(" ", "&nbsp;") for fact in facts)
    notes = "".join(f'<div class="note">{escape(note)}</div>' for note in result.notes)
    link = escape(f"?settings={quote(settings.text())}")
    line = f'<span class="prompt">{prompt}</span> <span class="facts">{facts_line}</span>'
    return f'<div data-link="{link}">{line}</div>{notes}'


EMPTY = (
    "<div>Nothing made yet. Type a prompt and press <b>Generate RGB + depth</b>: the picture, its depth and a 3D view "
    "that you can turn appear above.</div>"
)
CHIPS = {  # a shown part of `jointdit_core.worlds.VOCABULARY`
    "Things": (
        *("ball", "cube", "cylinder", "cone", "gift", "chair", "table", "sofa", "bed", "lamp", "plant", "vase", "mug"),
        *("bowl", "bottle", "candle", "apple", "cake", "house", "tree", "pine tree", "bush", "car", "bench", "fence"),
        *("tower", "snowman", "mailbox", "rock", "tent", "windmill"),
    ),
    "Colours": (
        *("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "brown", "white", "gray", "black"),
    ),
    "Looks": ("big", "small", "striped", "checkered", "dotted", "wooden"),
    "Relations": ("left of", "right of", "in front of", "behind", "on top of", "next to"),
    "Places": ("on a table", "in a room", "on a street", "in a meadow", "in the snow", "in the desert", "by a lake"),
    "Light": ("on a sunny day", "at sunset", "at night", "in the fog"),
    "Styles": ("a photo of", "a cartoon of", "pixel art of", "a pencil sketch of"),
}


def vocabulary() -> str:
    """Return the card of the words that the embedded model knows, as buttons."""
    rows = ""
    for name, group in CHIPS.items():
        chips = "".join(f'<button type="button">{escape(word)}</button>' for word in group)
        rows += f"<dt>{name}</dt><dd>{chips}</dd>"
    return f"<h2>What the mini knows</h2><p>Click a word to add it to the prompt.</p><dl>{rows}</dl>"


def title(models: Mapping[str, str], here: str, status: str) -> str:
    """Return the title line.

    Args:
        models: each model's title by the path of its page; links lead from one to the other.
        here: this page's path.
        status: where this page's model runs and how fast.
    """
    names = "".join(
        f'<b aria-current="page">{escape(name)}</b>' if path == here else f'<a href="./{path}">{escape(name)}</a>'
        for path, name in models.items()
    )
    names = f'<nav aria-label="Model">{names}</nav>' if len(models) > 1 else names.replace(' aria-current="page"', "")
    return (
        '<div id="title"><h1>JointDiT Studio</h1><p>A picture and its depth, made together</p>'
        f'<div class="model">{names} · {escape(status)}</div></div>'
    )


KIND_HELP = "Disparity is largest for what is near, distance for what is far."
POLARITY_HELP = "Check it in the picture above: what is near must be white."


def quality_help(steps: list[int]) -> str:
    """Return the line over the choice of a quality."""
    *few, most = steps
    return f"Better takes longer: {', '.join(map(str, few))} or {most} steps."


LIFT_HELP = {  # of the controls beside the downloads
    "Field of view °": "How wide the camera sees, across the longer side. Estimate camera guesses it.",
    "Far / near": "How many times as far the farthest point is as the nearest.",
    "Edge cut %": "Leaves out points between two surfaces where depth jumps by more; 0 keeps all.",
    "Points": "How many points at most: fewer turn faster. Files keep to it, too.",
    "Clip colours %": "Of the depth picture: so many pixels at each end get the end's colour.",
    "Surface": "Draws a closed surface; off, points.",
    "No sky": "Leaves out what is farthest away.",
    "Smooth 8-bit": "Smooths the stair-steps of a depth map of 8 bits.",
}
BUTTON_HELP = {  # by element, for what has no room for a line of its own
    "estimate-all": "Estimates the depth of all these pictures with the settings above.",
    "colours": "How depth is coloured.",
    "stop": "Stops the run; its last preview stays.",
    "compare": "Lays picture and depth over each other under a slider.",
    "use-image": "Takes this picture to the tab Image → depth.",
    "use-depth": "Takes this depth, at full precision, to the tab Depth → image.",
    "reset": "Turns back to the photo's own view.",
    "estimate": "Reads field of view and far / near off the flat surfaces in the picture.",
    "file-rgb": "The picture, with prompt, seed and settings inside: drop it on Image → depth to have them back.",
    "file-stereo": "Left and right eye's views side by side.",
    "file-anaglyph": "Both eyes' views in one picture, for red-cyan glasses.",
    "make-parallax": "A short moving picture of a camera that sways; takes some seconds.",
    "file-parallax": "A short moving picture of a camera that sways.",
    "file-depth_png": "Relative depth in 65,536 steps, near is bright.",
    "file-depth_npy": "Relative depth as numbers (NumPy, float32), 1 is nearest.",
    "file-depth_exr": "Relative depth as numbers for compositing (OpenEXR).",
    "file-normals": "Which way each surface faces, as colours.",
    "file-points": "Coloured points, as lifted here.",
    "file-mesh": "Textured surface for Blender, browsers and games.",
    "file-mesh_obj": "The same surface as OBJ with material and texture.",
    "file-camera": "The camera's intrinsics as JSON.",
    "file-everything": "All these files in one archive.",
    "file-settings": "Everything that made this result, as JSON.",
    "copy-link": "Copies an address that opens this page with these settings.",
}


SQUARE = """<svg viewBox="-86 -6 272 122" role="img" aria-label="Noise levels on the way from the start to the result">
<rect width="100" height="100"/>
<text x="-9" y="4" class="end">depth from picture</text>
<text x="109" y="4">both are made</text>
<text x="-9" y="104" class="end">clean result</text>
<text x="109" y="104">picture from depth</text>
<text x="50" y="113" class="mid axis">noise in picture →</text>
<text transform="translate(-6 52) rotate(-90)" class="mid axis">noise in depth →</text>
<line x1="0" y1="100" x2="{x}" y2="{y}"/><circle cx="{x}" cy="{y}" r="4.5"/><circle cx="0" cy="100" r="2.5"/></svg>
<p>From the start, the large dot, to the result.</p>"""


def noise_square(given: str) -> str:
    """Return the square of both branches' noise levels with the way of a run whose picture or depth is `given`."""
    return SQUARE.format(x=0, y=0) if given == "picture" else SQUARE.format(x=100, y=100)


def move_start(given: str) -> str:
    """Return the script that moves the start of the way drawn by `noise_square` to a looseness in [0, 1]."""
    x, y = ("100 * s", "0") if given == "picture" else ("100", "100 - 100 * s")
    return f"""(s) => {{
        const [x, y] = [{x}, {y}], drawing = document.querySelector("#square-{given} svg")
        for (const [part, across, down] of [["line", "x2", "y2"], ["circle", "cx", "cy"]]) {{
            drawing.querySelector(part).setAttribute(across, x)
            drawing.querySelector(part).setAttribute(down, y)
        }}
    }}"""


def example_title(settings: Settings) -> str:
    """Return the line under an example's thumbnail."""
    return settings.prompt or TASK_TITLES[settings.task]
