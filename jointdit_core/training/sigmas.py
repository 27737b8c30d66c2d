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
        unbalanced: Draw half the pairs off the diagonal; False is the ablation's balanced sampling.
    """

    shift_noisy: float = 3.1582
    shift_clean: float = 0.25
    clean_share: float = 0.0
    unbalanced: bool = True


# The paper's f, and g half of the time exactly clean, as the branch that is given is in the conditional tasks.
MINI_SAMPLING = SigmaSampling(clean_share=0.5)


def shifted_logit_normal(u: torch.Tensor, shift: float) -> torch.Tensor:
    """Map normal draws to noise levels: `s * t / (1 + (s - 1) * t)` with t = sigmoid(u).

    Args:
        u: Standard normal draws, any shape.
        shift: s > 0; 1 is the plain logit-normal, larger is noisier.

    Returns:
        Noise levels in (0, 1), the shape of `u`.
    """
    t = torch.sigmoid(u)
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
        (sigma_rgb, sigma_depth), each (B,) float32. Half the pairs have both equal from f; a quarter has rgb from f and
        depth from g; a quarter the reverse. Which pair is of which kind is random.
    """
    u = torch.randn(2, pairs, device=device, generator=generator)
    noisy = shifted_logit_normal(u[0], config.shift_noisy)
    if not config.unbalanced:
        return noisy, noisy.clone()
    clean = shifted_logit_normal(u[1], config.shift_clean)
    kind, exact = torch.rand(2, pairs, device=device, generator=generator)
    clean = torch.where(exact < config.clean_share, 0.0, clean)
    sigma_rgb = torch.where(kind >= 0.75, clean, noisy)
    sigma_depth = torch.where((kind >= 0.5) & (kind < 0.75), clean, noisy)
    return sigma_rgb, sigma_depth
