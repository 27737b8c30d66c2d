"""From the command line's flags to a model that is ready, here or on a Space."""

from __future__ import annotations

import argparse
import logging
import os

import torch

from app import zero
from jointdit_core import JointDiTPipeline
from jointdit_core.memory import PLANS
from jointdit_core.presets import PRESETS, Preset, adapt, load
from jointdit_core.speed import CACHES

logger = logging.getLogger(__name__)

CHOICES = {"preset": PRESETS, "memory": PLANS, "cache": CACHES}
NO_GPU = "This Space has no GPU, so the small embedded model runs on its CPU."


def load_asked(flags: argparse.Namespace) -> tuple[Preset, JointDiTPipeline]:
    """Load what the flags ask for; on a Space without a GPU, the embedded model in place of a large one.

    Args:
        flags: as `app.py` reads them.

    Returns:
        The preset and its pipeline, ready on the device.

    Raises:
        OSError: as `presets.load` raises it.
        ValueError: likewise, or a flag has a value that it cannot have here.
    """
    for flag, known in CHOICES.items():
        if getattr(flags, flag) not in (None, *known):
            raise ValueError(f"--{flag} must be one of {', '.join(known)}.")
    device = flags.device or ("cuda" if torch.cuda.is_available() else "cpu")
    preset = adapt(PRESETS[flags.preset], flags.base, flags.addons, flags.lora, flags.largest)
    if zero.ON:
        zero.check_flags(flags)
        return preset, zero.place(load(preset, "cpu", cache=flags.cache, loras=flags.lora))
    if "SPACE_ID" in os.environ and device == "cpu" and preset.addons is not None:
        logger.warning(NO_GPU)
        return PRESETS["mini"], load(PRESETS["mini"])
    return preset, load(preset, device, flags.memory, flags.compile, flags.cache, flags.lora)
