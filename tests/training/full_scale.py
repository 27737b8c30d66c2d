"""A FLUX and prepared pairs at tiny size, and what tests of several modules share."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from jointdit_core.flux import flux_parts_to_train
from jointdit_core.pipeline import JointDiTPipeline
from jointdit_core.training.config import TrainConfig
from jointdit_core.training.loop import Trainer
from jointdit_core.training.shards import EMPTY, MANIFEST, PreparedPairs, fingerprint, sha256, write_tensors
from jointdit_core.training.sigmas import SigmaSampling
from tests.tiny import LATENT_CHANNELS, TOKENS, tiny_pipeline


def save_flux(folder: Path) -> Path:
    """FLUX.1-dev's layout with diffusers' names, of the tiny pipeline's weights, without the joint parts."""
    pipe = tiny_pipeline(guidance_embeds=True)
    pipe.save_pretrained(folder)
    pipe.save_addons(folder / "trained")
    config = json.loads((folder / "transformer" / "config.json").read_text())
    own = ("lora_rank", "lora_rank_overrides", "adaptive_weights", "adaptive_alpha", "prediction_type", "position_grid")
    kept = {key: value for key, value in config.items() if key not in own} | {"_class_name": "FluxTransformer2DModel"}
    (folder / "transformer" / "config.json").write_text(json.dumps(kept | {"lora_rank": 4, "lora_rank_overrides": {}}))
    state = pipe.transformer.state_dict()
    flux = {
        name.replace(".base_layer", ""): tensor.contiguous()
        for name, tensor in state.items()
        if ".lora_" not in name and ".processor." not in name
    }
    write_tensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", flux)
    return folder


def save_pairs(folder: Path, vae: torch.nn.Module, shards: int = 2, per_shard: int = 6) -> Path:
    """Prepared pairs that can be learnt, in `prepare`'s form."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, described = torch.Generator().manual_seed(0), []
    for i in range(shards):
        rgb = torch.randn(per_shard, LATENT_CHANNELS, 1, 1, generator=generator).expand(-1, -1, 8, 8).contiguous()
        file = folder / f"pairs-{i:05d}.safetensors"
        text = {
            "pooled": torch.randn(per_shard, 16, generator=generator).half(),
            "tokens": torch.randn(per_shard, TOKENS, 24, generator=generator).half(),
        }
        write_tensors(file, {"rgb": rgb.half(), "depth": (-rgb).half()} | text)
        described.append({"file": file.name, "pairs": per_shard, "bytes": file.stat().st_size, "sha256": sha256(file)})
    write_tensors(folder / EMPTY, {"pooled": torch.zeros(1, 16), "tokens": torch.zeros(1, TOKENS, 24)})
    (folder / MANIFEST).write_text(
        json.dumps({"settings": {"vae": fingerprint(vae), "depth_transform": "none"}, "shards": described})
    )
    return folder


def pipeline(folder: Path, addons: str | None = None) -> JointDiTPipeline:
    return JointDiTPipeline(**flux_parts_to_train(str(folder / "flux"), addons, torch.float32, 0))


def trainer(folder: Path, run: str, addons: str | None = None, **changes) -> tuple[Trainer, PreparedPairs]:
    """A trainer of what is added, on `folder`'s flux and pairs."""
    pipe = pipeline(folder, addons)
    pairs = PreparedPairs.load(folder / "pairs", pipe.vae, torch.device("cpu"))
    numbers = {"optimizer": "adamw", "lr_other": 1e-2, "ema_decay": None, "batch_size": 4, "checkpointing": True}
    numbers |= {"warmup_steps": 1, "cooldown": 0.0, "semantic": False, "added_only": True, "compile": False}
    config = TrainConfig(minutes=10, sampling=SigmaSampling(), **(numbers | changes))
    return Trainer(pipe, config, folder / run / "state", folder / run / "addons", pairs.empty), pairs


def three_steps(folder: Path, run: str, **changes) -> Trainer:
    """Train a little, in as many processes as there are, from add-ons whose gradients are above rounding's size."""
    made, pairs = trainer(folder, run, str(folder / "flux" / "trained"), lr_other=1e-3, **changes)
    for _ in range(3):
        made.step(pairs, 0.0)
    made.save()
    return made


def prepare_options(folder: Path, out: Path) -> list[str]:
    """The command that prepares `folder`'s pictures with its models."""
    models = ["--model", str(folder / "model"), "--depth-model", str(folder / "depth")]
    models += ["--caption-model", str(folder / "caption"), "--size", "64", "--shard", "4", "--batch-size", "3"]
    return ["prepare", "--images", str(folder / "pictures"), "--out", str(out), *models]


def content(folder: Path) -> list[dict]:
    """Files and captions of all prepared pairs."""
    parts = sorted(folder.glob("pairs-*.json"))
    return [one for part in parts for one in json.loads(part.read_text())["content"]]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """A limit on the size of files in bytes stands for the full disk: writing fails in the same place."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
