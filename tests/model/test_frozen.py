"""The frozen clean branch against the transformer that computes both branches at every step."""

from __future__ import annotations

import copy
import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from jointdit_core.denoise import denoise
from jointdit_core.encode import PromptEmbeds, image_ids
from jointdit_core.model.fp8 import quantize_float8
from jointdit_core.model.frozen import CLEAN, HALF_DEPTH, freeze_branches
from jointdit_core.model.fused import fuse_projections
from jointdit_core.speed import speed_up
from tests.model.builders import TINY, build_model, shake

STEPS, PAIRS, GRID = 3, 2, 4
EITHER = pytest.mark.parametrize("clean", [0, 1], ids=["rgb", "depth"])


def deaf_model(clean: int):
    """A model whose clean branch hears nothing of the other: then freezing it changes nothing."""
    model = shake(build_model())
    with torch.no_grad():
        for processor in model.attn_processors.values():
            for tensor in (processor.joint.weight, processor.joint.bias):
                tensor.chunk(2)[clean].zero_()
    return model


def in_form(model, form: str):
    model = copy.deepcopy(model)
    if not form.startswith("plain"):
        fuse_projections(model, merge_lora=form.startswith("merged"))
    if form == "plain, other joint":  # as quantisers replace it
        for processor in model.attn_processors.values():
            linear = torch.nn.Linear(*processor.joint.weight.shape)
            linear.load_state_dict(processor.joint.state_dict())
            processor.joint = linear
    if form.endswith("float8"):
        quantize_float8(model)
    return model


def run(model, clean: int | None, seed: int = 0, negative: bool = True) -> list:
    """(v-moved tokens of both branches, after each step), from seeded noise."""
    generator, seen = torch.Generator().manual_seed(seed), []

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    rgb, depth = (draw(PAIRS, (GRID // 2) ** 2, TINY["in_channels"]) for _ in range(2))
    prompts = [
        PromptEmbeds(draw(PAIRS, TINY["pooled_projection_dim"]), draw(PAIRS, 5, TINY["joint_attention_dim"]))
        for _ in range(2)
    ]
    levels = torch.linspace(1, 0, STEPS + 1).tolist()
    sigmas = [[0.0] * (STEPS + 1) if branch == clean else levels for branch in (0, 1)]
    with torch.no_grad():
        denoise(
            model,
            rgb,
            depth,
            *sigmas,
            image_ids(GRID, GRID),
            prompts[0],
            prompts[1] if negative else None,
            3.5,
            lambda step, *clean_estimates: seen.append(clean_estimates),
        )
    return seen


def error(actual: list, expected: list, branch: int, step: int) -> float:
    return float((actual[step][branch] - expected[step][branch]).norm() / expected[step][branch].norm())


@EITHER
@pytest.mark.parametrize("form", ["plain", "plain, other joint", "fused", "merged", "fused float8", "merged float8"])
def test_freezing_a_branch_that_hears_nothing_changes_nothing(clean, form):
    model = in_form(deaf_model(clean), form)
    expected = run(model, clean)
    freeze_branches(model, CLEAN, compiled=False)
    actual = run(model, clean)
    # A difference in the last bit may be rounded the other way by float8.
    limit = 0.02 if "float8" in form else 1e-5
    assert all(error(actual, expected, 1 - clean, step) <= limit for step in range(STEPS))
    assert all(torch.equal(a[clean], e[clean]) for a, e in zip(actual, expected, strict=True))


@EITHER
def test_first_step_is_exact_and_later_ones_are_near(clean):
    model = in_form(shake(build_model()), "fused")
    expected = run(model, clean)
    speed_up(model, compiled=False, cache=CLEAN)
    actual = run(model, clean)
    assert torch.equal(actual[0][1 - clean], expected[0][1 - clean])
    assert 1e-6 < error(actual, expected, 1 - clean, STEPS - 1) < 0.5


def test_only_the_other_branch_is_computed_after_the_first_step():
    model, rows = shake(build_model()), []
    model.transformer_blocks[1].ff.net[2].register_forward_hook(lambda _, __, out: rows.append(len(out)))
    freeze_branches(model, CLEAN, compiled=False)
    run(model, 0, negative=False)
    assert rows == [2 * PAIRS] + [PAIRS] * (STEPS - 1)


def test_half_depth_computes_depth_in_every_second_step():
    model, rows = in_form(shake(build_model()), "fused"), []
    expected = run(model, None)
    model.transformer_blocks[1].ff.net[2].register_forward_hook(lambda _, __, out: rows.append(len(out)))
    speed_up(model, compiled=False, cache=HALF_DEPTH)
    actual = run(model, None)
    assert rows == [4 * PAIRS, 2 * PAIRS, 4 * PAIRS]
    assert all(torch.equal(actual[0][branch], expected[0][branch]) for branch in (0, 1))
    assert all(1e-6 < error(actual, expected, branch, STEPS - 1) < 0.5 for branch in (0, 1))
    # The depth that is not computed goes on as it did: both steps end at the same clean estimate.
    assert torch.allclose(actual[1][1], actual[0][1], atol=1e-5)


def test_joint_generation_and_later_requests_see_nothing_of_it():
    model = shake(build_model())
    expected = run(model, None), run(model, 0, seed=1)
    freeze_branches(model, CLEAN, compiled=False)
    run(model, 0)
    run(model, 1)
    actual = run(model, None), run(model, 0, seed=1)
    assert all(torch.equal(a[b], e[b]) for a, e in zip(actual[0], expected[0], strict=True) for b in (0, 1))
    assert torch.equal(actual[1][0][1], expected[1][0][1])


def test_parallel_requests_keep_their_own():
    model = shake(build_model())
    freeze_branches(model, CLEAN, compiled=False)
    requests = [(clean, seed) for seed in range(4) for clean in (0, 1)]
    serial = [run(model, *request) for request in requests]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda request: run(model, *request), requests))
    for (clean, _), s, p in zip(requests, serial, parallel, strict=True):
        assert torch.allclose(s[-1][1 - clean], p[-1][1 - clean], atol=1e-5)


def test_both_forms_compile_into_whole_graphs(monkeypatch):
    torch._dynamo.reset()
    model = in_form(shake(build_model(num_layers=1)), "fused")
    freeze_branches(model, CLEAN, compiled=False)
    expected = run(model, 0, negative=False)
    model = in_form(shake(build_model(num_layers=1)), "fused")
    # What is compiled to is PyTorch's; that it is one graph is ours.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    speed_up(model, compiled=True, cache=CLEAN)
    actual = run(model, 0, negative=False)
    assert error(actual, expected, 1, STEPS - 1) <= 1e-5


def test_streamed_weights_are_refused():
    model = build_model()
    model.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)
    with pytest.raises(ValueError, match="they are streamed here"):
        freeze_branches(model, CLEAN, compiled=False)
