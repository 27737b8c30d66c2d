"""Depth metrics on maps whose errors are known."""

import numpy as np
import pytest

from jointdit_core.evaluation.depth_metrics import align_disparity, depth_metrics


@pytest.fixture
def depth():
    return 1 + 9 * np.random.default_rng(0).random((12, 16))


def test_any_scale_and_shift_of_the_truth_is_perfect(depth):
    metrics = depth_metrics(0.3 / depth - 0.02, depth)
    assert metrics.abs_rel == pytest.approx(0, abs=1e-6)
    assert metrics.delta1 == 100


def test_sky_does_not_count(depth):
    depth[:3] = np.inf
    disparity = 1 / depth
    disparity[:3] = 55
    assert depth_metrics(disparity, depth).abs_rel == pytest.approx(0, abs=1e-6)


def test_known_errors_are_reported():
    depth = np.array([[1.0, 2.0, 4.0, 4.0]])
    # Symmetric errors of disparity +-0.1 at depth 4 leave the least-squares line alone.
    disparity = np.array([[1.0, 0.5, 0.35, 0.15]])
    scale, shift = np.polyfit(disparity[0], 1 / depth[0], 1)
    predicted = np.clip(1 / (scale * disparity + shift), 1, 4)
    error = 100 * np.mean(np.abs(predicted - depth) / depth)
    close = 100 * np.mean(np.maximum(predicted / depth, depth / predicted) < 1.25)
    metrics = depth_metrics(disparity, depth)
    assert metrics.abs_rel == pytest.approx(error) and metrics.abs_rel > 1
    assert metrics.delta1 == pytest.approx(close) and metrics.delta1 == 75


def test_alignment_uses_valid_pixels_only(depth):
    valid = depth < 5
    disparity = np.where(valid, 2 / depth + 1, 77.0)
    aligned = align_disparity(disparity, 1 / depth, valid)
    assert np.allclose(aligned[valid], 1 / depth[valid])


@pytest.mark.parametrize(
    ("disparity", "truth", "named"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), "agree"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "not finite"),
        (np.ones((2, 2)), np.full((2, 2), np.inf), "valid"),
    ],
)
def test_bad_maps_are_named(disparity, truth, named):
    with pytest.raises(ValueError, match=named):
        depth_metrics(disparity, truth)
