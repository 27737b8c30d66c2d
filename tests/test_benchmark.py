"""The benchmark command, on a tiny network."""

from __future__ import annotations

import json

import pytest

from jointdit_core.benchmark.__main__ import main
from jointdit_core.benchmark.modes import MODES

QUICK = [name for name, mode in MODES.items() if not mode.compiled]


def test_benchmark_prints_and_writes_what_it_measured(tmp_path, capsys):
    path = tmp_path / "rows.json"
    main(["--tiny", "--device", "cpu", "--steps", "6", "--json", str(path), "--modes", *QUICK])
    rows = {row["mode"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(rows) == QUICK
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in QUICK) and "network tiny" in printed
    for name, row in rows.items():
        assert row["ms_per_step"] > 0 and row["device"] == "CPU"
        assert row["ratio_to_flux"] == pytest.approx(row["ms_per_step"] / rows["flux"]["ms_per_step"])
        if name == "first-block-cache":  # finds nothing to skip in a random network
            assert row["error"] < 0.5
        elif MODES[name].approximate:
            assert 1e-6 < row["error"] < 0.5, name
        elif name in ("fused", "merged"):
            assert row["error"] <= 1e-4, name


@pytest.mark.parametrize("arguments", [["--device", "cpu"], ["--tiny", "--sizes", "50"], ["--tiny", "--steps", "1"]])
def test_benchmark_refuses_what_it_cannot_run(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error:" in capsys.readouterr().err
