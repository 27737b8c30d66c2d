"""In the place of Hugging Face's `spaces` on a machine without its GPUs: the same interface, the same processes.

As there, a generator function decorated with `GPU` runs in a forked process that keeps for the next call; arguments and
results are pickled; closing the generator stops the other one at its next step; a refusal comes as a `gr.Error` before
anything else. `cuda` is a name only. ORDERS names a file: "refuse" in it refuses; LOG one for what was asked for.
With AHEAD blocks are compiled ahead of time by PyTorch's own means, as there: packages without weights, loaded where
they run. It takes a minute, so without AHEAD it fails.
"""

import inspect
import json
import multiprocessing
import os
import pickle
from functools import wraps
from pathlib import Path
from unittest.mock import patch

import gradio as gr
import torch
from diffusers import DiffusionPipeline
from gradio.context import LocalContext
from torch._inductor import aoti_compile_and_package, aoti_load_package

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
    workers, server = [], os.getpid()

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
            while not end.poll(1.0):
                if os.getppid() != server:
                    os._exit(0)
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


WEIGHTS_APART = {
    "aot_inductor.package_constants_in_so": False,
    "always_keep_tensor_constants": True,
    "joint_graph_constant_folding": False,
    "aot_inductor.debug_compile": True,  # not optimised, for the sake of the tests' time
}


def aoti_compile_and_save(package_dir, exported_program, inductor_configs=None, submodule=None):
    if "ZERO_AHEAD" not in os.environ:
        raise NotImplementedError
    path = Path(package_dir, "submodules", submodule, "package.pt2")
    path.parent.mkdir(parents=True)
    note(compiled=submodule)
    with patch.object(torch.cuda, "is_available", lambda: False):
        aoti_compile_and_package(exported_program, package_path=str(path), inductor_configs=WEIGHTS_APART)


def aoti_load_from_package_dir(module, package_dir):
    for path in Path(package_dir).glob("submodules/*/package.pt2"):
        for block in module.get_submodule(path.parent.name):
            block.forward = Compiled(path, block.state_dict())


class Compiled:
    def __init__(self, path, weights):
        self.path, self.weights, self.model = path, weights, None

    def __call__(self, *arguments, **named):
        if self.model is None:
            self.model = aoti_load_package(str(self.path))
            weights = {name: self.weights[name] for name in self.model.get_constant_fqns()}
            self.model.load_constants(weights, check_full_update=True, user_managed=True)
        note(ran=self.path.parent.name)
        return self.model(*arguments, **named)
