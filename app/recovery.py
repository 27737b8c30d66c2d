"""What an exception on the device means, and how to come back from it."""

from __future__ import annotations

import enum
import gc

import torch

BROKEN_STATUS = 70  # EX_SOFTWARE: the exit status of a process whose device failed; it should be started again
# Raise sentences for people; `zero` repeats those of its jobs' processes.
OUR_DOORS = ("jointdit_core.request", "jointdit_core.pipeline", "jointdit_core.decode", "app.zero")
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")  # torch on Windows, Linux, CUDA


class Trouble(enum.Enum):
    """Kinds of exceptions."""

    REFUSAL = "refused by the pipeline's own checks"
    OUT_OF_MEMORY = "out of memory"
    UNEXPECTED = "unexpected error"


def diagnose(error: Exception) -> Trouble:
    """Tell what kind of trouble an exception from a run is.

    Args:
        error: with its traceback. Only what the library's own checks raise is a refusal: messages from deeper down may
            hold paths and would help nobody.

    Returns:
        The kind.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Trouble.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY):
        return Trouble.OUT_OF_MEMORY
    if isinstance(error, ValueError | FloatingPointError) and _raised_in(error) in OUR_DOORS:
        return Trouble.REFUSAL
    return Trouble.UNEXPECTED


def _raised_in(error: Exception) -> str:
    """Name the module whose code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")


def free_memory() -> None:
    """Give back what a failed run held; call it where its exception is gone."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def device_works() -> bool:
    """Tell whether the GPU still computes: after some errors every further call of the process fails."""
    if not torch.cuda.is_initialized():
        return True
    try:
        return torch.ones(1, device="cuda").add_(1).item() == 2.0
    except torch.OutOfMemoryError:  # full, which is another trouble
        return True
    except RuntimeError:
        return False
