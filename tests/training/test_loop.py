"""The loop at tiny size: it learns, survives a kill, and exports what it averaged."""

import dataclasses
import json
import time

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from jointdit_core.model.transformer import added_parameters
from jointdit_core.pipeline import JointDiTPipeline
from jointdit_core.training.loop import TrainConfig, Trainer, rate_factor
from jointdit_core.training.mini import build_mini
from jointdit_core.training.objective import Objective, TrainedParts
from jointdit_core.training.sigmas import SigmaSampling
from jointdit_core.worlds import VOCABULARY
from tests.training import two_processes
from tests.training.conftest import TINY

CONFIG = TrainConfig(minutes=0.02, batch_size=8, warmup_steps=5, compile=False, ema_decay=0.9, cooldown=0.0)


def trainer(pipeline, folder, **changes):
    return Trainer(pipeline, dataclasses.replace(CONFIG, **changes), folder / "state", folder / "export")


def test_the_loss_falls(pipeline, pairs, tmp_path):
    run = trainer(pipeline, tmp_path, lr_matrix=3e-3, lr_other=3e-3)
    losses = [run.step(pairs, 0.0).item() for _ in range(120)]
    assert sum(losses[-20:]) < 0.75 * sum(losses[:20])


def test_bfloat16_learns_as_float32_does(vae, pairs, tmp_path, monkeypatch):
    def learn(precision):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
        AcceleratorState._reset_state()  # holds the precision of the process
        torch.manual_seed(0)
        run = trainer(build_mini(TINY, vae, VOCABULARY), tmp_path / precision)
        losses = [run.step(pairs, 0.0).item() for _ in range(10)]
        assert all(parameter.dtype == torch.float32 for parameter in run.parts.parameters())
        AcceleratorState._reset_state()
        return losses

    exact, rounded = learn("no"), learn("bf16")
    assert exact != rounded and rounded == pytest.approx(exact, rel=0.02)


def test_untrained_loss_is_that_of_a_zero_velocity(vae, pairs, tmp_path):
    plain = build_mini(dataclasses.replace(TINY, prediction_type="velocity"), vae, VOCABULARY)
    run = trainer(plain, tmp_path, semantic=False)
    rows = torch.arange(4).repeat(16)
    captions, labels = pairs.captions[rows, 0], pairs.labels[rows]
    loss = run.objective(run.parts, pairs.rgb[rows], pairs.depth[rows], captions, labels).item()
    expected = 1 + pairs.rgb.float().square().mean().item()  # E[(noise - x_0)^2]
    assert loss == pytest.approx(expected, rel=0.05)


def test_a_killed_run_goes_on_where_it_saved(pipeline, pairs, tmp_path):
    first = trainer(pipeline, tmp_path)
    first.run(lambda: pairs)
    saved = {name: p.detach().clone() for name, p in first.parts.named_parameters()}
    steps = first.progress.step
    assert steps > 0
    first.step(pairs, 0.0)  # lost by the kill
    (tmp_path / "state.partial").mkdir()  # a save the kill interrupted
    second = trainer(JointDiTPipeline.from_pretrained(tmp_path / "export", dtype=torch.float32), tmp_path)
    assert second.progress.step == steps
    for name, parameter in second.parts.named_parameters():
        assert torch.equal(parameter, saved[name]), name
    second.save()
    assert not (tmp_path / "state.partial").exists()


def test_a_resumed_run_takes_its_own_rates(pipeline, pairs, tmp_path):
    first = trainer(pipeline, tmp_path, lr_matrix=1e-3)
    first.step(pairs, 0.0)
    first.save()
    second = trainer(pipeline, tmp_path, lr_matrix=4e-3, warmup_steps=1)
    second.step(pairs, 0.0)
    assert second.optimizers[0].param_groups[0]["lr"] == pytest.approx(4e-3)


def test_the_export_is_the_average_and_runs(pipeline, pairs, tmp_path):
    pipeline.save_pretrained(tmp_path / "start")
    pipeline = JointDiTPipeline.from_pretrained(tmp_path / "start", dtype=torch.float32)
    run = trainer(pipeline, tmp_path)
    run.run(lambda: pairs)
    loaded = JointDiTPipeline.from_pretrained(tmp_path / "export", dtype=torch.float32)
    index = json.loads((tmp_path / "export" / "model_index.json").read_text())
    assert not index.get("_name_or_path"), "the folder it was trained in is nobody's business"
    names = [name for name, _ in run.parts.named_parameters()]
    averaged = dict(zip(names, run.ema.shadow_params, strict=True))
    for name, parameter in TrainedParts(loaded).named_parameters():
        assert torch.equal(parameter, averaged[name].half().float()), name
    loaded.set_progress_bar_config(disable=True)
    out = loaded.joint_generation("a red ball", num_inference_steps=2, seed=0)
    assert out.image.size == (64, 64)


