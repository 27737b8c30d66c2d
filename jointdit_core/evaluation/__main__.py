"""Evaluate the embedded model on unseen procedural worlds: tables, their JSON and sample sheets."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ..pipeline import JointDiTPipeline
from .checker import LabelChecker
from .mini import draw_worlds, evaluate_mini, tables


def main(arguments: list[str] | None = None) -> None:
    """Run the evaluation.

    Args:
        arguments: As on the command line; None reads them from there.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.evaluation", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("assets/jointdit-mini"), help="(default: %(default)s)")
    parser.add_argument(
        "--checker", type=Path, default=Path("assets/label-checker"), help="judge of the prompts (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json and the sheets")
    parser.add_argument("--scenes", type=int, default=256, help="(default: %(default)s)")
    parser.add_argument("--depth-steps", type=int, nargs="+", default=[4, 20, 8, 1], help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of the generating tasks (default: %(default)s)")
    parser.add_argument("--guidance", type=float, default=3.5, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="(default: %(default)s)")
    args = parser.parse_args(arguments)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipe = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32).to(device)
    pipe.set_progress_bar_config(disable=True)
    checker = None
    if args.checker.exists():
        checker = LabelChecker.from_pretrained(args.checker, torch_dtype=torch.float32).to(device)
    else:
        sys.stderr.write(f"{args.checker} holds no checker, so prompts are not judged; `training checker` makes one\n")
    worlds = draw_worlds(args.scenes, pipe.config.default_size, device)
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


if __name__ == "__main__":
    main()
