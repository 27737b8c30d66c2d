"""The command line over the same core as the page: its files are the page's, byte for byte."""

import hashlib
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.engine import Engine, Resident
from app.handlers import Studio
from app.session import Sessions
from jointdit_core import __main__ as cli
from jointdit_core.geometry.export import write_png16
from jointdit_core.presets import PRESETS
from jointdit_core.reading import NEAR_IS_BRIGHT, RELATIVE
from jointdit_core.results import LiftSettings, write_files
from tests.app.parts import last_of, visitor


@pytest.fixture
def run(pipe, tmp_path, monkeypatch):
    """Run a command on the tiny pipeline; gives its exit status and folder."""
    monkeypatch.setattr(cli, "load", lambda *_, **__: pipe)  # the mini's files are tried in test_presets

    def command(*words):
        return cli.main([*map(str, words), "--out", str(tmp_path / "out")]), tmp_path / "out"

    return command


@pytest.fixture
def photo(tmp_path):
    y, x = np.mgrid[0:48, 0:64]
    Image.fromarray(np.stack([4 * x, 5 * y, x + y], axis=-1).astype(np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def depth(tmp_path):
    return write_png16(tmp_path / "depth.png", np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1)))


def digests(folder):
    archives = (".zip",)  # they hold the others, with the time they were packed
    files = [file for file in sorted(folder.iterdir()) if file.suffix not in archives]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("command", ["generate", "depth", "from-depth"])
def test_files_are_the_pages_own(run, pipe, photo, depth, tmp_path, command):
    preset = replace(PRESETS["mini"], sizes=((64, 64), (96, 64)))
    studio = Studio(Engine(Resident(pipe, preset.name)), preset, [], Sessions(tmp_path / "sessions"))
    words = {
        "generate": ["a red ball", "--width", 96, "--height", 64],
        "depth": [photo],
        "from-depth": [depth, "--prompt", "a red ball"],
    }[command]
    status, folder = run(command, *words, "--seed", 7, "--steps", 2)
    assert status == 0
    asked = (7, False, 2)
    runs = {
        "generate": lambda: studio.joint_generation("a red ball", *asked, 3.5, "96x64", 1, "gray", visitor()),
        "depth": lambda: studio.depth_estimation(str(photo), *asked, 0, "gray", visitor()),
        "from-depth": lambda: studio.depth_to_image(
            "a red ball", str(depth), RELATIVE, NEAR_IS_BRIGHT, *asked, 3.5, 0, 1, "gray", visitor()
        ),
    }
    result = last_of(runs[command]()).result
    write_files(result, LiftSettings())
    (made,) = folder.iterdir()
    assert digests(made) == digests(result.folder) and len(digests(made)) == 11


def test_folders_are_run_through_and_what_is_no_picture_is_named(run, photo, tmp_path, caplog):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    photo.rename(inputs / "b.png")
    (inputs / "a.png").write_bytes(b"not a picture")
    (inputs / "notes.txt").write_text("left alone")
    with caplog.at_level(logging.INFO):
        status, folder = run("depth", inputs, "--steps", 1, "--seed", 1)
    assert status == 1 and [path.name for path in folder.iterdir()] == ["b"]
    assert "a: This file is not a PNG" in caplog.text and "1 of 2 inputs" in caplog.text and "notes" not in caplog.text


def test_a_drawn_seed_is_told_and_reproduces(run):
    _, folder = run("generate", "a ball", "a cube", "--steps", 1)
    settings = [json.loads(next(path.glob("*settings.json")).read_text()) for path in sorted(folder.iterdir())]
    assert [one["prompt"] for one in settings] == ["a ball", "a cube"] and settings[0]["seed"] != settings[1]["seed"]
    before = next((folder / "0001").glob("*rgb.png")).read_bytes()
    run("generate", "a ball", "--steps", 1, "--seed", settings[0]["seed"])
    assert next((folder / "0001").glob("*rgb.png")).read_bytes() == before


def test_a_picture_and_its_map_are_lifted_without_a_model(run, photo, depth):
    status, folder = run("lift", photo, depth, "--fov", 70, "--points", 500, "--edge-cut", 0)
    assert status == 0
    camera = json.loads(next((folder / "photo").glob("*camera.json")).read_text())
    assert camera["fov_deg"] == pytest.approx(70) and next((folder / "photo").glob("*points.ply")).stat().st_size > 500


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("lift", "photo.png", "missing.png"), "could not be opened"),
        (("lift", "photo.png", "photo.png"), "coloured"),
        (("lift", "photo.png", "depth.png", "--fov", "200"), "fov_deg"),
        (("depth", "."), "Several inputs would go"),
        (("depth", "empty"), "nothing to do"),
        (("generate", "a ball", "--steps", "0"), "num_inference_steps"),
        (("generate", "a ball", "--seed", "-1"), "seed"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(run, photo, depth, tmp_path, monkeypatch, caplog, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    photo.with_suffix(".jpg").write_bytes(photo.read_bytes())
    status, _ = run(*words)
    assert status == 1 and sentence in caplog.text


def test_model_that_cannot_be_loaded_is_told_in_one_sentence(tmp_path, caplog):
    command = ["generate", "a", "--out", str(tmp_path / "out"), "--lora", str(tmp_path / "nowhere.safetensors")]
    with caplog.at_level(logging.ERROR):
        assert cli.main(command) == 1
    assert caplog.messages == [
        f"The LoRA {tmp_path / 'nowhere.safetensors'} is neither a file here nor a repository's name."
    ]
    with caplog.at_level(logging.ERROR):
        assert cli.main([*command[:4], "--base", "maker/flux"]) == 1
    assert caplog.messages[-1] == "--base and --addons are for flux-dev; mini is whole."
    assert not (tmp_path / "out").exists()
