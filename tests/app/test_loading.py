"""From flags to a model: weights from elsewhere, sizes, memory, and what a Space does without a GPU."""

from __future__ import annotations

import runpy
import sys
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from app.loading import asked_preset, each_model, load_asked
from jointdit_core import JointDiTPipeline
from jointdit_core import memory as memory_plans
from jointdit_core.memory import Card
from jointdit_core.model.fused import fuse_projections
from jointdit_core.presets import FLUX_REVISION, PRESETS, adapt


@pytest.fixture
def read(monkeypatch):
    """Read flags as `app.py` does."""
    monkeypatch.delenv("JOINTDIT_FLAGS", raising=False)

    def flags(*words: str) -> Namespace:
        monkeypatch.setattr(sys, "argv", ["app.py", *words])
        return runpy.run_path("app.py", run_name="not main")["read_flags"]()

    return flags


@pytest.fixture
def enough(monkeypatch):
    """A machine that could hold FLUX.1-dev; what is loaded is smaller."""
    monkeypatch.setattr(Card, "of", lambda device: Card(64.0, None))


def test_weights_may_come_from_elsewhere(read, enough, folders, tmp_path):
    flux, addons = folders
    name, a, b = "transformer.transformer_blocks.0.ff.net.2", 0.2 * torch.randn(2, 128), torch.randn(32, 2)
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, tmp_path / "style.safetensors")
    asked = ["--preset", "flux-dev", "--base", str(flux), "--addons", str(addons)]
    asked += ["--lora", f"{tmp_path / 'style.safetensors'}:0.5", "--largest", "768", "--device", "cpu"]
    flags = read(*asked)
    preset = asked_preset(flags)
    pipe = load_asked(flags, preset, tmp_path)
    plain = JointDiTPipeline.from_flux(str(flux), str(addons))
    changed = plain.transformer.transformer_blocks[0].ff.net[2].weight
    before = changed.clone()
    changed.data += (0.5 * b @ a).bfloat16()
    assert (changed - before).abs().max() > 0.1
    fuse_projections(plain.transformer)
    state = plain.transformer.state_dict()
    for key, value in pipe.transformer.state_dict().items():
        assert torch.allclose(value, state[key], rtol=0.02, atol=0.02), key
    assert preset.name == "flux-dev + flux + addons + style.safetensors:0.5" and preset.title == "JointDiT on flux"
    assert preset.sizes == ((512, 512), (640, 384), (384, 640)) and pipe.config.max_size == 640


def test_too_little_memory_is_told_before_anything_is_fetched(read, hub, monkeypatch, tmp_path):
    asked = read("--preset", "flux-dev", "--base", "maker/flux", "--addons", "maker/addons", "--device", "cpu")
    monkeypatch.setattr(Card, "of", lambda device: Card(20.0, None))
    with pytest.raises(
        ValueError, match=r"1024x1024 pixels .* need \d\d\.\d GiB in main memory, 20\.0 are free; on an NVIDIA GPU"
    ):
        load_asked(asked, asked_preset(asked), tmp_path)
    monkeypatch.setattr(Card, "of", lambda device: Card(11.5, (9, 0)))
    with pytest.raises(ValueError, match=r"1024x1024 pixels .* 11\.5 are free; --largest \d+ would fit\.$"):
        load_asked(asked, asked_preset(asked), tmp_path)
    assert hub.asked == []


@pytest.mark.parametrize("memory", [["--memory", "group-offload"], []], ids=["asked", "chosen"])
@pytest.mark.parametrize("words", [["--compile"], ["--cache", "clean-branch"], ["--cache", "half-depth"]])
def test_what_streamed_weights_do_not_bear_is_told_before_anything_is_fetched(
    read, hub, monkeypatch, tmp_path, memory, words
):
    asked = read("--preset", "flux-dev", "--base", "maker/flux", "--addons", "maker/addons", *memory, *words)
    monkeypatch.setattr(Card, "of", lambda device: Card(12.0, (9, 0)))
    monkeypatch.setattr(memory_plans, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"^{' '.join(words)} needs .* plan group-offload streams them; [^.]*\\.$"):
        load_asked(asked, asked_preset(asked), tmp_path)
    assert hub.asked == []


@pytest.mark.parametrize(
    "words, said",
    [
        (["--preset", "maxi"], "--preset must be one of mini, flux-dev."),
        (["--memory", "none"], "--memory must be one of bf16, "),
        (["--base", "maker/flux"], "--base and --addons are for flux-dev; mini is whole."),
        (["--preset", "flux-dev", "--largest", "256"], "--largest must be 512 to 1024 pixels for flux-dev, got 256."),
        (["--largest", "2048"], "--largest must be 256 to 320 pixels for mini, got 2048."),
        (["--lora", "maker/style:strong"], "--lora takes FILE_OR_REPOSITORY"),
        (["--device", "frog"], "--device frog is none that PyTorch knows; "),
        (["--device", "cuda:99"], "--device cuda:99 is not here: PyTorch finds "),
    ],
)
def test_flags_that_make_no_sense_are_refused(read, tmp_path, words, said):
    flags = read(*words)
    with pytest.raises(ValueError) as refusal:
        load_asked(flags, asked_preset(flags), tmp_path)
    assert str(refusal.value).startswith(said)


def test_space_without_a_gpu_runs_the_embedded_model(read, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("SPACE_ID", "maker/studio")
    monkeypatch.setenv("JOINTDIT_FLAGS", "--preset flux-dev --base 'maker/flux'")
    flags = read("--device", "cpu")
    assert (flags.preset, flags.base, flags.device) == ("flux-dev", "maker/flux", "cpu")
    preset = asked_preset(flags)
    pipe = load_asked(flags, preset, tmp_path)
    assert preset is PRESETS["mini"] and pipe.dtype == torch.float32
    assert "no GPU" in caplog.text


def test_released_base_is_pinned():
    assert PRESETS["flux-dev"].source == f"black-forest-labs/FLUX.1-dev@{FLUX_REVISION}"
    assert adapt(PRESETS["flux-dev"]) == PRESETS["flux-dev"] and adapt(PRESETS["mini"]) == PRESETS["mini"]


def test_of_several_models_each_gets_the_flags_that_are_for_it(read):
    flags = read("--serve", "serve.toml", "--preset", "mini,flux-dev", "--largest", "768", "--cache", "first-block")
    models = each_model(flags)
    assert [asked_preset(one).name for one in models.values()] == list(models) == ["mini", "flux-dev"]
    assert [(one.largest, one.cache) for one in models.values()] == [(None, "first-block"), (768, "first-block")]
    assert list(each_model(read())) == ["mini"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--preset", "mini,flux-dev"], "need --serve"),
        (["--preset", "mini,mini", "--serve", "serve.toml"], "names a model twice"),
        (["--preset", "mini,maxi", "--serve", "serve.toml"], "--preset must be one of mini, flux-dev"),
    ],
)
def test_models_that_cannot_stand_side_by_side_are_refused(read, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        [asked_preset(one) for one in each_model(read(*words)).values()]
