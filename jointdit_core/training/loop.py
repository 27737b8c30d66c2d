"""One resumable training loop, on a CPU or a GPU, or on several of either under torchrun.

It trains a mini whole, on cached worlds, and what JointDiT adds to FLUX, on prepared pairs whose prompts come embedded.

Letters: B pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast, parse_flag_from_env
from tqdm.auto import tqdm

from ..encode import PromptEmbeds
from ..model.transformer import freeze_backbone
from ..pipeline import JointDiTPipeline
from .checkpoint import AddonsExport, LossFile, PipelineExport, Progress, keep_trained_only, recover, replace
from .config import TrainConfig, rate_factor
from .objective import Objective, TrainedParts
from .offload import HostMasters, stream_frozen
from .optimizers import fast_bf16, muon_and_adamw, one_optimizer
from .sharding import Average, OptimizerState, gathered, shard
from .shards import PairBatch


class Pairs(Protocol):
    """Where pairs are drawn from: cached worlds, or pictures that were prepared."""

    def __len__(self) -> int:
        """How many there are."""

    def draw(self, count: int) -> PairBatch:
        """Draw `count` pairs at random, on the accelerator's device."""


def processes() -> PartialState:
    """This process among torchrun's; by itself accelerate would take each for the only one where there is no GPU."""
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


