"""What a run leaves on disk: checkpoints to go on from, exports to use, the log of its losses."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process
from safetensors import safe_open
from torch import nn

from ..flux import save_added
from ..model.transformer import added_parameters
from ..pipeline import JointDiTPipeline
from .mini import forget_origin
from .objective import TrainedParts
from .sharding import assign, gathered
from .shards import write_tensors

TRAINED = "trained.safetensors"  # of a checkpoint that leaves out what is frozen


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


def replace(new: Path, old: Path) -> None:
    """Put folder `new` in the place of `old`."""
    outdated = _outdated(old)
    shutil.rmtree(outdated, ignore_errors=True)
    if old.exists():
        old.rename(outdated)
    new.rename(old)
    shutil.rmtree(outdated, ignore_errors=True)


def recover(folder: Path) -> None:
    """Take back the folder that a kill inside `replace` had set aside."""
    if not folder.exists() and _outdated(folder).exists():
        _outdated(folder).rename(folder)


def _outdated(folder: Path) -> Path:
    return folder.with_name(folder.name + ".outdated")


def keep_trained_only(accelerator: Accelerator, trained: Callable[[], dict[str, nn.Parameter]]) -> None:
    """Leave what is frozen out of checkpoints; it never changes, and is many times as large.

    Args:
        accelerator: Its later `save_state` and `load_state` do so.
        trained: Gives what is kept, by name.
    """

    def save(models: list[nn.Module], weights: list[dict], folder: str) -> None:
        weights.clear()
        tensors = gathered(trained(), accelerator.is_main_process)
        if accelerator.is_main_process:
            write_tensors(Path(folder) / TRAINED, tensors)

    def load(models: list[nn.Module], folder: str) -> None:
        models.clear()
        with safe_open(Path(folder) / TRAINED, "pt") as file:
            for name, parameter in trained().items():
                assign(parameter, file.get_tensor(name))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


class Export(Protocol):
    """Writes a model that others can load."""

    def write(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Write it.

        Args:
            tensors: Parameters of `TrainedParts` by name.
            folder: Where.
        """


class PipelineExport:
    """The whole pipeline in float16, with a mini's averaged weights."""

    def __init__(self, pipeline: JointDiTPipeline):
        """Copy a pipeline.

        Args:
            pipeline: What is trained.
        """
        self.shell = copy.deepcopy(pipeline)
        forget_origin(self.shell, self.shell.vae, self.shell.transformer)

    def write(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Write it; arguments as in `Export.write`."""
        shell_parts = TrainedParts(self.shell)
        with torch.no_grad():
            for name, parameter in shell_parts.named_parameters():
                parameter.data = tensors[name].detach().cpu().half()
        self.shell.save_pretrained(folder, max_shard_size="9MB")


class AddonsExport:
    """What JointDiT adds to FLUX, in bfloat16 as it was released."""

    def __init__(self, pipeline: JointDiTPipeline):
        """Remember which parameters are added.

        Args:
            pipeline: What is trained.
        """
        self.names, self.depth_transform = added_parameters(pipeline.transformer), pipeline.config.depth_transform
        self.form = pipeline.transformer.config.adaptive_weights

    def write(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Write it; arguments as in `Export.write`."""
        added = {name: tensors[f"transformer.{name}"].detach().cpu().bfloat16().contiguous() for name in self.names}
        save_added(added, self.depth_transform, folder, self.form)


class LossFile(GeneralTracker):
    """A tracker of accelerate's that appends one JSON line a step; a resumed run's later lines count."""

    name, requires_logging_directory, main_process_only = "lines", False, True

    def __init__(self, file: Path):
        """Open it.

        Args:
            file: Appended to.
        """
        super().__init__()
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def tracker(self) -> Path:
        """The file."""
        return self.file

    @on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Append values.

        Args:
            values: Name -> number.
            step: Of the run.
            **kwargs: Other trackers' arguments; not used.
        """
        with self.file.open("a") as opened:
            opened.write(json.dumps({"step": step} | values) + "\n")
