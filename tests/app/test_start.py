"""`python app.py` where something is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.trust.studio import ROOT, START_S


def test_missing_weights_are_named_and_end_the_start(tmp_path):
    for package in ("app", "jointdit_core"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", tmp_path)
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 1
    assert "model_index.json is missing" in done.stderr and "Traceback" not in done.stderr
