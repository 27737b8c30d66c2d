"""Training what JointDiT adds to FLUX, at tiny size: from the files to add-ons that load, killed and resumed."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from jointdit_core.encode import PromptEmbeds, pack_latents
from jointdit_core.evaluation import ablation
from jointdit_core.evaluation.depth_benchmark import benchmark_depth, save_benchmark
from jointdit_core.model.transformer import added_parameters
from jointdit_core.pipeline import JointDiTPipeline
from jointdit_core.training.__main__ import main
from jointdit_core.training.checkpoint import recover, replace
from jointdit_core.training.objective import PROMPT_DROP, Objective
from jointdit_core.training.sigmas import SigmaSampling
from jointdit_core.training.validate import Validation
from tests.evaluation.layouts import write_nyu
from tests.training import full_scale
from tests.training.conftest import ENVIRONMENT
from tests.training.full_scale import content, full_disk, trainer


@pytest.fixture(scope="module")
def folder(flux):
    return flux


def test_new_addons_change_nothing_and_are_all_that_is_trained(folder):
    run, pairs = trainer(folder, "start")
    transformer = run.parts.transformer
    added = set(added_parameters(transformer))
    plain = load_file(folder / "flux" / "transformer" / "diffusion_pytorch_model.safetensors")
    for name, parameter in transformer.named_parameters():
        assert parameter.requires_grad == (name in added)
        if name in added:
            assert ("lora_A" in name) == bool(parameter.abs().max() > 0), name
        else:
            assert torch.equal(parameter, plain[name.replace(".base_layer", "")])
    losses = [run.step(pairs, 0.0).item() for _ in range(45)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])
    for name, parameter in transformer.named_parameters():
        if name not in added:
            assert torch.equal(parameter, plain[name.replace(".base_layer", "")]), name


def test_the_loss_is_the_papers(folder):
    """Eq. 4 by hand: the mean squared error of v over both branches, whole rows, whatever their noise levels."""
    run, pairs = trainer(folder, "loss")
    batch, seen = pairs.take(range(8)), {}

    def guess(x, sigmas, text, grid, guidance, labels):
        seen.update(x=x, sigmas=sigmas, guidance=guidance)
        return torch.zeros_like(x), torch.zeros(())

    torch.manual_seed(3)
    loss = run.objective(guess, batch.rgb, batch.depth, batch.text, None)
    torch.manual_seed(3)
    clean = torch.cat([pack_latents(batch.rgb), pack_latents(batch.depth)])
    noise = torch.randn_like(clean)
    assert loss.item() == pytest.approx((noise - clean).square().mean().item(), rel=1e-5)
    sigma = seen["sigmas"][:, None, None]
    torch.testing.assert_close(seen["x"], (1 - sigma) * clean + sigma * noise)
    assert (seen["guidance"] == 1).all() and run.config.sampling == SigmaSampling()


def test_prompts_are_dropped_in_a_tenth(folder):
    _, pairs = trainer(folder, "drop")
    objective = Objective(SigmaSampling(), pairs.empty, None, guidance=True)
    one = pairs.take([1]).text
    text = PromptEmbeds(one.pooled.expand(20_000, -1), one.tokens.expand(20_000, -1, -1))
    torch.manual_seed(0)
    dropped = objective.drop_prompts(text)
    empty = (dropped.pooled == pairs.empty.pooled).all(1)
    assert empty.float().mean().item() == pytest.approx(PROMPT_DROP, abs=0.01)
    assert torch.equal((dropped.tokens == pairs.empty.tokens).flatten(1).all(1), empty)
    assert torch.equal(dropped.tokens[~empty], text.tokens[~empty])


@pytest.mark.parametrize("changes", [{"checkpointing": False}, {"offload": True}])
def test_checkpointing_and_offloading_change_no_number(folder, changes):
    plain, pairs = trainer(folder, "plain")
    other, _ = trainer(folder, "other", **changes)
    for run in (plain, other):
        torch.manual_seed(5)
        for _ in range(3):
            run.step(pairs, 0.0)
    for (name, a), b in zip(plain._kept().items(), other._kept().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)


def test_two_processes_prepare_and_train_as_one(folder, made, two):
    together = load_file(folder / "two" / "state" / "trained.safetensors")
    kept = full_scale.three_steps(folder, "one")._kept()
    assert together.keys() == kept.keys()
    for name, parameter in kept.items():
        assert torch.allclose(together[name], parameter, atol=1e-5), name
    assert content(two / "pairs") == content(made / "out")
    shards = sorted((made / "out").glob("*.safetensors"))
    for shard in shards:
        for name, tensor in load_file(shard).items():
            torch.testing.assert_close(load_file(two / "pairs" / shard.name)[name], tensor, atol=1e-3, rtol=1e-3)


def test_two_processes_with_shared_weights_train_as_one(folder, two):
    together = load_file(folder / "sharded" / "state" / "trained.safetensors")
    alone = full_scale.three_steps(folder, "alone", ema_decay=0.9)
    assert together.keys() == alone._kept().keys()
    for name, parameter in alone._kept().items():
        assert torch.allclose(together[name], parameter, atol=1e-5), name
    exported, expected = (
        load_file(folder / run / "addons" / "jointdit_addons.safetensors") for run in ("sharded", "alone")
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(exported[name], tensor, msg=name)
    unbroken, resumed = (load_file(folder / "sharded" / f"{run}.safetensors") for run in ("unbroken", "resumed"))
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in unbroken.items())
    assert not all(torch.equal(unbroken[name], together[name]) for name in together)  # it did go on
    assert [path.name for path in (folder / "sharded" / "look").iterdir()] == ["step-000005.png"]


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adafactor", "ema_decay": 0.9}, {"offload": True}])
def test_a_resumed_run_equals_the_unbroken_one(folder, tmp_path, changes):
    (tmp_path / "flux").symlink_to(folder / "flux")
    (tmp_path / "pairs").symlink_to(folder / "pairs")
    whole, pairs = trainer(tmp_path, "whole", **changes)
    expected = [whole.step(pairs, 0.0).item() for _ in range(6)]
    first, _ = trainer(tmp_path, "broken", **changes)
    losses = [first.step(pairs, 0.0).item() for _ in range(3)]
    first.save()
    first.step(pairs, 0.0)  # lost by the kill
    second, _ = trainer(tmp_path, "broken", **changes)
    assert second.progress.step == 3
    losses += [second.step(pairs, 0.0).item() for _ in range(3)]
    assert losses == expected
    for name, parameter in whole._kept().items():
        assert torch.equal(parameter, second._kept()[name]), name


def command(folder, run, steps):
    options = ["train-flux", "--data", str(folder / "pairs"), "--model", str(folder / "flux")]
    options += ["--out", str(folder / run / "addons"), "--state", str(folder / run / "state"), "--steps", str(steps)]
    return [*options, "--lr", "1e-3", "--save-steps", "5", "--validate", "2", "--validation-steps", "2"]


def curve(folder, run):
    """Step -> loss; a resumed run's later lines count."""
    lines = (folder / run / "addons-log" / "log.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


def test_a_run_killed_at_any_moment_goes_on_with_the_same_losses(folder):
    unseen = ["--validation-steps", "0"]
    main([*command(folder, "unbroken", 16), *unseen])
    arguments = [sys.executable, "-m", "jointdit_core.training", *command(folder, "killed", 16), *unseen]
    log = folder / "killed" / "addons-log" / "log.jsonl"
    run = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (log.exists() and max(curve(folder, "killed"), default=0) >= 8):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    reached = max(curve(folder, "killed"))
    written = len(log.read_text().splitlines())
    main([*command(folder, "killed", 16), *unseen])
    resumed = [json.loads(line) for line in log.read_text().splitlines()[written:]]
    first = next(entry["step"] for entry in resumed if "loss" in entry)
    assert reached - (first - 1) <= 5, "at most one interval is lost"
    assert curve(folder, "killed") == pytest.approx(curve(folder, "unbroken"), rel=1e-6)
    assert sorted(curve(folder, "killed")) == list(range(1, 17))


def test_addons_load_and_the_checks_along_the_way_are_kept(folder):
    main(command(folder, "loads", 10))
    trained = load_file(folder / "loads" / "addons" / "jointdit_addons.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in trained.items() if ".joint." in name)
    pipe = JointDiTPipeline.from_flux(str(folder / "flux"), str(folder / "loads" / "addons"), torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.joint_generation("a red ball", height=64, width=64, num_inference_steps=1, seed=0).image.size == (
        64,
        64,
    )
    logs = folder / "loads" / "addons-log"
    lines = [json.loads(line) for line in (logs / "log.jsonl").read_text().splitlines()]
    assert any("abs_rel" in line and "delta1" in line for line in lines)
    assert (logs / "step-000010.png").exists()
    assert pipe.transformer.config.adaptive_weights == "released"
    main([*command(folder, "off", 1), "--adaptive-weights", "off", "--validation-steps", "0"])
    assert not list((folder / "off" / "addons-log").glob("*.png")), "nobody asked to look"
    off = JointDiTPipeline.from_flux(str(folder / "flux"), str(folder / "off" / "addons"), torch.float32)
    assert off.transformer.config.adaptive_weights == "off"
    main([*command(folder, "tuned", 2), "--addons", str(folder / "loads" / "addons"), "--lr", "0"])
    again = load_file(folder / "tuned" / "addons" / "jointdit_addons.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in trained.items())


def test_looking_at_a_run_changes_nothing_of_it(folder):
    run, pairs = trainer(folder, "look", log=folder / "look" / "log.jsonl")
    pairs = dataclasses.replace(pairs, held_out=2)
    before = torch.get_rng_state()
    Validation(full_scale.pipeline(folder), pairs, 1, folder / "look")(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert run.parts.transformer.training and (folder / "look" / "step-000000.png").exists()


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    for name in ("state", "state.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which").write_text(name)
    (tmp_path / "state").rename(tmp_path / "state.outdated")  # and there it was killed
    recover(tmp_path / "state")
    assert (tmp_path / "state" / "which").read_text() == "state"
    replace(tmp_path / "state.partial", tmp_path / "state")
    assert (tmp_path / "state" / "which").read_text() == "state.partial"
    recover(tmp_path / "state")
    assert {path.name for path in tmp_path.iterdir()} == {"state"}


def test_what_cannot_be_trained_is_said(folder, tmp_path):
    with pytest.raises(SystemExit, match="no finished prepared pairs"):
        main([*command(folder, "none", 1), "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="pip install bitsandbytes"):
        main([*command(folder, "none", 1), "--optimizer", "adamw8bit"])
    with pytest.raises(SystemExit, match="pip install wandb"):
        main([*command(folder, "none", 1), "--log-with", "wandb"])
    with pytest.raises(SystemExit, match="start them with torchrun"):
        main([*command(folder, "none", 1), "--shard"])
    with full_disk(20_000), pytest.raises(SystemExit, match="could not be written"):
        main(command(folder, "full-disk", 1))
    assert not (folder / "full-disk" / "state").exists()


def test_from_pictures_to_the_papers_table(folder, made, tmp_path):
    """Prepare, train 30 steps in two runs, measure on pairs that lie as NYUv2 does."""
    shutil.copytree(folder / "flux", tmp_path / "flux")
    options = [*command(tmp_path, "run", 15), "--data", str(made / "out")]
    main(options)
    main([*options, "--steps", "30"])
    assert sorted(curve(tmp_path, "run")) == list(range(1, 31))
    pipe = JointDiTPipeline.from_flux(str(tmp_path / "flux"), str(tmp_path / "run" / "addons"), torch.float32)
    pipe.register_to_config(default_size=64, max_size=64)
    pipe.set_progress_bar_config(disable=True)
    write_nyu(tmp_path / "nyu")
    found, sheet = benchmark_depth(pipe, "nyu", tmp_path / "nyu", steps=2, batch_size=4)
    assert found.rows[0].images == 8 and found.rows[0].abs_rel > 0
    assert "| Ours (paper) | 5.7 | 96.9 |" in save_benchmark(found, sheet, "tiny", tmp_path / "table")


def test_the_ablation_trains_and_measures_every_form_of_the_addons(folder, made, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "VARIANTS", ablation.VARIANTS[::2])
    options = ["--data", str(made / "out"), "--model", str(folder / "flux"), "--out", str(tmp_path), "--steps", "2"]
    options += ["--batch-size", "2", "--scenes", "2", "--sampling-steps", "1", "--lr", "1e-2"]
    ablation.main(options)
    runs = json.loads((tmp_path / "ablation.json").read_text())["runs"]
    assert [run["form"] for run in runs] == ["neither", "unbalanced levels", "both, as in the paper"]
    assert all([row["task"] for row in run["rows"]] == list(ablation.MEASURES) for run in runs)
    assert all(row["scenes"] == 2 for run in runs for row in run["rows"])
    settings = json.loads((tmp_path / "both-as-in-the-paper-0" / "addons" / "jointdit_addons.json").read_text())
    assert settings["adaptive_weights"] == "paper"
    losses = [curve(tmp_path, f"{name}-0") for name in ("neither", "unbalanced-levels", "both-as-in-the-paper")]
    assert sorted(losses[0]) == [1, 2] and losses[0][1] != losses[1][1]  # other noise levels
    assert losses[1][1] == losses[2][1] and losses[1][2] != losses[2][2]  # other weights, of what is zero at first
    stamp = (tmp_path / "ablation.json").stat().st_mtime_ns
    ablation.main(options)  # nothing left to do
    assert (tmp_path / "ablation.json").stat().st_mtime_ns == stamp
    with pytest.raises(SystemExit, match="equal"):
        ablation.main([*options, "--lr", "1e-3"])
