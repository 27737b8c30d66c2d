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
from jointdit_core import presets

HANG_S = 3.0  # longer than the time limit that the tests set
FULL = Path("/dev/full")
FILE = "jointdit-joint-generation-1-rgb.png"  # the first file of the tests' requests


def main() -> None:
    """Build in the seams, then be app.py."""
    orders = Path(sys.argv.pop(1))
    load, new_result = presets.load, Sessions.new_result

    def ordered(*faults: str) -> str | None:
        try:
            fault = orders.read_text()
        except FileNotFoundError:
            return None
        if fault not in faults:
            return None
        orders.unlink()
        return fault

    def strike(module: object, given: object, output: object) -> None:
        fault = ordered("raise", "memory", "nan", "hang", "device")
        if fault == "raise":
            raise KeyError("/secret/path")
        if fault == "memory":
            torch.empty(10**15)
        if fault == "nan":
            output.sample.fill_(torch.nan)
        if fault == "hang":
            time.sleep(HANG_S)
        if fault == "device":
            recovery.device_works.__code__ = (lambda: False).__code__  # the probe of a lane that was made already
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def load_with_seam(*arguments: object) -> object:
        pipe = load(*arguments)
        pipe.transformer.register_forward_hook(strike)
        return pipe

    def full_result(self: Sessions, key: str, label: str) -> Path:
        folder = new_result(self, key, label)
        if ordered("disk"):
            (folder / FILE).symlink_to(FULL)
        return folder

    presets.load, Sessions.new_result = load_with_seam, full_result
    sys.argv[0] = "app.py"
    runpy.run_path("app.py", run_name="__main__")


if __name__ == "__main__":
    main()
