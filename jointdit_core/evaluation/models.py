"""Which model a command measures."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..pipeline import JointDiTPipeline


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a model."""
    parser.add_argument(
        "--model",
        default="assets/jointdit-mini",
        help="folder of a saved pipeline, or with --addons FLUX.1-dev's folder or hub id (default: %(default)s)",
    )
    parser.add_argument("--addons", help="folder or hub id of JointDiT's add-ons, released or trained here")


def model_name(args: argparse.Namespace) -> str:
    """Name the model that `add_model`'s options name, for tables."""
    return args.model if args.addons is None else f"{args.model} + {args.addons}"


def check_saved(model: str | Path) -> None:
    """Raise FileNotFoundError unless a folder holds a saved pipeline."""
    if not (Path(model) / "model_index.json").is_file():
        raise FileNotFoundError(f"{model} is not the folder of a saved pipeline; FLUX takes --addons beside it")


def load_model(args: argparse.Namespace) -> JointDiTPipeline:
    """Load the model that `add_model`'s options name.

    Args:
        args: The parsed options.

    Returns:
        The pipeline without its progress bar, on the GPU if there is one, FLUX then in bfloat16; else in float32.

    Raises:
        OSError: There is no such model.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.addons is not None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        pipe = JointDiTPipeline.from_flux(args.model, args.addons, dtype)
    else:
        check_saved(args.model)
        pipe = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
