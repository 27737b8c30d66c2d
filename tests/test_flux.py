"""FLUX.1-dev and the released add-ons, made up at tiny size in the folders they are downloaded as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from jointdit_core import JointDiTPipeline
from jointdit_core.model.released import load_released
from tests.model.test_released import make_released

CONFIG = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}


@pytest.fixture
def folders(pipe, tmp_path) -> tuple[Path, Path]:
    """FLUX's folder in diffusers' layout with its original weights, and the add-ons' folder."""
    flux, addons = tmp_path / "flux", tmp_path / "addons"
    for name in ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"):
        pipe.components[name].save_pretrained(flux / name)
    FluxTransformer2DModel(**CONFIG).save_config(flux / "transformer")
    base, extra = make_released(CONFIG, {"blocks": 4, "txt_in": 5})
    save_file(base, flux / "flux1-dev.safetensors")
    addons.mkdir()
    save_file(extra, addons / "jointdit_addons.safetensors")
    settings = {"is_txt_ids_training": False, "is_attnmask_training": False, "depth_transform": "inverse"}
    (addons / "jointdit.json").write_text(json.dumps(settings))
    return flux, addons


def test_from_flux_joins_both_downloads(folders):
    pipe = JointDiTPipeline.from_flux(*map(str, folders), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert (pipe.config.default_size, pipe.config.depth_transform, pipe.config.depth_guidance_scale) == (
        512,
        "inverse",
        3.5,
    )
    expected = load_released(*make_released(CONFIG, {"blocks": 4, "txt_in": 5}), CONFIG).state_dict()
    loaded = pipe.transformer.state_dict()
    assert loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)
    pipe.register_to_config(default_size=64, max_size=64)
    out = pipe.joint_generation("a red ball", seed=1, num_inference_steps=1)
    assert out.image.size == (64, 64) and out.disparity.std() > 0


def test_from_flux_gives_all_models_the_dtype(folders):
    pipe = JointDiTPipeline.from_flux(*map(str, folders))
    names = ("transformer", "vae", "text_encoder", "text_encoder_2")
    assert {pipe.components[name].dtype for name in names} == {torch.bfloat16}
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(default_size=64, max_size=64)
    assert pipe.joint_generation("a red ball", seed=1, num_inference_steps=1).disparity.std() > 0


@pytest.mark.parametrize(
    "file", ["flux/flux1-dev.safetensors", "addons/jointdit_addons.safetensors", "addons/jointdit.json"]
)
def test_from_flux_names_what_is_missing(folders, file):
    (folders[0].parent / file).unlink()
    with pytest.raises(OSError, match="needs") as refusal:
        JointDiTPipeline.from_flux(*map(str, folders))
    assert file.split("/")[0] in str(refusal.value)
