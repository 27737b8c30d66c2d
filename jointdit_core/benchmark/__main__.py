"""The benchmark's command: measure, print the tables, write the JSON."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from diffusers import ModelMixin

from ..model.frozen import CLEAN, freeze_branches
from . import __doc__ as about_benchmark
from .loops import build_autoencoder, list_kernels, make_depth_request, make_loop
from .mini import format_mini, measure_mini, measure_start
from .modes import FULL, MODES, TINY, build, prepare
from .rows import (
    FIRST_STEPS,
    HEAD,
    DepthRequest,
    Row,
    compare,
    format_kernels,
    format_requests,
    format_row,
    format_table,
)
from .timing import time_runs

REQUEST_STEPS = (4, 20)


def time_requests(model: ModelMixin, size: int, tiny: bool, compiled: bool, channels_last: bool) -> list[DepthRequest]:
    """Time whole requests for the depth of a picture, then with its branch frozen.

    Args:
        model: JointDiT, in a mode that has run before; its branch stays frozen.
        size: Side in pixels.
        tiny: Whether the autoencoder is a tiny one.
        compiled: Whether the blocks are compiled.
        channels_last: Whether the autoencoder's weights are in that order.

    Returns:
        What was timed.
    """
    autoencoder, exact, requests = build_autoencoder(model, tiny), {}, []
    if channels_last:
        autoencoder.to(memory_format=torch.channels_last)
    for frozen in (False, True):
        if frozen:
            freeze_branches(model, CLEAN, compiled)
        for steps in REQUEST_STEPS if frozen else (0, *REQUEST_STEPS):
            serve = make_depth_request(model, autoencoder, size, steps)
            tokens = serve()
            error = float((tokens - exact[steps]).norm() / exact[steps].norm()) if frozen else None
            exact.setdefault(steps, tokens)
            requests.append(DepthRequest(steps, frozen, min(time_runs(serve, 2)) * 1000, error))
    return requests


def measure(
    name: str, config: dict, size: int, steps: int, device: torch.device, dtype: torch.dtype, asked: argparse.Namespace
) -> Iterator[tuple[Row, torch.Tensor]]:
    """Build, run and time one mode.

    Args:
        name: In `MODES`.
        config: Of the transformer.
        size: Side in pixels.
        steps: Denoising steps.
        device: Where.
        dtype: Of the weights.
        asked: What else to do: `requests`, modes whose whole requests are timed, with `channels_last` as there;
            `profile`, to list the kernels.

    Yields:
        The row, without what compares it to others, and what the loop gave, on the CPU; then the same with what else
        was asked for.
    """
    mode, on_card = MODES[name], device.type == "cuda"
    gc.collect()
    torch._dynamo.reset()
    model = build(config, mode.joint, device, dtype)
    prepare(model, mode)
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    loop, ends = make_loop(model, mode, size, steps), []

    def run(loop: Callable[[], torch.Tensor]) -> None:
        if mode.cache is not None:
            model._reset_stateful_cache()
        ends.append(loop().cpu())  # waits for the card

    [first_s] = time_runs(partial(run, make_loop(model, mode, size, FIRST_STEPS)), 1)
    [loop_s] = time_runs(partial(run, loop), 1)
    row = Row(
        mode=name,
        size=size,
        device=torch.cuda.get_device_name(device) if on_card else "CPU",
        ms_per_step=loop_s / steps * 1000,
        images_per_s=1 / loop_s,
        first_s=first_s,
        peak_gib=torch.cuda.max_memory_allocated(device) / 2**30 if on_card else None,
        error=None,
    )
    yield row, ends[-1]
    if asked.profile:
        if mode.cache is not None:
            model._reset_stateful_cache()
        row.kernels = list_kernels(loop, steps, device)
    if name in asked.requests:
        row.depth_requests = time_requests(model, size, config == TINY, mode.compiled, asked.channels_last)
    if asked.profile or row.depth_requests:
        yield row, ends[-1]


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.benchmark", description=about_benchmark)
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="sides in pixels; default: 512 1024")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps of a loop (default: 20)")
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        default=[name for name, mode in MODES.items() if not mode.graphs],
        help="rows to measure; default: all but those of CUDA graphs, which nobody has tried on a card yet",
    )
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--tiny", action="store_true", help="a network of a few thousand weights, to try the command")
    parser.add_argument(
        "--requests",
        nargs="*",
        choices=[name for name, mode in MODES.items() if mode.joint and mode.cache is None],
        default=[],
        help="of these modes also time whole requests for the depth of a picture",
    )
    parser.add_argument("--channels-last", action="store_true", help="the requests' autoencoder in that memory layout")
    parser.add_argument("--profile", action="store_true", help="also list where each mode's time goes, by kernel")
    parser.add_argument("--mini", action="store_true", help="time the embedded mini on this CPU instead")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"), help="where to write the rows")
    options = parser.parse_args(arguments)
    options.device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if options.device.type == "cpu" and not (options.tiny or options.mini):
        parser.error(
            "the full-size model needs a GPU with 40 GiB free; --tiny tries the command on a CPU, --mini times the "
            "embedded model there"
        )
    if options.steps < 2 or any(size < 16 or size % 16 for size in options.sizes or []):
        parser.error("--steps must be at least 2 and --sizes multiples of 16")
    options.sizes = options.sizes or ([64] if options.tiny else [512, 1024])
    return options


def main_of_mini(path: Path) -> None:
    """Measure the mini, print the table, write the JSON.

    Args:
        path: Of the JSON file.
    """
    about = {"network": "mini", "device": "CPU", "torch": torch.__version__, "start_s": measure_start()}
    rows = measure_mini()
    path.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    sys.stdout.write(format_mini(rows, about["start_s"]) + "\n")


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON.

    Args:
        arguments: Without the program's name.
    """
    options = parse(arguments)
    if options.mini:
        main_of_mini(options.json)
        return
    config = TINY if options.tiny else FULL
    dtype = torch.float32 if options.device.type == "cpu" else torch.bfloat16
    about = {
        "network": "tiny" if options.tiny else "full size",
        "weights": "random",
        "dtype": str(dtype).removeprefix("torch."),
        "steps": options.steps,
        "torch": torch.__version__,
        "channels_last": options.channels_last,
    }
    done: list[Row] = []
    sys.stderr.write("\n".join(HEAD) + "\n")
    for size in options.sizes:
        rows, ends = {}, {}
        for name in options.modes:
            try:
                for row, end in measure(name, config, size, options.steps, options.device, dtype, options):
                    rows[name], ends[name] = row, end
                    compare([*rows.values()], ends)
                    # At once, so that a run cut short keeps what it measured.
                    content = {**about, "rows": [asdict(row) for row in [*done, *rows.values()]]}
                    options.json.write_text(json.dumps(content, indent=1) + "\n")
                    sys.stderr.write(format_row(row) + "\n")
            except RuntimeError as error:  # too little memory, or what this card or version of PyTorch cannot do
                reason = str(error).strip().splitlines()[0]
                sys.stderr.write(f"{name}, {size} px: {'its extras are ' * (name in rows)}left out, {reason}\n")
        done += rows.values()
    tables = [format_table(done)]
    tables += [format_requests(done)] if any(row.depth_requests for row in done) else []
    tables += [format_kernels(row) for row in done if row.kernels]
    sys.stdout.write("\n\n".join(tables) + "\n\n")
    sys.stdout.write(f"All rows measured in this run: {', '.join(f'{key} {value}' for key, value in about.items())}.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
