"""What comes from elsewhere is pinned, and nothing that is loaded can run code."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "app.py", *(ROOT / "app").rglob("*.py"), *(ROOT / "jointdit_core").rglob("*.py")]
LISTS = [ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_direct_requirements_are_pinned_exactly_and_installed_so(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) >= 4
    for line in lines:
        name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?==([0-9][0-9A-Za-z.]*)", line).groups()
        assert importlib.metadata.version(name).split("+")[0] == version


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_weights_are_only_read_from_formats_without_code():
    for path in SOURCES:
        text = path.read_text()
        assert "trust_remote_code" not in text, path
        assert not {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"} & imported(path), path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("eval", "exec", "system"):
                assert ast.unparse(node.func).endswith(".eval") and not node.args, (path, ast.unparse(node))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(word.arg == "weights_only" and word.value.value for word in node.keywords), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert not any(word.arg == "allow_pickle" for word in node.keywords), path


def test_the_embedded_model_is_safetensors_and_json():
    suffixes = {path.suffix for path in (ROOT / "assets" / "jointdit-mini").rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes and suffixes <= {".safetensors", ".json", ".md"}
