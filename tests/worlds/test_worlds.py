"""Scenes from seeds: determinism, true labels and captions, styles."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from jointdit_core.worlds import VOCABULARY, batch, captions, render, sample_scene, to_disparity
from jointdit_core.worlds.grammar import MAX_TOKENS, count_tokens, relations
from jointdit_core.worlds.scene import SCENE_KINDS, SLOTS, STYLES

SEEDS = range(24)


@pytest.fixture(scope="module")
def drawn():
    scenes = [sample_scene(seed) for seed in SEEDS]
    return scenes, render(batch(scenes), 64, 1)


def test_same_seed_gives_the_same_scene_and_captions():
    assert sample_scene(11) == sample_scene(11)
    assert sample_scene(11) != sample_scene(12)
    assert captions(sample_scene(11), 5) == captions(sample_scene(11), 5)
    assert captions(sample_scene(11), 5)[:2] == captions(sample_scene(11), 2)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", None, True])
def test_bad_seed_is_named(seed):
    with pytest.raises(ValueError, match="seed"):
        sample_scene(seed)


def test_largest_seed_is_allowed():
    assert sample_scene(2**63 - 1).objects


def test_every_kind_and_style_appears_and_slots_suffice():
    scenes = [sample_scene(seed) for seed in range(400)]
    assert {s.kind for s in scenes} == set(SCENE_KINDS)
    styles = [s.style for s in scenes]
    assert set(styles) == set(STYLES)
    assert styles.count("photo") > 200
    for scene in scenes:
        for family, slots in SLOTS.items():
            kinds = ("box", "gable") if family == "box" else (family,)
            assert sum(p.kind in kinds for p in scene.primitives) <= slots


def test_captions_keep_to_vocabulary_and_length():
    known = set(VOCABULARY)
    assert len(VOCABULARY) <= 224 and len(known) == len(VOCABULARY)
    for seed in range(300):
        for text in captions(sample_scene(seed), 4):
            words = text.replace(",", " ,").split()
            assert set(words) <= known, text
            assert text == text.lower() and 0 < count_tokens(text) <= MAX_TOKENS


def test_main_objects_are_seen_where_their_labels_say(drawn):
    scenes, out = drawn
    seen = total = 0
    for scene, ids, depth in zip(scenes, out.ids, out.depth, strict=True):
        for index, one in enumerate(scene.objects):
            if one.role != "main":
                continue
            total += 1
            mask = ids == index
            seen += mask.sum() >= 12
            if not mask.any():
                continue
            rows, columns = mask.nonzero(as_tuple=True)
            u, v = (columns + 0.5) / 32 - 1, 1 - (rows + 0.5) / 32
            slack = 2 / 64
            assert one.bounds[0] - slack <= u.min() and u.max() <= one.bounds[2] + slack
            assert one.bounds[1] - slack <= v.min() and v.max() <= one.bounds[3] + slack
            assert abs(depth[mask].mean() - one.depth) < 0.5 * one.depth
    assert seen >= 0.95 * total


def test_relations_hold_in_the_picture(drawn):
    scenes, out = drawn
    checked = 0
    for scene, ids, depth in zip(scenes, out.ids, out.depth, strict=True):
        places = {}
        for index, one in enumerate(scene.objects):
            mask = ids == index
            if one.role == "main" and mask.sum() >= 12:
                places[index] = (mask.nonzero()[:, 1].float().mean(), depth[mask].mean())
        for i, (column, away) in places.items():
            for j, (other_column, other_away) in places.items():
                if i == j:
                    continue
                held = relations(scene, scene.objects[i], scene.objects[j])
                checked += len(held)
                assert "left" not in held or column < other_column
                assert "right" not in held or column > other_column
                assert "front" not in held or away < other_away
                assert "behind" not in held or away > other_away
                assert "on" not in held or scene.objects[i].support == j
    assert checked > 20


def test_styles_change_the_picture_and_leave_depth_alone():
    scene = next(s for s in map(sample_scene, range(50)) if s.style == "photo" and s.light.time in ("bright", "day"))
    styled = [dataclasses.replace(scene, style=style) for style in STYLES]
    out = render(batch(styled), 64, 1)
    for i in range(1, len(STYLES)):
        assert torch.equal(out.depth[i], out.depth[0]) and torch.equal(out.ids[i], out.ids[0])
        assert (out.rgb[i] - out.rgb[0]).abs().mean() > 0.01
    assert len(out.rgb[2].unique()) <= 8
    assert (out.rgb[3, 0] - out.rgb[3, 2]).abs().max() < 0.06


def test_outputs_have_their_ranges(drawn):
    scenes, out = drawn
    disparity = to_disparity(out.depth)
    assert out.rgb.shape == (len(scenes), 3, 64, 64) and out.rgb.dtype == torch.float32
    assert torch.isfinite(out.rgb).all() and out.rgb.min() >= 0 and out.rgb.max() <= 1
    assert not torch.isnan(out.depth).any() and out.depth.min() > 0.5
    assert disparity.amin() == 0 and (disparity.amax(dim=(1, 2)) == 1).all()
    assert disparity[torch.isinf(out.depth)].eq(0).all()
    assert out.ids.min() == -1
    assert all(ids.max() < len(s.objects) for s, ids in zip(scenes, out.ids, strict=True))
    assert (out.ids[torch.isinf(out.depth)] == -1).all()


def test_batch_row_does_not_depend_on_its_neighbours():
    alone = render(batch([sample_scene(5)]), 64, 2)
    among = render(batch([sample_scene(4), sample_scene(5)]), 64, 2)
    torch.testing.assert_close(alone.rgb[0], among.rgb[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.depth[0], among.depth[1], rtol=1e-5, atol=0)
