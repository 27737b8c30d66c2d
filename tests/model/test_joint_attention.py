"""Row layout and adaptive weights."""

import math

import pytest
import torch

from jointdit_core.model.joint_attention import adaptive_weights, merge_branches, split_branches, swap_branches
from tests.model import reference

GRID = torch.linspace(0, 1, 5)
SIGMA_RGB, SIGMA_DEPTH = (axis.flatten() for axis in torch.meshgrid(GRID, GRID, indexing="ij"))


def test_split_branches_gives_rgb_first_and_merge_undoes_it():
    rows = torch.arange(12).reshape(6, 2)
    rgb, depth = split_branches(rows)
    assert rgb.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert depth.tolist() == [[6, 7], [8, 9], [10, 11]]
    assert torch.equal(merge_branches(rgb, depth), rows)
    assert torch.equal(swap_branches(rows), torch.cat([depth, rgb]))


@pytest.mark.parametrize("form", ["released", "paper", "off"])
def test_adaptive_weights_follow_eq_6_on_a_grid(form):
    for alpha in (3.0, 1.0):
        weights = torch.cat(adaptive_weights(SIGMA_RGB, SIGMA_DEPTH, form, alpha))
        assert torch.allclose(weights.double(), reference.weights(SIGMA_RGB, SIGMA_DEPTH, form, alpha), atol=1e-6)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_adaptive_weights_are_half_where_undefined_and_on_the_diagonal(form):
    w_rgb, w_depth = adaptive_weights(GRID, GRID, form)
    assert torch.equal(w_rgb, torch.full_like(GRID, 0.5))
    assert torch.equal(w_depth, torch.full_like(GRID, 0.5))


def test_adaptive_weights_let_the_noisier_branch_listen_more():
    noisy, cleaner = torch.tensor([0.9, 0.4]), torch.tensor([0.3, 0.1])
    for form in ("released", "paper"):
        w_rgb, w_depth = adaptive_weights(noisy, cleaner, form)
        assert (w_rgb > 0.5).all() and (w_depth < 0.5).all()


def test_adaptive_weights_off_the_diagonal_differ_between_the_forms_as_stated():
    sigma_depth = torch.tensor([1.0, 0.5, 0.01])
    clean = torch.zeros(3)
    released = adaptive_weights(clean, sigma_depth, "released")[1]
    paper = adaptive_weights(clean, sigma_depth, "paper")[1]
    top = 1 / (1 + math.exp(-1.5))  # 0.82
    assert torch.allclose(released, torch.full((3,), top))
    assert paper[0] == pytest.approx(top)
    assert paper[0] > paper[1] > paper[2] and paper[2] == pytest.approx(0.5, abs=0.01)


def test_adaptive_weights_keep_float32_for_bfloat16_noise_levels():
    half = torch.tensor([0.5], dtype=torch.bfloat16)
    assert all(w.dtype == torch.float32 for form in ("released", "off") for w in adaptive_weights(half, half, form))
