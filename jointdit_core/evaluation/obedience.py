"""Whether made pictures show what their prompts promise, and how far they are from drawn ones, by `LabelChecker`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from .checker import LabelChecker
from .claims import check, claims
from .intervals import mean_and_ci

BATCH = 32
KID_SUBSETS = 50


@dataclass(frozen=True)
class ObedienceRow:
    """Shares in percent, with the half-width of their 95 % confidence interval over prompts.

    Attributes:
        pictures: Which pictures were judged.
        prompts: Number of prompts that promise anything.
        objects: Promised objects that are there.
        colors: Promised objects that are there in the promised colour, where one is promised.
        counts: Promises of two or more that are kept exactly; NaN if there are none.
        whole: Prompts of which every promise is kept.
    """

    pictures: str
    prompts: int
    objects: float
    objects_ci: float
    colors: float
    colors_ci: float
    counts: float
    counts_ci: float
    whole: float
    whole_ci: float


@dataclass(frozen=True)
class Distances:
    """Between made and drawn pictures, on the checker's features: not comparable with Inception's figures.

    Attributes:
        frechet: Frechet distance of the features' normal distributions.
        kernel: Kernel distance (polynomial, as in KID) times 1000.
        kernel_std: Its standard deviation over subsets.
    """

    frechet: float
    kernel: float
    kernel_std: float


def to_batches(images: list[Image.Image]) -> list[torch.Tensor]:
    """Pictures (H, W) of equal size as batches (b, 3, H, W) float32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return list((stacked.permute(0, 3, 1, 2).float() / 127.5 - 1).split(BATCH))


def judge(name: str, checker: LabelChecker, images: list[Image.Image], prompts: list[str]) -> ObedienceRow:
    """Check every promise of every prompt on its picture.

    Args:
        name: What the pictures are.
        checker: The judge.
        images: N pictures.
        prompts: Their N prompts.

    Returns:
        The shares kept.
    """
    maps = torch.cat([checker.labels(part.to(checker.device)) for part in to_batches(images)]).cpu().numpy()
    kept = [[(c, check(c, labels)) for c in claims(prompt)] for prompt, labels in zip(prompts, maps, strict=True)]
    kept = [promises for promises in kept if promises]
    shares = {
        "objects": [np.mean([k.seen for _, k in one]) for one in kept],
        "colors": [np.mean([k.colored for _, k in one]) for one in kept],
        "counts": [k.counted for one in kept for c, k in one if c.count > 1],
        "whole": [all(k.counted for _, k in one) for one in kept],
    }
    numbers = {}
    for key, values in shares.items():
        numbers[key], numbers[f"{key}_ci"] = mean_and_ci([100.0 * value for value in values])
    return ObedienceRow(name, len(kept), **numbers)


class _Features(torch.nn.Module):
    """The checker's features averaged over the picture, as torchmetrics' distances take them."""

    def __init__(self, checker: LabelChecker):
        super().__init__()
        self.checker, self.num_features = checker, checker.config.channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.checker.features(images).mean((2, 3))  # (B, channels)


def distances(checker: LabelChecker, made: list[Image.Image], drawn: list[Image.Image]) -> Distances:
    """Compare the looks of two sets of pictures.

    Args:
        checker: Whose features are compared.
        made: N pictures.
        drawn: N pictures to compare with.

    Returns:
        The distances.
    """
    features = _Features(checker)
    frechet = FrechetInceptionDistance(features).to(checker.device)
    kernel = KernelInceptionDistance(features, subsets=KID_SUBSETS, subset_size=max(2, len(made) // 2))
    kernel = kernel.to(checker.device)
    for metric in (frechet, kernel):
        for images, real in ((drawn, True), (made, False)):
            for part in to_batches(images):
                metric.update(part.to(checker.device), real=real)
    mean, std = kernel.compute()
    return Distances(float(frechet.compute()), 1000 * float(mean), 1000 * float(std))


def obedience_table(rows: list[ObedienceRow]) -> str:
    """Write rows as a Markdown table."""
    lines = [
        "| pictures | prompts | objects % | colours and objects % | counts % | whole prompts % |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {r.pictures} | {r.prompts} | {r.objects:.1f} ± {r.objects_ci:.1f} | {r.colors:.1f} ± {r.colors_ci:.1f} "
        f"| {r.counts:.1f} ± {r.counts_ci:.1f} | {r.whole:.1f} ± {r.whole_ci:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)
