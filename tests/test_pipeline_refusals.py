"""What the pipeline is given at its door: refused in one sentence, or taken for what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_pipeline import PROMPTS, STEPS, digest

MAP = np.full((32, 32), 0.5, np.float32)
IMAGE = Image.new("RGB", (32, 32))


def with_value(value: float) -> np.ndarray:
    bad = MAP.copy()
    bad[3, 4] = value
    return bad


BAD = {
    "prompt none": ({"prompt": None}, "prompt must be text"),
    "prompt number": ({"prompt": ["a", 3]}, "prompt must be text"),
    "prompt empty list": ({"prompt": []}, "prompt is an empty list"),
    "prompt surrogate": ({"prompt": "a \ud800"}, "surrogate"),
    "negative number": ({"negative_prompt": 3}, "negative_prompt must be text"),
    "steps 0": ({"num_inference_steps": 0}, "num_inference_steps must be a whole number from 1 to 200, but 0 came"),
    "steps 201": ({"num_inference_steps": 201}, "num_inference_steps"),
    "steps float": ({"num_inference_steps": 4.0}, "num_inference_steps"),
    "steps bool": ({"num_inference_steps": True}, "num_inference_steps"),
    "guidance nan": ({"guidance_scale": float("nan")}, "guidance_scale must be a number from 0 to 30"),
    "guidance text": ({"guidance_scale": "3"}, "guidance_scale"),
    "guidance high": ({"guidance_scale": 31}, "guidance_scale"),
    "height small": ({"height": 63}, "height must be a whole number from 64 to 2048, but 63 came"),
    "width large": ({"width": 2049}, "width"),
    "width float": ({"width": 64.5}, "width"),
    "aspect": ({"height": 64, "width": 2048}, "at most 8 times"),
    "seed negative": ({"seed": -1}, "seed must be a whole number from 0"),
    "seed huge": ({"seed": 2**63}, "seed"),
    "seed overflows in batch": ({"prompt": ["a", "b"], "seed": 2**63 - 1}, "seed"),
    "seed float": ({"seed": 1.5}, "seed"),
    "seed list number": ({"seed": [1, None]}, "seed"),
    "seed empty": ({"seed": []}, "seed is an empty list"),
    "seed and generator": ({"seed": 1, "generator": torch.Generator()}, "seed and generator"),
    "generator type": ({"generator": 5}, "generator must be"),
    "start below without image": ({"sigma_start_rgb": 0.5}, "sigma_start_rgb is 0.5, below 1, which needs .* image"),
    "start below without map": ({"sigma_start_depth": 0}, "sigma_start_depth is 0, .* disparity"),
    "start range": ({"image": IMAGE, "sigma_start_rgb": 1.2}, "sigma_start_rgb must be a number from 0 to 1"),
    "start nan": ({"image": IMAGE, "sigma_start_rgb": float("nan")}, "sigma_start_rgb"),
    "nothing to make": ({"image": IMAGE, "disparity": MAP}, "Both start sigmas are 0"),
    "lengths": ({"prompt": ["a", "b"], "image": [IMAGE] * 3}, "prompt 2, image 3"),
    "lengths map": ({"prompt": ["a", "b"], "disparity": np.stack([MAP] * 3)}, "prompt 2, disparity 3"),
    "lengths seed": ({"prompt": ["a", "b"], "seed": [1]}, "prompt 2, seed 1"),
    "image text": ({"image": "cat.png"}, "image must be a PIL picture or a uint8 array, but str came"),
    "image empty list": ({"image": []}, "image is an empty list"),
    "image float": ({"image": np.zeros((32, 32, 3))}, r"uint8 of shape \(H, W, 3\), but float64"),
    "image channels": ({"image": np.zeros((32, 32, 4), np.uint8)}, r"\(32, 32, 4\) came"),
    "image 16 bit": ({"image": Image.new("I;16", (32, 32))}, "mode I;16"),
    "image small": ({"image": Image.new("RGB", (15, 32))}, "15 x 32 pixels"),
    "image large": ({"image": Image.new("RGB", (5001, 5000))}, "25 million"),
    "image aspect": ({"image": Image.new("RGB", (20, 200))}, "at most 8 times"),
    "image sizes": ({"image": [IMAGE, Image.new("RGB", (32, 33))]}, "one size"),
    "image with size": ({"image": IMAGE, "height": 64}, "height and width are those"),
    "map list": ({"disparity": [[0.1, 0.2]]}, "disparity must be a floating-point array"),
    "map integers": ({"disparity": np.zeros((32, 32), np.uint8)}, "uint8 of shape"),
    "map channels": ({"disparity": np.zeros((32, 32, 3, 1), np.float32)}, r"shape \(32, 32, 3, 1\)"),
    "map objects": ({"disparity": np.full((32, 32), None)}, "object of shape"),
    "map nan": ({"disparity": with_value(np.nan)}, "NaN or infinite"),
    "map infinite": ({"disparity": with_value(np.inf)}, "NaN or infinite"),
    "map negative": ({"disparity": with_value(-0.1)}, "runs from -0.1 to 0.5"),
    "map metric": ({"disparity": with_value(7)}, r"must lie in \[0, 1\]"),
    "map empty": ({"disparity": np.zeros((0, 32, 32), np.float32)}, "empty list"),
    "map no pixels": ({"disparity": np.zeros((0, 32), np.float32)}, "32 x 0 pixels"),
    "map against image": (
        {"image": IMAGE, "disparity": np.zeros((32, 40), np.float32), "sigma_start_rgb": 1.0},
        "image is 32 x 32 pixels, but disparity is 40 x 32",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_a_sentence(pipe, arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        pipe(**{"prompt": "a red ball", "num_inference_steps": 1} | arguments)
    assert len(str(refusal.value)) < 300 and "\n" not in str(refusal.value)


def test_refusals_leave_the_pipeline_as_it_was(pipe):
    before = digest(pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS))
    for arguments, _ in BAD.values():
        with pytest.raises(ValueError):
            pipe(**{"prompt": "a red ball", "num_inference_steps": 1} | arguments)
    assert digest(pipe.joint_generation(PROMPTS[0], seed=1, num_inference_steps=STEPS)) == before


def test_constant_disparity_is_a_wall(pipe):
    for value in (0.0, 0.5, 1.0):
        out = pipe.depth_to_image(PROMPTS[0], np.full((32, 32), value), seed=1, num_inference_steps=1)
        assert out.disparity.dtype == np.float32 and (out.disparity == value).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pictures_of_other_modes_are_taken(pipe, mode):
    assert pipe.depth_estimation(IMAGE.convert(mode), seed=1, num_inference_steps=1).image.mode == "RGB"


def test_uint8_array_is_taken_as_a_picture(pipe, picture):
    by_array = pipe.depth_estimation(np.asarray(picture), seed=1, num_inference_steps=1)
    assert digest(by_array) == digest(pipe.depth_estimation(picture, seed=1, num_inference_steps=1))
