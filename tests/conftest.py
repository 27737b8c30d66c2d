"""Real pipelines at tiny size, built once."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jointdit_core.pipeline import JointDiTPipeline
from tests.tiny import SIZE, tiny_pipeline


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
