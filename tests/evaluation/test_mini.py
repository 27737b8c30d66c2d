"""The mini's table on a tiny untrained model: every task, its numbers and its sheets."""

import json

import numpy as np
import pytest
import torch

from jointdit_core.evaluation.__main__ import main
from jointdit_core.evaluation.checker import LabelChecker
from jointdit_core.evaluation.depth_metrics import DepthMetrics
from jointdit_core.evaluation.mini import draw_worlds, estimate, sheet, summarise
from jointdit_core.worlds import sample_scene
from tests.tiny import tiny_pipeline


def test_the_scenes_are_the_same_whatever_the_batch():
    three = draw_worlds(3, 64, torch.device("cpu"), batch_size=2)
    two = draw_worlds(2, 64, torch.device("cpu"), batch_size=1)
    assert [w.tobytes() for w in two.images] == [w.tobytes() for w in three.images[:2]]
    assert three.prompts[:2] == two.prompts and len(three.disparities) == 3
    np.testing.assert_array_equal(np.isinf(three.depths[0]), three.disparities[0] == 0)
    assert sample_scene(10)  # the first unseen seed


def test_interval_is_that_of_the_mean():
    row = summarise("task", 4, [DepthMetrics(a, 50.0) for a in (1.0, 2.0, 3.0, 4.0)])
    assert row.abs_rel == 2.5 and row.delta1 == 50 and row.delta1_ci == 0
    assert row.abs_rel_ci == pytest.approx(1.96 * np.std([1, 2, 3, 4], ddof=1) / 2)


def test_depth_of_a_batch_is_that_of_its_parts():
    pipe = tiny_pipeline()
    images = draw_worlds(2, 64, torch.device("cpu")).images
    together = estimate(pipe, images, 2, batch_size=2)
    apart = estimate(pipe, images, 2, batch_size=1)
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_sheets_hold_groups_side_by_side():
    maps = [np.full((8, 8), i / 16, np.float32) for i in range(16)]
    assert sheet([maps, maps]).size == (4 * 2 * 8, 4 * 8)
    assert sheet([maps[:2]]).size == (8, 16)  # too few for a line: one below the other


def test_the_command_writes_table_json_and_sheets(tmp_path, capsys):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    LabelChecker(channels=16, blocks=1).save_pretrained(tmp_path / "checker")
    main(
        ["--model", str(tmp_path / "model"), "--checker", str(tmp_path / "checker"), "--out", str(tmp_path / "out")]
        + ["--scenes", "4", "--depth-steps", "2", "1", "--steps", "2", "--batch-size", "2"]
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    tasks = [row["task"] for row in report["depth"]]
    assert tasks.count("depth estimation") == 2 and {"joint self-consistency", "depth-conditioned"} <= set(tasks)
    assert any(task.startswith("depth estimation, ") for task in tasks)
    assert {"drawn (the checker's own errors)", "made"} <= {row["pictures"] for row in report["obedience"]}
    assert report["distances"]["frechet"] >= 0
    assert capsys.readouterr().out.startswith("| task |")
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {
        "depth-estimation.png",
        "joint-generation.png",
        "depth-to-image.png",
    }


def test_without_a_checker_the_rest_is_measured_and_said(tmp_path, capsys):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    main(
        ["--model", str(tmp_path / "model"), "--checker", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
        + ["--scenes", "2", "--depth-steps", "1", "--steps", "1", "--batch-size", "2"]
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["depth"] and not report["obedience"] and report["distances"] is None
    assert "not judged" in capsys.readouterr().err
