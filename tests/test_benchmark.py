"""The benchmark command, on a tiny network."""

from __future__ import annotations

import json

import pytest
import torch

from jointdit_core.benchmark.__main__ import main
from jointdit_core.benchmark.modes import MODES, TINY, build
from jointdit_core.model.fused import FusedLoraLinear, fuse_projections

QUICK = [name for name, mode in MODES.items() if not mode.compiled]


def test_benchmark_prints_and_writes_what_it_measured(tmp_path, capsys):
    path = tmp_path / "rows.json"
    command = ["--tiny", "--device", "cpu", "--steps", "6", "--json", str(path), "--requests", "fused", "--profile"]
    main([*command, "--modes", *QUICK])
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
    for row in rows.values():
        *kernels, rest, together = row["kernels"]
        assert together["ms"] == pytest.approx(rest["ms"] + sum(kernel["ms"] for kernel in kernels))
        assert f"| {row['mode']}, 64 px: kernel |" in printed
    requests = {(request["steps"], request["frozen"]): request for request in rows["fused"]["depth_requests"]}
    assert list(requests) == [(0, False), (4, False), (20, False), (4, True), (20, True)]
    assert requests[20, False]["ms"] > requests[4, False]["ms"] > requests[0, False]["ms"] > 0
    assert all((request["error"] is None) != frozen for (_, frozen), request in requests.items())
    assert 1e-6 < requests[4, True]["error"] < 0.5 and "| fused, frozen branch | 64 | 4 |" in printed


def test_random_weights_share_lora_a_as_the_released_ones_do():
    model = build(TINY, True, torch.device("cpu"), torch.float32)
    assert not torch.equal(
        model.transformer_blocks[0].attn.to_q.lora_A["depth"].weight,
        model.transformer_blocks[1].attn.to_q.lora_A["depth"].weight,
    )
    fuse_projections(model)
    assert {len(module.lora_a) for module in model.modules() if isinstance(module, FusedLoraLinear)} == {64}


@pytest.mark.parametrize("arguments", [["--device", "cpu"], ["--tiny", "--sizes", "50"], ["--tiny", "--steps", "1"]])
def test_benchmark_refuses_what_it_cannot_run(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error:" in capsys.readouterr().err