class Trainer:
    """A run: the parts, their average, the optimizers, and where it all is kept."""

    def __init__(
        self,
        pipeline: JointDiTPipeline,
        config: TrainConfig,
        state: Path,
        export: Path,
        empty: PromptEmbeds | None = None,
    ):
        """Prepare a run, or resume the one in `state`.

        Args:
            pipeline: The model to train; its parts are moved and changed. Without text encoders only what JointDiT adds
                is trained and kept, and `config.added_only` is meant.
            config: The run's numbers.
            state: Folder of the checkpoint.
            export: Folder of the export: the pipeline in float16, or the add-ons of one without text encoders.
            empty: The empty prompt embedded, for a pipeline without text encoders.

        Raises:
            ValueError: If the processes cannot divide the batch evenly, or the config's numbers do not go together.
            ModuleNotFoundError: If the optimizer needs a package that is not installed.
        """
        self.config, self.state, self.export_folder = config, state, export
        self.embedded = pipeline.text_encoder is None
        self.exporter = AddonsExport(pipeline) if self.embedded else PipelineExport(pipeline)
        self.accelerator = Accelerator(
            mixed_precision="bf16" if fast_bf16() else "no",
            log_with=[LossFile(config.log), *config.log_with] if config.log else None,
            project_dir=config.log.parent if config.log else None,
        )
        processes = self.accelerator.num_processes
        if config.batch_size % processes:
            raise ValueError(f"a batch of {config.batch_size} cannot be shared evenly by {processes} processes")
        torch.manual_seed(config.seed)
        torch.set_float32_matmul_precision("high")
        parts = self._choose_parts(pipeline)
        self.objective = self._objective(pipeline, empty)
        self.masters = self._offload(parts) if config.offload else None
        if config.shard:
            self._shard(parts)
        parts.to(self.accelerator.device)
        if config.distill_guidance > 1:
            self.objective.distill_from(parts, config.distill_guidance)
        if config.optimizer == "muon":
            optimizers = muon_and_adamw(parts, config.lr_matrix, config.lr_other)
        else:
            optimizers = [one_optimizer(config.optimizer, self._trained(parts), config.lr_other)]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]  # of this run, whatever was resumed
        # What is sharded averages its own gradients.
        together = (parts, *optimizers) if config.shard else self.accelerator.prepare(parts, *optimizers)
        self.parts, *self.optimizers = together
        self.progress, self.ema = Progress(), self._average()
        self._resume()
        if config.log is not None:
            plain = {key: str(value) for key, value in asdict(config).items()}
            self.accelerator.init_trackers("jointdit", config=plain)
        if config.compile:
            # Block by block: two short compilations instead of one of minutes.
            parts.transformer.compile_repeated_blocks(fullgraph=True)
            if self.objective.teacher is not None:
                self.objective.teacher.transformer.compile_repeated_blocks(fullgraph=True)

    def _average(self) -> Average | None:
        """Begin the averaged weights, if they are wanted."""
        decay = self.config.ema_decay
        if decay is None:
            return None
        return Average(self._kept().values(), decay=decay, use_ema_warmup=True, power=0.75, foreach=True)

    def _resume(self) -> None:
        """Say what belongs to a checkpoint, and go on from the one that is there."""
        sharded = [OptimizerState(self.parts, one) for one in self.optimizers] if self.config.shard else []
        self.accelerator.register_for_checkpointing(*filter(None, (self.ema, self.progress)), *sharded)
        if self.embedded:
            keep_trained_only(self.accelerator, self._kept)
        if self.accelerator.is_main_process:
            recover(self.state)
        self.accelerator.wait_for_everyone()
        if self.state.exists():
            self.accelerator.load_state(str(self.state))
            if self.masters is not None:
                self.masters.push()

    def _choose_parts(self, pipeline: JointDiTPipeline) -> TrainedParts:
        """Say what is trained."""
        parts = TrainedParts(pipeline, self.config.semantic and not self.embedded).train()
        parts.requires_grad_(True)
        if self.config.added_only or self.embedded:
            parts.requires_grad_(False)
            freeze_backbone(parts.transformer)
            if parts.semantic is not None:
                parts.semantic.requires_grad_(True)
        if self.config.checkpointing:
            parts.transformer.enable_gradient_checkpointing()
        if self.embedded:  # FLUX comes in bfloat16, whose steps are too coarse to add small changes in
            for parameter in filter(lambda one: one.requires_grad, parts.parameters()):
                parameter.data = parameter.data.float()
        return parts

    def _offload(self, parts: TrainedParts) -> HostMasters:
        """Leave on the card only what a step computes with."""
        if self.accelerator.num_processes > 1:
            raise ValueError("offloading is for one process; several would each keep all of it in main memory")
        stream_frozen(parts)
        trained = {name: parameter for name, parameter in parts.named_parameters() if parameter.requires_grad}
        return HostMasters(trained, torch.bfloat16 if self.accelerator.device.type == "cuda" else torch.float32)

    def _shard(self, parts: TrainedParts) -> None:
        """Leave each process its part of the weights."""
        if self.accelerator.num_processes == 1:
            raise ValueError("sharding is for several processes; start them with torchrun")
        if self.config.optimizer != "adamw" or self.config.offload or self.config.compile:
            raise ValueError("sharding goes with the optimizer adamw, and without offloading and compiling")
        shard(parts.transformer, self.accelerator.device, self.accelerator.mixed_precision == "bf16")

    def _trained(self, parts: TrainedParts) -> list[torch.nn.Parameter]:
        """What the optimizer steps: the masters, if there are any."""
        if self.masters is not None:
            return list(self.masters.masters.values())
        return [parameter for parameter in parts.parameters() if parameter.requires_grad]

    def _objective(self, pipeline: JointDiTPipeline, empty: PromptEmbeds | None) -> Objective:
        unknown = None
        if not self.embedded:
            ids = pipeline.tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
            empty, unknown = ids.to(self.accelerator.device), pipeline.tokenizer.unk_token_id
        return Objective(self.config.sampling, empty, unknown, pipeline.transformer.config.guidance_embeds)

    def _kept(self) -> dict[str, torch.nn.Parameter]:
        """What an export holds, by name in `TrainedParts`: of FLUX only what is trained."""
        if self.masters is not None:
            return self.masters.masters
        named = self.accelerator.unwrap_model(self.parts).named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad or not self.embedded}

    def run(self, load: Callable[[], Pairs], on_save: Callable[[Trainer], None] | None = None) -> None:
        """Train until the time is up or the steps are done, then checkpoint and export.

        Args:
            load: Gives the data, on the accelerator's device. It is asked again after each checkpoint, so that worlds
                which another process has drawn meanwhile are learnt from, too.
            on_save: Called after each checkpoint, to look at what was learnt: on the main process, with sharded
                weights on all.
        """
        config, start, pairs = self.config, time.monotonic(), load()
        saved, mean_loss = 0.0, None
        shown = self.accelerator.is_main_process
        bar = tqdm(desc="train", unit="step", total=config.steps, initial=self.progress.step, disable=not shown)
        while (elapsed := self.agree(time.monotonic() - start)) < 60 * config.minutes and not self._done():
            loss = self.step(pairs, elapsed / (60 * config.minutes))
            bar.update()
            if self.progress.step % 50 == 0:
                mean_loss = loss.item() if mean_loss is None else 0.9 * mean_loss + 0.1 * loss.item()
                bar.set_postfix(loss=f"{mean_loss:.4f}", pairs=self.progress.step * config.batch_size, refresh=False)
            by_steps = config.export_steps and self.progress.step % config.export_steps == 0
            if (by_steps or elapsed - saved > 60 * config.export_minutes) and not self._done():
                self._save_and_look(on_save)
                saved = elapsed
                del pairs  # never two in memory
                pairs = load()
        bar.close()
        self._save_and_look(on_save)

    def _done(self) -> bool:
        return self.config.steps is not None and self.progress.step >= self.config.steps

    def _save_and_look(self, on_save: Callable[[Trainer], None] | None) -> None:
        self.save()
        # Sharded weights compute nothing without the other processes.
        if on_save is not None and (self.config.shard or self.accelerator.is_main_process):
            on_save(self)
        self.accelerator.wait_for_everyone()

    def agree(self, seconds: float) -> float:
        """The first process's clock, so that all of them stop and save at the same step."""
        if self.accelerator.num_processes == 1:
            return seconds  # without waiting for the device
        clock = torch.tensor(seconds, dtype=torch.float64, device=self.accelerator.device)
        return broadcast(clock).item()

    def step(self, pairs: Pairs, share: float) -> torch.Tensor:
        """Do one optimisation step.

        Args:
            pairs: The data.
            share: Share of this run's time that has passed.

        Returns:
            The loss of this process's share, a detached scalar.
        """
        batch = pairs.draw(self.config.batch_size)
        factor = rate_factor(self.config, self.progress.step, share)
        with self.accelerator.autocast():
            share = self.accelerator.process_index, self.accelerator.num_processes
            loss = self.objective(self.parts, batch.rgb, batch.depth, batch.text, batch.labels, share)
        self.accelerator.backward(loss)
        clipped = self.parts.parameters() if self.masters is None else self.masters.masters.values()
        self.accelerator.clip_grad_norm_(clipped, 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.masters is not None:
            self.masters.push()
        if self.ema is not None:
            self.ema.step(self._kept().values())
        self.progress.step += 1
        if self.config.log is not None:
            mean = self.accelerator.reduce(loss.detach(), "mean").item()
            self.accelerator.log({"loss": mean, "rate": factor * self.rates[-1]}, self.progress.step)
        return loss.detach()

    def save(self) -> None:
        """Write checkpoint and export; a kill in between leaves the previous ones whole."""
        partial = self.state.with_name(self.state.name + ".partial")
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()  # each has written its random state
        kept = self._kept()
        if self.ema is not None:
            kept = dict(zip(kept, self.ema.shadow_params, strict=True))
        kept = gathered(kept, self.accelerator.is_main_process)
        if not self.accelerator.is_main_process:
            return
        replace(partial, self.state)
        partial = self.export_folder.with_name(self.export_folder.name + ".partial")
        self.exporter.write(kept, partial)
        replace(partial, self.export_folder)
