"""The page's handlers, called as gradio calls them, on the real pipeline at tiny size."""

from __future__ import annotations

import dataclasses
import threading
import time
import zipfile
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import words
from app.checks import Checks
from app.endpoints import Endpoints
from app.examples import find_examples, write_example
from app.handlers import STOP_OFF
from app.shown import SAME, Panel, colored
from jointdit_core import reading
from jointdit_core.presets import PRESETS
from jointdit_core.results import Result
from jointdit_core.worlds import VOCABULARY
from tests.app.parts import generate, last_of, visitor

# The three runs.


def test_generation_shows_progress_previews_and_a_result(studio):
    panels = list(generate(studio, steps=30))
    assert panels[0].seed == 7 and panels[0].stop["interactive"]
    assert any(isinstance(panel.rgb, np.ndarray) and panel.result is SAME for panel in panels)
    assert any("Step" in panel.bar and "left" in panel.bar for panel in panels)
    final = panels[-1]
    assert final.result.image.shape == (64, 64, 3) and final.result.disparity.dtype == np.float32
    assert final.depth.shape == (64, 64, 3) and not final.stop["interactive"]
    assert "seed&nbsp;7" in final.caption and "30&nbsp;steps" in final.caption


def test_same_seed_gives_the_same_bytes_and_a_drawn_seed_reproduces(studio):
    first = list(generate(studio, randomize=True))
    seed = first[0].seed
    again = last_of(generate(studio, seed=seed))
    assert again.result.image.tobytes() == first[-1].result.image.tobytes()
    assert first[-1].result.settings.seed == seed
    assert last_of(generate(studio, seed=seed + 1)).result.image.tobytes() != again.result.image.tobytes()


