"""Loading a preset, and what is said when its files are missing or damaged."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jointdit_core.model.frozen import CLEAN
from jointdit_core.pipeline import JointDiTPipeline
from jointdit_core.presets import COMPONENT_FILES, PRESETS, Preset, check_files, load
from jointdit_core.request import ASKED_SIDES, MAX_GUIDANCE, MAX_STEPS
from jointdit_core.speed import CACHES

WEIGHTS = {
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "transformer": "diffusion_pytorch_model.safetensors",
}
FILES = ["model_index.json"]
FILES += [f"{component}/{name}" for component, names in COMPONENT_FILES.items() for name in names]
FILES += [f"{component}/{name}" for component, name in WEIGHTS.items()]


@pytest.fixture(scope="module")
def saved(pipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def preset_of(folder: Path) -> Preset:
    return dataclasses.replace(PRESETS["mini"], source=str(folder))


def test_load_gives_a_pipeline_that_answers(saved):
    pipe = load(preset_of(saved))
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe, JointDiTPipeline) and pipe.transformer.dtype == torch.float32
    assert pipe.joint_generation("a red ball", seed=1, num_inference_steps=1).disparity.std() > 0


def test_step_caches_leave_the_minis_results_nearly_as_they_are():
    ask = {"prompt": "a red ball left of a blue cube", "seed": 1, "num_inference_steps": 20}
    pipe = load(PRESETS["mini"])
    pipe.set_progress_bar_config(disable=True)
    given = pipe(**ask)
    depth = {"prompt": " ", "image": given.image, "seed": 1, "num_inference_steps": 4, "guidance_scale": 1.0}
    estimated = pipe(**depth)
    for cache in CACHES:
        pipe = load(PRESETS["mini"], cache=cache)
        pipe.set_progress_bar_config(disable=True)
        request, expected = (depth, estimated) if cache == CLEAN else (ask, given)
        disparity = pipe(**request).disparity
        assert 1e-5 < np.abs(disparity - expected.disparity).mean() < 0.03, cache
        assert np.array_equal(pipe(**request).disparity, disparity)  # one request leaves nothing to the next


@pytest.mark.parametrize("file", FILES)
def test_missing_file_is_named_with_what_to_do(folder, file):
    (folder / file).unlink()
    with pytest.raises(OSError, match="is missing. Restore it") as refusal:
        load(preset_of(folder))
    assert file in str(refusal.value) or str(folder / file.split("/")[0]) in str(refusal.value)


@pytest.mark.parametrize("component", WEIGHTS)
@pytest.mark.parametrize("damage", ["cut by 4 bytes", "half", "empty", "text", "longer"])
def test_damaged_weights_are_named(folder, component, damage):
    path = folder / component / WEIGHTS[component]
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut by 4 bytes": data[:-4],
            "half": data[: len(data) // 2],
            "empty": b"",
            "text": b"version https://git-lfs.github.com/spec/v1\n",
            "longer": data + b"\0\0\0\0",
        }[damage]
    )
    with pytest.raises(OSError, match="is damaged") as refusal:
        load(preset_of(folder))
    assert str(path) in str(refusal.value) and "Restore it" in str(refusal.value)


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".json")])
def test_damaged_json_is_named(folder, file):
    (folder / file).write_text('{"cut": [')
    with pytest.raises(OSError, match="is damaged: it is not valid JSON") as refusal:
        load(preset_of(folder))
    assert file in str(refusal.value)


def test_missing_folder_is_named_without_asking_the_network(tmp_path):
    with pytest.raises(OSError, match="model_index.json is missing"):
        load(preset_of(tmp_path / "nowhere"))


def test_each_shard_is_checked(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted((tmp_path / "transformer").glob("*.safetensors"))
    assert len(shards) > 2
    check_files(tmp_path)
    loaded = load(preset_of(tmp_path))
    loaded.set_progress_bar_config(disable=True)
    ask = {"prompt": "a red ball", "seed": 1, "num_inference_steps": 1}
    assert np.allclose(loaded(**ask).disparity, pipe(**ask).disparity, atol=1e-4)
    shards[1].unlink()
    with pytest.raises(OSError, match=f"{shards[1].name} is missing"):
        load(preset_of(tmp_path))


def test_weights_of_another_model_are_refused(folder):
    shutil.copy(folder / "vae" / WEIGHTS["vae"], folder / "transformer" / WEIGHTS["transformer"])
    with pytest.raises((OSError, ValueError), match="transformer"):
        load(preset_of(folder))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_stay_within_the_pipelines_limits(preset):
    assert PRESETS[preset.name] is preset
    assert preset.sizes[0] == (preset.default_size, preset.default_size)
    assert all(ASKED_SIDES[0] <= side <= ASKED_SIDES[1] for size in preset.sizes for side in size)
    assert set(preset.tasks) == {"joint_generation", "depth_estimation", "depth_to_image"}
    for task, defaults in preset.tasks.items():
        assert hasattr(JointDiTPipeline, task)
        steps = defaults.steps
        assert 1 <= steps["draft"] < steps["standard"] < steps["fine"] <= MAX_STEPS
        assert 0 <= defaults.guidance_scale <= preset.max_guidance <= MAX_GUIDANCE
