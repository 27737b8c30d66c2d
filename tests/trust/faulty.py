"""`python -m tests.trust.faulty ORDERS [flags of app.py]`: the studio, with one fault whenever ORDERS says so.

ORDERS is a file with the name of a fault, deleted when it strikes. The seams are real: a hook on the model's forward,
the device's probe, and a device file that is always full in the place of a result's file.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

import torch

from app import recovery
from app.session import Sessions
from jointdit_core import JointDiTPipeline, presets

HANG_S = 3.0  # longer than the time limit that the tests set
FULL = Path("/dev/full")
FILE = "jointdit-joint-generation-1-rgb.png"  # the first file of the tests' requests


def ordered(orders: Path, *faults: str) -> str | None:
    """Return the fault that is ordered, once, if it is one of these."""
    try:
        fault = orders.read_text()
        if fault not in faults:
            return None
        orders.unlink()
    except FileNotFoundError:  # or another process took it
        return None
    return fault


def put_into_model(pipe: JointDiTPipeline, orders: Path, hang_s: float = HANG_S) -> None:
    """Make the model's forward strike when it is ordered to."""

    def strike(module: object, given: object, output: object) -> None:
        fault = ordered(orders, "raise", "memory", "nan", "hang", "device")
        if fault == "raise":
            raise KeyError("/secret/path")
        if fault == "memory":
            torch.empty(10**15)
        if fault == "nan":
            output.sample.fill_(torch.nan)
        if fault == "hang":
            time.sleep(hang_s)
        if fault == "device":
            recovery.device_works.__code__ = (lambda: False).__code__  # the probe of a lane that was made already
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    pipe.transformer.register_forward_hook(strike)


def put_into_disk(orders: Path) -> None:
    """Make a visitor's folder full when it is ordered to be."""
    new_result = Sessions.new_result

    def full_result(self: Sessions, key: str, label: str) -> Path:
        folder = new_result(self, key, label)
        if ordered(orders, "disk"):
            (folder / FILE).symlink_to(FULL)
        return folder

    Sessions.new_result = full_result


def be_app() -> None:
    """Go on as app.py, with what is left of the command line."""
    sys.argv[0] = "app.py"
    runpy.run_path("app.py", run_name="__main__")


def main() -> None:
    """Build in the seams, then be app.py."""
    orders, load = Path(sys.argv.pop(1)), presets.load

    def load_with_seam(*arguments: object) -> JointDiTPipeline:
        pipe = load(*arguments)
        put_into_model(pipe, orders)
        return pipe

    presets.load = load_with_seam
    put_into_disk(orders)
    be_app()


if __name__ == "__main__":
    main()
