"""What the README says of Spaces and memory is what the code and the hub's own command line say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from huggingface_hub import SpaceHardware
from huggingface_hub.cli.hf import app as hf

from jointdit_core.hub import split_revision
from jointdit_core.memory import PLANS
from jointdit_core.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # those that Spaces know


def test_header_of_the_space_fits_the_repository():
    header = yaml.safe_load(TEXT.split("---\n")[1])
    pins = dict(re.findall(r"^([a-z-]+)(?:\[\w+\])?==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert header["sdk"] == "gradio" and header["sdk_version"] == pins["gradio"]
    assert re.fullmatch(r"3\.1[1-9](\.\d+)?", header["python_version"])
    assert (ROOT / header["app_file"]).is_file()
    assert header["suggested_hardware"] in {one.value for one in SpaceHardware}
    assert re.fullmatch(r"\d+[mh]", header["startup_duration_timeout"])
    assert len(header["short_description"]) <= 60 and {header["colorFrom"], header["colorTo"]} <= COLORS
    flux = PRESETS["flux-dev"]
    assert header["models"] == [split_revision(source)[0] for source in (flux.source, flux.addons)]


def test_commands_that_make_a_space_are_the_hubs(capsys):
    block = TEXT.split("### From nothing to a running Space")[1].split("```")[1]
    commands = [shlex.split(line) for line in block.splitlines() if line.startswith("hf ")]
    assert len(commands) == 3
    for _, *words in commands:
        names = words[: 2 if words[0] in ("repos", "spaces") else 1]
        with pytest.raises(SystemExit) as end:
            hf([*names, "--help"])
        shown = capsys.readouterr().out
        assert end.value.code == 0 and shown.startswith("Usage:")
        for word in words:
            if word.startswith("--"):
                assert re.search(rf"(?<![\w-]){word}(?![\w-])", shown), (word, shown)


def test_table_of_memory_plans_is_the_arithmetics():
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+), ([\d.]+) \|", TEXT, re.MULTILINE)
    assert [name for name, *_ in rows] == list(PLANS)
    for name, small, large in rows:
        assert [float(small), float(large)] == [
            pytest.approx(PLANS[name].need_gib(size), abs=0.06) for size in (512, 1024)
        ]
