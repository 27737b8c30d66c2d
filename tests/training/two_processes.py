"""A few training steps of the mini and of FLUX's add-ons, and a preparation, at tiny size under torchrun."""

import sys
from pathlib import Path

import torch

from jointdit_core.training.__main__ import main
from jointdit_core.training.loop import TrainConfig, Trainer
from jointdit_core.training.mini import build_mini
from jointdit_core.worlds import VOCABULARY
from tests.training.conftest import TINY, learnable_pairs, tiny_vae
from tests.training.full_scale import three_steps


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


if __name__ == "__main__":
    train(Path(sys.argv[1]))
    main(sys.argv[3:])
    three_steps(Path(sys.argv[2]), "two").accelerator.end_training()
