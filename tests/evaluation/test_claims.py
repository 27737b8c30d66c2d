"""Claims read from captions are true of the scenes they were written for, and true label maps keep them."""

import numpy as np
import pytest
import torch

from jointdit_core.evaluation.claims import Claim, check, claims
from jointdit_core.worlds import (
    COLOR_CLASSES,
    OBJECT_CLASSES,
    batch,
    captions,
    cell_labels,
    label_table,
    render,
    sample_scene,
)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red ball left of a blue cube", [Claim("ball", "red", 1), Claim("cube", "blue", 1)]),
        ("three striped yellow spheres", [Claim("ball", "yellow", 3)]),
        ("a chair in a room with pink walls and a rug", [Claim("chair", "", 1), Claim("rug", "", 1)]),
        ("a potted plant in a red pot on a table", [Claim("plant", "red", 1), Claim("table", "", 1)]),
        ("a snowman with a blue hat under a gray sky", [Claim("snowman", "blue", 1)]),
        ("two green street lamps", [Claim("lantern", "green", 2)]),
        ("pine trees, pixel art", [Claim("pine", "", 1)]),
        ("something else entirely", []),
    ],
)
def test_noun_phrases_are_read(caption, expected):
    assert claims(caption) == expected


def test_every_claim_is_true_of_its_scene():
    read = 0
    for seed in range(400):
        scene = sample_scene(seed)
        for caption in captions(scene, 2):
            for claim in claims(caption):
                alike = [o for o in scene.objects if o.name == claim.name and claim.color in ("", o.color)]
                assert len(alike) >= claim.count, (seed, caption, claim)
                read += 1
    assert read > 800


def test_exact_labels_keep_nearly_all_claims():
    scenes = [sample_scene(seed) for seed in range(16)]
    labels = cell_labels(label_table(scenes), render(batch(scenes), 64, 1), 16).numpy()
    kept = [check(c, m) for s, m in zip(scenes, labels, strict=True) for c in claims(captions(s, 1)[0])]
    assert np.mean([k.colored for k in kept]) > 0.85


def test_groups_are_counted_and_colours_told_apart():
    labels = np.zeros((2, 8, 8), dtype=int)
    ball, red, blue = OBJECT_CLASSES.index("ball"), COLOR_CLASSES.index("red"), COLOR_CLASSES.index("blue")
    labels[0, 1:3, 1:3], labels[1, 1:3, 1:3] = ball, red
    labels[0, 5:7, 5:7], labels[1, 5:7, 5:7] = ball, blue
    labels[0, 0, 7] = ball  # too small to count
    assert check(Claim("ball", "red", 1), labels).counted
    assert check(Claim("ball", "", 2), labels).counted
    assert not check(Claim("ball", "", 3), labels).counted
    assert not check(Claim("ball", "red", 2), labels).counted
    green = check(Claim("ball", "green", 1), labels)
    assert green.seen and not green.colored and not green.counted
    assert not check(Claim("cube", "", 1), labels).seen


def test_labels_name_sky_surface_and_objects():
    scene = next(s for s in map(sample_scene, range(100)) if s.kind == "landscape")
    drawn = render(batch([scene]), 64, 1)
    names = cell_labels(label_table([scene]), drawn, 16)[0, 0]
    sky = drawn.depth[0].isinf().float().unfold(0, 4, 4).unfold(1, 4, 4).mean((2, 3))
    assert torch.all(names[sky == 1] == OBJECT_CLASSES.index("sky"))
    assert torch.all(names[sky == 0] != OBJECT_CLASSES.index("sky"))
