"""Measure a model: `mini` on unseen drawn worlds (also without a name), the others as the paper does."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from .checker import LabelChecker
from .datasets import DATASETS, find_pairs
from .depth_benchmark import benchmark_depth, save_benchmark
from .generation_command import add_features, add_generation, features, generation
from .mini import draw_worlds, evaluate_mini, tables
from .models import add_model, load_model, model_name
from .ranking import add_ranking, ranking


def _add_mini(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checker", type=Path, default=Path("assets/label-checker"), help="judge of the prompts (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json and the sheets")
    parser.add_argument("--scenes", type=int, default=256, help="(default: %(default)s)")
    parser.add_argument("--depth-steps", type=int, nargs="+", default=[4, 20, 8, 1], help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of the generating tasks (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=3.5, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="(default: %(default)s)")


def _mini(args: argparse.Namespace) -> None:
    pipe = load_model(args)
    checker = None
    if args.checker.exists():
        checker = LabelChecker.from_pretrained(args.checker, torch_dtype=torch.float32).to(pipe.device)
    else:
        sys.stderr.write(f"{args.checker} holds no checker, so prompts are not judged; `training checker` makes one\n")
    worlds = draw_worlds(args.scenes, pipe.config.default_size, pipe.device)
    steps = tuple(args.depth_steps)
    report = evaluate_mini(pipe, checker, worlds, steps, args.steps, args.guidance, args.batch_size)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, picture in report.sheets.items():
        picture.save(args.out / f"{name}.png")
    figures = {
        "depth": [asdict(row) for row in report.rows],
        "obedience": [asdict(row) for row in report.obedience],
        "distances": None if report.distances is None else asdict(report.distances),
    }
    (args.out / "report.json").write_text(json.dumps(figures, indent=1))
    text = tables(report) + "\n"
    (args.out / "report.md").write_text(text)
    sys.stdout.write(text)


def _add_depth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=DATASETS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set, as it is downloaded")
    parser.add_argument(
        "--list", type=Path, help="text file of the pairs to measure, in Marigold's form (default: all in the folder)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the table, JSON and sheets")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, help="measure only the first pairs")


def _depth(args: argparse.Namespace) -> None:
    dataset = DATASETS[args.dataset]
    find_pairs(dataset, args.data, args.list)  # refuses before the model is loaded
    if args.list is None and dataset.listed:
        sys.stderr.write(f"Without --list all of {args.data} is measured, while the paper has {dataset.listed}.\n")
    pipe = load_model(args)
    benchmark, picture = benchmark_depth(
        pipe, args.dataset, args.data, args.steps, args.batch_size, args.list, args.limit
    )
    for fault in benchmark.faults:
        sys.stderr.write(f"left out: {fault.file}: {fault.reason}\n")
    sys.stdout.write(save_benchmark(benchmark, picture, model_name(args), args.out) + "\n")


COMMANDS = {
    "mini": ("the embedded model's tables on unseen procedural worlds", _add_mini, _mini),
    "depth": ("depth estimation on NYUv2, ScanNet, KITTI, DIODE or ETH3D", _add_depth, _depth),
    "generation": ("FID, IS and CLIP score on a prompt list, from text or on depth", add_generation, generation),
    "ranking": ("ImageReward's ranking of several models' pictures", add_ranking, ranking),
    "features": ("pictures of what the blocks of both branches attend to", add_features, features),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Args:
        arguments: As on the command line; None reads them from there. Options without a command are `mini`'s.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (text, add_options, _) in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name != "ranking":  # of pictures that are there
            add_model(command)
        add_options(command)
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0].startswith("--") and arguments[0] != "--help":
        arguments = ["mini", *arguments]
    args = parser.parse_args(arguments)
    try:
        COMMANDS[args.command][2](args)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
