"""Memory plans: their arithmetic against measured figures, their choice, and that each leaves the result alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel

from jointdit_core import memory
from jointdit_core.memory import PLANS, choose_plan, describe_plans, weights_gib
from tests.tiny import tiny_pipeline

# Peak of the transformer alone at 512 x 512, measured on one H100.
MEASURED_GIB = {"flux": 22.4, "joint": 26.9, "float8": 16.9}


def test_weights_add_up_to_the_measured_peaks():
    with init_empty_weights():
        flux = FluxTransformer2DModel(guidance_embeds=True).to(torch.bfloat16)
    assert MEASURED_GIB["flux"] - 0.5 < weights_gib(flux) < MEASURED_GIB["flux"]
    plain = weights_gib(memory._transformer(False, fused=False))
    assert abs(plain - MEASURED_GIB["joint"]) < 0.6
    # Folding the joint Linear into two output projections of a double block doubles it: 19 x 4 D^2 more.
    folded = 19 * 4 * 3072**2 * 2 / 2**30
    assert weights_gib(memory._transformer(False)) == pytest.approx(plain + folded, abs=0.5)
    assert abs(weights_gib(memory._transformer(True)) - MEASURED_GIB["float8"]) < 1.2


@pytest.mark.parametrize(
    "card_gib, size, plan",
    [
        (79, 1024, "bf16"),
        (47, 1024, "bf16"),
        (31.5, 512, "bf16-offload"),
        (23.5, 1024, "float8"),
        (15.5, 1024, "group-offload"),
    ],
)
def test_each_card_gets_the_fastest_plan_that_fits(card_gib, size, plan):
    assert choose_plan(card_gib, size) == plan


def test_refusal_tells_the_need_and_what_would_fit():
    with pytest.raises(ValueError, match=r"plan bf16 need \d\d\.\d GiB on the card, 23\.5 are free; float8 would fit"):
        choose_plan(23.5, 1024, "bf16")
    with pytest.raises(ValueError, match=r"group-offload need \d+\.\d GiB on the card, 4\.0 are free\.$"):
        choose_plan(4.0, 1024)


def test_help_lists_every_plan_with_its_need():
    text = describe_plans(1024)
    for name, plan in PLANS.items():
        assert f"{name} ({plan.need_gib(1024):.1f} GiB)" in text


@pytest.mark.parametrize("name", ["bf16", "group-offload"])
def test_plan_gives_the_same_result(name):
    pipe = tiny_pipeline(guidance_embeds=True)
    ask = {"prompt": "a red ball", "seed": 3, "num_inference_steps": 2}
    expected = pipe(**ask)
    PLANS[name].apply(pipe, torch.device("cpu"))
    pipe.set_progress_bar_config(disable=True)
    actual = pipe(**ask)
    assert np.abs(actual.disparity - expected.disparity).max() <= 1e-3
    assert np.abs(np.asarray(actual.image, int) - np.asarray(expected.image, int)).max() <= 1
