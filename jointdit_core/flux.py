"""FLUX.1-dev and the released JointDiT add-ons, as downloaded, to the parts of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from .model.released import load_released

FLUX_WEIGHTS = "flux1-dev.safetensors"
FLUX_FILES = [FLUX_WEIGHTS, "transformer/config.json", "scheduler/*", "vae/*", "text_encoder*/*", "tokenizer*/*"]
ADDON_WEIGHTS = ("jointdit.safetensors", "jointdit_addons.safetensors")  # both names are in use
ADDON_FILES = [*ADDON_WEIGHTS, "*.json"]
TRAINED_SIZE = 512  # the released model's side in pixels
FLUX_SIZE = 1024  # FLUX's own


def flux_parts(flux: str, addons: str, dtype: torch.dtype) -> dict[str, Any]:
    """Load what `JointDiTPipeline` is made of.

    Args:
        flux: Local folder or hub id of FLUX.1-dev, in diffusers' layout with `flux1-dev.safetensors` beside it.
        addons: Local folder or hub id of the add-ons: one safetensors file and its JSON.
        dtype: Number format of all weights.

    Returns:
        Arguments of the pipeline's constructor; the models are on the CPU.

    Raises:
        OSError: A folder or file is missing, or the hub cannot be reached.
        ValueError: The weights do not fit; the message names the key.
    """
    base, extra = _local(flux, FLUX_FILES), _local(addons, ADDON_FILES)
    weights = [extra / name for name in ADDON_WEIGHTS if (extra / name).is_file()]
    settings = [entry for path in extra.glob("*.json") if "depth_transform" in (entry := json.loads(path.read_text()))]
    if not weights or not settings:
        raise OSError(f"{extra} needs {' or '.join(ADDON_WEIGHTS)} and a JSON file that tells depth_transform.")
    if not (base / FLUX_WEIGHTS).is_file():
        raise OSError(f"{base} needs FLUX's original weights, {FLUX_WEIGHTS}.")
    flux_tensors = {key: tensor.to(dtype) for key, tensor in load_file(base / FLUX_WEIGHTS).items()}
    config = FluxTransformer2DModel.load_config(base, subfolder="transformer")
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": AutoencoderKL.from_pretrained(base, subfolder="vae", dtype=dtype),
        "text_encoder": CLIPTextModel.from_pretrained(base, subfolder="text_encoder", dtype=dtype),
        "tokenizer": AutoTokenizer.from_pretrained(base, subfolder="tokenizer"),
        "text_encoder_2": T5EncoderModel.from_pretrained(base, subfolder="text_encoder_2", dtype=dtype),
        "tokenizer_2": AutoTokenizer.from_pretrained(base, subfolder="tokenizer_2"),
        "transformer": load_released(flux_tensors, load_file(weights[0]), config),
        "default_size": TRAINED_SIZE,
        "max_size": FLUX_SIZE,
        "depth_transform": settings[0]["depth_transform"],
    }


def _local(source: str, patterns: list[str]) -> Path:
    """A local folder as it is, or a hub repository's files, downloaded once."""
    return Path(source) if Path(source).is_dir() else Path(snapshot_download(source, allow_patterns=patterns))
