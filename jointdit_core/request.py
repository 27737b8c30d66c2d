"""The pipeline's door: a call's arguments, checked and brought to one form.

Letters: B pairs, H x W pixels.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from PIL import Image

MAX_STEPS = 200
MAX_GUIDANCE = 30.0
MAX_SEED = 2**63 - 1
DRAWN_SEEDS = 2**32  # a drawn seed stays below this, short enough to note down
ASKED_SIDES = (64, 2048)  # of a wanted height or width, in pixels
GIVEN_MIN_SIDE = 16  # of a given image or disparity, in pixels
GIVEN_MAX_PIXELS = 25_000_000
MAX_ASPECT = 8.0
PIL_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")  # 8 bits a channel, so RGB keeps all of them


@dataclass(frozen=True)
class Request:
    """A checked call: B entries everywhere.

    Attributes:
        prompts: B prompts.
        negative_prompts: B negative prompts.
        images: B RGB pictures of one size, or None.
        disparities: (B, H, W) float32 in [0, 1], or None.
        start_rgb: Start sigma in [0, 1]; below 1 only with images.
        start_depth: Start sigma in [0, 1]; below 1 only with disparities.
        generators: B CPU generators, the same one in all places if the caller gave one for all.
        seeds: What each generator was seeded with.
        height: Of the result in pixels.
        width: Of the result in pixels.
        is_batch: Whether the caller gave any list.
    """

    prompts: list[str]
    negative_prompts: list[str]
    images: list[Image.Image] | None
    disparities: np.ndarray | None
    start_rgb: float
    start_depth: float
    generators: list[torch.Generator]
    seeds: list[int]
    height: int
    width: int
    is_batch: bool

    def outward(self, entries: list) -> Any:
        """Give a list of B entries the caller's form: itself for a batch, else its only entry."""
        return entries if self.is_batch else entries[0]


def check_number(name: str, value: object, low: float, high: float, kind: type = Real) -> None:
    """Refuse what is not a number from low to high.

    Args:
        name: The argument's name.
        value: What came.
        low: Least allowed value.
        high: Greatest allowed value.
        kind: `Real`, or `Integral` for whole numbers.

    Raises:
        ValueError: It is not one.
    """
    is_kind = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    if not is_kind or not (math.isfinite(value) and low <= value <= high):
        wanted = "a whole number" if kind is Integral else "a number"
        raise ValueError(f"{name} must be {wanted} from {low} to {high}, but {value!r:.80} came.")


def check_request(
    prompt: object,
    image: object,
    disparity: object,
    negative_prompt: object,
    sigma_start_rgb: object,
    sigma_start_depth: object,
    height: object,
    width: object,
    seed: object,
    generator: object,
    default_size: int,
) -> Request:
    """Check the arguments of `JointDiTPipeline.__call__`, where they are described.

    Args:
        prompt: See there, like all arguments down to `generator`.
        image: See there.
        disparity: See there.
        negative_prompt: See there.
        sigma_start_rgb: See there.
        sigma_start_depth: See there.
        height: See there.
        width: See there.
        seed: See there.
        generator: See there.
        default_size: Side in pixels where none is asked for or given.

    Returns:
        The same in one form.

    Raises:
        ValueError: With the argument, what came and what is allowed.
    """
    prompts = _prompts("prompt", prompt)
    negatives = _prompts("negative_prompt", negative_prompt)
    images = None if image is None else _images(image)
    maps = None if disparity is None else _disparities(disparity)
    start_rgb = _start("sigma_start_rgb", sigma_start_rgb, "image", image is not None)
    start_depth = _start("sigma_start_depth", sigma_start_depth, "disparity", disparity is not None)
    if start_rgb == 0 and start_depth == 0:
        raise ValueError(
            "Both start sigmas are 0, so nothing is left to make; raise sigma_start_rgb or sigma_start_depth."
        )

    lists = {"prompt": prompts, "negative_prompt": negatives, "image": images, "disparity": maps}
    came = {"prompt": prompt, "negative_prompt": negative_prompt, "image": image, "seed": seed, "generator": generator}
    is_list = {name: isinstance(value, list | tuple) for name, value in came.items()}
    is_list["disparity"] = isinstance(disparity, list | tuple) or np.ndim(disparity) == 3
    lists |= {name: _listed(name, came[name]) for name in ("seed", "generator")}
    lengths = {name: len(lists[name]) for name, several in is_list.items() if several}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"The lists given together must have the same length, but came with: {found}.")
    pairs = next(iter(lengths.values()), 1)

    generators, seeds = _generators(seed, generator, pairs)
    height, width = _size(images, maps, height, width, default_size)
    return Request(
        prompts=_spread(prompts, pairs),
        negative_prompts=_spread(negatives, pairs),
        images=None if images is None else _spread(images, pairs),
        disparities=None if maps is None else np.stack(_spread(maps, pairs)),
        start_rgb=start_rgb,
        start_depth=start_depth,
        generators=generators,
        seeds=seeds,
        height=height,
        width=width,
        is_batch=bool(lengths),
    )


def _spread(entries: list, pairs: int) -> list:
    """A single entry serves all pairs."""
    return entries * pairs if len(entries) == 1 else entries


def _listed(name: str, value: object) -> list:
    """`value` as a list, refusing an empty one."""
    entries = list(value) if isinstance(value, list | tuple) else [value]
    if not entries:
        raise ValueError(f"{name} is an empty list; give at least one entry.")
    return entries


