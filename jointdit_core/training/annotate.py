"""What a prepared data set needs beside its pictures: estimated depth and captions, by any models of transformers.

Letters: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers import pipeline

DEPTH_MODEL = "depth-anything/Depth-Anything-V2-Large-hf"
CAPTION_MODEL = "llava-hf/llava-1.5-7b-hf"
QUESTION = "Describe this image in one or two sentences."
CAPTION_TOKENS = 120

Estimator = Callable[[list[Image.Image]], list[np.ndarray]]
Captioner = Callable[[list[Image.Image]], list[str]]


def _dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def depth_estimator(model: str, device: torch.device) -> Estimator:
    """Load a model that estimates relative inverse depth.

    Args:
        model: Folder or hub id, such as Depth-Anything-V2's.
        device: Where it runs.

    Returns:
        Pictures -> relative inverse depth (H, W) float32, of any scale and shift.

    Raises:
        ValueError: The model gives distances.
    """
    estimate = pipeline("depth-estimation", model=model, device=device)  # in float32: its maps are smooth
    if getattr(estimate.model.config, "depth_estimation_type", "relative") != "relative":
        raise ValueError(f"{model} gives distances, and the labels are relative inverse depth; choose a relative model")

    def run(images: list[Image.Image]) -> list[np.ndarray]:
        found = estimate(images, batch_size=len(images))
        return [one["predicted_depth"].float().cpu().numpy() for one in found]

    return run


def captioner(model: str, device: torch.device) -> Captioner:
    """Load a vision-language model that writes captions.

    Args:
        model: Folder or hub id, such as LLaVA's.
        device: Where it runs.

    Returns:
        Pictures -> captions, without line breaks.
    """
    describe = pipeline("image-text-to-text", model=model, device=device, dtype=_dtype(device))

    def run(images: list[Image.Image]) -> list[str]:
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]}]
            for image in images
        ]
        how = {"max_new_tokens": CAPTION_TOKENS, "do_sample": False}
        found = describe(text=chats, generate_kwargs=how, return_full_text=False)
        answers = [one[0] if isinstance(one, list) else one for one in found]
        return [" ".join(answer["generated_text"].split()) for answer in answers]

    return run