def test_depth_estimation_keeps_the_picture_and_its_size(studio, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    panels = list(studio.depth_estimation(str(tmp_path / "photo.png"), 1, False, 2, 0, "gray", visitor()))
    np.testing.assert_array_equal(panels[0].rgb, pixels)
    np.testing.assert_array_equal(panels[-1].result.image, pixels)
    assert panels[-1].result.disparity.shape == (70, 100)


def test_depth_to_image_keeps_the_depth(studio, tmp_path):
    disparity = np.linspace(0, 1, 80 * 60, dtype=np.float32).reshape(60, 80)
    np.save(tmp_path / "depth.npy", disparity)
    run = studio.depth_to_image(
        "a blue cube",
        str(tmp_path / "depth.npy"),
        reading.RELATIVE,
        reading.NEAR_IS_BRIGHT,
        1,
        False,
        2,
        3.5,
        0,
        1,
        "gray",
        visitor(),
    )
    final = last_of(run)
    np.testing.assert_array_equal(final.result.disparity, disparity)
    assert final.result.image.shape == (60, 80, 3)


def test_words_the_model_does_not_know_are_named(studio):
    final = last_of(generate(studio, prompt="a red zeppelin"))
    assert "zeppelin" in final.caption.split('class="note"')[1]


def test_a_loose_depth_is_only_a_hint(studio, pipe, tmp_path):
    disparity = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    np.save(tmp_path / "depth.npy", disparity)
    asked = (str(tmp_path / "depth.npy"), reading.RELATIVE, reading.NEAR_IS_BRIGHT, 1, False, 2, 3.5)
    panels = list(studio.depth_to_image("a cube", *asked, 0.5, 1, "gray", visitor()))
    made = panels[-1].result
    assert made.settings.looseness == 0.5 and "looseness 0.5" in panels[-1].caption.replace("&nbsp;", " ")
    assert np.abs(made.disparity - disparity).max() > 0.01
    expected = pipe("a cube", disparity=disparity, sigma_start_depth=0.5, num_inference_steps=2, seed=1)
    np.testing.assert_array_equal(made.disparity, expected.disparity)
    with pytest.raises(gr.Error, match="looseness"):
        list(studio.depth_to_image("a cube", *asked, 1.5, 1, "gray", visitor()))


# Bad input: one sentence, and the studio goes on.


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": "  "}, "prompt"),
        ({"prompt": "x" * 5000}, "characters"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
        ({"seed": 2**40}, "seed"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**6}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
        ({"guidance": 6.1}, "guidance"),
        ({"size": "65x64"}, "size"),
        ({"variants": 5}, "variants"),
    ],
)
def test_bad_numbers_and_prompts_are_refused_in_a_sentence(studio, change, sentence):
    with pytest.raises(gr.Error, match=sentence) as caught:
        next(generate(studio, **change))
    assert "Traceback" not in caught.value.message and caught.value.message.endswith(".")
    assert not caught.value.print_exception
    assert last_of(generate(studio)).result.image.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("task", "right", "wrong"),
    [
        ("joint_generation", ["a ball", None, True, 2, 3.5, "256x256", 2], {0: "", 3: 0, 4: 99, 6: 9}),
        ("joint_generation", ["a ball", 7, False, 2, 3.5, "256x256", 2], {1: None}),
        ("depth_estimation", ["photo.png", 7, False, 2, 0], {0: None, 1: -1, 3: 0, 4: 2}),
        ("depth_estimation", ["photo.png", 7, False, 2, 0], {0: "notes.txt"}),
        (
            "depth_to_image",
            ["", "depth.npy", reading.RELATIVE, reading.NEAR_IS_BRIGHT, 7, False, 2, 3.5, 1, 4],
            {0: "x" * 5000, 1: None, 4: 2**40, 6: 101, 7: -1, 8: -0.1, 9: 0},
        ),
    ],
)
def test_each_wrong_control_is_named_before_the_run(tmp_path, monkeypatch, task, right, wrong):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("photo.png")
    np.save("depth.npy", np.eye(32))
    (tmp_path / "notes.txt").write_text("not a picture")
    check = getattr(Checks(PRESETS["mini"]), task)
    assert [verdict["is_valid"] for verdict in check(*right)] == [True] * len(right)
    verdicts = check(*(wrong.get(number, value) for number, value in enumerate(right)))
    assert [number for number, verdict in enumerate(verdicts) if not verdict["is_valid"]] == list(wrong)
    assert all(verdicts[number]["message"].endswith(".") for number in wrong)


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut"])
def test_bad_files_are_refused_in_a_sentence(studio, tmp_path, content):
    path = None
    if content is not None:
        path = str(tmp_path / "file.png")
        (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(gr.Error) as caught:
        list(studio.depth_estimation(path, 1, False, 2, 0, "gray", visitor()))
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(gr.Error):
        list(
            studio.depth_to_image(
                "a cube", path, reading.RELATIVE, reading.NEAR_IS_BRIGHT, 1, False, 2, 3.5, 0, 1, "gray", visitor()
            )
        )


def test_a_prompt_is_text_not_markup(studio):
    final = last_of(generate(studio, prompt="<script>alert(1)</script> a ball"))
    assert "<script>" not in final.caption and "&lt;script&gt;" in final.caption


# Variants.


def test_variants_are_the_runs_of_seeds_in_a_row(studio):
    panels = list(generate(studio, seed=2**32 - 1, variants=3))
    made = panels[-1].variants
    assert [result.settings.seed for result in made] == [2**32 - 1, 0, 1]
    alone = last_of(generate(studio, seed=0)).result
    np.testing.assert_array_equal(made[1].image, alone.image)
    np.testing.assert_array_equal(made[1].disparity, alone.disparity)
    assert made[1].settings == alone.settings
    done = [panel for panel in panels if panel.result is not SAME]
    assert [len(panel.variants) for panel in done] == [1, 2, 3]
    assert [panel.chosen["visible"] for panel in done] == [False, True, True]
    assert [panel.stop is SAME for panel in done] == [True, True, False]
    assert any("Variant 2 of 3 · done in" in str(panel.bar) for panel in panels)
    picture, _, caption, chosen = studio.choose(made, "2", "gray")
    assert chosen is made[1] and "seed&nbsp;0" in caption
    np.testing.assert_array_equal(picture, alone.image)
    assert all(part is SAME for part in studio.choose(made, "4", "gray"))
    assert panels[0].variants == [] and last_of(generate(studio)).chosen["visible"] is False


def test_a_stop_keeps_the_variants_that_are_done(studio):
    panels = []
    thread = threading.Thread(target=lambda: panels.extend(generate(studio, steps=40, variants=3)))
    thread.start()
    while not any("Variant 2 of 3 · Step" in str(panel.bar) for panel in panels):
        time.sleep(0.01)
    stopped = studio.stop(None, "gray", visitor())
    thread.join(10)
    assert [len(panel.variants) for panel in panels if panel.result is not SAME] == [1]
    unfinished = stopped[Panel._fields.index("result")]
    assert unfinished.settings.stopped_at and unfinished.settings.seed == 8
    assert stopped[Panel._fields.index("variants")] is SAME


# Stop.


def test_stop_keeps_the_last_preview_as_the_result(studio):
    panels = []
    thread = threading.Thread(target=lambda: panels.extend(generate(studio, steps=100)))
    thread.start()
    while not any("Step" in str(panel.bar) for panel in panels):
        time.sleep(0.01)
    started = time.monotonic()
    stopped = Panel(*studio.stop(None, "spectral", visitor()), None)
    assert time.monotonic() - started < 1
    thread.join()
    step = stopped.result.settings.stopped_at
    assert 1 <= step < 100 and f"step&nbsp;{step}" in stopped.caption and "unfinished" in stopped.bar
    assert stopped.result.image.shape == (64, 64, 3) and stopped.result.disparity.shape == (64, 64)
    assert all(panel.result is SAME for panel in panels)


def test_what_comes_to_nothing_leaves_the_result_before_it(studio, result):
    """A run has shown what it was given and its previews; files, caption and 3D view are still of the result before."""
    idle = Panel(*studio.stop(result, "gray", visitor()), None)
    rgb, depth, bar, stop = studio.rest(result, "gray", "Step 3 of 20")
    for one in (idle, Panel(rgb, depth)):
        assert one.rgb is result.image and one.result is SAME
        np.testing.assert_array_equal(one.depth, colored(result.disparity, "gray"))
    assert "did not work" in bar and idle.stop == stop == STOP_OFF
    assert studio.rest(None, "gray", "Step 3 of 20")[:2] == (None, None)
    assert all(part is SAME for part in studio.rest(result, "gray", idle.bar)), "what Stop has told stays"


def test_stop_reaches_only_its_own_visitor(studio):
    panels = []
    thread = threading.Thread(target=lambda: panels.extend(generate(studio, steps=40, name="one")))
    thread.start()
    while not panels:
        time.sleep(0.01)
    studio.stop(None, "spectral", visitor("two"))
    thread.join()
    assert isinstance(panels[-1].result, Result)


# Examples, words and endpoints.


def test_examples_come_back_exactly(studio, tmp_path, result):
    write_example(tmp_path / "examples" / "01", result)
    depth_given = dataclasses.replace(result.settings, task="depth_to_image", guidance=2.0)
    write_example(tmp_path / "examples" / "02", dataclasses.replace(result, settings=depth_given))
    studio.examples = find_examples(tmp_path / "examples")
    opened = studio.open_example(SimpleNamespace(index=1), "gray", visitor())
    parts = len(Panel._fields) - 1
    shown, (tab, image, depth), restored = Panel(*opened[:parts]).result, opened[parts:][:3], opened[parts + 5 :]
    np.testing.assert_array_equal(shown.image, result.image)
    np.testing.assert_allclose(shown.disparity, result.disparity, atol=0.5 / 65535)
    assert shown.settings == depth_given and tab.selected == "depth_to_image"
    assert image is SAME and depth.endswith("depth16.png")
    assert all(part is SAME for part in restored[:14])
    assert restored[14:] == ("a red ball", 7, False, 20, 2.0, 0.0, SAME)


def test_a_page_without_examples_opens_empty(studio):
    assert all(part is SAME for part in studio.welcome("gray", visitor()))


def test_the_page_opens_with_the_first_example(studio, tmp_path, result):
    write_example(tmp_path / "01", result)
    studio.examples = find_examples(tmp_path)
    np.testing.assert_array_equal(Panel(*studio.welcome("gray", visitor())).result.image, result.image)


def test_word_chips_and_surprises_are_words_the_mini_knows(studio):
    known = set(VOCABULARY)
    prompts = [chip for group in words.CHIPS.values() for chip in group] + [studio.surprise() for _ in range(20)]
    unknown = {word for prompt in prompts for word in prompt.replace(",", " ").split()} - known
    assert not unknown


def test_endpoints_return_files_and_settings(studio):
    *_, (rgb, depth, archive, settings) = Endpoints(studio).joint_generation("a ball", 3, 2, 3.5, "96x64", visitor())
    with Image.open(rgb) as picture, Image.open(depth) as levels:
        assert picture.size == levels.size == (96, 64) and levels.mode.startswith("I")
    assert zipfile.is_zipfile(archive) and settings["seed"] == 3
    *_, (_, _, _, drawn) = Endpoints(studio).joint_generation("a ball", None, 2, 3.5, "64x64", visitor())
    assert isinstance(drawn["seed"], int)
