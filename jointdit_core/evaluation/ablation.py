"""The paper's ablation: adaptive weights and unbalanced noise levels, each on and off, equal budgets.

`python -m jointdit_core.evaluation.ablation` trains every form with several seeds and measures it: with `--cache` the
mini from nothing on drawn worlds, with `--data` what JointDiT adds to FLUX on prepared pairs. Runs that are already
measured are not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..pipeline import JointDiTPipeline
from ..training.full import add_flux_options
from ..training.loop import processes
from ..training.mini import MiniConfig
from ..training.shards import write_json
from .ablation_forms import VARIANTS, Addons, Mini, Subject
from .depth_benchmark import benchmark_depth
from .mini import Row, Worlds, against, estimate, generate, generation_rows, summarise
from .paper import ABLATION

MEASURES = ("depth estimation", "joint self-consistency", "depth-conditioned")
NYU = "NYUv2"
MINI_BUDGET = ("steps", "batch_size", "scenes", "sampling_steps", "width")
ADDONS_BUDGET = ("model", "steps", "batch_size", "lr", "scenes", "sampling_steps", "nyu")


def measure(
    pipe: JointDiTPipeline, worlds: Worlds, steps: int, batch_size: int, guidance: float, nyu: Path | None = None
) -> list[Row]:
    """Run the three tasks.

    Args:
        pipe: A trained model.
        worlds: Unseen scenes.
        steps: Of every task.
        batch_size: Pairs at once.
        guidance: Guidance scale of the generating tasks.
        nyu: NYUv2's folder, as for `evaluation depth`, to measure depth estimation there, too.

    Returns:
        A row for each of `MEASURES`, and with `nyu` one more.
    """
    depth = against(estimate(pipe, worlds.images, steps, batch_size), worlds.depths)
    made = generate(pipe, worlds, steps, guidance, batch_size)
    rows = [summarise(MEASURES[0], steps, depth), *generation_rows(pipe, worlds, made, steps, steps, batch_size)]
    if nyu is not None:
        found = vars(benchmark_depth(pipe, "nyu", nyu, steps, batch_size)[0].rows[0])
        figures = {key: found[key] for key in ("abs_rel", "abs_rel_ci", "delta1", "delta1_ci")}
        rows.append(Row(NYU, steps, found["images"], **figures))
    return rows


def table(results: dict[str, list[list[Row]]]) -> str:
    """Write the ablation as a Markdown table.

    Args:
        results: Variant's name -> for each seed the rows of `measure`.

    Returns:
        AbsRel and delta1 of each task: mean over seeds, and the standard deviation between them. Beside NYUv2, what
        the paper has.
    """
    tasks = [row.task for row in next(iter(results.values()))[0]]
    titles = [f"{task}: AbsRel, delta1 %" for task in tasks] + ["AbsRel in the paper"] * (NYU in tasks)
    lines = [f"| form | seeds | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
    for name, seeds in results.items():
        cells = []
        for rows in zip(*seeds, strict=True):
            numbers = np.array([(row.abs_rel, row.delta1) for row in rows])  # (seeds, 2)
            spread = numbers.std(0, ddof=1) if len(numbers) > 1 else np.full(2, np.nan)
            cells.append(", ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(numbers.mean(0), spread, strict=True)))
        cells += [str(ABLATION.get(name, "—"))] * (NYU in tasks)
        lines.append(f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options; which there are depends on what is compared."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.evaluation.ablation", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for ablation.json and ablation.md")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=64, help="unseen scenes or pairs (default: %(default)s)")
    parser.add_argument("--sampling-steps", type=int, default=10, help="of every task (default: %(default)s)")
    if any(one.split("=")[0] == "--data" for one in arguments):
        parser.add_argument("--nyu", type=Path, metavar="FOLDER", help="measure on NYUv2 there, too, as the paper does")
        add_flux_options(parser)
        parser.set_defaults(seeds=1, sampling_steps=20, validation_steps=0)
        return parser.parse_args(arguments)
    parser.epilog = "With --data, the options of `training train-flux` instead of these; see --data x --help."
    parser.add_argument("--cache", type=Path, required=True, help="folder of cached worlds")
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder that made them")
    parser.add_argument("--steps", type=int, default=250, help="optimisation steps of each run (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=MiniConfig.width, help="of the model (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run or go on with the ablation.

    Args:
        arguments: As on the command line; None reads them from there.
    """
    args = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it names every file of every checkpoint
    flux = hasattr(args, "data")
    keys = ADDONS_BUDGET if flux else MINI_BUDGET
    budget = {key: str(value) if isinstance(value := getattr(args, key), Path) else value for key in keys}
    try:
        _run(args, Addons(args) if flux else Mini(args), budget, args.nyu if flux else None)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def _run(args: argparse.Namespace, subject: Subject, budget: dict, nyu: Path | None) -> None:
    """Train and measure every form; of several processes each measures, and the first writes."""
    writes = processes().is_main_process
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "ablation.json"
    done = json.loads(kept.read_text()) if kept.exists() else {"budget": budget, "runs": []}
    if done["budget"] != budget:
        raise ValueError(f"{kept} was made with {done['budget']}; budgets must be equal, so choose another folder")
    for seed in range(args.seeds):
        for variant in VARIANTS:
            if any(run["form"] == variant.name and run["seed"] == seed for run in done["runs"]):
                continue
            pipe = subject.train(variant, seed)
            rows = measure(pipe, subject.worlds, args.sampling_steps, args.batch_size, subject.guidance, nyu)
            del pipe  # never two in memory
            done["runs"].append({"form": variant.name, "seed": seed, "rows": [vars(row) for row in rows]})
            if writes:
                write_json(kept, done)
    results: dict[str, list[list[Row]]] = {}
    for run in done["runs"]:
        results.setdefault(run["form"], []).append([Row(**row) for row in run["rows"]])
    if writes:
        (args.out / "ablation.md").write_text(table(results) + "\n")
        sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
