"""A studio over the tiny pipeline, and a result with true depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.engine import Engine, Resident
from app.handlers import Studio
from app.session import Sessions
from jointdit_core.presets import PRESETS
from jointdit_core.results import Result, Settings


@pytest.fixture
def studio(pipe, tmp_path):
    preset = replace(PRESETS["mini"], sizes=((64, 64), (96, 64)))  # what the tiny pipeline makes in no time
    return Studio(Engine(Resident(pipe, preset.name)), preset, [], Sessions(tmp_path / "sessions"))


@pytest.fixture(scope="module")
def result():
    y, x = np.mgrid[0:40, 0:56]
    image = np.stack([4 * x, 5 * y, x + y], axis=-1).astype(np.uint8)
    return Result(image, (y / 39).astype(np.float32), Settings("joint_generation", "a red ball", 7, 20, 3.5, "mini"))
