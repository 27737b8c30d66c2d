"""ImageReward (Xu et al. 2023): how much people would like a picture made for a prompt, and the ranking of several.

The network is BLIP's (a ViT-L/16, whose tokens a BERT reads with cross-attention) and linear layers on the first token.
transformers has it; here are the published file's names and what stands before and behind it.

Letters: B pictures, n folders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

SIZE = 224  # pixels
TEXT_LENGTH = 35  # tokens
HEAD = (1024, 128, 64, 16, 1)  # widths of the linear layers
DROPOUTS = (0, 1, 2)  # after these stand dropouts, which the file's numbering counts
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the raw scores, as published
# CLIP's.
PIXEL_MEAN, PIXEL_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
VISION = BlipVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=SIZE,
    layer_norm_eps=1e-6,
)
TEXT = BlipTextConfig(num_attention_heads=12, encoder_hidden_size=1024)
# Of the published file, in turn.
RENAMED = {
    "blip.text_encoder.": "text.",
    "blip.visual_encoder.cls_token": "vision.embeddings.class_embedding",
    "blip.visual_encoder.pos_embed": "vision.embeddings.position_embedding",
    "blip.visual_encoder.patch_embed.proj": "vision.embeddings.patch_embedding",
    "blip.visual_encoder.norm.": "vision.post_layernorm.",
    "blip.visual_encoder.blocks.": "vision.encoder.layers.",
    ".attn.proj.": ".self_attn.projection.",
    ".attn.": ".self_attn.",
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    "mlp.layers.": "head.",
}
UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


class ImageReward(nn.Module):
    """The network."""

    def __init__(self, vision: BlipVisionConfig = VISION, text: BlipTextConfig = TEXT):
        """Build it without values.

        Args:
            vision: Of the picture's encoder.
            text: Of the text's.
        """
        super().__init__()
        self.vision, self.text = BlipVisionModel(vision), BlipTextModel(text, add_pooling_layer=False)
        layers, width = [], text.hidden_size
        for place, wider in enumerate(HEAD):
            layers += [nn.Linear(width, wider), *[nn.Identity()] * (place in DROPOUTS)]
            width = wider
        self.head = nn.Sequential(*layers)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score pictures.

        Args:
            pixels: (B, 3, SIZE, SIZE) normalised.
            ids: (B, TEXT_LENGTH) of the prompts.
            mask: (B, TEXT_LENGTH), 1 where there is text.

        Returns:
            (B,) rewards, about 0 ± 1.
        """
        seen = self.vision(pixels).last_hidden_state
        read = self.text(ids, attention_mask=mask, encoder_hidden_states=seen).last_hidden_state
        return (self.head(read[:, 0])[:, 0] - MEAN) / STD


def load_reward(file: Path, vision: BlipVisionConfig = VISION, text: BlipTextConfig = TEXT) -> ImageReward:
    """Load the published weights; nothing but tensors is read.

    Args:
        file: `ImageReward.pt`, or the same as safetensors.
        vision: Of the picture's encoder.
        text: Of the text's.

    Returns:
        The network, on the CPU in float32.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: It holds something else.
    """
    try:
        read = load_file if file.suffix == ".safetensors" else _load_pickled
        state = read(file)
        tensors = all(isinstance(value, torch.Tensor) for value in state.values())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file}, the weights of ImageReward, is missing") from error
    except Exception as error:  # each reader has errors of its own
        raise OSError(f"{file} is damaged, or holds more than tensors, and is not read") from error
    renamed = {}
    for name, tensor in state.items() if tensors else ():
        if not name.startswith(UNUSED):
            for old, new in RENAMED.items():
                name = name.replace(old, new)
            renamed[name] = tensor.float()
    network = ImageReward(vision, text).eval()
    expected = network.state_dict()
    wrong = sorted(expected.keys() ^ renamed.keys())
    wrong += [name for name in expected.keys() & renamed.keys() if expected[name].shape != renamed[name].shape]
    if wrong:
        raise ValueError(f"{file} does not hold ImageReward's weights: {len(wrong)} do not fit, such as {wrong[0]}")
    network.load_state_dict(renamed)
    return network


def _load_pickled(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, map_location="cpu", weights_only=True)


@torch.no_grad()
def rewards(network: ImageReward, tokenizer: str, images: list[Image.Image], prompts: list[str]) -> torch.Tensor:
    """Score pictures made for prompts.

    Args:
        network: On any device.
        tokenizer: Folder or hub id of BERT's, uncased.
        images: B square pictures.
        prompts: Their B prompts.

    Returns:
        (B,) float32 on the CPU.
    """
    reader, device = AutoTokenizer.from_pretrained(tokenizer), next(network.parameters()).device
    text = reader(prompts, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
    small = [image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in small])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    given = ((pixels - mean) / std, text.input_ids, text.attention_mask)
    return network(*(tensor.to(device) for tensor in given)).float().cpu()


def rank_shares(scores: np.ndarray) -> np.ndarray:
    """How often each folder's picture is the best, the second, ...

    Args:
        scores: (n, B) rewards; equal ones rank in the folders' order.

    Returns:
        (n, n) percent: row a folder, column a rank, the best first.
    """
    places = np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0)  # (n, B)
    return 100 * (places[:, :, None] == np.arange(len(scores))).mean(1)
