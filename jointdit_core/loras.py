"""LoRAs made for FLUX by others: found, checked before anything changes, and merged into a pipeline's weights."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft, logging
from safetensors import safe_open
from torch import nn

from .hub import AGAIN, fetch, split_revision, verify
from .model.transformer import name_some
from .pipeline import JointDiTPipeline
from .weights import check_weights_file

FORM = "--lora takes FILE_OR_REPOSITORY[/FILE][@REVISION][:SCALE]"
KEY = re.compile(r"(transformer|text_encoder)\.(.+)\.lora_([AB])\.weight")
OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude": "DoRA", "lokr_": "LoKr", "hada_": "LoHa"}


@dataclass(frozen=True)
class AskedLora:
    """One LoRA as it was asked for.

    Attributes:
        source: Local safetensors file, or folder or hub repository that holds one, or such a repository's file.
        revision: Commit, tag or branch on the hub, or None.
        scale: How strongly it acts; 1 as it was trained.
    """

    source: str
    revision: str | None
    scale: float


def parse_lora(text: str) -> AskedLora:
    """Read what `--lora` was given.

    Args:
        text: Such as "maker/style", "maker/style/style.safetensors@main:0.8" or "style.safetensors:0.5".

    Returns:
        Its parts.

    Raises:
        ValueError: It is empty, or its scale is no number between -10 and 10.
    """
    source, colon, tail = text.rpartition(":")
    if not colon or "/" in tail or "\\" in tail:
        source, tail = text, "1"
    try:
        scale = float(tail)
    except ValueError:
        scale = float("nan")
    if not source or not -10 <= scale <= 10:
        raise ValueError(f"{FORM} with a scale from -10 to 10, got {text!r}.")
    return AskedLora(*split_revision(source), scale)


def merge_loras(pipe: JointDiTPipeline, asked: list[AskedLora]) -> None:
    """Merge LoRAs into FLUX's weights, so that they cost nothing afterwards, in any form of the transformer.

    Args:
        pipe: Changed in place; its projections not fused yet.
        asked: In any order; updates add up.

    Raises:
        OSError: A file is missing or damaged.
        ValueError: One is no LoRA of this model; nothing has changed then.
    """
    paths = [find_lora(lora) for lora in asked]
    for path in paths:
        _check(pipe, path)
    names = [f"lora_{number}" for number in range(len(paths))]
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what diffusers would warn of was checked, but for parts that may be missing
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # that of the depth half
            for name, path in zip(names, paths, strict=True):
                pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name, use_safetensors=True)
    finally:
        logging.set_verbosity(verbosity)
    if names:
        pipe.set_adapters(names, [lora.scale for lora in asked])
        pipe.fuse_lora(["transformer", "text_encoder"], safe_fusing=True)
        pipe.unload_lora_weights()


def find_lora(lora: AskedLora) -> Path:
    """Find a LoRA's file on this machine, fetched if need be.

    Args:
        lora: As asked for.

    Returns:
        A whole safetensors file.

    Raises:
        OSError: It is missing, damaged, or not to be had.
        ValueError: It is of another format, or there are several.
    """
    path = Path(lora.source)
    if not path.exists():
        repository = re.fullmatch(r"([^/.~][^/]*/[^/]+)(?:/(.+))?", lora.source)
        if repository is None:
            raise OSError(f"The LoRA {lora.source} is neither a file here nor a repository's name.")
        source, name = repository.groups()
        folder = fetch(source, [name or "*.safetensors"], lora.revision)
        path = folder / name if name else folder
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            names = name_some([file.name for file in found]) or "none"
            raise ValueError(f"{lora.source} must hold one safetensors file or be given with its name; it has {names}.")
        [path] = found
    if path.suffix != ".safetensors":
        raise ValueError(f"The LoRA {path} is not a safetensors file; other formats could run code and are not read.")
    check_weights_file(path, AGAIN)
    verify(path.parent, [path])
    return path


def _check(pipe: JointDiTPipeline, path: Path) -> None:
    """Refuse what is not a LoRA of this model; diffusers would pass over, pad or only warn of what does not fit."""
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
    for mark, kind in OTHER_KINDS.items():
        if any(mark in key for key in keys):
            raise ValueError(f"{path} is of the kind {kind}, which is not supported; plain LoRAs are.")
    asked = {"weight_name": path.name, "use_safetensors": True, "return_alphas": True, "return_lora_metadata": True}
    try:
        tensors, _, _ = pipe.lora_state_dict(path.parent, **asked)
        if text := {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{pipe.text_encoder_name}.")}:
            tensors |= convert_state_dict_to_peft(convert_state_dict_to_diffusers(text))
    except Exception as error:  # the converters of foreign formats raise what they like
        raise ValueError(f"{path} is not a LoRA for FLUX: diffusers cannot make sense of its keys.") from error
    strange = [key for key in tensors if KEY.fullmatch(key) is None]
    if strange or not tensors:
        raise ValueError(f"{path} is not a LoRA for FLUX; it holds {name_some(strange or keys) or 'nothing'}.")
    pairs: dict[tuple[str, str], dict[str, tuple]] = {}
    for key, tensor in tensors.items():
        model, name, half = KEY.fullmatch(key).groups()
        pairs.setdefault((model, name), {})[half] = tuple(tensor.shape)
    linears = {model: _plain_linears(getattr(pipe, model)) for model in ("transformer", "text_encoder")}
    for (model, name), shapes in sorted(pairs.items()):
        linear = linears[model].get(name.removeprefix("text_model."))
        if linear is None:
            raise ValueError(f"{path} does not fit this model, whose {model} has no linear {name}.")
        first, second = shapes.get("A", ()), shapes.get("B", ())
        rank = first[0] if first else 0
        if (first, second) != ((rank, linear.in_features), (linear.out_features, rank)):
            raise ValueError(
                f"{path} does not fit this model: {name} maps {linear.in_features} to {linear.out_features} channels, "
                f"its LoRA has A {first} and B {second}."
            )


def _plain_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Name -> linear, under its LoRA where it carries one."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {name.removesuffix(".base_layer").removeprefix("text_model."): linear for name, linear in found.items()}
