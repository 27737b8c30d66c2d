"""Settings come back out of pictures, links and this browser's earlier runs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.memory import Memory
from app.shown import SAME
from jointdit_core.results import write_rgb_png


def test_a_photo_sets_the_field_of_view_its_camera_wrote(studio, tmp_path):
    photo, exif = Image.new("RGB", (60, 40)), Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 35  # FocalLengthIn35mmFilm
    photo.save(tmp_path / "photo.jpg", exif=exif)
    fov_deg, *controls = Memory(studio).opened(str(tmp_path / "photo.jpg"))
    assert fov_deg == round(2 * np.degrees(np.arctan(36 / 70))) and all(part is SAME for part in controls)
    photo.save(tmp_path / "plain.jpg")
    assert Memory(studio).opened(str(tmp_path / "plain.jpg"))[0] == 55


def test_a_picture_made_here_brings_its_settings_back(studio, result, tmp_path):
    path = tmp_path / "made.png"
    write_rgb_png(path, result.image, result.settings)
    assert Memory(studio).opened(str(path))[1:7] == ("a red ball", 7, False, 20, 3.5, 0.0)
    assert all(part is SAME for part in Memory(studio).opened(str(path))[7:])
    write_rgb_png(path, result.image, dataclasses.replace(result.settings, width=96, height=64))
    assert Memory(studio).opened(str(path))[7] == "96x64"
    write_rgb_png(path, result.image, dataclasses.replace(result.settings, width=96, height=10**6))
    assert all(part is SAME for part in Memory(studio).opened(str(path))[1:]), "nothing here makes that size"


@pytest.mark.parametrize(
    "foreign",
    ["", "[]", "{}", "[" * 100_000, '{"task": "depth_estimation"}', {"seed": -1}, {"steps": 1e9}, {"task": "x"}],
)
def test_settings_in_a_picture_are_checked_like_any_others(studio, result, tmp_path, foreign):
    info = PngImagePlugin.PngInfo()
    made = dataclasses.asdict(result.settings)
    info.add_itxt("jointdit", foreign if isinstance(foreign, str) else json.dumps(made | foreign))
    Image.fromarray(result.image).save(tmp_path / "foreign.png", pnginfo=info)
    assert all(part is SAME for part in Memory(studio).opened(str(tmp_path / "foreign.png"))[1:])


def test_a_link_and_an_earlier_run_restore_settings_and_foreign_ones_nothing(studio, result):
    tab, *controls = Memory(studio).reopen(result.settings.text())
    assert tab.selected == "joint_generation" and controls[:6] == ["a red ball", 7, False, 20, 3.5, 0.0]
    for foreign in (None, "", "x", '{"task": 1}', dataclasses.replace(result.settings, seed=-1).text()):
        assert all(part is SAME for part in Memory(studio).reopen(foreign))


def test_earlier_runs_are_kept_once_newest_first_and_without_examples(studio, result):
    run = dataclasses.replace(result, seconds=1.0)
    other = dataclasses.replace(run, settings=dataclasses.replace(run.settings, prompt="a blue cube"))
    kept = []
    for one in (run, other, run):
        kept, menu = Memory(studio).remember(one, kept)
    assert kept == [run.settings.text(), other.settings.text()]
    assert [title for title, _ in menu["choices"]] == [
        "a red ball · seed 7 · 20 steps",
        "a blue cube · seed 7 · 20 steps",
    ]
    assert Memory(studio).remember(result, kept) == (SAME, SAME)  # an example, which took no time
    assert Memory(studio).recall(["foreign", 7, *kept])["choices"] == menu["choices"]
    assert not Memory(studio).recall([])["visible"]
