"""The noise levels' distributions against their closed forms."""

import math

import pytest
import torch

from jointdit_core.training.sigmas import SigmaSampling, sample_sigmas

CPU = torch.device("cpu")


def before_shift(sigma, shift):
    return sigma / (shift - (shift - 1) * sigma)


def logit_normal_cdf(t):
    return 0.5 * (1 + math.erf(math.log(t / (1 - t)) / math.sqrt(2)))


@pytest.mark.parametrize("shift", [3.1582, 0.25, 1.0])
@pytest.mark.parametrize(("uniform", "cdf"), [(False, logit_normal_cdf), (True, lambda t: t)])
def test_levels_of_f_follow_their_distribution(shift, uniform, cdf):
    config = SigmaSampling(shift_noisy=shift, uniform=uniform, unbalanced=False)
    levels, _ = sample_sigmas(config, 200_000, CPU, torch.Generator().manual_seed(0))
    for sigma in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        expected = cdf(before_shift(sigma, shift))
        assert (levels < sigma).float().mean().item() == pytest.approx(expected, abs=5e-3)


def test_noise_share_is_pure_noise():
    config = SigmaSampling(noise_share=0.2, unbalanced=False)
    levels, _ = sample_sigmas(config, 100_000, CPU, torch.Generator().manual_seed(3))
    assert (levels == 1).float().mean().item() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_share_of_the_pairs_has_one_level_and_each_branch_is_cleaner_in_half_of_the_rest(share):
    generator = torch.Generator().manual_seed(1)
    rgb, depth = sample_sigmas(SigmaSampling(joint_share=share), 100_000, CPU, generator)
    assert (rgb == depth).float().mean().item() == pytest.approx(share, abs=0.01)
    uneven = rgb != depth
    # f is noisier than g with this probability (two independent normals, shifts apart by log(3.1582 / 0.25)).
    noisier = 0.5 * (1 + math.erf(math.log(3.1582 / 0.25) / 2))
    assert (rgb > depth)[uneven].float().mean().item() == pytest.approx(0.5, abs=0.01)
    median_noisy = torch.maximum(rgb, depth)[uneven].median().item()
    assert noisier > 0.9 and median_noisy == pytest.approx(3.1582 / 4.1582, abs=0.03)


def test_clean_share_is_exactly_clean():
    rgb, depth = sample_sigmas(SigmaSampling(clean_share=0.5), 100_000, CPU, torch.Generator().manual_seed(2))
    assert (rgb == 0).float().mean().item() == pytest.approx(0.125, abs=0.005)
    assert (depth == 0).float().mean().item() == pytest.approx(0.125, abs=0.005)
    assert not ((rgb == 0) & (depth == 0)).any()


def test_without_unbalanced_sampling_both_levels_are_from_f_and_independent():
    config = SigmaSampling(unbalanced=False, noise_share=0.1)
    levels = torch.stack(sample_sigmas(config, 100_000, CPU, torch.Generator().manual_seed(4)))
    assert torch.corrcoef(levels)[0, 1].abs().item() < 0.02
    assert levels.median(dim=1).values.tolist() == pytest.approx(2 * [levels.median().item()], abs=0.005)
    assert ((levels == 1).float().mean(dim=1) - 0.1).abs().max().item() < 0.005
