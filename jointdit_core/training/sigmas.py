"""Sampling of the two noise levels ("unbalanced timestep sampling", Fig. 3c of the paper).

Letters: B pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SigmaSampling:
    """How the noise levels of a training batch are drawn.

    Attributes:
        shift_noisy: Shift of f, the distribution of a branch that is being generated; > 1 is towards noise.
            3.1582 is the paper's at 512 x 512.
        shift_clean: Shift of g, the distribution of a branch that is given; < 1 is towards clean. 0.25 in the paper.
        clean_share: Share of the draws from g that are exactly 0, as in the conditional tasks; 0 in the paper.
        uniform: Draw f from a uniform instead of a normal before its shift. The paper's f all but never draws above
            0.99, where sampling starts and where a model trained from nothing has to learn what the prompt says.
        noise_share: Share of the draws from f that are exactly 1; 0 in the paper.
        unbalanced: False draws both levels from f, each on its own: the paper's ablation.
        joint_share: Share of the pairs with one level for both branches; of the others, half have either branch
            from g. 0.5 in the paper.
    """

    shift_noisy: float = 3.1582
    shift_clean: float = 0.25
    clean_share: float = 0.0
    uniform: bool = False
    noise_share: float = 0.0
    unbalanced: bool = True
    joint_share: float = 0.5


# f up to pure noise, and g half of the time exactly clean, as the branch that is given is in the conditional tasks.
MINI_SAMPLING = SigmaSampling(clean_share=0.5, uniform=True, noise_share=0.05)


def shifted(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Move noise levels towards noise or clean: `s * t / (1 + (s - 1) * t)`.

    Args:
        t: Noise levels in [0, 1], any shape.
        shift: s > 0; 1 leaves them, larger is noisier.

    Returns:
        Noise levels in [0, 1], the shape of `t`.
    """
    return shift * t / (1 + (shift - 1) * t)


def sample_sigmas(
    config: SigmaSampling, pairs: int, device: torch.device, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the noise levels of a batch of pairs.

    Args:
        config: The distributions.
        pairs: B.
        device: Where to draw.
        generator: Source of randomness on that device; None is torch's global one.

    Returns:
        (sigma_rgb, sigma_depth), each (B,) float32. A share of the pairs has both equal from f; half of the rest has
        rgb from f and depth from g; half the reverse. Which pair is of which kind is random. Without `unbalanced`, both
        are from f and independent.
    """
    u = torch.randn(2, pairs, device=device, generator=generator)
    if not config.unbalanced:
        return tuple(_from_f(config, normal, generator) for normal in u)
    noisy = _from_f(config, u[0], generator)
    clean = shifted(torch.sigmoid(u[1]), config.shift_clean)
    kind, exact = torch.rand(2, pairs, device=device, generator=generator)
    clean = torch.where(exact < config.clean_share, 0.0, clean)
    rgb_noisy = (1 + config.joint_share) / 2
    sigma_rgb = torch.where(kind >= rgb_noisy, clean, noisy)
    sigma_depth = torch.where((kind >= config.joint_share) & (kind < rgb_noisy), clean, noisy)
    return sigma_rgb, sigma_depth


def _from_f(config: SigmaSampling, normal: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Turn standard normal draws (B,) into levels from f."""
    # `erf` of a normal draw is uniform, so both forms read the same random numbers.
    t = (1 + torch.erf(normal / 2**0.5)) / 2 if config.uniform else torch.sigmoid(normal)
    pure = torch.rand(normal.shape, device=normal.device, generator=generator)
    return torch.where(pure < config.noise_share, 1.0, shifted(t, config.shift_noisy))