def test_two_processes_train_as_one(two, tmp_path):
    together = load_file(two / "state" / "model.safetensors")
    alone = two_processes.train(tmp_path / "alone")
    for name, parameter in alone.parts.named_parameters():
        if name in together:  # a shared tensor is kept once
            assert torch.allclose(together[name], parameter, atol=1e-5), name


def test_frozen_training_moves_the_added_parameters_only(pipeline, pairs, tmp_path):
    added = {f"transformer.{name}" for name in added_parameters(pipeline.transformer)}
    # The untrained output layer passes no gradient back.
    torch.nn.init.normal_(pipeline.transformer.proj_out.weight, std=0.1)
    torch.nn.init.normal_(pipeline.transformer.single_transformer_blocks[0].norm.linear.base_layer.bias, std=0.1)
    before = {name: p.detach().clone() for name, p in TrainedParts(pipeline).named_parameters()}
    run = trainer(pipeline, tmp_path, added_only=True, semantic=False)
    for _ in range(3):
        run.step(pairs, 0.0)
    moved = {name for name, p in run.parts.named_parameters() if not torch.equal(p, before[name])}
    assert moved and moved <= added


def test_distillation_needs_embedded_guidance(pipeline, pairs):
    empty = torch.zeros(pairs.captions.shape[-1], dtype=torch.long)
    objective = Objective(SigmaSampling(), empty, 2, guidance=False)
    with pytest.raises(ValueError, match="guidance"):
        objective.distill_from(TrainedParts(pipeline), 4.0)


def test_the_teacher_guides_as_two_passes_do(pipeline, pairs, tmp_path):
    # An untrained mini says 0 whatever it is asked.
    for parameter in (pipeline.transformer.proj_out.weight, pipeline.transformer.norm_out.linear.weight):
        torch.nn.init.normal_(parameter, std=0.3)
    run = trainer(pipeline, tmp_path, distill_guidance=4.0, semantic=False)
    x, sigmas, captions = torch.randn(8, 16, 16), torch.full((8,), 0.6), pairs.captions[:, 0]
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0])
    guided = run.objective.guided_velocity(x, sigmas, captions, (8, 8), scale)
    empty = pipeline.tokenizer("", padding="max_length", return_tensors="pt").input_ids.expand_as(captions)
    with torch.no_grad():
        prompted, without = (run.parts(x, sigmas, ids, (8, 8), torch.ones(4))[0] for ids in (captions, empty))
    assert (prompted - without).abs().max() > 1e-3
    weight = torch.cat([scale, scale])[:, None, None]
    assert torch.allclose(guided, (1 - weight) * without + weight * prompted, atol=1e-5)
    before = [p.clone() for p in run.objective.teacher.parameters()]
    run.step(pairs, 0.0)
    assert all(map(torch.equal, before, run.objective.teacher.parameters())), "the teacher stays as it was"


def test_worlds_drawn_meanwhile_are_learnt_from_after_a_checkpoint(pipeline, pairs, tmp_path):
    asked = []

    def load():
        asked.append(time.monotonic())
        return pairs

    trainer(pipeline, tmp_path, minutes=0.1, export_minutes=0.02).run(load)
    assert len(asked) >= 2


def test_sigma_is_not_rounded_under_autocast(pipeline, pairs):
    seen = []
    parts = TrainedParts(pipeline)
    parts.transformer.time_text_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    sigmas = torch.full((8,), 0.7312)
    with torch.autocast("cpu", torch.bfloat16):
        parts(torch.randn(8, 16, 16), sigmas, pairs.captions[:, 0], (8, 8), torch.ones(4))
    assert torch.equal(seen[0], sigmas * 1000)


def test_rates_warm_up_by_steps_and_cool_down_by_time():
    config = TrainConfig(minutes=1, warmup_steps=10, cooldown=0.5)
    assert rate_factor(config, 0, 0.0) == pytest.approx(0.1)
    assert rate_factor(config, 100, 0.5) == 1
    assert rate_factor(config, 100, 0.75) == pytest.approx(0.5)
    assert rate_factor(config, 100, 1.0) == 0


def test_dropped_prompts_and_words_have_their_shares(pairs):
    objective = Objective(SigmaSampling(), torch.zeros(20, dtype=torch.long), 2, guidance=False)
    captions = torch.full((20_000, 20), 7)
    torch.manual_seed(0)
    given = torch.arange(20_000) % 2 == 0
    dropped = objective.drop_words(captions, given)
    empty = (dropped == 0).all(1)
    assert empty[given].float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert empty[~given].float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (dropped[~empty] == 2).float().mean().item() == pytest.approx(0.02, abs=0.003)
