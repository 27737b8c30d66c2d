"""FLUX.1-dev and JointDiT's add-ons, as downloaded, to the parts of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from .model.joint_attention import WeightForm
from .model.released import load_released, new_addons
from .model.transformer import JointDiTTransformer2DModel, added_parameters
from .weights import check_weights_file, find_weights

FLUX_WEIGHTS = "flux1-dev.safetensors"  # of a local folder; hub repositories also hold diffusers' files
FLUX_MODELS = ["transformer/*", "scheduler/*", "vae/*"]
FLUX_FILES = [*FLUX_MODELS, "text_encoder*/*", "tokenizer*/*"]
ADDON_WEIGHTS = ("jointdit.safetensors", "jointdit_addons.safetensors")  # both names are in use
ADDON_FILES = [*ADDON_WEIGHTS, "*.json"]
PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5"]  # never fetched: they could run code, or weigh much
TRAINING_FLAGS = ("is_txt_ids_training", "is_attnmask_training")
TRANSFORMS = ("none", "inverse")
FORM, RELEASED_FORM = "adaptive_weights", "released"  # of Eq. 6; add-ons trained here in another form say so
TRAINED_SIZE = 512  # the released model's side in pixels
FLUX_SIZE = 1024  # FLUX's own
AGAIN = "Fetch it again."


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
    # The add-ons first: they are the smaller download.
    extra = _local(addons, ADDON_FILES, addons_revision)
    addon_file, depth_transform, form = _check_addons(extra)
    base = _local(flux, FLUX_FILES, revision)
    files = _check_flux(base)
    for name in ("vae", "text_encoder", "text_encoder_2"):
        for path in find_weights(base / name):
            check_weights_file(path, AGAIN)

    flux_tensors, config = _read_flux(base, files, dtype)
    safe = {"dtype": dtype, "use_safetensors": True}
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": AutoencoderKL.from_pretrained(base, subfolder="vae", **safe),
        "text_encoder": CLIPTextModel.from_pretrained(base, subfolder="text_encoder", **safe),
        "tokenizer": AutoTokenizer.from_pretrained(base, subfolder="tokenizer"),
        "text_encoder_2": T5EncoderModel.from_pretrained(base, subfolder="text_encoder_2", **safe),
        "tokenizer_2": AutoTokenizer.from_pretrained(base, subfolder="tokenizer_2"),
        "transformer": load_released(flux_tensors, load_file(addon_file), {**config, FORM: form}),
        "default_size": TRAINED_SIZE,
        "max_size": FLUX_SIZE,
        "depth_transform": depth_transform,
    }


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
    if addons is not None:
        addon_file, depth_transform, form = _check_addons(_local(addons, ADDON_FILES, None))
        extra = load_file(addon_file)
    base = _local(flux, FLUX_MODELS, None)
    files = _check_flux(base)
    flux_tensors, config = _read_flux(base, files, dtype)
    if extra is None:
        extra = new_addons(config, seed)
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler"),
        "vae": AutoencoderKL.from_pretrained(base, subfolder="vae", dtype=dtype, use_safetensors=True),
        **dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")),
        "transformer": load_released(flux_tensors, extra, {**config, FORM: form}),
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
    return _local(
        source, [pattern for pattern in FLUX_FILES if pattern != "transformer/*"] + ["model_index.json"], None
    )


def _check_flux(base: Path) -> list[Path]:
    """Find FLUX's transformer weights, original or diffusers', and check them."""
    original = base / FLUX_WEIGHTS
    files = [original] if original.is_file() else find_weights(base / "transformer")
    if not files[0].is_file() and "*" in files[0].name:
        raise OSError(f"{base} needs FLUX's weights: transformer/*.safetensors, or the original {FLUX_WEIGHTS}.")
    for path in files:
        check_weights_file(path, AGAIN)
    return files


def _read_flux(base: Path, files: list[Path], dtype: torch.dtype) -> tuple[dict[str, torch.Tensor], dict]:
    """FLUX's weights and config; mapped, not read: with the files' own dtype the weights are in memory once."""
    tensors = {key: tensor.to(dtype) for path in files for key, tensor in load_file(path).items()}
    return tensors, FluxTransformer2DModel.load_config(base, subfolder="transformer")


def write_addons(model: JointDiTTransformer2DModel, depth_transform: str, folder: Path) -> None:
    """Save the joint linears and the LoRA, under their own names, and the JSON that belongs to them.

    Args:
        model: The transformer.
        depth_transform: As in `JointDiTPipeline`.
        folder: Where to write; made if need be.

    Raises:
        ValueError: The transformer's projections are fused.
    """
    if model.projections_fused:
        raise ValueError("This transformer's projections are fused for speed; save its add-ons before fusing.")
    tensors = {name: model.get_parameter(name).detach().contiguous() for name in added_parameters(model)}
    save_added(tensors, depth_transform, folder, model.config[FORM])


def save_added(tensors: dict[str, torch.Tensor], depth_transform: str, folder: Path, form: WeightForm) -> None:
    """Save add-ons that lie beside the model, and their JSON.

    Args:
        tensors: By the names that `added_parameters` gives.
        depth_transform: As in `JointDiTPipeline`.
        folder: Where to write; made if need be.
        form: Form of Eq. 6; only another than the released one is written down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / ADDON_WEIGHTS[1])
    settings = {**dict.fromkeys(TRAINING_FLAGS, False), "depth_transform": depth_transform}
    settings |= {} if form == RELEASED_FORM else {FORM: form}
    (folder / ADDON_WEIGHTS[1]).with_suffix(".json").write_text(json.dumps(settings, indent=2) + "\n")


def _check_addons(folder: Path) -> tuple[Path, str, WeightForm]:
    """Find the add-ons' weights; read their depth transform and form of Eq. 6."""
    weights = [folder / name for name in ADDON_WEIGHTS if (folder / name).is_file()]
    settings = [entry for path in folder.glob("*.json") if "depth_transform" in (entry := _read_json(path))]
    if not weights or not settings:
        raise OSError(f"{folder} needs {' or '.join(ADDON_WEIGHTS)} and a JSON file that tells depth_transform.")
    check_weights_file(weights[0], AGAIN)
    set_flags = [flag for flag in TRAINING_FLAGS if settings[0].get(flag)]
    if set_flags:
        raise ValueError(f"The add-ons at {folder} were trained with {', '.join(set_flags)}, which is not supported.")
    chosen = {"depth_transform": settings[0]["depth_transform"], FORM: settings[0].get(FORM, RELEASED_FORM)}
    for key, known in (("depth_transform", TRANSFORMS), (FORM, get_args(WeightForm))):
        if chosen[key] not in known:
            raise ValueError(f"The add-ons at {folder} ask for {key} {chosen[key]!r}; known are {', '.join(known)}.")
    return weights[0], chosen["depth_transform"], chosen[FORM]


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise OSError(f"The file {path} is damaged: it is not valid JSON. {AGAIN}") from error


def _local(source: str, patterns: list[str], revision: str | None) -> Path:
    """A local folder as it is, or a hub repository's files, downloaded once."""
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns, ignore_patterns=PICKLES))
    except GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it comes first
        raise OSError(
            f"{source} is open only to those who accepted its licence: accept it at https://huggingface.co/{source}, "
            "then set HF_TOKEN to a token of that account."
        ) from error
    except RepositoryNotFoundError as error:
        raise OSError(f"{source} is neither a folder here nor a repository this HF_TOKEN may read.") from error
    except LocalEntryNotFoundError as error:
        raise OSError(f"{source} is neither a folder here nor downloaded yet, and the hub is out of reach.") from error
