"""Depth for many pictures: one archive, what cannot be used is named, a stop keeps what was made."""

import errno
import threading
import time
import zipfile

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.batch import Batch, check
from tests.app.parts import last_of, visitor


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f"p{number}.png"))
        Image.new("RGB", (40 + number, 32), (90 * number, 40, 40)).save(paths[-1])
    return paths


def run(studio, paths, steps=1):
    return Batch(studio).depth_estimation(paths, 3, False, steps, 0, "gray", visitor())


def contents(row):
    with zipfile.ZipFile(row.archive["value"]) as archive:
        return sorted(archive.namelist()), archive.read("report.txt").decode(), archive


def test_every_picture_gives_its_map_and_a_broken_one_a_sentence(studio, pipe, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    row = last_of(run(studio, [pictures[0], str(tmp_path / "broken.png"), pictures[2]]))
    names, report, _ = contents(row)
    assert names == ["001-p0-depth.png", "001-p0-depth16.png", "003-p2-depth.png", "003-p2-depth16.png", "report.txt"]
    assert "broken.png: This file is not a PNG" in report and "p2.png: done, seed 3" in report
    assert "2 of 3 pictures" in row.bar and not row.stop["interactive"]
    alone = pipe.depth_estimation(Image.open(pictures[2]), num_inference_steps=1, seed=3).disparity
    with zipfile.ZipFile(row.archive["value"]) as archive, archive.open("003-p2-depth16.png") as file:
        np.testing.assert_allclose(np.asarray(Image.open(file)) / 65535, alone, atol=1 / 65535)


def test_stop_packs_what_was_made(studio, pictures):
    rows = []
    thread = threading.Thread(target=lambda: rows.extend(run(studio, pictures, steps=100)))
    thread.start()
    while not any("2 of 3" in str(row.bar) for row in list(rows)):
        time.sleep(0.01)
    while studio.engine.health().status != "busy":
        time.sleep(0.01)
    studio.stop(None, "gray", visitor())
    thread.join(30)
    names, report, _ = contents(rows[-1])
    assert names[:2] == ["001-p0-depth.png", "001-p0-depth16.png"] and len(names) == 3
    assert "p1.png: Stopped" in report and "p2" not in report


def test_a_picture_that_is_withheld_does_not_end_the_batch(studio, pictures):
    seen = []

    def look(output, asked):
        seen.append(output)
        return "This picture is not shown." if len(seen) == 2 else None

    studio.engine.lane.check = look
    names, report, _ = contents(last_of(run(studio, pictures)))
    assert "p1.png: This picture is not shown." in report and len(seen) == 3
    assert "003-p2-depth16.png" in names and not any("p1" in name for name in names)


def test_a_server_that_ends_ends_the_batch(studio, pictures):
    studio.engine.close(0)
    _, report, _ = contents(last_of(run(studio, pictures)))
    assert "p0.png: The server is being restarted" in report and "p1" not in report


def test_a_full_disk_leaves_no_half_archive(studio, pictures, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.batch.write_png16", full)
    with pytest.raises(OSError, match="No space"):
        list(run(studio, pictures))
    assert not list(studio.sessions.root.rglob("*.zip"))


@pytest.mark.parametrize("paths", [None, [], ["x.png"] * 101])
def test_none_and_too_many_are_refused(studio, paths):
    with pytest.raises(gr.Error, match="pictures"):
        list(run(studio, paths))
    verdicts = check(paths, 1, True, 1, 0)
    assert [verdict["is_valid"] for verdict in verdicts] == [False, True, True, True, True]
