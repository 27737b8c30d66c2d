"""Real pipelines at tiny size, built once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image

from jointdit_core.pipeline import JointDiTPipeline
from tests.hub_server import serve
from tests.tiny import CONFIG, SIZE, tiny_flux, tiny_pipeline


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
    """Two folders as `tiny_flux` makes them."""
    return tiny_flux(pipe, tmp_path)


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
