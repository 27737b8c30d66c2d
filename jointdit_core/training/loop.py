"""One resumable, time-boxed training loop, on a CPU or a GPU, or on several of either under torchrun.

Letters: B pairs, K captions a pair.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

from ..model.transformer import freeze_backbone
from ..pipeline import JointDiTPipeline
from .cache import LatentPairs
from .mini import forget_origin
from .muon import Muon
from .objective import Objective, TrainedParts
from .sigmas import MINI_SAMPLING, SigmaSampling


@dataclass(frozen=True)
class TrainConfig:
    """Numbers of a run.

    Attributes:
        minutes: Length of this run; the schedule's cooldown ends with it.
        batch_size: B, over all processes, which divide it evenly.
        lr_matrix: Learning rate of Muon, which trains the blocks' matrices.
        lr_other: Learning rate of AdamW, which trains everything else.
        warmup_steps: Steps of linear warm-up, over all runs.
        cooldown: Share of this run, at its end, in which the rates fall linearly to zero.
        ema_decay: Decay of the averaged weights, which are the ones exported.
        sampling: Distribution of the noise levels.
        added_only: Freeze FLUX's own weights and the text encoders, as the paper does.
        semantic: Teach a middle block what the patches show, see `SemanticHead`.
        distill_guidance: Largest guidance scale taught in one pass; 1 trains plainly.
        export_minutes: Minutes between exports and checkpoints.
        compile: Compile the transformer's blocks.
        seed: Seed of the run.
    """

    minutes: float
    batch_size: int = 64
    lr_matrix: float = 1e-3
    lr_other: float = 1e-3
    warmup_steps: int = 100
    cooldown: float = 0.25
    ema_decay: float = 0.999
    sampling: SigmaSampling = MINI_SAMPLING
    added_only: bool = False
    semantic: bool = True
    distill_guidance: float = 1.0
    export_minutes: float = 10.0
    compile: bool = True
    seed: int = 0


def make_optimizers(parts: TrainedParts, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' own matrices, AdamW for embeddings, modulation, LoRA, norms, biases and the text encoders.

    Args:
        parts: What is trained; frozen parameters are left out.
        config: The learning rates.

    Returns:
        The optimizers that have anything to train.
    """
    matrices, others = [], []
    for name, parameter in parts.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = ".transformer_blocks." in f".{name}" or ".single_transformer_blocks." in f".{name}"
        plain = in_block and parameter.ndim == 2 and ".lora_" not in name and ".norm" not in name
        (matrices if plain else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            Muon(
                matrices,
                lr=config.lr_matrix,
                weight_decay=0.01,
                dtype=torch.bfloat16 if fast_bf16() else torch.float32,
            )
        )
    if others:
        optimizers.append(
            torch.optim.AdamW(others, lr=config.lr_other, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        )
    return optimizers


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


class Trainer:
    """A run: the parts, their average, the optimizers, and where it all is kept."""

    def __init__(self, pipeline: JointDiTPipeline, config: TrainConfig, state: Path, export: Path):
        """Prepare a run, or resume the one in `state`.

        Args:
            pipeline: The model to train; its parts are moved and changed.
            config: The run's numbers.
            state: Folder of the checkpoint.
            export: Folder of the exported pipeline, averaged weights in float16.

        Raises:
            ValueError: If the processes cannot divide the batch evenly.
        """
        self.config, self.state, self.export_folder = config, state, export
        self.shell = copy.deepcopy(pipeline)  # receives the averaged weights at each export
        forget_origin(self.shell, self.shell.vae, self.shell.transformer)
        self.accelerator = Accelerator(mixed_precision="bf16" if fast_bf16() else "no")
        processes = self.accelerator.num_processes
        if config.batch_size % processes:
            raise ValueError(f"a batch of {config.batch_size} cannot be shared evenly by {processes} processes")
        torch.manual_seed(config.seed)
        torch.set_float32_matmul_precision("high")
        parts = TrainedParts(pipeline, config.semantic).train()
        parts.requires_grad_(True)
        if config.added_only:
            parts.requires_grad_(False)
            freeze_backbone(parts.transformer)
            if parts.semantic is not None:
                parts.semantic.requires_grad_(True)
        ids = pipeline.tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
        self.objective = Objective(
            config.sampling,
            ids.to(self.accelerator.device),
            pipeline.tokenizer.unk_token_id,
            pipeline.transformer.config.guidance_embeds,
        )
        parts.to(self.accelerator.device)
        if config.distill_guidance > 1:
            self.objective.distill_from(parts, config.distill_guidance)
        optimizers = make_optimizers(parts, config)
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]  # of this run, whatever was resumed
        self.parts, *self.optimizers = self.accelerator.prepare(parts, *optimizers)
        self.ema = EMAModel(
            self.parts.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )
        self.progress = Progress()
        self.accelerator.register_for_checkpointing(self.ema, self.progress)
        if state.exists():
            self.accelerator.load_state(str(state))
        if config.compile:
            # Block by block: two short compilations instead of one of minutes.
            parts.transformer.compile_repeated_blocks(fullgraph=True)
            if self.objective.teacher is not None:
                self.objective.teacher.transformer.compile_repeated_blocks(fullgraph=True)

    def run(self, load: Callable[[], LatentPairs]) -> None:
        """Train until the time is up, then checkpoint and export.

        Args:
            load: Gives the data, on the accelerator's device. It is asked again after each checkpoint, so that worlds
                which another process has drawn meanwhile are learnt from, too.
        """
        config, start, pairs = self.config, time.monotonic(), load()
        saved, mean_loss = 0.0, None
        bar = tqdm(desc="train", unit="step", initial=self.progress.step, disable=not self.accelerator.is_main_process)
        while (elapsed := self._agree(time.monotonic() - start)) < 60 * config.minutes:
            loss = self.step(pairs, elapsed / (60 * config.minutes))
            bar.update()
            if self.progress.step % 50 == 0:
                mean_loss = loss.item() if mean_loss is None else 0.9 * mean_loss + 0.1 * loss.item()
                bar.set_postfix(loss=f"{mean_loss:.4f}", pairs=self.progress.step * config.batch_size, refresh=False)
            if elapsed - saved > 60 * config.export_minutes:
                self.save()
                saved = elapsed
                del pairs  # never two in memory
                pairs = load()
        bar.close()
        self.save()

    def _agree(self, seconds: float) -> float:
        """The first process's clock, so that all of them stop and save at the same step."""
        if self.accelerator.num_processes == 1:
            return seconds  # without waiting for the device
        clock = torch.tensor(seconds, dtype=torch.float64, device=self.accelerator.device)
        return broadcast(clock).item()

    def step(self, pairs: LatentPairs, share: float) -> torch.Tensor:
        """Do one optimisation step.

        Args:
            pairs: The data.
            share: Share of this run's time that has passed.

        Returns:
            The loss of this process's share, a detached scalar.
        """
        device = pairs.rgb.device
        rows = torch.randint(len(pairs), (self.config.batch_size,), device=device)
        wording = torch.randint(pairs.captions.shape[1], (self.config.batch_size,), device=device)
        factor = rate_factor(self.config, self.progress.step, share)
        with self.accelerator.autocast():
            batch = pairs.rgb[rows], pairs.depth[rows], pairs.captions[rows, wording], pairs.labels[rows]
            share = self.accelerator.process_index, self.accelerator.num_processes
            loss = self.objective(self.parts, *batch, share)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parts.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.parts.parameters())
        self.progress.step += 1
        return loss.detach()

    def save(self) -> None:
        """Write checkpoint and export; a kill in between leaves the previous ones whole."""
        partial = self.state.with_name(self.state.name + ".partial")
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()  # each has written its random state
        if not self.accelerator.is_main_process:
            return
        _replace(partial, self.state)
        names = (name for name, _ in self.accelerator.unwrap_model(self.parts).named_parameters())
        averaged = dict(zip(names, self.ema.shadow_params, strict=True))
        shell_parts = TrainedParts(self.shell)
        with torch.no_grad():
            for name, parameter in shell_parts.named_parameters():
                parameter.data = averaged[name].detach().cpu().half()
        partial = self.export_folder.with_name(self.export_folder.name + ".partial")
        self.shell.save_pretrained(partial, max_shard_size="9MB")
        _replace(partial, self.export_folder)


class Progress:
    """Steps done over all runs, kept with the checkpoint."""

    def __init__(self) -> None:
        """Start at nothing done."""
        self.step = 0

    def state_dict(self) -> dict[str, int]:
        """Return what `load_state_dict` takes."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a saved state."""
        self.step = state["step"]


def fast_bf16() -> bool:
    """Whether bfloat16 arithmetic is fast here: any GPU, or a CPU with instructions for it."""
    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _replace(new: Path, old: Path) -> None:
    """Put folder `new` in the place of `old`."""
    outdated = old.with_name(old.name + ".outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if old.exists():
        old.rename(outdated)
    new.rename(old)
    shutil.rmtree(outdated, ignore_errors=True)
