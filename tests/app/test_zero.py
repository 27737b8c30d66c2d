"""The page on a ZeroGPU Space: jobs in processes of their own, on leased GPUs, or on the CPU where none is granted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from app import zero
from jointdit_core.presets import PRESETS
from jointdit_core.results import Settings
from tests.trust.studio import FREE, Server, Visitor

ROOT = Path(__file__).resolve().parents[2]
PAGE_RUN = "joint_generation_1", ["a red ball", 1, False, 2, 1.0, "256x256", 1, "gray"]


@pytest.fixture
def space(tmp_path, monkeypatch):
    """What a ZeroGPU Space sets, and where our stand-in keeps its notes."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setenv("ZERO_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("ZERO_ORDERS", str(tmp_path / "orders"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # OpenMP's threads do not live through a fork
    return tmp_path


def test_jobs_run_on_leased_gpus_for_their_visitor(space, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(space / "temporary"))
    (space / "temporary").mkdir()
    with Server(space, FREE, start=("-m", "tests.app.zerogpu")) as server, Visitor(server) as visitor:
        first = visitor.run(*PAGE_RUN)
        second = visitor.run(*PAGE_RUN)
        assert first.kind == "done", server.log.read_text()
        assert first.digest == second.digest
        (space / "orders").write_text("You have exceeded your quota.")
        third = visitor.run(*PAGE_RUN)
        assert third.kind == "done" and third.digest == first.digest  # the mini stands in for itself
        assert "No GPU was granted" in json.dumps(third.data) and "exceeded your quota" in json.dumps(third.data)
        assert "No GPU was granted" not in json.dumps(first.data)
        (blocks,) = (space / "temporary").glob("*/blocks")
        assert server.stop()[0] == 0 and not blocks.exists()
    notes = [json.loads(line) for line in (space / "log").read_text().splitlines()]
    assert [note["placed"] for note in notes if "placed" in note][:2] == ["cpu", "cuda"]
    compiling, *leases = [note for note in notes if "seconds" in note]
    assert compiling["visitor"] is None and "The blocks stay as they are" in server.log.read_text()
    assert len(leases) == 3 and {lease["visitor"] for lease in leases} == {visitor.session}
    assert all(20 < lease["seconds"] < 60 for lease in leases)
    workers = {note["process"] for note in notes if note.get("worker")}
    assert len(workers) == 2 and workers.isdisjoint({server.process.pid})  # one to compile, one for all runs
    _, left = psutil.wait_procs([one for one in psutil.process_iter() if one.pid in workers], timeout=10)
    assert not left


IN_A_WORKER = """
import os, sys, time
sys.path.insert(0, "tests/app/zerogpu")
import numpy as np
from app import zero
from app.recovery import diagnose
from jointdit_core import Interrupted
from jointdit_core.presets import PRESETS
from jointdit_core.results import Settings
from tests.tiny import tiny_pipeline

pipe = tiny_pipeline()
def strike(*_):
    if os.path.exists(os.environ["ZERO_LOG"] + "-fault"):
        raise KeyError("/secret/path")
pipe.transformer.register_forward_hook(strike)
run = zero.runner(pipe, PRESETS["mini"], with_previews=True)
asked = Settings("joint_generation", "a red ball", 3, 4, 2.0, "tiny", width=64, height=64)
seen = []
output = run(asked, None, lambda step, total, preview: seen.append((step, total, preview())))
expected = asked.run(pipe)
assert np.array_equal(output.disparity, expected.disparity) and output.image.tobytes() == expected.image.tobytes()
assert [step[:2] for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
assert [step[2] is not None for step in seen] == [True, True, False, False]

def stop(step, total, preview):
    if step == 2:
        raise Interrupted
try:
    run(Settings("joint_generation", "a red ball", 3, 200, 2.0, "tiny", width=64, height=64), None, stop)
except Interrupted:
    print("stopped")

def trouble(name, asked):
    try:
        run(asked, None, stop)
    except Exception as error:
        print(name, diagnose(error).name, error)
trouble("refused", Settings("joint_generation", "a", 3, 0, 2.0, "tiny"))
open(os.environ["ZERO_LOG"] + "-fault", "w").close()
trouble("failed", asked)
os.remove(os.environ["ZERO_LOG"] + "-fault")
assert np.array_equal(run(asked, None, lambda *_: None).disparity, expected.disparity)
print("works on")
"""


def test_stops_and_failures_come_through_and_the_next_job_is_right(space):
    ran = subprocess.run([sys.executable, "-c", IN_A_WORKER], cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["stopped", "refused", "failed", "works"], ran.stderr
    assert lines[1].startswith("refused REFUSAL num_inference_steps")
    assert lines[2] == "failed UNEXPECTED KeyError in the job's process"


AHEAD = """
import os, sys
sys.path.insert(0, "tests/app/zerogpu")
from pathlib import Path
import numpy as np, torch
from app import zero
from jointdit_core.presets import PRESETS
from jointdit_core.results import Settings
from tests.tiny import tiny_pipeline

def made(pipe, side):
    asked = Settings("joint_generation", "a red ball", 3, 4, 2.0, "tiny", width=side, height=64)
    return zero.runner(pipe, PRESETS["mini"], with_previews=False)(asked, None, lambda *_: None)

plain = tiny_pipeline(guidance_embeds=True)
plain.transformer.transformer_blocks = torch.nn.ModuleList()  # half the time to compile
pipe = tiny_pipeline(guidance_embeds=True)
pipe.transformer.transformer_blocks = torch.nn.ModuleList()
zero.place(pipe, None, Path(os.environ["TMPDIR"]))
for side in (64, 96):
    print(side, np.abs(made(pipe, side).disparity - made(plain, side).disparity).max())
"""


def test_blocks_are_compiled_ahead_of_time_for_any_size(space, tmp_path):
    environment = {
        **os.environ,
        "ZERO_AHEAD": "1",
        "TMPDIR": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", AHEAD], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    errors = dict(line.split() for line in ran.stdout.splitlines())
    assert list(errors) == ["64", "96"] and all(float(error) <= 1e-4 for error in errors.values()), ran.stderr
    notes = [json.loads(line) for line in (space / "log").read_text().splitlines()]
    assert [note["compiled"] for note in notes if "compiled" in note] == ["single_transformer_blocks"]
    assert len([note for note in notes if "ran" in note]) == 2 * 4 * 2  # sizes, steps, blocks


@pytest.mark.parametrize(
    "flag, value", [("compile", True), ("memory", "nf4"), ("offline", True), ("serve", "serve.toml")]
)
def test_flags_that_cannot_work_there_are_refused(flag, value):
    flags = {"compile": False, "memory": None, "offline": False, "serve": None}
    zero.check_flags(Namespace(**flags))
    with pytest.raises(ValueError, match=f"--{flag} does not work on ZeroGPU"):
        zero.check_flags(Namespace(**{**flags, flag: value}))


def test_estimate_follows_steps_and_size():
    preset = PRESETS["flux-dev"]
    small = Settings("joint_generation", "a", 0, 20, 3.5, preset.name, width=512, height=512)
    estimates = [
        zero.seconds(preset, asked, given)
        for asked, given in [
            (small, None),
            (replace(small, steps=40), None),
            (replace(small, width=1024, height=1024), None),
            (replace(small, task="depth_estimation", width=None, height=None), np.zeros((4000, 4000, 3), np.uint8)),
            (replace(small, task="depth_estimation", width=None, height=None), np.zeros((64, 64, 3), np.uint8)),
        ]
    ]
    assert estimates == [32, 43, 53, 53, 32]
    assert zero.usual_seconds(preset) == estimates[0]
