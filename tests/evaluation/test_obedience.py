"""The judge: it learns labels, counts kept promises as they are, and puts equal sets of pictures at distance 0."""

import numpy as np
import pytest
import torch
from PIL import Image

from jointdit_core.evaluation.checker import LabelChecker, train_checker
from jointdit_core.evaluation.obedience import distances, judge
from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.cache import LatentPairs
from jointdit_core.worlds import COLOR_CLASSES, OBJECT_CLASSES

BALL, RED, BLUE = OBJECT_CLASSES.index("ball"), COLOR_CLASSES.index("red"), COLOR_CLASSES.index("blue")


class Told(LabelChecker):
    """A checker that answers what it is told, in the real class's form."""

    def __init__(self, maps):
        super().__init__(channels=16, blocks=1)
        self.maps = torch.as_tensor(np.stack(maps))

    def labels(self, images):
        return self.maps[: len(images)]


def label_map(color, boxes):
    labels = np.zeros((2, 8, 8), dtype=np.int64)
    for y, x in boxes:
        labels[0, y : y + 2, x : x + 2], labels[1, y : y + 2, x : x + 2] = BALL, color
    return labels


def test_shares_are_those_of_the_promises():
    pictures = [Image.new("RGB", (128, 128))] * 4
    maps = [label_map(RED, [(0, 0)]), label_map(BLUE, [(0, 0)]), label_map(RED, [(0, 0), (4, 4)]), label_map(RED, [])]
    prompts = ["a red ball", "a red ball", "two red balls", "a red ball and a cube"]
    row = judge("made", Told(maps), pictures, prompts)
    assert row.prompts == 4
    assert row.objects == 75 and row.colors == 50 and row.counts == 100 and row.whole == 50
    assert row.whole_ci == pytest.approx(196 * np.std([1, 0, 1, 0], ddof=1) / 2)


def test_prompts_without_promises_are_left_out():
    row = judge("made", Told([label_map(RED, [(0, 0)])] * 2), [Image.new("RGB", (128, 128))] * 2, ["", "a ball"])
    assert row.prompts == 1 and row.objects == 100


def test_distance_is_zero_to_itself_and_grows_with_change():
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(24)]
    dark = [picture.point(lambda value: value // 4) for picture in pictures]
    torch.manual_seed(0)
    checker = LabelChecker(channels=16, blocks=1).eval()
    same, other = distances(checker, pictures, pictures), distances(checker, dark, pictures)
    assert same.frechet == pytest.approx(0, abs=1e-2)
    assert other.frechet > 10 * max(same.frechet, 1e-3) and other.kernel > same.kernel


def test_it_learns_what_cells_show(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(64, 2, 4, 4, dtype=torch.uint8)
    labels[:, 0] = BALL * torch.randint(2, (64, 4, 4), generator=generator)
    labels[:, 1] = RED * (labels[:, 0] > 0)
    images = (labels[:, :1] > 0).float().repeat_interleave(16, 2).repeat_interleave(16, 3).expand(-1, 3, -1, -1) * 2 - 1
    vae = AutoencoderPatchPCA.fit(images + 0.1 * torch.randn(images.shape, generator=generator), 4, 16, 0.5)
    with torch.inference_mode():
        latents = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
    pairs = LatentPairs(latents.half(), latents.half(), torch.zeros(64, 1, 4, dtype=torch.long), labels)
    train_checker(pairs, vae, 150, tmp_path / "checker", channels=16)
    checker = LabelChecker.from_pretrained(tmp_path / "checker", torch_dtype=torch.float32)
    found = checker.labels(images)
    assert (found == labels).float().mean() > 0.9
