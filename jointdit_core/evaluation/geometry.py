"""Evaluate the geometry on unseen procedural worlds, whose camera, depth and occlusion boundaries are known."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..decode import to_disparity
from ..encode import disparity_to_image
from ..pipeline import JointDiTPipeline
from .geometry_camera import measure_camera, standard_maps
from .geometry_cost import measure_cost
from .geometry_edges import measure_edges
from .geometry_shapes import aligned, measure_shapes
from .geometry_worlds import FIRST_SEED, World, draw, quantise

ROOM = 256  # side of the rooms' maps
EDGES = 512  # side of the rays behind the edge cut's maps of half that size
LENSES = (35.0, 90.0)  # degrees; the rooms' own span 38 to 62 only
STEPS = 4  # of the model's estimates


def main(arguments: list[str] | None = None) -> None:
    """Run the evaluation.

    Args:
        arguments: As on the command line; None reads them from there.
    """
    parser = argparse.ArgumentParser(prog="python -m jointdit_core.evaluation.geometry", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for geometry.md and geometry.json")
    parser.add_argument("--model", type=Path, default=Path("assets/jointdit-mini"), help="(default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=64, help="of each kind (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048], help="(default: %(default)s)")
    args = parser.parse_args(arguments)

    pipe = JointDiTPipeline.from_pretrained(args.model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    rooms = list(draw(args.scenes, ROOM, ("room",)))
    own = model_map(pipe, rooms)
    tables = {
        "Recovered camera, rooms as drawn": measure_camera(rooms, standard_maps() | own),
        "Recovered camera, the rooms through lenses of 35 to 90 degrees": measure_camera(
            draw(args.scenes, ROOM, ("room",), FIRST_SEED, LENSES), standard_maps()
        ),
        "Edge cut, all kinds of scenes, percent": measure_edges(draw(args.scenes, EDGES), autoencoded(pipe)),
        "Shapes by precision of the disparity, rooms": measure_shapes(rooms, precisions() | own),
    }
    with tempfile.TemporaryDirectory() as folder:
        scene = next(draw(1, EDGES))
        tables["Cost on one thread"] = measure_cost(scene, tuple(args.sizes), Path(folder))
    args.out.mkdir(parents=True, exist_ok=True)
    values = {title: [asdict(row) for row in rows] for title, rows in tables.items()}
    (args.out / "geometry.json").write_text(json.dumps(values, indent=1) + "\n")
    text = "\n\n".join(f"### {title}\n\n{table(rows)}" for title, rows in tables.items()) + "\n"
    (args.out / "geometry.md").write_text(text)
    sys.stdout.write(text)


def precisions() -> dict[str, Callable[[World], np.ndarray]]:
    """The disparity that shapes are judged on, by what it went through."""
    return {
        "exact": lambda world: world.disparity,
        "16 bits": lambda world: quantise(world.disparity, 16),
        "8 bits": lambda world: quantise(world.disparity, 8),
    }


def model_map(pipe: JointDiTPipeline, rooms: list[World]) -> dict[str, Callable[[World], np.ndarray]]:
    """The model's own estimates of rooms, fitted to the true disparity's scale and shift."""
    found = {}
    for world in rooms:
        output = pipe.depth_estimation(Image.fromarray(world.image), num_inference_steps=STEPS, seed=0)
        found[world.scene.seed] = aligned(output.disparity, world)
    return {"the model's own": lambda world: found[world.scene.seed]}


def autoencoded(pipe: JointDiTPipeline) -> Callable[[np.ndarray], np.ndarray]:
    """There and back through the model's autoencoder, as a depth map goes."""

    def decode(disparity: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            decoded = pipe.vae(disparity_to_image(torch.from_numpy(disparity)[None])).sample
        return to_disparity(decoded, *disparity.shape)[0]

    return decode


def table(rows: Sequence) -> str:
    """Write rows, all of one dataclass, as a Markdown table."""
    names = [field.name for field in fields(rows[0])]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        values = (getattr(row, name) for name in names)
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
