"""The benchmark command, on a tiny network."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from jointdit_core.benchmark import __main__ as benchmark
from jointdit_core.benchmark import graphs, mini
from jointdit_core.benchmark.__main__ import main
from jointdit_core.benchmark.loops import build_autoencoder, make_depth_request, make_loop
from jointdit_core.benchmark.modes import MODES, TINY, build
from jointdit_core.model.frozen import CLEAN, freeze_branches
from jointdit_core.model.fused import FusedLoraLinear, fuse_projections
from jointdit_core.presets import PRESETS, TaskDefaults


def test_benchmark_prints_and_writes_what_it_measured_in_every_mode(tmp_path, capsys):
    path = tmp_path / "rows.json"
    main(["--tiny", "--device", "cpu", "--steps", "6", "--json", str(path), "--modes", *MODES])
    rows = {row["mode"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(rows) == list(MODES)
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in MODES) and "network tiny" in printed
    for name, row in rows.items():
        assert row["ms_per_step"] > 0 and row["device"] == "CPU"
        assert row["ratio_to_flux"] == pytest.approx(row["ms_per_step"] / rows["flux"]["ms_per_step"])
        if name == "first-block-cache":  # finds nothing to skip in a random network
            assert row["error"] < 0.5
        elif MODES[name].approximate:
            assert 1e-6 < row["error"] < 0.5, name
        elif MODES[name].joint and name != "plain":  # exact, compiled or not
            assert row["error"] <= 1e-4, name


def test_benchmark_times_whole_requests_and_lists_kernels(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "REQUEST_STEPS", (1, 3))
    path = tmp_path / "rows.json"
    command = ["--tiny", "--device", "cpu", "--steps", "2", "--json", str(path), "--modes", "flux", "fused"]
    main([*command, "--requests", "fused", "--profile"])
    printed, rows = capsys.readouterr().out, json.loads(path.read_text())["rows"]
    for row in rows:
        *kernels, rest, together = row["kernels"]
        assert together["ms"] == pytest.approx(rest["ms"] + sum(kernel["ms"] for kernel in kernels))
        assert f"| {row['mode']}, 64 px: kernel |" in printed
    requests = {(request["steps"], request["frozen"]): request for request in rows[1]["depth_requests"]}
    assert list(requests) == [(0, False), (1, False), (3, False), (1, True), (3, True)]
    assert requests[3, False]["ms"] > requests[0, False]["ms"] > 0
    assert all((request["error"] is None) != frozen for (_, frozen), request in requests.items())
    assert requests[1, True]["error"] == 0  # the first step is exact
    assert 1e-6 < requests[3, True]["error"] < 0.5 and "| fused, frozen branch | 64 | 3 |" in printed


def test_run_that_is_cut_short_keeps_what_it_measured(tmp_path, capsys, monkeypatch):
    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "time_requests", cut)
    path = tmp_path / "rows.json"
    command = f"--tiny --device cpu --steps 2 --json {path} --modes fused --requests fused"
    with pytest.raises(KeyboardInterrupt):
        main(command.split())
    [row] = json.loads(path.read_text())["rows"]
    assert row["mode"] == "fused" and row["ms_per_step"] > 0 and "| fused | 64 |" in capsys.readouterr().err


def test_mini_is_timed_in_every_form(monkeypatch):
    few = {task: TaskDefaults({"standard": 1}, 1.0) for task in PRESETS["mini"].tasks}
    monkeypatch.setitem(PRESETS, "mini", dataclasses.replace(PRESETS["mini"], tasks=few))
    monkeypatch.setattr(mini, "MINI_MODES", {name: mini.MINI_MODES[name] for name in ("plain", "merged")})
    monkeypatch.setattr(mini, "THREADS", (1,))
    monkeypatch.setattr(mini, "ROUNDS", 1)
    threads = torch.get_num_threads()
    plain, merged = rows = mini.measure_mini()
    assert (plain.difference, plain.threads, torch.get_num_threads()) == (0, 1, threads)
    assert merged.difference < 1e-3 and all(min(row.joint_s, row.depth_s, row.first_s) > 0 for row in rows)
    assert "| merged | 1 |" in mini.format_mini(rows, 2.0)


def test_recorded_steps_are_those_of_the_model_whatever_comes_in_between(monkeypatch):
    recorded = []

    def record(run):  # a card's graph: the same work on the same memory
        result = run()
        recorded.append(result.shape)
        return lambda: result.copy_(run()), result

    monkeypatch.setattr(graphs, "record", record)
    model = build(TINY, True, torch.device("cpu"), torch.float32)
    plan = [(size, steps) for size in (32, 64) for steps in (2, 3)]
    loops = [make_loop(model, MODES["plain"], *numbers) for numbers in plan]
    request = make_depth_request(model, build_autoencoder(model, tiny=True), 64, 3)
    plain, depth = [loop() for loop in loops], request()
    graphs.record_steps(model)
    ends = [loop() for loop in loops]
    assert all(torch.equal(end, expected) for end, expected in zip(ends, plain, strict=True))
    assert torch.equal(request(), depth) and len(recorded) == 2  # one a size

    freeze_branches(model, CLEAN, compiled=False)
    assert 0 < (request() - depth).norm() < 0.1 * depth.norm() and len(recorded) == 2


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
