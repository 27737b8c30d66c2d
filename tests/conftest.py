"""Real pipelines at tiny size, built once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image
from safetensors.torch import save_file

from jointdit_core.pipeline import JointDiTPipeline
from tests.hub_server import serve
from tests.model.test_released import make_released
from tests.tiny import SIZE, tiny_pipeline

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
}  # of a made-up FLUX
# Training computes in bfloat16 where the processor is made for it; tests come out the same on any.
os.environ["ACCELERATE_MIXED_PRECISION"] = "no"


@pytest.fixture(scope="session")
def pipe() -> JointDiTPipeline:
    """A pipeline with classifier-free guidance."""
    return tiny_pipeline()


@pytest.fixture(scope="session")
def embedded_pipe() -> JointDiTPipeline:
    """A pipeline whose transformer has FLUX.1-dev's guidance embedding."""
    return tiny_pipeline(guidance_embeds=True)


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A picture at the tiny pipelines' own size."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def disparity() -> np.ndarray:
    """A disparity map at the tiny pipelines' own size: a near ball before a slope."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1)
    return np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.05, 1.0, 0.6 * y).astype(np.float32)


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


@pytest.fixture
def hub(folders, tmp_path, monkeypatch):
    """Both repositories on a hub; the base in diffusers' layout."""
    flux, addons = folders
    with torch.random.fork_rng():
        FluxTransformer2DModel(**CONFIG).save_pretrained(flux / "transformer")
    (flux / "flux1-dev.safetensors").unlink()
    with serve(tmp_path / "home", monkeypatch) as one:
        one.add("maker/flux", flux)
        one.add("maker/addons", addons)
        yield one