def _prompts(name: str, value: object) -> list[str]:
    entries = _listed(name, value)
    for entry in entries:
        if not isinstance(entry, str):
            raise ValueError(f"{name} must be text or a list of texts, but {type(entry).__name__} came.")
        if any("\ud800" <= c <= "\udfff" for c in entry):
            raise ValueError(f"{name} holds half a character (a lone surrogate), which no text may.")
    return entries


def _start(name: str, value: object, given_name: str, is_given: bool) -> float:
    if value is None:
        return 0.0 if is_given else 1.0
    check_number(name, value, 0, 1)
    if value < 1 and not is_given:
        raise ValueError(f"{name} is {value}, below 1, which needs the argument {given_name}, but none was given.")
    return float(value)


def _images(value: object) -> list[Image.Image]:
    pictures = [_rgb(entry) for entry in _listed("image", value)]
    _check_given_sizes("image", [(picture.height, picture.width) for picture in pictures])
    return pictures


def _rgb(value: object) -> Image.Image:
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
            raise ValueError(f"image must be uint8 of shape (H, W, 3), but {value.dtype} of shape {value.shape} came.")
        return Image.fromarray(value)
    if not isinstance(value, Image.Image):
        raise ValueError(f"image must be a PIL picture or a uint8 array, but {type(value).__name__} came.")
    if value.mode not in PIL_MODES:
        raise ValueError(f"image has the mode {value.mode}; allowed are {', '.join(PIL_MODES)}, 8 bits a channel.")
    return value.convert("RGB")


def _disparities(value: object) -> list[np.ndarray]:
    """One float32 map per pair, so that a single one can serve several."""
    stacked = isinstance(value, np.ndarray) and value.ndim == 3
    maps = _listed("disparity", list(value) if stacked else value)
    for entry in maps:
        if not isinstance(entry, np.ndarray) or not np.issubdtype(entry.dtype, np.floating) or entry.ndim != 2:
            came = f"{entry.dtype} of shape {entry.shape}" if isinstance(entry, np.ndarray) else type(entry).__name__
            raise ValueError(f"disparity must be a floating-point array of shape (H, W) or (B, H, W), but {came} came.")
    _check_given_sizes("disparity", [entry.shape for entry in maps])
    for entry in maps:
        if not np.isfinite(entry).all():
            raise ValueError("disparity holds NaN or infinite values; all of it must lie in [0, 1].")
        if entry.min() < 0 or entry.max() > 1:
            raise ValueError(
                f"disparity runs from {entry.min():.6g} to {entry.max():.6g}, but must lie in [0, 1], near = 1: "
                "normalise it first."
            )
    return [entry.astype(np.float32) for entry in maps]


def _check_given_sizes(name: str, sizes: list[tuple[int, int]]) -> None:
    if len(set(sizes)) > 1:
        raise ValueError(f"All of a batch's entries of {name} must have one size, but {sizes[0]} and others came.")
    height, width = sizes[0]
    if min(height, width) < GIVEN_MIN_SIDE or height * width > GIVEN_MAX_PIXELS:
        raise ValueError(
            f"{name} is {width} x {height} pixels; allowed are sides from {GIVEN_MIN_SIDE} "
            f"and at most {GIVEN_MAX_PIXELS // 10**6} million pixels."
        )
    _check_aspect(name, height, width)


def _check_aspect(name: str, height: int, width: int) -> None:
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"{name} is {width} x {height} pixels; one side may be at most {MAX_ASPECT:g} times the other."
        )


def _size(
    images: list[Image.Image] | None, maps: list[np.ndarray] | None, height: object, width: object, default_size: int
) -> tuple[int, int]:
    """(height, width) of the result: of what is given, else as asked."""
    given = [(images[0].height, images[0].width)] if images else []
    given += [maps[0].shape] if maps else []
    if len(set(given)) > 1:
        (h, w), (map_h, map_w) = given
        raise ValueError(f"image is {w} x {h} pixels, but disparity is {map_w} x {map_h}; they must have one size.")
    asked = {name: side for name, side in (("height", height), ("width", width)) if side is not None}
    for name, side in asked.items():
        check_number(name, side, *ASKED_SIDES, Integral)
    if not given:
        h, w = (int(asked.get(name, default_size)) for name in ("height", "width"))
        _check_aspect("The size asked for", h, w)
        return h, w
    if asked:
        raise ValueError("height and width are those of the given image or disparity; leave them out.")
    return given[0]


def _generators(seed: object, generator: object, pairs: int) -> tuple[list[torch.Generator], list[int]]:
    """One CPU generator per pair, and the seed of each."""
    if generator is None:
        if seed is None:
            seed = secrets.randbelow(DRAWN_SEEDS)
        if not isinstance(seed, list | tuple):
            check_number("seed", seed, 0, MAX_SEED - pairs + 1, Integral)
            seed = [seed + i for i in range(pairs)]
        for entry in seed:
            check_number("seed", entry, 0, MAX_SEED, Integral)
        seeds = [int(entry) for entry in seed]
        return [torch.Generator("cpu").manual_seed(entry) for entry in seeds], seeds
    if seed is not None:
        raise ValueError("seed and generator were both given; give one of them.")
    generators = _spread(_listed("generator", generator), pairs)
    for entry in generators:
        if not isinstance(entry, torch.Generator) or entry.device.type != "cpu":
            raise ValueError("generator must be a torch.Generator on the CPU, or a list of them.")
    return generators, [entry.initial_seed() for entry in generators]
