"""How fast the mini trains here: pairs a second and memory, at several batch sizes."""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ..pipeline import JointDiTPipeline
from ..worlds import COLOR_CLASSES, OBJECT_CLASSES
from .cache import LatentPairs
from .config import TrainConfig
from .loop import Trainer

WARM = 2  # steps before the clock starts
HELD = 256  # pairs


@dataclass(frozen=True)
class Throughput:
    """One line of the table.

    Attributes:
        processes: How many shared a batch.
        threads: Of each.
        batch_size: Pairs a step, over all processes.
        pairs_per_second: Trained, over all processes.
        memory_gib: Largest so far: of the card, or else of one process.
    """

    processes: int
    threads: int
    batch_size: int
    pairs_per_second: float
    memory_gib: float


def measure_throughput(model: Path, batch_size: int, seconds: float, compiled: bool) -> Throughput:
    """Train a mini on noise for a while; under torchrun in as many processes as there are.

    Args:
        model: Folder of a mini.
        batch_size: Pairs a step, over all processes.
        seconds: How long; at least one step is done.
        compiled: Whether its blocks are compiled.

    Returns:
        The measurement.
    """
    pipeline = JointDiTPipeline.from_pretrained(model, dtype=torch.float32)
    side = pipeline.config.default_size // pipeline.vae.encoder.stride[0]
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(minutes=1, batch_size=batch_size, compile=compiled)
        trainer = Trainer(pipeline, config, Path(folder) / "state", Path(folder) / "export")
        pairs = _noise(pipeline, side, trainer.accelerator.device)
        for _ in range(WARM):
            loss = trainer.step(pairs, 0.0)
        loss.item()  # waits for the device
        steps, start = 0, time.monotonic()
        while steps == 0 or trainer.agree(time.monotonic() - start) < seconds:
            loss = trainer.step(pairs, 0.0)
            steps += 1
        loss.item()
        elapsed = time.monotonic() - start
    on_card = trainer.accelerator.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_card else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    processes = trainer.accelerator.num_processes
    return Throughput(processes, torch.get_num_threads(), batch_size, steps * batch_size / elapsed, peak / 2**30)


def _noise(pipeline: JointDiTPipeline, side: int, device: torch.device) -> LatentPairs:
    """Pairs of the mini's shapes that show nothing."""
    latents = torch.randn(2, HELD, pipeline.vae.config.latent_channels, side, side, device=device).half()
    captions = torch.randint(3, len(pipeline.tokenizer), (HELD, 1, pipeline.tokenizer.model_max_length), device=device)
    classes = min(len(OBJECT_CLASSES), len(COLOR_CLASSES))
    labels = torch.randint(classes, (HELD, 2, side, side), device=device, dtype=torch.uint8)
    return LatentPairs(*latents, captions, labels)


def throughput_table(rows: list[Throughput]) -> str:
    """Write measurements as Markdown."""
    lines = ["| processes | threads each | batch | pairs / s | GiB |", "|---" * 5 + "|"]
    lines += [
        f"| {r.processes} | {r.threads} | {r.batch_size} | {r.pairs_per_second:.1f} | {r.memory_gib:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)
