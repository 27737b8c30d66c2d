"""Memory plans: their arithmetic against measured figures, their choice, and that each leaves the result alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel

from jointdit_core import memory
from jointdit_core.memory import PLANS, Card, choose_plan, describe_plans, weights_gib
from jointdit_core.model.nf4 import nf4_bytes, quantize_nf4
from tests.model.builders import build_inputs
from tests.tiny import tiny_pipeline

# Peak of the transformer alone at 512 x 512, measured on one H100.
MEASURED_GIB = {"flux": 22.4, "joint": 26.9, "float8": 16.9}


def test_weights_add_up_to_the_measured_peaks():
    with init_empty_weights():
        flux = FluxTransformer2DModel(guidance_embeds=True).to(torch.bfloat16)
    assert MEASURED_GIB["flux"] - 0.5 < weights_gib(flux) < MEASURED_GIB["flux"]
    plain = weights_gib(memory._transformer(False, fused=False))
    assert abs(plain - MEASURED_GIB["joint"]) < 0.6
    assert weights_gib(memory._transformer(False)) == pytest.approx(plain, abs=0.5)  # fused holds the same weights
    assert abs(weights_gib(memory._transformer(True)) - MEASURED_GIB["float8"]) < 1.2


HOPPER, AMPERE = (9, 0), (8, 0)


@pytest.fixture(params=[True, False], ids=["with bitsandbytes", "without"])
def has_nf4(request, monkeypatch):
    """Whether the optional package is installed."""
    monkeypatch.setattr(memory, "find_spec", lambda name: request.param or None)
    return request.param


@pytest.mark.parametrize("size", [512, 1024])
@pytest.mark.parametrize(
    "card_gib, capability, plan, without_nf4",
    [
        (79.0, HOPPER, "bf16", "bf16"),  # of 80 GB
        (47.0, HOPPER, "bf16", "bf16"),  # of 48 GB
        (31.5, HOPPER, "bf16-offload", "bf16-offload"),  # of 32 GB
        (23.5, HOPPER, "float8-offload", "float8-offload"),  # of 24 GB
        (23.5, AMPERE, "nf4", "group-offload"),  # of 24 GB, without float8 products
        (15.5, HOPPER, "nf4", "group-offload"),  # of 16 GB
        (12.0, HOPPER, "group-offload", "group-offload"),
    ],
)
def test_each_card_gets_the_first_plan_that_fits(has_nf4, card_gib, capability, plan, without_nf4, size):
    card = Card(card_gib, capability)
    chosen = choose_plan(card, size)
    assert chosen == (plan if has_nf4 else without_nf4)
    assert PLANS[chosen].need_gib(size) <= card_gib
    before = list(PLANS)[: list(PLANS).index(chosen)]
    assert all(PLANS[name].need_gib(size) > card_gib or PLANS[name].obstacle(card) for name in before)


def test_refusal_tells_the_need_and_what_would_fit(monkeypatch):
    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    for free, asked, said in [
        (23.5, "bf16", r"plan bf16 need \d\d\.\d GiB on the card, 23\.5 are free; float8-offload would fit with \d"),
        (
            11.5,
            None,
            r"1024x1024 .* group-offload need 11\.\d GiB on the card, 11\.5 are free; --largest 896 would fit\.",
        ),
        (4.0, None, r"group-offload need \d+\.\d GiB on the card, 4\.0 are free\.$"),
        (15.5, "nf4", r"plan nf4 cannot be used: it needs bitsandbytes: pip install bitsandbytes\.$"),
    ]:
        with pytest.raises(ValueError, match=said):
            choose_plan(Card(free, HOPPER), 1024, asked)
    for free, host, said in [
        (15.5, 20.0, r"plan bf16 need 38\.6 .*; nf4 would fit with 14\.3, but it needs bitsandbytes: pip install"),
        (
            12.0,
            20.0,
            r"; group-offload would fit with 11\.6, but it needs 3\d\.\d GiB of main memory, 20\.0 are free\.",
        ),
    ]:
        with pytest.raises(ValueError, match=said):
            choose_plan(Card(free, AMPERE, host), 1024)
    assert choose_plan(Card(23.5, HOPPER, 30.0), 1024) == "float8-offload"
    with pytest.raises(ValueError, match=r"float8 cannot be used: it needs .* capability 8\.9, this one has 8\.0\.$"):
        choose_plan(Card(79.0, AMPERE), 1024, "float8")


def test_main_memory_is_asked_for_where_there_is_no_card():
    assert choose_plan(Card(64.0, None), 1024) == "bf16"
    with pytest.raises(
        ValueError, match=r"need \d\d\.\d GiB in main memory, 16\.0 are free; on an NVIDIA GPU 11\.6 would do\.$"
    ):
        choose_plan(Card(16.0, None), 1024)
    with pytest.raises(ValueError, match="plan nf4 is for a card; on the CPU there is bf16"):
        choose_plan(Card(64.0, None), 1024, "nf4")
    assert 0.1 < Card.of(torch.device("cpu")).free_gib < 100_000


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


@pytest.mark.parametrize("name", ["float8", "nf4"])
def test_rounded_plan_stays_near(name):
    if name == "nf4":
        pytest.importorskip("bitsandbytes")
    pipe = tiny_pipeline(guidance_embeds=True)
    ask = {"prompt": "a red ball", "seed": 3, "num_inference_steps": 2}
    expected = pipe(**ask)
    PLANS[name].apply(pipe, torch.device("cpu"))
    actual = pipe(**ask)
    assert 1e-4 < np.abs(actual.disparity - expected.disparity).mean() < 0.1


@torch.no_grad()
@pytest.mark.parametrize("model", ["transformer", "text_encoder_2"])
def test_nf4_takes_what_was_reckoned_and_errs_by_its_rounding(model):
    pytest.importorskip("bitsandbytes")
    pipe = tiny_pipeline(guidance_embeds=True)
    module = getattr(pipe, model)
    inputs = {"input_ids": torch.arange(12)[None]}
    if model == "transformer":
        inputs = build_inputs([0.4], [0.8], module.config)
    expected = module(**inputs)[0]
    reckoned, before = nf4_bytes(module), sum(p.nbytes for p in module.parameters())
    quantize_nf4(module, torch.device("cpu"))
    states = [p.quant_state for p in module.parameters() if hasattr(p, "quant_state")]
    scales = sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    taken = scales + sum(t.nbytes for t in [*module.parameters(), *module.buffers()])
    assert len(states) >= 5 and taken < 0.8 * before
    assert taken == pytest.approx(reckoned, rel=0.02)
    assert 1e-3 < (module(**inputs)[0] - expected).norm() / expected.norm() < 0.2
