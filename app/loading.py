"""From the command line's flags to a model that is ready, here or on a Space."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from app import zero
from jointdit_core import JointDiTPipeline
from jointdit_core.memory import PLANS
from jointdit_core.presets import PRESETS, Preset, adapt, load
from jointdit_core.speed import CACHES

logger = logging.getLogger(__name__)

CHOICES = {"preset": PRESETS, "memory": PLANS, "cache": CACHES}
NO_GPU = "This Space has no GPU, so the small embedded model runs on its CPU."


def asked_preset(flags: argparse.Namespace) -> Preset:
    """Tell which model the flags ask for; on a Space without a GPU, the embedded one in place of a large one.

    Args:
        flags: as `app.py` reads them.

    Returns:
        The preset, with what the flags change of it.

    Raises:
        ValueError: a flag has a value that it cannot have here.
    """
    for flag, known in CHOICES.items():
        if getattr(flags, flag) not in (None, *known):
            raise ValueError(f"--{flag} must be one of {', '.join(known)}.")
    preset = adapt(PRESETS[flags.preset], flags.base, flags.addons, flags.lora, flags.largest)
    if zero.ON:
        zero.check_flags(flags)
    elif "SPACE_ID" in os.environ and preset.addons is not None and not torch.cuda.is_available():
        logger.warning(NO_GPU)
        return PRESETS["mini"]
    return preset


def each_model(flags: argparse.Namespace) -> dict[str, argparse.Namespace]:
    """Tell which flags are for which of the models that the page is to serve side by side.

    Args:
        flags: as `app.py` reads them; `preset` may name several, with commas between.

    Returns:
        The flags of each model by its name, the first one first; of several, an embedded one gets none that are for
        released weights.

    Raises:
        ValueError: several are named where only one can be.
    """
    names = flags.preset.split(",")
    if len(names) == 1:
        return {flags.preset: flags}
    if not flags.serve:
        raise ValueError("Several models in --preset need --serve, which gives each its replicas; name one.")
    if len(set(names)) < len(names):
        raise ValueError(f"--preset names a model twice, {flags.preset}; name each once.")
    whole = {"base": None, "addons": None, "lora": [], "largest": None, "memory": None}
    return {
        name: argparse.Namespace(**vars(flags) | {"preset": name} | (whole if _is_embedded(name) else {}))
        for name in names
    }


def _is_embedded(name: str) -> bool:
    return name in PRESETS and PRESETS[name].addons is None


def load_asked(flags: argparse.Namespace, preset: Preset, root: Path) -> JointDiTPipeline:
    """Load it.

    Args:
        flags: as `app.py` reads them.
        preset: as `asked_preset` gave it.
        root: folder of this process.

    Returns:
        The pipeline, ready on the device.

    Raises:
        OSError: as `presets.load` raises it.
        ValueError: likewise.
    """
    if zero.ON:
        return zero.place(load(preset, "cpu", loras=flags.lora), flags.cache, root)
    if preset is PRESETS["mini"] and flags.preset != preset.name:
        return load(preset)
    device = flags.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load(preset, device, flags.memory, flags.compile, flags.cache, flags.lora)
