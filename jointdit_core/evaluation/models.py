"""Which model a command measures."""

from __future__ import annotations

import argparse

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


def load_model(args: argparse.Namespace) -> JointDiTPipeline:
    """Load the model that `add_model`'s options name.

    Args:
        args: The parsed options.

    Returns:
        The pipeline without its progress bar, on the GPU if there is one, FLUX then in bfloat16; else in float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.addons is not None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        pipe = JointDiTPipeline.from_flux(args.model, args.addons, dtype)
    else:
        pipe = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
