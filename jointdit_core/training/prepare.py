"""A folder of pictures -> prepared pairs: squares, depth, captions, latents and text embeddings in shards.

Work is cut into shards by the sorted list of pictures; a shard is done when its JSON is written, so a run that was
killed goes on where it stopped, and any number of processes share the work.

Letters: n pairs of a shard.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from tqdm.auto import tqdm

from ..encode import disparity_to_image, encode_images, encode_prompt, images_to_tensor
from ..pipeline import JointDiTPipeline
from .annotate import Captioner, Estimator
from .shards import EMPTY, MANIFEST, fingerprint, sha256, write_json, write_tensors
from .sources import SOURCES, SourceError, check_source, find_pictures, read_picture, unit_range

SETTINGS = "settings.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareConfig:
    """What is prepared; a folder holds one preparation.

    Attributes:
        source: A name in `SOURCES`.
        depth_model: Estimates depth where the source has none.
        caption_model: Writes the captions.
        size: Side of the squares in pixels.
        shard: Pictures per shard.
    """

    source: str
    depth_model: str
    caption_model: str
    size: int = 512
    shard: int = 64


class Preparation:
    """One process's part of the work."""

    def __init__(
        self,
        load_pipeline: Callable[[], JointDiTPipeline],
        config: PrepareConfig,
        folder: Path,
        out: Path,
        load_estimator: Callable[[], Estimator],
        load_captioner: Callable[[], Captioner],
        batch_size: int = 8,
    ):
        """Look through the source, and check that `out` holds no other preparation.

        Args:
            load_pipeline: Gives whose autoencoder, tokenizers and text encoders are used, without a transformer; called
                when the source is known to be there.
            config: What to prepare.
            folder: The source.
            out: Where the shards go.
            load_estimator: Gives the depth model; called only if needed.
            load_captioner: Gives the caption model; called only if needed.
            batch_size: Pictures at once.

        Raises:
            OSError: The source holds nothing, the pipeline is not there, or `out` cannot be written to.
            ValueError: `out` holds another preparation.
            ModuleNotFoundError: The source needs a package that is not installed.
        """
        check_source(config.source)
        files = find_pictures(config.source, folder)
        self.pipeline, self.config, self.folder, self.out = load_pipeline(), config, folder, out
        self.load_estimator, self.load_captioner, self.batch_size = load_estimator, load_captioner, batch_size
        self.estimator: Estimator | None = None
        self.captioner: Captioner | None = None
        self.process = PartialState()
        self.parts = [files[i : i + config.shard] for i in range(0, len(files), config.shard)]
        described = asdict(config) | {
            "vae": fingerprint(self.pipeline.vae),
            "depth_transform": self.pipeline.config.depth_transform,
            "pictures": hashlib.sha256("\n".join(files).encode()).hexdigest(),
        }
        out.mkdir(parents=True, exist_ok=True)
        kept = out / SETTINGS
        if kept.exists() and (before := json.loads(kept.read_text())) != described:
            changed = ", ".join(key for key in described if before.get(key) != described[key])
            raise ValueError(f"{out} holds a preparation with other {changed}; choose another folder")
        self.settings = described
        with self.process.main_process_first():
            if self.process.is_main_process:
                write_json(kept, described)

    def run(self) -> dict:
        """Make the shards that are missing or damaged, then the manifest.

        Returns:
            The manifest.

        Raises:
            OSError: A file could not be written, as on a full disk.
        """
        process = self.process
        mine = range(process.process_index, len(self.parts), process.num_processes)
        for index in tqdm(mine, desc="prepare", unit="shard", disable=not process.is_main_process):
            if not self._whole(index):
                self._make(index)
        process.wait_for_everyone()
        described = [json.loads(self._json(i).read_text()) for i in range(len(self.parts))]
        skipped = [one for part in described for one in part["skipped"]]
        manifest = {
            "settings": self.settings,
            "counts": {
                "pictures": sum(map(len, self.parts)),
                "pairs": sum(part["pairs"] for part in described),
                "skipped": len(skipped),
            },
            "shards": [
                {key: part[key] for key in ("file", "pairs", "bytes", "sha256")} for part in described if part["pairs"]
            ],
            "skipped": skipped,
        }
        if process.is_main_process:
            embeds = self._embed([""])
            write_tensors(self.out / EMPTY, {"pooled": embeds["pooled"], "tokens": embeds["tokens"]})
            write_json(self.out / MANIFEST, manifest)
        process.wait_for_everyone()
        return manifest

    def _file(self, index: int) -> Path:
        return self.out / f"pairs-{index:05d}.safetensors"

    def _json(self, index: int) -> Path:
        return self._file(index).with_suffix(".json")

    def _whole(self, index: int) -> bool:
        """Whether a shard is there as it was written."""
        if not self._json(index).exists():
            return False
        part = json.loads(self._json(index).read_text())
        if not part["pairs"] or (self._file(index).exists() and sha256(self._file(index)) == part["sha256"]):
            return True
        logger.warning("%s is damaged or missing, and made again", self._file(index))
        return False

    def _make(self, index: int) -> None:
        """Read, annotate, encode and write one shard."""
        files, content, skipped = self.parts[index], [], []
        parts: list[dict[str, torch.Tensor]] = []
        for first in range(0, len(files), self.batch_size):
            names, squares, maps = self._read(files[first : first + self.batch_size], skipped)
            if not names:
                continue
            self.captioner = self.captioner or self.load_captioner()
            captions = self.captioner(squares)
            parts.append(self._encode(squares, maps) | self._embed(captions))
            content += [{"file": name, "caption": text} for name, text in zip(names, captions, strict=True)]
        part = {"file": self._file(index).name, "pairs": len(content), "bytes": 0, "sha256": ""}
        if parts:
            write_tensors(self._file(index), {key: torch.cat([made[key] for made in parts]) for key in parts[0]})
            part |= {"bytes": self._file(index).stat().st_size, "sha256": sha256(self._file(index))}
        write_json(self._json(index), part | {"skipped": skipped, "content": content})  # last: it says "done"

    def _read(
        self, files: list[str], skipped: list[dict[str, str]]
    ) -> tuple[list[str], list[Image.Image], list[np.ndarray]]:
        """Read a batch's pictures with their disparity, true or estimated; what cannot be used joins `skipped`."""
        read: dict[str, tuple[Image.Image, np.ndarray | None]] = {}

        def skip(file: str, error: Exception) -> None:
            skipped.append({"file": file, "reason": str(error)})
            logger.warning("left out: %s: %s", file, error)

        for file in files:
            try:
                read[file] = read_picture(self.config.source, self.folder, file, self.config.size)
            except SourceError as error:
                skip(file, error)
        if read and SOURCES[self.config.source].depth is None:
            self.estimator = self.estimator or self.load_estimator()
            squares = [square for square, _ in read.values()]
            read = dict(zip(read, zip(squares, self.estimator(squares), strict=True), strict=True))
        usable = []
        for file, (square, near) in read.items():
            try:
                usable.append((file, square, unit_range(near)))
            except SourceError as error:
                skip(file, error)
        return tuple(map(list, zip(*usable, strict=True))) if usable else ([], [], [])

    @torch.inference_mode()
    def _encode(self, squares: list[Image.Image], maps: list[np.ndarray]) -> dict[str, torch.Tensor]:
        vae, side = self.pipeline.vae, self.config.size
        images = images_to_tensor(squares, side, side).to(vae.device)
        disparity = torch.from_numpy(np.stack(maps)).to(vae.device)
        shown = disparity_to_image(disparity, self.pipeline.config.depth_transform == "inverse")
        return {"rgb": encode_images(vae, images).half().cpu(), "depth": encode_images(vae, shown).half().cpu()}

    @torch.inference_mode()
    def _embed(self, captions: list[str]) -> dict[str, torch.Tensor]:
        pipe = self.pipeline
        embeds, _ = encode_prompt(pipe.tokenizer, pipe.tokenizer_2, pipe.text_encoder, pipe.text_encoder_2, captions)
        return {"pooled": embeds.pooled.half().cpu(), "tokens": embeds.tokens.half().cpu()}
