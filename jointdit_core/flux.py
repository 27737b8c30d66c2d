"""FLUX.1-dev and JointDiT's add-ons, as downloaded, to the parts of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from .hub import AGAIN, fetch, verify
from .model.released import load_released, to_released
from .model.transformer import JointDiTTransformer2DModel, refuse_other_loras
from .weights import check_weights_file, find_weights

FLUX_WEIGHTS = "flux1-*.safetensors"  # the original single file, of a local folder; repositories hold diffusers', too
FLUX_FILES = ["transformer/*", "scheduler/*", "vae/*", "text_encoder*/*", "tokenizer*/*"]
FLUX_SETTINGS = ["transformer/config.json", "vae/config.json"]
ADDON_WEIGHTS = ("jointdit.safetensors", "jointdit_addons.safetensors")  # both names are in use
ADDON_SETTINGS = ["*.json"]
TRAINING_FLAGS = ("is_txt_ids_training", "is_attnmask_training")
TRANSFORMS = ("none", "inverse")
TRAINED_SIZE = 512  # the released model's side in pixels
FLUX_SIZE = 1024  # FLUX's own


def flux_parts(
    flux: str, addons: str, dtype: torch.dtype, revision: str | None, addons_revision: str | None
) -> dict[str, Any]:
    """Load what `JointDiTPipeline` is made of, after checking all files.

    Args:
        flux: As in `JointDiTPipeline.from_flux`, like all arguments.
        addons: Local folder or hub id of the add-ons.
        dtype: Number format of all weights.
        revision: Of `flux` on the hub.
        addons_revision: Of `addons` on the hub.

    Returns:
        Arguments of the pipeline's constructor; the models are on the CPU.

    Raises:
        OSError: A folder or file is missing or damaged, the hub cannot be reached, or refuses access.
        ValueError: The weights or flags do not fit; the message names them.
    """
    # What is small first, so that a closed door or a wrong model is told before gigabytes come.
    base = fetch(flux, FLUX_SETTINGS, revision)
    config = _check_shape(base, flux)
    extra = fetch(addons, ADDON_SETTINGS, addons_revision)
    depth_transform = _check_flags(extra)
    extra = fetch(addons, [*ADDON_WEIGHTS, *ADDON_SETTINGS], addons_revision)
    addon_file = _find_addons(extra)
    base = fetch(flux, FLUX_FILES, revision)
    original = sorted(base.glob(FLUX_WEIGHTS))[:1]
    files = original or find_weights(base / "transformer")
    if not files[0].is_file() and "*" in files[0].name:
        raise OSError(f"{base} needs FLUX's weights: transformer/*.safetensors, or the original {FLUX_WEIGHTS}.")
    others = [path for name in ("vae", "text_encoder", "text_encoder_2") for path in find_weights(base / name)]
    for path in (*files, *others):
        check_weights_file(path, AGAIN)
    verify(extra, [addon_file])
    verify(base, [*files, *others])

    safe = {"dtype": dtype, "use_safetensors": True}
    loaders = {
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": lambda: AutoencoderKL.from_pretrained(base, subfolder="vae", **safe),
        "text_encoder": lambda: CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **safe),
        "tokenizer": lambda: AutoTokenizer.from_pretrained(base, subfolder="tokenizer"),
        "text_encoder_2": lambda: T5EncoderModel.from_pretrained(base, subfolder="text_encoder_2", **safe),
        "tokenizer_2": lambda: AutoTokenizer.from_pretrained(base, subfolder="tokenizer_2"),
        "transformer": lambda: _load_transformer(files, addon_file, config, dtype),
    }
    parts = {name: load() for name, load in tqdm(loaders.items(), desc="Loading", unit="part")}
    return {**parts, "default_size": TRAINED_SIZE, "max_size": FLUX_SIZE, "depth_transform": depth_transform}


def _load_transformer(
    files: list[Path], addon_file: Path, config: dict[str, Any], dtype: torch.dtype
) -> JointDiTTransformer2DModel:
    # Mapped from disk, not read: with the files' own dtype the weights are in memory once.
    flux_tensors = {key: tensor.to(dtype) for path in files for key, tensor in load_file(path).items()}
    return load_released(flux_tensors, load_file(addon_file), config)


def write_addons(model: JointDiTTransformer2DModel, depth_transform: str, folder: Path) -> None:
    """Save the joint linears and the LoRA in the released layout, and the JSON that belongs to them.

    Only where q, k and v no longer share one LoRA A, as after training, they go under our own names instead.

    Args:
        model: The transformer.
        depth_transform: As in `JointDiTPipeline`.
        folder: Where to write; made if need be.

    Raises:
        ValueError: The transformer's projections are fused, or other LoRAs are loaded, merged or not.
    """
    if model.projections_fused:
        raise ValueError("This transformer's projections are fused for speed; save its add-ons before fusing.")
    refuse_other_loras(model, "saving")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(to_released(model), folder / ADDON_WEIGHTS[0])
    settings = {**dict.fromkeys(TRAINING_FLAGS, False), "depth_transform": depth_transform}
    (folder / ADDON_WEIGHTS[0]).with_suffix(".json").write_text(json.dumps(settings, indent=2) + "\n")


def _check_shape(folder: Path, source: str) -> dict[str, Any]:
    """Refuse a base of another shape by its settings; return the transformer's."""
    configs = [folder / name for name in FLUX_SETTINGS]
    for path in configs:
        if not path.is_file():
            raise OSError(f"{source} is not FLUX in diffusers' layout: it lacks {path.relative_to(folder)}.")
    config, vae = map(_read_json, configs)
    given, read = 4 * vae.get("latent_channels", 0), config.get("in_channels")
    if config.get("_class_name") != FluxTransformer2DModel.__name__ or given != read:
        raise ValueError(
            f"{source} is not of FLUX.1-dev's shape: its transformer is a {config.get('_class_name')} that reads "
            f"{read} channels a token, its autoencoder gives {given}."
        )
    return FluxTransformer2DModel.load_config(folder, subfolder="transformer")


def _check_flags(folder: Path) -> str:
    """Read the add-ons' flags; return their depth transform."""
    settings = [entry for path in sorted(folder.glob("*.json")) if "depth_transform" in (entry := _read_json(path))]
    if not settings:
        raise OSError(f"{folder} needs the add-ons' JSON file, which tells depth_transform.")
    set_flags = [flag for flag in TRAINING_FLAGS if settings[0].get(flag)]
    if set_flags:
        raise ValueError(f"The add-ons at {folder} were trained with {', '.join(set_flags)}, which is not supported.")
    if settings[0]["depth_transform"] not in TRANSFORMS:
        raise ValueError(
            f"The add-ons at {folder} ask for depth_transform {settings[0]['depth_transform']!r}; "
            f"known are {', '.join(TRANSFORMS)}."
        )
    return settings[0]["depth_transform"]


def _find_addons(folder: Path) -> Path:
    weights = [folder / name for name in ADDON_WEIGHTS if (folder / name).is_file()]
    if not weights:
        raise OSError(f"{folder} needs the add-ons' weights, {' or '.join(ADDON_WEIGHTS)}.")
    check_weights_file(weights[0], AGAIN)
    return weights[0]


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise OSError(f"The file {path} is damaged: it is not valid JSON. {AGAIN}") from error
