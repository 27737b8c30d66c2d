"""Generation measured as in the paper's Tables 2 and 3: FID, IS and CLIP score, and whether a given map is followed.

The networks that look at the pictures are files the caller has: Inception as the TorchScript file that StyleGAN's
authors publish (`inception-2015-12-05.pt`), CLIP and the depth model as folders of transformers.

Letters: B pictures, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from tqdm.auto import tqdm
from transformers import AutoProcessor, CLIPModel

from ..geometry.disparity import disparity_to_depth, normalise_disparity
from ..pipeline import JointDiTPipeline
from ..training.annotate import Estimator
from .depth_metrics import DepthMetrics, depth_metrics

FEATURES = 2048  # of Inception's last pooling
WANTED = "--inception takes inception-2015-12-05.pt, which StyleGAN's authors publish"


@dataclass(frozen=True)
class Prompt:
    """A line of a prompt list.

    Attributes:
        text: What to show.
        file: The picture it describes, relative to the pictures' folder, or "".
    """

    text: str
    file: str = ""


def read_prompts(file: Path, with_files: bool) -> list[Prompt]:
    """Read a list of prompts.

    Args:
        file: UTF-8 text, a prompt a line; with `with_files` "picture<TAB>prompt".
        with_files: Whether each belongs to a picture.

    Returns:
        The prompts.

    Raises:
        ValueError: A line has another form, or there is none; the message names it.
    """
    prompts = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        if with_files != bool(tab):
            wanted = "picture<TAB>prompt" if with_files else "a prompt without tabs"
            raise ValueError(f"line {number} of {file} is not {wanted}")
        prompts.append(Prompt(text, name) if with_files else Prompt(line))
    if not prompts:
        raise ValueError(f"{file} holds no prompts")
    return prompts


class Inception(torch.nn.Module):
    """The features of a TorchScript Inception, as torchmetrics takes them, or its class scores."""

    def __init__(self, file: Path, scores: bool = False, features: int | None = None):
        """Load it.

        Args:
            file: TorchScript; called as `(images, return_features=True)` or `(images, no_output_bias=True)`.
            scores: Whether the class probabilities' logarithms are wanted instead of the features.
            features: Their number; None is that of the published file.

        Raises:
            ValueError: It is not there, damaged, or another network.
        """
        super().__init__()
        self.scores, self.num_features = scores, features or FEATURES
        try:
            self.network = torch.jit.load(str(file), "cpu").eval()
            shape = self(torch.zeros(1, 3, 299, 299, dtype=torch.uint8)).shape
        except Exception as error:  # TorchScript raises nearly anything
            raise ValueError(f"{file} is missing, damaged or another network; {WANTED}") from error
        if len(shape) != 2 or not scores and shape[1] != self.num_features:
            raise ValueError(f"{file} is another network, which gives {tuple(shape)} for a picture; {WANTED}")

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Look at images (B, 3, H, W) uint8."""
        if self.scores:  # IS applies a softmax, which leaves logarithms of probabilities as they are
            return self.network(images, no_output_bias=True).float().clamp(min=1e-12).log()
        return self.network(images, return_features=True).float()


def batches(images: Iterable[Image.Image], size: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Pictures of one size as (B, 3, H, W) uint8, B <= `size`."""
    held: list[np.ndarray] = []
    for image in images:
        held.append(np.asarray(image.convert("RGB")))
        if len(held) == size:
            yield torch.from_numpy(np.stack(held)).permute(0, 3, 1, 2).to(device)
            held = []
    if held:
        yield torch.from_numpy(np.stack(held)).permute(0, 3, 1, 2).to(device)


def squares(files: Iterable[Path], side: int) -> Iterator[Image.Image]:
    """Pictures scaled and cropped to squares, as the model's own are; OSError names one that is damaged."""
    for file in files:
        try:
            with Image.open(file) as stored:
                square = ImageOps.fit(stored.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
        except Exception as error:  # decoders raise nearly anything on damaged data
            raise OSError(f"the picture {file} is damaged: {error}") from error
        yield square


def frechet_distance(
    made: Iterable[Image.Image], real: Iterable[Image.Image], inception: Inception, device: torch.device, size: int
) -> float:
    """FID of made pictures; the real ones may have any size of their own, one for all."""
    metric = FrechetInceptionDistance(inception).to(device)
    for images, is_real in ((real, True), (made, False)):
        for part in batches(images, size, device):
            metric.update(part, real=is_real)
    return float(metric.compute())


def inception_score(made: Iterable[Image.Image], inception: Inception, device: torch.device, size: int) -> float:
    """IS of made pictures: the mean over ten splits."""
    metric = InceptionScore(inception).to(device)
    for part in batches(made, size, device):
        metric.update(part)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the splits
        return float(metric.compute()[0])


@torch.no_grad()
def clip_score(made: Iterable[Image.Image], prompts: list[str], model: str, device: torch.device, size: int) -> float:
    """CLIP score: 100 times the mean cosine between pictures and prompts, at least 0 (Hessel et al. 2021)."""
    clip = CLIPModel.from_pretrained(model, use_safetensors=True).to(device).eval()
    processor = AutoProcessor.from_pretrained(model)
    cosines = []
    for i, part in enumerate(batches(made, size, device)):
        texts = prompts[i * size : i * size + len(part)]
        read = processor(text=texts, images=list(part.cpu()), return_tensors="pt", padding=True, truncation=True)
        found = clip(**read.to(device))
        cosines.append(torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds))
    return max(100 * float(torch.cat(cosines).mean()), 0.0)


def make_pictures(
    pipe: JointDiTPipeline,
    prompts: list[Prompt],
    maps: list[np.ndarray] | None,
    folder: Path,
    steps: int,
    guidance: float,
    batch_size: int,
) -> list[Path]:
    """Make a picture a prompt, from the prompt alone or on given maps; those already there are left alone.

    Args:
        pipe: The model.
        prompts: N prompts; the i-th has seed i.
        maps: N disparities (H, W) float32 in [0, 1] for depth-conditioned generation, or None.
        folder: Where they go, as PNG.
        steps: Denoising steps.
        guidance: Guidance scale.
        batch_size: Pictures at once.

    Returns:
        Their N files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i:06d}.png" for i in range(len(prompts))]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    for first in tqdm(range(0, len(missing), batch_size), desc="pictures", unit="batch"):
        rows = missing[first : first + batch_size]
        texts = [prompts[i].text for i in rows]
        common = {"num_inference_steps": steps, "guidance_scale": guidance, "seed": rows}
        if maps is None:
            made = pipe.joint_generation(texts, **common).image
        else:
            made = pipe.depth_to_image(texts, [maps[i] for i in rows], **common).image
        for i, image in zip(rows, made, strict=True):
            partial = files[i].with_suffix(".partial")
            image.save(partial, format="PNG")
            partial.replace(files[i])
    return files


def estimate_maps(images: Iterable[Image.Image], estimate: Estimator, batch_size: int) -> list[np.ndarray]:
    """Disparity (H, W) in [0, 1] of each picture, by a depth model."""
    maps, held = [], []
    for image in images:
        held.append(image)
        if len(held) == batch_size:
            maps += estimate(held)
            held = []
    maps += estimate(held) if held else []
    return [normalise_disparity(one.astype(np.float32)) for one in maps]


def followed(given: list[np.ndarray], found: list[np.ndarray]) -> list[DepthMetrics]:
    """Compare maps found in made pictures with those they were made on, far over near being 8."""
    return [depth_metrics(b, disparity_to_depth(a)) for a, b in zip(given, found, strict=True)]
