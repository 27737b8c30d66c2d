"""The two-sigma Euler loop against a float64 loop written from the equations, on a real tiny transformer."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from jointdit_core.denoise import add_noise, denoise, schedule
from jointdit_core.encode import PromptEmbeds, image_ids
from tests.tiny import tiny_transformer

H, W, C, T, P, E = 4, 6, 16, 5, 16, 24
PAIRS, STEPS = 2, 4
TASKS = {"joint": (1.0, 1.0), "depth_estimation": (0.0, 1.0), "depth_to_image": (1.0, 0.0), "loose": (0.8, 0.35)}


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


@pytest.fixture(scope="module")
def embeds() -> tuple[PromptEmbeds, PromptEmbeds]:
    prompt = PromptEmbeds(draw(PAIRS, P, seed=1), draw(PAIRS, T, E, seed=2))
    return prompt, PromptEmbeds(draw(PAIRS, P, seed=3), draw(PAIRS, T, E, seed=4))


def run(transformer, scheduler, starts, embeds, negative, guidance, on_step=lambda *_: None):
    sigmas = [schedule(scheduler, STEPS, H * W // 4, start) for start in starts]
    rgb, depth = draw(PAIRS, H * W // 4, C, seed=5), draw(PAIRS, H * W // 4, C, seed=6)
    return denoise(transformer, rgb, depth, *sigmas, image_ids(H, W), embeds, negative, guidance, on_step)


def run_float64(transformer, starts, embeds, negative, guidance):
    """x <- x + (next sigma - sigma) v with v from one call per condition, all in float64."""
    model = copy.deepcopy(transformer).double()
    mu = 0.5 + (1.15 - 0.5) * (H * W // 4 - 256) / (4096 - 256)
    shifted = [math.exp(mu) / (math.exp(mu) + 1 / (1 - i / STEPS) - 1) for i in range(STEPS)] + [0.0]
    x = [draw(PAIRS, H * W // 4, C, seed=seed).double() for seed in (5, 6)]

    def v(condition, sigma_rgb, sigma_depth):
        return model(
            hidden_states=torch.cat(x),
            encoder_hidden_states=condition.tokens.double().repeat(2, 1, 1),
            pooled_projections=condition.pooled.double().repeat(2, 1),
            timestep=torch.tensor([sigma_rgb] * PAIRS + [sigma_depth] * PAIRS, dtype=torch.float64),
            img_ids=image_ids(H, W),
            txt_ids=torch.zeros(T, 3),
            guidance=torch.full((2 * PAIRS,), guidance) if model.config.guidance_embeds else None,
        ).sample

    for i in range(STEPS):
        now, then = [start * shifted[i] for start in starts], [start * shifted[i + 1] for start in starts]
        velocity = v(embeds, *now)
        if negative is not None:
            without = v(negative, *now)
            velocity = without + guidance * (velocity - without)
        halves = velocity[:PAIRS], velocity[PAIRS:]
        x = [x[b] + (then[b] - now[b]) * halves[b] for b in (0, 1)]
    return x


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("starts", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("guided", [False, True], ids=["plain", "cfg"])
def test_denoise_agrees_with_a_float64_loop(scheduler, embeds, starts, guided):
    transformer = tiny_transformer()
    negative = embeds[1] if guided else None
    actual = run(transformer, scheduler, starts, embeds[0], negative, 3.5)
    expected = run_float64(transformer, starts, embeds[0], negative, 3.5)
    for branch in (0, 1):
        assert relative(actual[branch], expected[branch]) < 1e-4


@torch.no_grad()
def test_embedded_guidance_reaches_the_transformer(scheduler, embeds):
    transformer = tiny_transformer(guidance_embeds=True)
    results = [run(transformer, scheduler, (1, 1), embeds[0], None, guidance) for guidance in (1.0, 3.5)]
    expected = run_float64(transformer, (1, 1), embeds[0], None, 3.5)
    for branch in (0, 1):
        assert relative(results[1][branch], expected[branch]) < 1e-4
        assert relative(results[0][branch], expected[branch]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("clean", [0, 1], ids=["rgb", "depth"])
def test_clean_branch_stays_bit_by_bit(scheduler, embeds, clean):
    starts = [1.0, 1.0]
    starts[clean] = 0.0
    given, seen = draw(PAIRS, H * W // 4, C, seed=5 + clean), []
    result = run(tiny_transformer(), scheduler, starts, *embeds, 3.5, lambda step, *x: seen.append(x[clean]))
    assert torch.equal(result[clean], given)
    assert all(torch.equal(x, given) for x in seen) and len(seen) == STEPS


@torch.no_grad()
def test_last_estimate_is_the_result(scheduler, embeds):
    seen = []
    result = run(tiny_transformer(), scheduler, (1.0, 0.6), *embeds, 2.0, lambda step, *x: seen.append((step, *x)))
    assert [step for step, *_ in seen] == [1, 2, 3, 4]
    for branch in (0, 1):
        assert torch.allclose(seen[-1][1 + branch], result[branch], atol=1e-6)
        assert (seen[0][1 + branch] - result[branch]).abs().max() > 1e-3


@torch.no_grad()
def test_error_in_on_step_ends_the_loop(scheduler, embeds):
    steps = []

    def stop(step, *_):
        steps.append(step)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        run(tiny_transformer(), scheduler, (1, 1), embeds[0], None, 1.0, stop)
    assert steps == [1]


@pytest.mark.parametrize("tokens", [64, 256, 1024, 4096])
def test_schedule_is_flux_schedule(scheduler, tokens):
    sigmas = schedule(scheduler, 20, tokens, 1.0)
    shift = math.exp(calculate_shift(tokens))
    expected = [shift / (shift + 1 / (1 - i / 20) - 1) for i in range(20)] + [0.0]
    assert sigmas == pytest.approx(expected, abs=1e-6)
    assert sigmas[0] == 1.0


def test_schedule_scales_with_its_start_and_leaves_the_scheduler_alone(scheduler):
    before = scheduler.sigmas.clone()
    full, part = schedule(scheduler, 7, 64, 1.0), schedule(scheduler, 7, 64, 0.6)
    assert part == pytest.approx([0.6 * sigma for sigma in full])
    assert schedule(scheduler, 7, 64, 0.0) == [0.0] * 8
    assert schedule(scheduler, 1, 64, 1.0) == [1.0, 0.0]
    assert torch.equal(scheduler.sigmas, before)


def test_add_noise_is_exact_at_both_ends():
    clean, noise = draw(3, 4, seed=7), draw(3, 4, seed=8)
    assert torch.equal(add_noise(clean, noise, 0.0), clean)
    assert torch.equal(add_noise(clean, noise, 1.0), noise)
    assert torch.allclose(add_noise(clean, noise, 0.25), 0.75 * clean + 0.25 * noise)
