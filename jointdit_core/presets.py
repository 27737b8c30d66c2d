"""The models the studio knows: where their weights come from, their defaults and limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from .memory import GIB, PLANS, choose_plan
from .model.fused import fuse_projections
from .pipeline import JointDiTPipeline
from .speed import speed_up
from .weights import check_weights_file, find_weights

REPOSITORY = Path(__file__).resolve().parent.parent
RESTORE = "Restore it from the repository (`git checkout -- assets/jointdit-mini`, or clone again)."
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
        name: As in `--model`.
        title: As the page shows it.
        source: Folder under the repository's root, or the FLUX repository on the Hugging Face hub.
        addons: Hub repository of the JointDiT add-ons; None where `source` is a whole pipeline.
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
        source="black-forest-labs/FLUX.1-dev",
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


def load(
    preset: Preset, device: str = "cpu", memory: str | None = None, compiled: bool = False, cache: str | None = None
) -> JointDiTPipeline:
    """Load a preset's pipeline.

    Args:
        preset: One of `PRESETS`.
        device: Such as "cpu" or "cuda".
        memory: A plan in `memory.PLANS` for a large model on a card; None chooses the fastest that fits.
        compiled: Whether to compile the transformer's blocks; the first step then takes up to a minute.
        cache: A step cache in `speed.CACHES`, which is approximate; None for none.

    Returns:
        The pipeline, ready on the device.

    Raises:
        OSError: A file is missing or damaged; the message names it and says what to do.
        ValueError: The model does not fit the card; the message says what is needed.
    """
    target = torch.device(device)
    if preset.addons is None:
        folder = REPOSITORY / preset.source
        check_files(folder)
        pipe = JointDiTPipeline.from_pretrained(folder, dtype=preset.dtype).to(target)
        if target.type == "cpu":
            fuse_projections(pipe.transformer, merge_lora=True)  # takes off an eighth of a request
    elif target.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(target)
        largest = max(max(size) for size in preset.sizes)
        plan = choose_plan(free_bytes / GIB, largest, memory)  # before anything is downloaded
        pipe = JointDiTPipeline.from_flux(preset.source, preset.addons, preset.dtype)
        PLANS[plan].apply(pipe, target)
    else:
        pipe = JointDiTPipeline.from_flux(preset.source, preset.addons, preset.dtype).to(target)
    speed_up(pipe.transformer, compiled, cache)
    return pipe


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
