"""Latents of procedural worlds and what they show, drawn once and kept on disk in shards.

Letters: N pairs, K captions a pair, T text tokens, C x h x w a latent map.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from ..encode import disparity_to_image, encode_images
from ..model.autoencoder import AutoencoderPatchPCA
from ..worlds import SceneBatch, batch, captions, cell_labels, label_table, render, sample_scene, to_disparity
from .shards import PairBatch

CAPTIONS = 4  # differently worded captions kept per scene
COMPILE_FROM = 128  # scenes; below, compiling the ray caster takes longer than it saves
MANIFEST = "manifest.json"
TENSORS = ("rgb", "depth", "captions", "labels")  # of a shard
MIN_STD = 0.02  # the depth branch is gray: its latents of colour hardly vary, and a filter divides by how much


@dataclass(frozen=True)
class CacheConfig:
    """What a cache holds; two caches with the same values are the same.

    Attributes:
        scenes: Number of scenes.
        first_seed: Seed of the first; scene i has `first_seed + i`.
        size: Side of the pictures in pixels.
        samples: Rays per pixel of the RGB image.
        shard: Scenes per file.
    """

    scenes: int
    first_seed: int = 1_000_000
    size: int = 256
    samples: int = 2
    shard: int = 2048


class _WorldBatches(Dataset):
    """Batches of packed scenes with their objects' labels and caption ids, made in worker processes."""

    def __init__(self, seeds: list[int], size: int, tokenizer: PreTrainedTokenizerFast):
        self.seeds, self.size, self.tokenizer = seeds, size, tokenizer

    def __len__(self) -> int:
        return len(self.seeds) // self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, SceneBatch, torch.Tensor]:
        scenes = [sample_scene(seed) for seed in self.seeds[index * self.size : (index + 1) * self.size]]
        texts = [text for scene in scenes for text in captions(scene, CAPTIONS)]
        ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return label_table(scenes), batch(scenes), ids.reshape(len(scenes), CAPTIONS, -1).short()


class WorldBatch(NamedTuple):
    """Drawn scenes on the device that drew them.

    images (B, 3, H, W) float32 in [-1, 1]; disparity (B, H, W) float32 in [0, 1]; captions (B, K, T) int16 token ids;
    labels (B, 2, h, w) uint8, see `worlds.cell_labels`.
    """

    images: torch.Tensor
    disparity: torch.Tensor
    captions: torch.Tensor
    labels: torch.Tensor


