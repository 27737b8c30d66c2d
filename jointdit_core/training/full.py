"""The commands of training at full scale, on pictures instead of drawn worlds."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from accelerate.tracking import get_available_trackers
from safetensors import SafetensorError

from ..flux import TRANSFORMS, fetch_encoders, flux_parts_to_train
from ..model.joint_attention import WeightForm
from ..pipeline import JointDiTPipeline
from .annotate import CAPTION_MODEL, DEPTH_MODEL, captioner, depth_estimator
from .loop import TrainConfig, Trainer, processes
from .needs import memory_table
from .optimizers import STATE_BYTES
from .prepare import Preparation, PrepareConfig
from .shards import PreparedPairs
from .sigmas import SigmaSampling
from .sources import SOURCES
from .throughput import measure_throughput, throughput_table
from .validate import Validation

FLUX = "black-forest-labs/FLUX.1-dev"


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Add the command `prepare`."""
    parser = commands.add_parser("prepare", help="pictures -> squares, depth, captions, latents and text embeddings")
    sources = parser.add_mutually_exclusive_group(required=True)
    for name, source in SOURCES.items():
        sources.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=source.text)
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards; gone on with if begun")
    parser.add_argument("--model", default=FLUX, help="whose autoencoder and text encoders (default: %(default)s)")
    parser.add_argument("--depth-model", default=DEPTH_MODEL, help="(default: %(default)s)")
    parser.add_argument("--caption-model", default=CAPTION_MODEL, help="(default: %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="side of the squares in pixels (default: %(default)s)")
    parser.add_argument("--depth-transform", choices=TRANSFORMS, default="none", help="of the add-ons to be trained on")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at once (default: %(default)s)")
    parser.add_argument(
        "--shard", type=int, default=64, help="pictures a file; with FLUX a pair takes 4.5 MB (default: %(default)s)"
    )


def prepare(args: argparse.Namespace) -> None:
    """Run the command `prepare`, under torchrun with as many processes as there are."""
    source = next(name for name in SOURCES if getattr(args, name) is not None)
    device = processes().device
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16

    def load() -> JointDiTPipeline:
        pipeline = JointDiTPipeline.from_pretrained(fetch_encoders(args.model), transformer=None, dtype=dtype)
        pipeline.register_to_config(depth_transform=args.depth_transform)
        return pipeline.to(device)

    try:
        config = PrepareConfig(source, args.depth_model, args.caption_model, args.size, args.shard)
        preparation = Preparation(
            load,
            config,
            getattr(args, source),
            args.out,
            partial(depth_estimator, args.depth_model, device),
            partial(captioner, args.caption_model, device),
            args.batch_size,
        )
        counts = preparation.run()["counts"]
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise SystemExit(str(error)) from error
    logging.info("%(pictures)d pictures: %(pairs)d pairs prepared, %(skipped)d left out", counts)


def add_train_flux(commands: argparse._SubParsersAction) -> None:
    """Add the command `train-flux`."""
    parser = commands.add_parser(
        "train-flux", help="train what JointDiT adds to FLUX on prepared pairs, as the paper does"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained add-ons and a log")
    parser.add_argument("--state", type=Path, required=True, help="folder of the checkpoint; resumed from if there")
    parser.add_argument(
        "--addons", help="add-ons to go on from, as for fine-tuning (default: ones that do nothing yet)"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="end this run earlier")
    parser.add_argument("--validate", type=int, default=4, help="pairs kept to look at (default: %(default)s)")
    parser.add_argument(
        "--adaptive-weights", choices=get_args(WeightForm), default="released", help="ablation, for new add-ons"
    )
    parser.add_argument("--balanced", action="store_true", help="ablation: both noise levels from f, each on its own")
    parser.add_argument("--seed", type=int, default=0)
    add_flux_options(parser)


def add_flux_options(parser: argparse.ArgumentParser) -> None:
    """Add what every training of add-ons takes; the defaults are the paper's."""
    parser.add_argument("--data", type=Path, required=True, help="folder that `prepare` made")
    parser.add_argument("--model", default=FLUX, help="FLUX's folder or hub id (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=75_000, help="over all runs (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="over all processes (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-5, help="(default: %(default)s)")
    parser.add_argument("--optimizer", choices=STATE_BYTES, default="adafactor", help="(default: %(default)s)")
    parser.add_argument("--ema", type=float, metavar="DECAY", help="export averaged weights (default: the last ones)")
    parser.add_argument("--save-steps", type=int, default=500, help="between checkpoints (default: %(default)s)")
    parser.add_argument(
        "--validation-steps", type=int, default=20, help="of sampling, 0 for not looking (default: %(default)s)"
    )
    parser.add_argument("--log-with", nargs="+", default=[], metavar="TRACKER", help="tensorboard, wandb, ... as well")
    parser.add_argument("--offload", action="store_true", help="fit a small card: stream frozen weights (see `memory`)")
    parser.add_argument(
        "--shard", action="store_true", help="share weights and optimizer out over the processes; needs adamw"
    )
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")


def add_memory(commands: argparse._SubParsersAction) -> None:
    """Add the command `memory`."""
    parser = commands.add_parser("memory", help="what train-flux needs on a card, by arithmetic")
    parser.add_argument("--batch-size", type=int, default=4, help="pairs on the card (default: %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels (default: %(default)s)")


def memory(args: argparse.Namespace) -> None:
    """Run the command `memory`."""
    sys.stdout.write(memory_table(args.batch_size, args.size) + "\n")


def add_throughput(commands: argparse._SubParsersAction) -> None:
    """Add the command `throughput`."""
    parser = commands.add_parser("throughput", help="how fast a mini trains here, and in how much memory")
    parser.add_argument("--model", type=Path, default=Path("assets/jointdit-mini"), help="(default: %(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32], help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="for each (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")


def throughput(args: argparse.Namespace) -> None:
    """Run the command `throughput`, under torchrun with as many processes as there are."""
    if not (args.model / "model_index.json").is_file():
        raise SystemExit(f"{args.model} is not the folder of a saved mini; name one with --model")
    rows = [measure_throughput(args.model, size, args.seconds, args.compile) for size in args.batch_sizes]
    if processes().is_main_process:
        sys.stdout.write(throughput_table(rows) + "\n")


def train_flux(args: argparse.Namespace) -> None:
    """Run the command `train-flux`, under torchrun with as many processes as there are."""
    train_addons(args).accelerator.end_training()


def train_addons(args: argparse.Namespace) -> Trainer:
    """Train add-ons, or go on with it.

    Args:
        args: Options of `train-flux`.

    Returns:
        The trainer when it is done; the add-ons lie in `args.out`.

    Raises:
        SystemExit: They cannot be trained; the message says why.
    """
    device = processes().device
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    config = TrainConfig(
        minutes=args.minutes,
        steps=args.steps,
        batch_size=args.batch_size,
        optimizer=args.optimizer,
        lr_other=args.lr,
        warmup_steps=1,
        cooldown=0.0,
        ema_decay=args.ema,
        sampling=SigmaSampling(unbalanced=not args.balanced),  # else the paper's, as all of it
        added_only=True,
        semantic=False,
        export_minutes=math.inf,
        export_steps=args.save_steps,
        checkpointing=True,
        offload=args.offload,
        shard=args.shard,
        log=args.out.with_name(args.out.name + "-log") / "log.jsonl",
        log_with=tuple(args.log_with),
        compile=args.compile,
        seed=args.seed,
    )
    if absent := [name for name in args.log_with if name not in map(str, get_available_trackers())]:
        raise SystemExit(f"--log-with {absent[0]} needs its package: pip install {absent[0]}")
    try:
        parts = flux_parts_to_train(args.model, args.addons, dtype, args.seed, args.adaptive_weights)
        pipeline = JointDiTPipeline(**parts)
        transform = pipeline.config.depth_transform
        load = partial(PreparedPairs.load, args.data, pipeline.vae, device, args.validate, transform)
        pairs = load()
        trainer = Trainer(pipeline, config, args.state, args.out, pairs.empty)
        folder = config.log.parent
        looked_at = args.validate and args.validation_steps
        trainer.run(load, Validation(pipeline, pairs, args.validation_steps, folder) if looked_at else None)
    except (OSError, ValueError, ModuleNotFoundError, SafetensorError) as error:
        raise SystemExit(str(error)) from error
    return trainer


COMMANDS = {"prepare": prepare, "train-flux": train_flux, "memory": memory, "throughput": throughput}


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add all commands of this module."""
    for add in (add_prepare, add_train_flux, add_memory, add_throughput):
        add(commands)
