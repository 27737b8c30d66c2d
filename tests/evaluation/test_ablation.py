"""The ablation at its smallest: every form is trained and measured, measured runs are kept, budgets must be equal."""

import json
from functools import partial

import pytest
import torch

from jointdit_core.evaluation.ablation import MEASURES, main, measure, table
from jointdit_core.evaluation.ablation_forms import VARIANTS
from jointdit_core.evaluation.mini import draw_worlds
from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.cache import CacheConfig, write_cache
from jointdit_core.training.mini import MiniConfig, build_tokenizer
from jointdit_core.worlds import VOCABULARY
from tests.evaluation.layouts import write_nyu
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    vae = AutoencoderPatchPCA.fit(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)), 4, 16, 0.5)
    vae.save_pretrained(folder / "vae")
    tokenizer = build_tokenizer(VOCABULARY, MiniConfig.text_length)
    write_cache(folder / "cache", CacheConfig(scenes=4, size=64, samples=1, shard=4), vae, tokenizer, batch_size=2)
    return folder


def test_every_form_is_measured_once_and_budgets_stay_equal(work, capsys, monkeypatch):
    monkeypatch.setattr("jointdit_core.evaluation.ablation_forms.COMPILE", False)  # minutes, for a few steps
    small = partial(MiniConfig, size=64, num_layers=1, num_single_layers=1, text_layers=1)
    monkeypatch.setattr("jointdit_core.evaluation.ablation_forms.MiniConfig", small)
    command = ["--cache", str(work / "cache"), "--autoencoder", str(work / "vae"), "--out", str(work / "out")]
    command += ["--steps", "2", "--batch-size", "2", "--scenes", "2", "--sampling-steps", "1", "--width", "64"]
    main([*command, "--seeds", "1"])
    written = json.loads((work / "out" / "ablation.json").read_text())
    assert [run["form"] for run in written["runs"]] == [variant.name for variant in VARIANTS]
    assert all([row["task"] for row in run["rows"]] == list(MEASURES) for run in written["runs"])
    assert len({json.dumps(run["rows"]) for run in written["runs"]}) > 1  # the forms do differ
    stamp = (work / "out" / "ablation.json").stat().st_mtime_ns
    main([*command, "--seeds", "1"])  # nothing left to do
    assert (work / "out" / "ablation.json").stat().st_mtime_ns == stamp
    assert capsys.readouterr().out.count("both, as in the paper") == 2
    with pytest.raises(SystemExit, match="equal"):
        main([*command, "--seeds", "1", "--batch-size", "4"])


def test_nyu_stands_beside_the_papers_figures(tmp_path):
    write_nyu(tmp_path)
    rows = measure(tiny_pipeline(), draw_worlds(2, 64, torch.device("cpu")), 1, 4, 1.0, tmp_path)
    assert [(row.task, row.scenes) for row in rows[-2:]] == [("depth-conditioned", 2), ("NYUv2", 8)]
    lines = table({"neither": [rows], "both, as released": [rows]}).splitlines()
    assert "NYUv2: AbsRel, delta1 %" in lines[0] and f"{rows[-1].abs_rel:.1f} ± nan" in lines[2]
    assert lines[2].endswith("| 8.8 |") and lines[3].endswith("| — |")
