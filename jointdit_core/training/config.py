"""The numbers of a training run, and its learning rates over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .optimizers import OptimizerName
from .sigmas import MINI_SAMPLING, SigmaSampling


@dataclass(frozen=True)
class TrainConfig:
    """Numbers of a run.

    Attributes:
        minutes: Length of this run; the schedule's cooldown ends with it.
        steps: Steps over all runs after which it ends earlier, or None.
        batch_size: B, over all processes, which divide it evenly.
        optimizer: "muon" is Muon for the blocks' matrices and AdamW for everything else; others train everything.
        lr_matrix: Learning rate of Muon.
        lr_other: Learning rate of AdamW, or of the only optimizer.
        warmup_steps: Steps of linear warm-up, over all runs.
        cooldown: Share of this run, at its end, in which the rates fall linearly to zero.
        ema_decay: Decay of the averaged weights, which are the ones exported; None exports the last ones.
        sampling: Distribution of the noise levels.
        added_only: Freeze FLUX's own weights and the text encoders, as the paper does.
        semantic: Teach a middle block what the patches show, see `SemanticHead`.
        distill_guidance: Largest guidance scale taught in one pass; 1 trains plainly.
        export_minutes: Minutes between exports and checkpoints.
        export_steps: Steps between them, where that is less; None leaves it to the minutes.
        checkpointing: Compute the blocks again in the backward pass instead of keeping what is in them.
        offload: Keep frozen weights, gradients and optimizer in main memory, see `offload`.
        shard: Share weights, gradients and optimizer out over the processes, see `sharding`.
        log: File of the losses, a JSON line a step, or None.
        log_with: Names of accelerate's trackers beside it, which write to the log's folder.
        compile: Compile the transformer's blocks.
        seed: Seed of the run.
    """

    minutes: float
    steps: int | None = None
    batch_size: int = 64
    optimizer: OptimizerName = "muon"
    lr_matrix: float = 1e-3
    lr_other: float = 1e-3
    warmup_steps: int = 100
    cooldown: float = 0.25
    ema_decay: float | None = 0.999
    sampling: SigmaSampling = MINI_SAMPLING
    added_only: bool = False
    semantic: bool = True
    distill_guidance: float = 1.0
    export_minutes: float = 10.0
    export_steps: int | None = None
    checkpointing: bool = False
    offload: bool = False
    shard: bool = False
    log: Path | None = None
    log_with: tuple[str, ...] = ()
    compile: bool = True
    seed: int = 0


def rate_factor(config: TrainConfig, step: int, share: float) -> float:
    """The schedule: linear warm-up by steps, constant, linear cooldown by time.

    Args:
        config: Warm-up and cooldown.
        step: Steps done, over all runs.
        share: Share of this run's time that has passed, in [0, 1].

    Returns:
        Factor in [0, 1] on every learning rate.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps)
    cool = min(1.0, (1 - share) / config.cooldown) if config.cooldown else 1.0
    return warm * max(cool, 0.0)