def render_worlds(
    seeds: list[int],
    tokenizer: PreTrainedTokenizerFast,
    size: int,
    samples: int,
    batch_size: int,
    device: torch.device,
    cell: int = 16,
) -> Iterator[WorldBatch]:
    """Draw the scenes of some seeds.

    Args:
        seeds: Their seeds; the count is a multiple of `batch_size`.
        tokenizer: The mini's tokenizer.
        size: Side of the pictures in pixels.
        samples: Rays per pixel of the RGB image.
        batch_size: Scenes drawn at once.
        device: Where to draw.
        cell: Side of a label's cell in pixels.

    Yields:
        The scenes, `batch_size` at a time.
    """
    workers = max(1, (os.cpu_count() or 1) - 1)
    loader = DataLoader(_WorldBatches(seeds, batch_size, tokenizer), batch_size=None, num_workers=workers)
    for table, packed, ids in loader:
        drawn = render(packed.to(device), size, samples, compiled=len(seeds) >= COMPILE_FROM)
        labels = cell_labels(table, drawn, size // cell)
        yield WorldBatch(drawn.rgb * 2 - 1, to_disparity(drawn.depth), ids, labels)


def vae_fingerprint(vae: AutoencoderPatchPCA) -> str:
    """Hash what the latents depend on: the encoder and the scale. The decoder may change freely."""
    digest = hashlib.sha256(str(vae.config.scaling_factor).encode())
    for tensor in (vae.encoder.weight, vae.encoder.bias):
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def write_cache(
    folder: Path, config: CacheConfig, vae: AutoencoderPatchPCA, tokenizer: PreTrainedTokenizerFast, batch_size: int
) -> None:
    """Draw scenes and keep their latents; shards that are already there are left alone, so it resumes.

    Args:
        folder: Where the shards go.
        config: What to draw.
        vae: The fitted autoencoder; its device draws, too.
        tokenizer: The mini's tokenizer.
        batch_size: Scenes drawn at once; it divides `config.shard`, which divides `config.scenes`.

    Raises:
        ValueError: If `folder` holds a cache of something else, or the numbers do not divide.
    """
    if config.scenes % config.shard or config.shard % batch_size:
        raise ValueError(
            f"scenes {config.scenes}, shard {config.shard} and batch size {batch_size} must divide each other"
        )
    folder.mkdir(parents=True, exist_ok=True)
    described = asdict(config) | {"vae": vae_fingerprint(vae), "vocabulary": len(tokenizer)}
    del described["scenes"]  # a cache may grow
    manifest = folder / MANIFEST
    if manifest.exists() and json.loads(manifest.read_text()) != described:
        raise ValueError(f"{manifest} describes another cache: {manifest.read_text()}; asked for: {described}")
    manifest.write_text(json.dumps(described))
    missing = [i for i in range(config.scenes // config.shard) if not _shard(folder, i).exists()]
    seeds = [config.first_seed + i * config.shard + j for i in missing for j in range(config.shard)]
    cell = vae.encoder.stride[0]  # a label a latent
    drawn = render_worlds(seeds, tokenizer, config.size, config.samples, batch_size, vae.device, cell)
    for i in tqdm(missing, desc="cache", unit="shard"):
        parts = [
            (
                encode_images(vae, worlds.images).half().cpu(),
                encode_images(vae, disparity_to_image(worlds.disparity)).half().cpu(),
                worlds.captions,
                worlds.labels.cpu(),
            )
            for worlds in islice(drawn, config.shard // batch_size)
        ]
        tensors = dict(zip(TENSORS, map(torch.cat, zip(*parts, strict=True)), strict=True))
        partial = _shard(folder, i).with_suffix(".partial")
        save_file(tensors, partial)
        partial.replace(_shard(folder, i))


def _shard(folder: Path, index: int) -> Path:
    return folder / f"worlds-{index:05d}.safetensors"


@dataclass(frozen=True)
class LatentPairs:
    """Pairs in memory.

    Attributes:
        rgb: (N, C, h, w) float16 scaled latents.
        depth: (N, C, h, w) float16.
        captions: (N, K, T) int64 token ids.
        labels: (N, 2, h, w) uint8, what each latent's patch shows: `worlds.OBJECT_CLASSES`, `worlds.COLOR_CLASSES`.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    captions: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """N."""
        return len(self.rgb)

    def draw(self, count: int) -> PairBatch:
        """Draw pairs at random, with torch's global generator of their device.

        Args:
            count: B.

        Returns:
            The pairs, each with one of its captions.
        """
        rows = torch.randint(len(self), (count,), device=self.rgb.device)
        wording = torch.randint(self.captions.shape[1], (count,), device=self.rgb.device)
        return PairBatch(self.rgb[rows], self.depth[rows], self.captions[rows, wording], self.labels[rows])

    def token_std(self) -> torch.Tensor:
        """Standard deviation of the packed tokens' channels.

        Returns:
            (2, 4C) float32, rgb's first, at least `MIN_STD`.
        """
        branches = torch.stack([latents.float().std((0, 2, 3)) for latents in (self.rgb, self.depth)])  # (2, C)
        return branches.clamp(min=MIN_STD).repeat_interleave(4, dim=1)  # as `pack_latents` lays out 2 x 2 latents

    @classmethod
    def load(cls, folder: Path, vae: AutoencoderPatchPCA, vocabulary: int, device: torch.device) -> LatentPairs:
        """Read every shard of a cache.

        Args:
            folder: The cache.
            vae: The autoencoder that must have made it.
            vocabulary: Size of the vocabulary that must have made it.
            device: Where the pairs are kept.

        Returns:
            All pairs.

        Raises:
            FileNotFoundError: If there is no cache in `folder`.
            ValueError: If another autoencoder or vocabulary made it.
        """
        files = sorted(folder.glob("worlds-*.safetensors"))
        if not files or not (folder / MANIFEST).exists():
            raise FileNotFoundError(f"{folder} holds no cached worlds; make them with the `cache` command")
        made = json.loads((folder / MANIFEST).read_text())
        for name, found, needed in (
            ("autoencoder", made["vae"], vae_fingerprint(vae)),
            ("vocabulary", made["vocabulary"], vocabulary),
        ):
            if found != needed:
                raise ValueError(f"{folder} was made with {name} {found}, this model has {needed}; make a new cache")
        parts: dict[str, list[torch.Tensor]] = {key: [] for key in TENSORS}
        for file in files:
            with safe_open(file, "pt", device=str(device)) as shard:
                for key, tensors in parts.items():
                    tensors.append(shard.get_tensor(key))
        rgb, depth, ids, labels = (torch.cat(parts.pop(key)) for key in TENSORS)
        return cls(rgb, depth, ids.long(), labels)
