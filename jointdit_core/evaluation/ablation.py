"""The paper's ablation on drawn worlds: adaptive weights and unbalanced noise levels, each on and off, equal budgets.

`python -m jointdit_core.evaluation.ablation` trains every form of the mini from nothing with several seeds and measures
it; runs that are already measured are not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..model.autoencoder import AutoencoderPatchPCA
from ..pipeline import JointDiTPipeline
from ..training.cache import LatentPairs
from ..training.loop import TrainConfig, Trainer
from ..training.mini import MiniConfig, build_mini, build_tokenizer
from ..training.sigmas import MINI_SAMPLING
from ..worlds import VOCABULARY
from .mini import Row, Worlds, against, draw_worlds, estimate, generate, generation_rows, summarise

COMPILE = True  # the transformer's blocks, for training
MEASURES = ("depth estimation", "joint self-consistency", "depth-conditioned")


@dataclass(frozen=True)
class Variant:
    """One form of the model and of its training.

    Attributes:
        name: Its name in the table.
        adaptive_weights: Form of Eq. 6: "released", "paper" or "off".
        unbalanced: Whether noise levels are drawn as in Fig. 3c; else both from f, each on its own.
    """

    name: str
    adaptive_weights: str
    unbalanced: bool


VARIANTS = (
    Variant("neither", "off", False),
    Variant("adaptive weights", "released", False),
    Variant("unbalanced levels", "off", True),
    Variant("both, as released", "released", True),
    Variant("both, as in the paper", "paper", True),
)


def train_variant(
    variant: Variant,
    seed: int,
    pairs: LatentPairs,
    vae: AutoencoderPatchPCA,
    config: TrainConfig,
    mini: MiniConfig,
    steps: int,
) -> JointDiTPipeline:
    """Train one form from nothing.

    Args:
        variant: The form.
        seed: Seed of its weights, batches and noise.
        pairs: The data.
        vae: The autoencoder that made them.
        config: The run's numbers; those of the variant and the seed replace its own.
        mini: The model's numbers, likewise.
        steps: Optimisation steps; the rates fall to 0 over the last `config.cooldown` of them.

    Returns:
        The averaged weights, in a pipeline.
    """
    sampling = replace(MINI_SAMPLING, unbalanced=variant.unbalanced)
    config_of_form = replace(mini, adaptive_weights=variant.adaptive_weights)
    pipeline = build_mini(config_of_form, vae, VOCABULARY, seed, pairs.token_std())
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            pipeline, replace(config, sampling=sampling, seed=seed), Path(folder) / "state", Path(folder) / "export"
        )
        for step in tqdm(range(steps), desc=f"{variant.name}, seed {seed}", unit="step"):
            trainer.step(pairs, step / steps)
        trainer.save()
        trained = JointDiTPipeline.from_pretrained(Path(folder) / "export", dtype=torch.float32)
    trained.set_progress_bar_config(disable=True)
    return trained


def measure(pipe: JointDiTPipeline, worlds: Worlds, steps: int, batch_size: int) -> list[Row]:
    """Run the three tasks.

    Args:
        pipe: A trained model.
        worlds: Unseen scenes.
        steps: Of every task.
        batch_size: Pairs at once.

    Returns:
        A row for each of `MEASURES`.
    """
    depth = against(estimate(pipe, worlds.images, steps, batch_size), worlds.depths)
    made = generate(pipe, worlds, steps, 1.0, batch_size)
    return [summarise(MEASURES[0], steps, depth), *generation_rows(pipe, worlds, made, steps, steps, batch_size)]


def table(results: dict[str, list[list[Row]]]) -> str:
    """Write the ablation as a Markdown table.

    Args:
        results: Variant's name -> for each seed the rows of `measure`.

    Returns:
        AbsRel and delta1 of each task: mean over seeds, and the standard deviation between them.
    """
    titles = " | ".join(f"{task}: AbsRel, delta1 %" for task in MEASURES)
    lines = [f"| form | seeds | {titles} |", "|---" * (2 + len(MEASURES)) + "|"]
    for name, seeds in results.items():
        cells = []
        for rows in zip(*seeds, strict=True):
            numbers = np.array([(row.abs_rel, row.delta1) for row in rows])  # (seeds, 2)
            spread = numbers.std(0, ddof=1) if len(numbers) > 1 else np.full(2, np.nan)
            cells.append(", ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(numbers.mean(0), spread, strict=True)))
        lines.append(f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run or go on with the ablation.

    Args:
        arguments: As on the command line; None reads them from there.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.evaluation.ablation", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder of cached worlds")
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder that made them")
    parser.add_argument("--out", type=Path, required=True, help="folder for ablation.json and ablation.md")
    parser.add_argument("--steps", type=int, default=250, help="optimisation steps of each run (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=64, help="unseen scenes (default: %(default)s)")
    parser.add_argument("--sampling-steps", type=int, default=10, help="of every task (default: %(default)s)")
    parser.add_argument("--width", type=int, default=MiniConfig.width, help="of the model (default: %(default)s)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = AutoencoderPatchPCA.from_pretrained(args.autoencoder)
    mini = replace(MiniConfig(), width=args.width)
    config = TrainConfig(
        minutes=0,
        batch_size=args.batch_size,
        lr_matrix=4e-3,
        lr_other=1.5e-3,
        warmup_steps=20,
        cooldown=0.4,
        ema_decay=0.98,
        compile=COMPILE,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "ablation.json"
    budget = {key: getattr(args, key) for key in ("steps", "batch_size", "scenes", "sampling_steps", "width")}
    done = json.loads(kept.read_text()) if kept.exists() else {"budget": budget, "runs": []}
    if done["budget"] != budget:
        raise SystemExit(f"{kept} was made with {done['budget']}; budgets must be equal, so choose another folder")
    worlds = pairs = None
    for seed in range(args.seeds):
        for variant in VARIANTS:
            if any(run["form"] == variant.name and run["seed"] == seed for run in done["runs"]):
                continue
            if pairs is None:
                vocabulary = len(build_tokenizer(VOCABULARY, mini.text_length))
                pairs = LatentPairs.load(args.cache, vae, vocabulary, device)
                worlds = draw_worlds(args.scenes, mini.size, device)
            pipe = train_variant(variant, seed, pairs, vae, config, mini, args.steps).to(device)
            rows = measure(pipe, worlds, args.sampling_steps, args.batch_size)
            done["runs"].append({"form": variant.name, "seed": seed, "rows": [vars(row) for row in rows]})
            kept.write_text(json.dumps(done, indent=1))
    results: dict[str, list[list[Row]]] = {}
    for run in done["runs"]:
        results.setdefault(run["form"], []).append([Row(**row) for row in run["rows"]])
    (args.out / "ablation.md").write_text(table(results) + "\n")
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
