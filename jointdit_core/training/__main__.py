"""Commands that make the embedded model: `autoencoder`, `cache`, `train` and more; see `--help` of each."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..evaluation.checker import train_checker
from ..model.autoencoder import AutoencoderPatchPCA
from ..pipeline import JointDiTPipeline
from ..worlds import VOCABULARY
from . import full
from .cache import CacheConfig, LatentPairs, write_cache
from .fit_autoencoder import fit_autoencoder
from .loop import TrainConfig, Trainer
from .mini import MiniConfig, build_mini, build_tokenizer, forget_origin
from .refiner import train_refiner
from .sigmas import MINI_SAMPLING
from .text import train_text

MINI = MiniConfig()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    fit = commands.add_parser("autoencoder", help="fit the patch autoencoder to worlds")
    fit.add_argument("--out", type=Path, required=True, help="folder for the autoencoder")
    fit.add_argument("--scenes", type=int, default=288, help="scenes it is fitted to (default: %(default)s)")
    fit.add_argument("--channels", type=int, default=16, help="latent channels (default: %(default)s)")
    fit.add_argument("--patch", type=int, default=16, help="patch size in pixels (default: %(default)s)")
    fit.add_argument("--whitening", type=float, default=0.5, help="0 none, 1 full (default: %(default)s)")

    cache = commands.add_parser("cache", help="draw worlds and keep their latents on disk")
    cache.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder")
    cache.add_argument("--out", type=Path, required=True, help="folder for the shards")
    cache.add_argument("--scenes", type=int, default=61_440, help="a multiple of 2048 (default: %(default)s)")
    cache.add_argument("--samples", type=int, default=2, help="rays per pixel (default: %(default)s)")
    cache.add_argument("--batch-size", type=int, default=8, help="scenes drawn at once (default: %(default)s)")

    judge = commands.add_parser("checker", help="train the network that judges pictures by their prompts")
    judge.add_argument("--cache", type=Path, required=True, help="folder of cached worlds")
    judge.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder that made them")
    judge.add_argument("--out", type=Path, default=Path("assets/label-checker"), help="(default: %(default)s)")
    judge.add_argument("--steps", type=int, default=4000, help="batches of 32 (default: %(default)s)")

    text = commands.add_parser("text", help="teach the text encoders what captions are about, before `train`")
    _add_model(text)
    text.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")

    train = commands.add_parser("train", help="train, or go on with training")
    _add_model(train)
    train.add_argument("--state", type=Path, required=True, help="folder of the checkpoint; resumed from if there")
    train.add_argument("--minutes", type=float, required=True, help="how long to train")
    train.add_argument("--batch-size", type=int, default=32)
    train.add_argument("--lr-matrix", type=float, default=2e-3, help="of Muon, for the blocks' matrices")
    train.add_argument("--lr-other", type=float, default=1e-3, help="of AdamW, for everything else")
    train.add_argument("--cooldown", type=float, default=0.25, help="share of the run in which the rate falls to 0")
    train.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights")
    train.add_argument("--export-minutes", type=float, default=10, help="minutes between checkpoints")
    train.add_argument(
        "--distill-guidance",
        type=float,
        default=1.0,
        metavar="MAX",
        help="teach guidance scales up to MAX in one pass, from the model given by --model",
    )
    train.add_argument("--joint-share", type=float, default=0.5, help="share of pairs with equal noise levels")
    train.add_argument("--frozen", action="store_true", help="train only what JointDiT adds, as the paper does")
    train.add_argument("--balanced", action="store_true", help="ablation: both noise levels from f, each on its own")
    train.add_argument("--no-semantic", action="store_true", help="ablation: no labels of the worlds beside the loss")

    refine = commands.add_parser("refiner", help="teach the decoder of a trained mini to polish what the mini makes")
    refine.add_argument("--model", type=Path, required=True, help="folder of the mini; its autoencoder is changed")
    refine.add_argument("--minutes", type=float, default=30, help="how long (default: %(default)s)")
    refine.add_argument("--scenes", type=int, default=1536, help="scenes it learns from (default: %(default)s)")
    full.add_commands(commands)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add what both commands that change a model read and write."""
    parser.add_argument("--cache", type=Path, required=True, help="folder of cached worlds")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--autoencoder", type=Path, help="start a new model on this autoencoder")
    source.add_argument("--model", type=Path, help="start from this saved pipeline")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained pipeline")
    parser.add_argument("--adaptive-weights", choices=("released", "paper", "off"), default="released", help="ablation")
    parser.add_argument("--seed", type=int, default=0)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _begin(args: argparse.Namespace) -> tuple[JointDiTPipeline, Callable[[], LatentPairs]]:
    """Load or make the model, and say how to load the pairs it learns from."""
    if args.model:
        pipeline = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32)
        return pipeline, partial(LatentPairs.load, args.cache, pipeline.vae, len(pipeline.tokenizer), _device())
    vae = AutoencoderPatchPCA.from_pretrained(args.autoencoder)
    config = replace(MINI, adaptive_weights=args.adaptive_weights)
    vocabulary = len(build_tokenizer(VOCABULARY, MINI.text_length))
    load = partial(LatentPairs.load, args.cache, vae, vocabulary, _device())
    return build_mini(config, vae, VOCABULARY, args.seed, load().token_std()), load


