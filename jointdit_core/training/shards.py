"""Prepared pairs on disk: latents and text embeddings in safetensors shards, each with a JSON of what is in it.

Letters: N pairs, n pairs of a shard, C x h x w a latent map, P width of the pooled text, T text tokens, E their width.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..encode import PromptEmbeds

MANIFEST, EMPTY = "manifest.json", "empty.safetensors"
TENSORS = ("rgb", "depth", "pooled", "tokens")


def sha256(file: Path) -> str:
    """Hash a file's content, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_json(file: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{file} could not be written ({error}); make room, then run the command again") from error


def write_tensors(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        file: Where.
        tensors: What.

    Raises:
        OSError: It could not be written, as on a full disk; nothing is left of it.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{file} could not be written ({error}); make room, then run the command again") from error


def fingerprint(vae: ModelMixin) -> str:
    """Hash what latents depend on, near enough to tell autoencoders apart: scale, shift and the first weights."""
    first = next(vae.encoder.parameters()).detach().float().cpu()
    scale = f"{vae.config.scaling_factor} {vae.config.shift_factor} "
    return hashlib.sha256(scale.encode() + first.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class PairBatch:
    """Drawn pairs.

    Attributes:
        rgb: (B, C, h, w) clean scaled latents.
        depth: (B, C, h, w).
        text: Token ids (B, T) of the mini's captions, or embedded prompts.
        labels: (B, 2, h, w) uint8, see `SemanticHead.forward`, or None.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    text: torch.Tensor | PromptEmbeds
    labels: torch.Tensor | None = None


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs that `prepare` made, read from disk as they are drawn.

    Attributes:
        folder: Where they are.
        shards: File name -> number of pairs, in order.
        empty: The empty prompt's embedding, B = 1.
        device: Where drawn pairs go.
        held_out: Pairs at the end that are never drawn, to validate with.
    """

    folder: Path
    shards: dict[str, int]
    empty: PromptEmbeds
    device: torch.device
    held_out: int = 0
    _open: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls, folder: Path, vae: ModelMixin, device: torch.device, held_out: int = 0, depth_transform: str = "none"
    ) -> PreparedPairs:
        """Open a prepared folder.

        Args:
            folder: Made by `prepare`.
            vae: The autoencoder that must have made it.
            device: Where drawn pairs go.
            held_out: Pairs at the end to keep for validation.
            depth_transform: That it must have been made with, as in `JointDiTPipeline`.

        Returns:
            The pairs.

        Raises:
            OSError: There is nothing prepared, or a shard is missing or damaged; the message names it.
            ValueError: Another autoencoder made it, or it has no pairs to train on.
        """
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(f"{folder} holds no finished prepared pairs; run `prepare` to its end")
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["settings"]["vae"] != fingerprint(vae):
            raise ValueError(f"{folder} was made with another autoencoder than this model's; prepare the data with it")
        if (made_with := manifest["settings"]["depth_transform"]) != depth_transform:
            raise ValueError(
                f"{folder} was made with depth transform {made_with}, these add-ons need {depth_transform}; "
                f"prepare the data with --depth-transform {depth_transform}"
            )
        for shard in manifest["shards"]:
            file = folder / shard["file"]
            if not file.is_file() or file.stat().st_size != shard["bytes"]:
                raise OSError(f"{file} is missing or cut short; run `prepare` again, which makes only what is damaged")
        shards = {shard["file"]: shard["pairs"] for shard in manifest["shards"]}
        if sum(shards.values()) <= held_out:
            raise ValueError(
                f"{folder} holds {sum(shards.values())} pairs, of which {held_out} are kept to validate with"
            )
        with safe_open(folder / EMPTY, "pt") as file:
            empty = PromptEmbeds(*(file.get_tensor(name).to(device).float() for name in ("pooled", "tokens")))
        return cls(folder, shards, empty, device, held_out)

    def __len__(self) -> int:
        """N, without those held out."""
        return sum(self.shards.values()) - self.held_out

    def draw(self, count: int) -> PairBatch:
        """Draw pairs at random, with torch's global CPU generator.

        Args:
            count: B.

        Returns:
            The pairs.
        """
        return self.take(torch.randint(len(self), (count,)).tolist())

    def validation(self) -> PairBatch:
        """The pairs held out."""
        return self.take(range(len(self), len(self) + self.held_out))

    def held_out_captions(self) -> list[str]:
        """The captions of `validation`, which lie beside the shards."""
        files = [(self.folder / name).with_suffix(".json") for name in self.shards]
        every = [one["caption"] for file in files for one in json.loads(file.read_text())["content"]]
        return every[len(self) :]

    def take(self, rows: Sequence[int]) -> PairBatch:
        """Read pairs.

        Args:
            rows: Their places among all, held-out ones last.

        Returns:
            The pairs, in float32.

        Raises:
            OSError: A shard is damaged; the message names it.
        """
        ends, names = list(accumulate(self.shards.values())), list(self.shards)
        read: dict[str, list[torch.Tensor]] = {key: [] for key in TENSORS}
        for row in rows:
            index = bisect_right(ends, row)
            name, place = names[index], row - (ends[index] - self.shards[names[index]])
            for key, values in self._row(name, place).items():
                read[key].append(values)
        stacked = {key: torch.stack(values).to(self.device).float() for key, values in read.items()}
        return PairBatch(stacked["rgb"], stacked["depth"], PromptEmbeds(stacked["pooled"], stacked["tokens"]))

    def _row(self, name: str, place: int) -> dict[str, torch.Tensor]:
        """One pair's tensors, from a file that is opened once."""
        try:
            if name not in self._open:
                self._open[name] = safe_open(self.folder / name, "pt")
            return {key: self._open[name].get_slice(key)[place] for key in TENSORS}
        except (SafetensorError, OSError, IndexError) as error:
            raise OSError(f"the shard {self.folder / name} is damaged ({error}); run `prepare` again") from error
