"""In the place of Hugging Face's `spaces` on a machine without its GPUs: the same interface, the same processes.

As there, a generator function decorated with `GPU` runs in a forked process that keeps for the next call; arguments and
results are pickled; closing the generator stops the other one at its next step; a refusal comes as a `gr.Error` before
anything else. `cuda` is a name only. ORDERS names a file: "refuse" in it refuses; LOG one for what was asked for.
"""

import inspect
import json
import multiprocessing
import os
import pickle
from functools import wraps
from pathlib import Path

import gradio as gr
import torch
from diffusers import DiffusionPipeline
from gradio.context import LocalContext

assert not torch.cuda.is_initialized(), "spaces must come before CUDA"
FORK = multiprocessing.get_context("fork")
LOG, ORDERS = Path(os.environ["ZERO_LOG"]), Path(os.environ["ZERO_ORDERS"])

torch.cuda.is_available = lambda: True
_to = DiffusionPipeline.to


def _placed(self, device, *arguments, **named):
    note(placed=str(device))
    return self if str(device) == "cuda" else _to(self, device, *arguments, **named)


DiffusionPipeline.to = _placed


def note(**facts):
    with LOG.open("a") as log:
        log.write(json.dumps({"process": os.getpid(), **facts}) + "\n")


def GPU(task=None, *, duration=None, size=None):  # noqa: N802
    assert inspect.isgeneratorfunction(task)
    workers = []

    @wraps(task)
    def leased(*arguments, **named):
        asked_s = duration(*arguments, **named) if callable(duration) else duration
        visitor = LocalContext.request.get(None)
        note(seconds=asked_s, visitor=getattr(visitor, "session_hash", None))
        if ORDERS.exists():
            raise gr.Error(ORDERS.read_text(), title="ZeroGPU quota exceeded", print_exception=False)
        if not workers:
            ends = FORK.Pipe()
            stop = FORK.Event()
            FORK.Process(target=serve, args=(ends[1], stop), daemon=True).start()
            workers.append((ends[0], stop))
        end, stop = workers[0]
        stop.clear()
        end.send_bytes(pickle.dumps((arguments, named)))
        try:
            while True:
                kind, value = pickle.loads(end.recv_bytes())
                if kind == "end":
                    return
                if kind == "error":
                    raise gr.Error(value, title="ZeroGPU worker error", print_exception=False)
                yield value
        except GeneratorExit:
            stop.set()
            while pickle.loads(end.recv_bytes())[0] != "end":
                pass
            raise

    def serve(end, stop):
        while True:
            arguments, named = pickle.loads(end.recv_bytes())
            note(worker=True)
            steps = task(*arguments, **named)
            try:
                for value in steps:
                    if stop.is_set():
                        steps.close()
                        break
                    end.send_bytes(pickle.dumps(("value", value)))
            except Exception as error:
                end.send_bytes(pickle.dumps(("error", type(error).__name__)))
            end.send_bytes(pickle.dumps(("end", None)))

    return leased
