"""Depth for folders: every picture once, what is done is passed over, what cannot be used is named."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from app import folders
from app.engine import Engine, Resident
from app.lane import Lane
from jointdit_core.results import Settings

ASKED = Settings("depth_estimation", "", 3, 1, None, "tiny")


@pytest.fixture
def engine(pipe):
    return Engine(Resident(pipe, "tiny"), Lane(folders.AHEAD, with_previews=False))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "deep/a.png")):
        Image.new("RGB", (40 + number, 32), (90 * number, 40, 40)).save(tmp_path / "photos" / name)
    return folders.Folder(tmp_path / "photos", tmp_path / "photos" / "maps")  # maps are no pictures of the next run


def test_each_picture_gets_its_map_and_an_ended_run_goes_on(engine, pipe, folder):
    assert folders.estimate(engine, folder, ASKED, 1) == (3, 0)
    names = sorted(path.relative_to(folder.maps).as_posix() for path in folder.maps.rglob("*.png"))
    assert names == ["a.png-depth16.png", "b.jpg-depth16.png", "deep/a.png-depth16.png"]
    picture = folder.pictures / "deep" / "a.png"
    alone = pipe.depth_estimation(Image.open(picture), num_inference_steps=1, seed=3).disparity
    with Image.open(folder.map_of(picture)) as levels:
        np.testing.assert_allclose(np.asarray(levels) / 65535, alone, atol=1 / 65535)
    folder.map_of(picture).unlink()
    assert folders.estimate(engine, folder, ASKED, 1) == (3, 0) and folder.map_of(picture).exists()
    assert engine.health().jobs == 4


def test_what_cannot_be_used_is_named_and_the_rest_is_done(engine, folder, caplog):
    (folder.pictures / "broken.png").write_bytes(b"not a picture")
    with caplog.at_level(logging.ERROR):
        assert folders.estimate(engine, folder, ASKED, 1) == (3, 1)
    assert "broken.png: This file is not a PNG" in caplog.text
    assert not folder.map_of(folder.pictures / "broken.png").exists()


def test_a_full_disk_ends_the_run_and_leaves_no_half_map(engine, folder, monkeypatch):
    def full(path, disparity):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "write_png16", full)
    with pytest.raises(OSError, match="No space"):
        folders.estimate(engine, folder, ASKED, 1)
    assert not list(folder.maps.rglob("*-depth16.png"))


def test_no_folder_and_no_config_are_told_in_a_sentence(tmp_path, caplog):
    assert folders.main([str(tmp_path / "absent"), "--out", str(tmp_path)]) == 1
    assert "absent is not a folder." in caplog.text
    assert folders.main([str(tmp_path), "--out", str(tmp_path), "--serve", str(tmp_path / "absent.toml")]) == 1
    assert "absent.toml" in caplog.text
