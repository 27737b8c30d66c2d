"""FLUX.1-dev and JointDiT's add-ons, as downloaded, to the parts of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from .hub import AGAIN, fetch, verify
from .model.joint_attention import WeightForm
from .model.released import load_released, new_addons, to_released
from .model.transformer import JointDiTTransformer2DModel, refuse_other_loras
from .weights import check_weights_file, find_weights

FLUX_WEIGHTS = "flux1-*.safetensors"  # the original single file, of a local folder; repositories hold diffusers', too
FLUX_MODELS = ["transformer/*", "scheduler/*", "vae/*"]
FLUX_ENCODERS = ["text_encoder*/*", "tokenizer*/*"]
FLUX_SETTINGS = ["transformer/config.json", "vae/config.json"]
ADDON_WEIGHTS = ("jointdit.safetensors", "jointdit_addons.safetensors")  # both names are in use
ADDON_SETTINGS = ["*.json"]
TRAINING_FLAGS = ("is_txt_ids_training", "is_attnmask_training")
TRANSFORMS = ("none", "inverse")
FORM, RELEASED_FORM = "adaptive_weights", "released"  # of Eq. 6; add-ons trained here in another form say so
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
    config = _check_shape(fetch(flux, FLUX_SETTINGS, revision), flux)
    addon_file, depth_transform, form = _fetch_addons(addons, addons_revision)
    base = fetch(flux, [*FLUX_MODELS, *FLUX_ENCODERS], revision)
    files = _check_weights(base, ("vae", "text_encoder", "text_encoder_2"))

    safe = {"dtype": dtype, "use_safetensors": True}
    loaders = {
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": lambda: AutoencoderKL.from_pretrained(base, subfolder="vae", **safe),
        "text_encoder": lambda: CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **safe),
        "tokenizer": lambda: AutoTokenizer.from_pretrained(base, subfolder="tokenizer"),
        "text_encoder_2": lambda: T5EncoderModel.from_pretrained(base, subfolder="text_encoder_2", **safe),
        "tokenizer_2": lambda: AutoTokenizer.from_pretrained(base, subfolder="tokenizer_2"),
        "transformer": lambda: load_released(_read(files, dtype), load_file(addon_file), {**config, FORM: form}),
    }
    parts = {name: load() for name, load in tqdm(loaders.items(), desc="Loading", unit="part")}
    return {**parts, "default_size": TRAINED_SIZE, "max_size": FLUX_SIZE, "depth_transform": depth_transform}


def flux_parts_to_train(
    flux: str, addons: str | None, dtype: torch.dtype, seed: int, form: WeightForm = "released"
) -> dict[str, Any]:
    """Load FLUX with add-ons to train, without its text encoders.

    Args:
        flux: As in `JointDiTPipeline.from_flux`.
        addons: Add-ons to go on from, or None to begin with ones that change nothing.
        dtype: Number format of all weights.
        seed: Of new add-ons.
        form: Form of Eq. 6 that new add-ons are trained with.

    Returns:
        Arguments of the pipeline's constructor; the models are on the CPU.

    Raises:
        OSError: As `flux_parts`.
        ValueError: As `flux_parts`.
    """
    depth_transform, extra = "none", None
    config = _check_shape(fetch(flux, FLUX_SETTINGS, None), flux)
    if addons is not None:
        addon_file, depth_transform, form = _fetch_addons(addons, None)
        extra = load_file(addon_file)
    base = fetch(flux, FLUX_MODELS, None)
    files = _check_weights(base, ("vae",))
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": AutoencoderKL.from_pretrained(base, subfolder="vae", dtype=dtype, use_safetensors=True),
        **dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")),
        "transformer": load_released(_read(files, dtype), extra or new_addons(config, seed), {**config, FORM: form}),
        "default_size": TRAINED_SIZE,
        "max_size": FLUX_SIZE,
        "depth_transform": depth_transform,
    }


def fetch_encoders(source: str) -> Path:
    """Fetch a pipeline without its transformer: what turns pictures and prompts into what that reads.

    Args:
        source: Local folder or hub id in diffusers' layout.

    Returns:
        The folder, for `JointDiTPipeline.from_pretrained(…, transformer=None)`.

    Raises:
        OSError: The hub cannot be reached, or refuses access.
    """
    return fetch(source, ["scheduler/*", "vae/*", *FLUX_ENCODERS, "model_index.json"], None)


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
    save_added(to_released(model), depth_transform, folder, model.config[FORM], ADDON_WEIGHTS[0])


def save_added(
    tensors: dict[str, torch.Tensor],
    depth_transform: str,
    folder: Path,
    form: WeightForm,
    name: str = ADDON_WEIGHTS[1],
) -> None:
    """Save add-ons that lie beside the model, and their JSON.

    Args:
        tensors: As `load_released` reads them.
        depth_transform: As in `JointDiTPipeline`.
        folder: Where to write; made if need be.
        form: Form of Eq. 6; only another than the released one is written down.
        name: Of the weights' file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / name)
    settings = {**dict.fromkeys(TRAINING_FLAGS, False), "depth_transform": depth_transform}
    settings |= {} if form == RELEASED_FORM else {FORM: form}
    (folder / name).with_suffix(".json").write_text(json.dumps(settings, indent=2) + "\n")


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


