"""The models the studio knows: where their weights come from, their defaults and limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from .hub import split_revision
from .loras import find_lora, merge_loras, parse_lora
from .memory import PLANS, Card, choose_plan
from .model.frozen import FREEZES
from .model.fused import fuse_projections
from .pipeline import JointDiTPipeline
from .speed import speed_up
from .weights import check_weights_file, find_weights

REPOSITORY = Path(__file__).resolve().parent.parent
RESTORE = "Restore it from the repository (`git checkout -- assets/jointdit-mini`, or clone again)."
# The commit of FLUX.1-dev that public caches and scripts name; so what is loaded cannot change under us.
FLUX_REVISION = "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21"
KEPT_PROMPTS = 32  # whose embeddings are remembered, 4 MiB each
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
COMPONENT_FILES = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": TOKENIZER_FILES,
    "tokenizer_2": TOKENIZER_FILES,
    "text_encoder": ("config.json",),
    "text_encoder_2": ("config.json",),
    "vae": ("config.json",),
    "transformer": ("config.json",),
}

Quality = Literal["draft", "standard", "fine"]
Task = Literal["joint_generation", "depth_estimation", "depth_to_image"]


@dataclass(frozen=True)
class TaskDefaults:
    """How one task runs unless the visitor says otherwise.

    Attributes:
        steps: Denoising steps per quality.
        guidance_scale: Guidance.
    """

    steps: dict[Quality, int]
    guidance_scale: float


@dataclass(frozen=True)
class Preset:
    """One model the studio offers.

    Attributes:
        name: As in `--preset`.
        title: As the page shows it.
        source: Folder under the repository's root, or FLUX: a folder or repository, perhaps with its @revision.
        addons: The JointDiT add-ons, likewise; None where `source` is a whole pipeline.
        default_size: Side of the square made by default, in pixels.
        sizes: (width, height) in pixels that are offered where nothing is given, the default first.
        max_guidance: Largest guidance scale that the model was taught, or is known to bear.
        dtype: Number format of the weights.
        tasks: Defaults of each task.
    """

    name: str
    title: str
    source: str
    addons: str | None
    default_size: int
    sizes: tuple[tuple[int, int], ...]
    max_guidance: float
    dtype: torch.dtype
    tasks: dict[Task, TaskDefaults]


PRESETS = {
    "mini": Preset(
        name="mini",
        title="JointDiT mini (embedded)",
        source="assets/jointdit-mini",
        addons=None,
        default_size=256,
        sizes=((256, 256), (320, 192), (192, 320)),
        max_guidance=6.0,
        dtype=torch.float32,
        tasks={
            "joint_generation": TaskDefaults({"draft": 8, "standard": 20, "fine": 40}, 3.5),
            "depth_estimation": TaskDefaults({"draft": 1, "standard": 4, "fine": 10}, 1.0),
            "depth_to_image": TaskDefaults({"draft": 8, "standard": 20, "fine": 40}, 3.5),
        },
    ),
    "flux-dev": Preset(
        name="flux-dev",
        title="JointDiT on FLUX.1-dev (released weights)",
        source=f"black-forest-labs/FLUX.1-dev@{FLUX_REVISION}",
        addons="byungki-kwon/JointDiT",
        default_size=512,
        sizes=((512, 512), (640, 384), (384, 640), (1024, 1024), (1024, 768), (768, 1024)),
        max_guidance=20.0,
        dtype=torch.bfloat16,
        tasks={
            "joint_generation": TaskDefaults({"draft": 10, "standard": 20, "fine": 40}, 3.5),
            "depth_estimation": TaskDefaults({"draft": 4, "standard": 20, "fine": 40}, 3.5),
            "depth_to_image": TaskDefaults({"draft": 10, "standard": 20, "fine": 40}, 3.5),
        },
    ),
}


def adapt(
    preset: Preset,
    base: str | None = None,
    addons: str | None = None,
    loras: Sequence[str] = (),
    largest: int | None = None,
) -> Preset:
    """Change where a preset's weights come from and how large its pictures may be.

    Args:
        preset: One of `PRESETS`.
        base: Another FLUX of FLUX.1-dev's shape: local folder or hub repository, perhaps with its @revision.
        addons: Other add-ons, likewise.
        loras: LoRAs that will be merged, for the name only, by which results tell what made them.
        largest: Longest side in pixels that is offered and worked at.

    Returns:
        The preset; its name holds no more of a local path than the last part.

    Raises:
        ValueError: The preset has no such parts, or no such size.
    """
    if preset.addons is None and (base or addons):
        raise ValueError(f"--base and --addons are for flux-dev; {preset.name} is whole.")
    least, most = preset.default_size, max(max(size) for size in preset.sizes)
    if largest is not None and not least <= largest <= most:
        raise ValueError(f"--largest must be {least} to {most} pixels for {preset.name}, got {largest}.")
    sizes = tuple(size for size in preset.sizes if largest is None or max(size) <= largest)
    name = " + ".join([preset.name, *(Path(given).name for given in (base, addons, *loras) if given)])
    title = f"JointDiT on {Path(base).name}" if base else preset.title
    return replace(
        preset,
        name=name,
        title=title,
        source=base or preset.source,
        addons=addons or preset.addons,
        sizes=sizes,
    )


def load(
    preset: Preset,
    device: str = "cpu",
    memory: str | None = None,
    compiled: bool = False,
    cache: str | None = None,
    loras: Sequence[str] = (),
) -> JointDiTPipeline:
    """Load a preset's pipeline.

    Args:
        preset: One of `PRESETS`, or one that `adapt` made.
        device: Such as "cpu" or "cuda".
        memory: A plan in `memory.PLANS` for a large model; None chooses the first that fits.
        compiled: Whether to compile the transformer's blocks; the first step then takes up to a minute.
        cache: A step cache in `speed.CACHES`, which is approximate; None for none.
        loras: FLUX LoRAs to merge, as `loras.parse_lora` reads them.

    Returns:
        The pipeline, ready on the device; it remembers the last prompts' embeddings.

    Raises:
        OSError: A file is missing or damaged; the message names it and says what to do.
        ValueError: There is no such device, the model does not fit it, the memory plan does not bear `compiled` or
            `cache`, or a LoRA does not fit the model; the message says what is needed.
    """
    target = _find_device(device)
    asked = [parse_lora(text) for text in loras]
    if preset.addons is None:
        folder = REPOSITORY / preset.source
        check_files(folder)
        pipe = JointDiTPipeline.from_pretrained(folder, dtype=preset.dtype)
        merge_loras(pipe, asked)
        pipe.to(target)
        if target.type == "cpu":
            fuse_projections(pipe.transformer, merge_lora=True)  # takes off an eighth of a request
    else:
        largest = max(max(size) for size in preset.sizes)
        plan = choose_plan(Card.of(target), largest, memory)  # before anything is downloaded
        _check_speed(plan, compiled, cache)
        for lora in asked:
            find_lora(lora)  # small, so they come before the large files
        (base, revision), (addons, addons_revision) = split_revision(preset.source), split_revision(preset.addons)
        pipe = JointDiTPipeline.from_flux(base, addons, preset.dtype, revision, addons_revision)
        pipe.register_to_config(max_size=min(largest, pipe.config.max_size))
        merge_loras(pipe, asked)
        PLANS[plan].apply(pipe, target)
    pipe.remember_prompts(KEPT_PROMPTS)
    speed_up(pipe.transformer, compiled, cache)
    return pipe


def _find_device(name: str) -> torch.device:
    """Refuse a device that is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name} is none that PyTorch knows; there are cpu and cuda.") from error
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(f"--device {name} is not here: PyTorch finds {count or 'no'} NVIDIA GPUs.")
    return device


