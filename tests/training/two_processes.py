"""A few training steps of the mini and of FLUX's add-ons, and a preparation, at tiny size under torchrun."""

import dataclasses
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState

from jointdit_core.training.__main__ import main
from jointdit_core.training.loop import TrainConfig, Trainer
from jointdit_core.training.mini import build_mini
from jointdit_core.training.sharding import whole
from jointdit_core.training.shards import write_tensors
from jointdit_core.training.validate import Validation
from jointdit_core.worlds import VOCABULARY
from tests.training.conftest import TINY, learnable_pairs, tiny_vae
from tests.training.full_scale import pipeline, three_steps, trainer


def train(folder: Path, batch_size: int = 8) -> Trainer:
    """Train three steps and save, in as many processes as there are.

    Args:
        folder: For the state and the export.
        batch_size: Pairs a step, over all processes.
    """
    config = TrainConfig(minutes=1, batch_size=batch_size, warmup_steps=1, compile=False)
    pipeline = build_mini(TINY, tiny_vae(), VOCABULARY)
    # Zero at the start, it would pass on gradients of rounding's size, which Muon brings to full size.
    torch.nn.init.normal_(pipeline.transformer.proj_out.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(pipeline, config, folder / "state", folder / "export")
    for _ in range(3):
        trainer.step(learnable_pairs(), 0.0)
    trainer.save()
    return trainer


def sharded(folder: Path) -> None:
    """Train with shared weights, save and look; then go on twice, unbroken and resumed, and keep what came of both."""
    changes = {"shard": True, "ema_decay": 0.9}
    unbroken = three_steps(folder, "sharded", **changes)
    resumed, pairs = trainer(folder, "sharded", str(folder / "flux" / "trained"), lr_other=1e-3, **changes)
    held = dataclasses.replace(pairs, held_out=2)
    for name, run in (("unbroken", unbroken), ("resumed", resumed)):
        torch.manual_seed(1)
        losses = torch.stack([run.step(pairs, 0.0) for _ in range(2)])
        kept = run._kept() | dict(zip(map("average {}".format, run._kept()), run.ema.shadow_params, strict=True))
        kept = {one: whole(tensor) for one, tensor in kept.items()} | {"losses": losses}
        if run.accelerator.is_main_process:
            write_tensors(folder / "sharded" / f"{name}.safetensors", kept)
    Validation(pipeline(folder), held, 1, folder / "sharded" / "look")(resumed)


if __name__ == "__main__":
    main(sys.argv[3:])  # first, as a command alone finds the other process
    assert PartialState().num_processes == 2
    train(Path(sys.argv[1]))
    three_steps(Path(sys.argv[2]), "two")
    sharded(Path(sys.argv[2]))
    Accelerator().end_training()