def _fetch_addons(addons: str, revision: str | None) -> tuple[Path, str, WeightForm]:
    """Fetch and check add-ons; return their weights' file, their depth transform and form of Eq. 6."""
    depth_transform, form = _check_flags(fetch(addons, ADDON_SETTINGS, revision))
    folder = fetch(addons, [*ADDON_WEIGHTS, *ADDON_SETTINGS], revision)
    weights = [folder / name for name in ADDON_WEIGHTS if (folder / name).is_file()]
    if not weights:
        raise OSError(f"{folder} needs the add-ons' weights, {' or '.join(ADDON_WEIGHTS)}.")
    check_weights_file(weights[0], AGAIN)
    verify(folder, weights[:1])
    return weights[0], depth_transform, form


def _check_flags(folder: Path) -> tuple[str, WeightForm]:
    """Read the add-ons' flags; return their depth transform and form of Eq. 6."""
    settings = [entry for path in sorted(folder.glob("*.json")) if "depth_transform" in (entry := _read_json(path))]
    if not settings:
        raise OSError(f"{folder} needs the add-ons' JSON file, which tells depth_transform.")
    set_flags = [flag for flag in TRAINING_FLAGS if settings[0].get(flag)]
    if set_flags:
        raise ValueError(f"The add-ons at {folder} were trained with {', '.join(set_flags)}, which is not supported.")
    chosen = {"depth_transform": settings[0]["depth_transform"], FORM: settings[0].get(FORM, RELEASED_FORM)}
    for key, known in (("depth_transform", TRANSFORMS), (FORM, get_args(WeightForm))):
        if chosen[key] not in known:
            raise ValueError(f"The add-ons at {folder} ask for {key} {chosen[key]!r}; known are {', '.join(known)}.")
    return chosen["depth_transform"], chosen[FORM]


def _check_weights(base: Path, others: tuple[str, ...]) -> list[Path]:
    """Check the transformer's and other models' weights; return the transformer's, original or diffusers'."""
    files = sorted(base.glob(FLUX_WEIGHTS))[:1] or find_weights(base / "transformer")
    if not files[0].is_file() and "*" in files[0].name:
        raise OSError(f"{base} needs FLUX's weights: transformer/*.safetensors, or the original {FLUX_WEIGHTS}.")
    found = [*files, *(path for name in others for path in find_weights(base / name))]
    for path in found:
        check_weights_file(path, AGAIN)
    verify(base, found)
    return files


def _read(files: list[Path], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights mapped from disk, not read: with the files' own dtype they are in memory once."""
    return {key: tensor.to(dtype) for path in files for key, tensor in load_file(path).items()}


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise OSError(f"The file {path} is damaged: it is not valid JSON. {AGAIN}") from error