def _check_speed(plan: str, compiled: bool, cache: str | None) -> None:
    """Refuse what a memory plan that streams the blocks' weights does not bear, before anything is loaded."""
    if PLANS[plan].streams and (compiled or cache in FREEZES):
        flag = "--compile" if compiled else f"--cache {cache}"
        raise ValueError(
            f"{flag} needs the transformer's weights in place, and the memory plan {plan} streams them; leave it out, "
            "or choose another plan with --memory."
        )


def check_files(folder: Path) -> None:
    """Refuse a saved pipeline with missing or damaged files, before any is loaded.

    Args:
        folder: Pipeline in diffusers' layout, weights as safetensors.

    Raises:
        OSError: The message names the file and says what to do.
    """
    _read_json(folder / "model_index.json")
    for component, names in COMPONENT_FILES.items():
        for name in names:
            _read_json(folder / component / name)
        if "config.json" in names:
            _check_weights(folder / component)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise OSError(f"The model file {path} is missing. {RESTORE}")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise OSError(f"The model file {path} is damaged: it is not valid JSON. {RESTORE}") from error


def _check_weights(folder: Path) -> None:
    """Check one model's safetensors: all shards of its index, or its single file."""
    for index in folder.glob("*.safetensors.index.json"):
        _read_json(index)
    for path in find_weights(folder):
        check_weights_file(path, RESTORE)
