"""Depth benchmarks end to end: figures against plain numpy, the table, the command on every layout."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from jointdit_core.evaluation.__main__ import main
from jointdit_core.evaluation.datasets import DATASETS
from jointdit_core.evaluation.depth_benchmark import benchmark_depth, depth_table
from jointdit_core.evaluation.depth_metrics import depth_metrics, fit_disparity, thinned
from tests.evaluation.layouts import COUNT
from tests.tiny import tiny_pipeline


def reference(disparity, depth, counts, near, far):
    """AbsRel and delta1 in percent, from the protocol: least squares in disparity, inverted, held in range."""
    x, y, d = disparity[counts].astype(float), 1 / depth[counts].astype(float), depth[counts].astype(float)
    scale = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    aligned = np.maximum(scale * (x - x.mean()) + y.mean(), 1e-3)
    guess = np.minimum(np.maximum(1 / aligned, near), far)
    return 100 * (np.abs(guess - d) / d).mean(), 100 * (np.maximum(guess / d, d / guess) < 1.25).mean()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


def test_figures_are_those_of_plain_numpy(written):
    (folder, depths), pipe = written("nyu"), tiny_pipeline()
    found, picture = benchmark_depth(pipe, "nyu", folder, steps=1, batch_size=3)
    assert found.rows[0].images == COUNT and not found.faults and picture.size[0] > 0
    expected = []
    for i, depth in enumerate(depths):
        image = Image.open(folder / f"test/kitchen_0004/rgb_{i + 1:04d}.png")
        disparity = pipe.depth_estimation(image, " ", num_inference_steps=1, seed=i).disparity
        depth = np.where(np.isfinite(depth), np.round(depth * 1000) / 1000, 0)
        counts = (depth > 1e-3) & (depth < 10)
        counts[:45] = counts[471:] = counts[:, :41] = counts[:, 601:] = False
        expected.append(reference(disparity, depth, counts, 1e-3, 10.0))
        assert found.per_image[f"test/kitchen_0004/rgb_{i + 1:04d}.png"]["nyu-eigen"] == pytest.approx(
            expected[-1], rel=1e-3
        )
    assert found.rows[0].abs_rel == pytest.approx(np.mean(expected, 0)[0], rel=1e-3)
    assert found.rows[0].delta1_ci == pytest.approx(1.96 * np.std(expected, 0, ddof=1)[1] / COUNT**0.5, rel=1e-2)


@pytest.mark.parametrize("name", DATASETS)
def test_the_command_measures_every_layout(name, written, model, tmp_path, capsys):
    folder, _ = written(name)
    options = ["--data", str(folder), "--model", model, "--out", str(tmp_path), "--steps", "1"]
    if name == "scannet":  # with a list, one of whose files is gone
        lines = [f"scene0406_02/color/000{i}00.jpg scene0406_02/depth/000{i}00.png" for i in (3, 9, 1)]
        (tmp_path / "list.txt").write_text("\n".join(lines))
        options += ["--list", str(tmp_path / "list.txt")]
    main(["depth", "--dataset", name, *options])
    said, count = capsys.readouterr(), 2 if name == "scannet" else COUNT
    made = json.loads((tmp_path / f"depth-{name}.json").read_text())
    assert made["rows"][0]["images"] == count and len(made["rows"]) == len(DATASETS[name].crops)
    assert f"{count} images measured, {len(made['faults'])} left out" in said.out
    assert f"{DATASETS[name].title}: AbsRel" in said.out and (tmp_path / f"depth-{name}.png").exists()
    assert ("left out: scene0406_02/color/000900.jpg" in said.err) == (name == "scannet") == bool(made["faults"])
    assert ("Without --list" in said.err) == (name == "kitti")


def test_nothing_to_measure_is_said(model, tmp_path):
    (tmp_path / "data").mkdir()
    options = ["depth", "--dataset", "nyu", "--model", model, "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="holds nothing in the layout of NYUv2, pictures like rgb_0001.png and"):
        main([*options, "--model", "none of this is loaded", "--data", str(tmp_path / "data")])
    for name in ("rgb_0001.png", "depth_0001.png"):
        (tmp_path / "data" / name).write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"no pair of NYUv2 in .* could be measured \(1 faults\)\. rgb_0001.png: "):
        main([*options, "--data", str(tmp_path / "data")])
    with pytest.raises(SystemExit, match="not a folder"):
        main([*options, "--data", str(tmp_path / "none")])


def test_the_table_holds_the_papers_rows_and_ours():
    row = {"crop": "eigen", "images": 9, "abs_rel": 7.06, "abs_rel_ci": 0.5, "delta1": 90.0, "delta1_ci": 1.0}
    runs = [
        {"dataset": "scannet", "model": "m", "steps": 4, "rows": [row], "faults": []},
        {"dataset": "kitti", "model": "m", "steps": 4, "rows": [row, row | {"crop": "garg"}], "faults": [1]},
    ]
    lines = depth_table(runs).splitlines()
    assert "| Ours (paper) | 6.6 | 95.7 | 10.3 | 88.8 |" in lines
    assert "| UniCon | 9.2 | 91.9 | — | — |" in lines
    assert "| **m, 4 steps** | 7.1 ± 0.5 | 90.0 ± 1.0 | 7.1 ± 0.5 | 90.0 ± 1.0 |" in lines
    assert lines[-1].startswith("KITTI with the garg crop")


def test_scale_and_shift_are_recovered_and_the_range_holds_what_is_beyond():
    depth = np.random.default_rng(0).uniform(1, 9, (40, 60))
    assert fit_disparity((1 / depth - 0.7) / 3, 1 / depth, depth > 0) == pytest.approx((3, 0.7), abs=1e-12)
    assert depth_metrics((1 / depth - 0.7) / 3, depth, None, (1e-3, 10.0), 16).abs_rel == pytest.approx(0, abs=1e-9)
    # By hand: exact at 1 m and 2 m; 4 m is held at 3 m, which is off by a quarter, and 4 / 3 is above 1.25.
    held = depth_metrics(np.array([[1.0, 0.5, 0.25]]), np.array([[1.0, 2.0, 4.0]]), None, (1e-3, 3.0))
    assert held.abs_rel == pytest.approx(25 / 3) and held.delta1 == pytest.approx(200 / 3)


def test_a_map_is_thinned_as_by_nearest_neighbour():
    values = torch.arange(30 * 45.0).view(1, 1, 30, 45)
    expected = torch.nn.functional.interpolate(values, scale_factor=16 / 45, mode="nearest")[0, 0]
    rows, columns = thinned((30, 45), 16)
    assert torch.equal(values[0, 0][torch.from_numpy(rows), torch.from_numpy(columns)], expected)