def _train_text(args: argparse.Namespace) -> None:
    pipeline, load = _begin(args)
    torch.manual_seed(args.seed)
    error = train_text(pipeline, load(), args.minutes)
    logging.info("mean squared error of the clean tokens, from captions never seen: %.4f", error)
    forget_origin(pipeline, pipeline.vae, pipeline.transformer)
    pipeline.save_pretrained(args.out, max_shard_size="9MB")


def _train(args: argparse.Namespace) -> None:
    pipeline, load = _begin(args)
    config = TrainConfig(
        minutes=args.minutes,
        batch_size=args.batch_size,
        lr_matrix=args.lr_matrix,
        lr_other=args.lr_other,
        cooldown=args.cooldown,
        ema_decay=args.ema,
        export_minutes=args.export_minutes,
        distill_guidance=args.distill_guidance,
        added_only=args.frozen,
        semantic=not args.no_semantic,
        sampling=replace(MINI_SAMPLING, unbalanced=not args.balanced, joint_share=args.joint_share),
        seed=args.seed,
    )
    trainer = Trainer(pipeline, config, args.state, args.out)
    trainer.run(load)
    trainer.accelerator.end_training()


def _train_refiner(args: argparse.Namespace) -> None:
    pipeline = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32).to(_device())
    train_refiner(pipeline, args.scenes, args.minutes)
    forget_origin(pipeline.vae)
    pipeline.vae.save_pretrained(args.model / "vae")


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Args:
        arguments: As on the command line; None reads them from there.
    """
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it names every file of every checkpoint
    on_a_model = {"train": _train, "text": _train_text, "refiner": _train_refiner}
    on_a_model |= full.COMMANDS
    if args.command in on_a_model:
        on_a_model[args.command](args)
        return
    tokenizer = build_tokenizer(VOCABULARY, MINI.text_length)
    if args.command == "autoencoder":
        vae = fit_autoencoder(args.scenes, args.channels, args.patch, args.whitening, tokenizer, _device())
        vae.save_pretrained(args.out)
        return
    vae = AutoencoderPatchPCA.from_pretrained(args.autoencoder).to(_device())
    if args.command == "checker":
        pairs = LatentPairs.load(args.cache, vae, len(tokenizer), _device())
        train_checker(pairs, vae, args.steps, args.out)
    else:
        write_cache(args.out, CacheConfig(args.scenes, samples=args.samples), vae, tokenizer, args.batch_size)


if __name__ == "__main__":
    main()
