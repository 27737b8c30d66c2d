"""Prompt, image and disparity to what the transformer reads; used alike by the pipeline and by training.

Letters: B pairs, H x W pixels, C x h x w a latent map of the autoencoder, L = h/2 * w/2 image tokens,
T text tokens, P width of the pooled text vector, E width of a text token.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

CLIP_TOKENS = 77  # FLUX: CLIP-L reads at most this many
T5_TOKENS = 512  # FLUX.1-dev: T5-XXL reads at most this many

_tokenizing = threading.Lock()  # fast tokenizers keep a call's padding and truncation, which threads would mix up


@dataclass(frozen=True)
class TokenIds:
    """Token ids of B prompts, padded to the tokenizers' lengths.

    Attributes:
        clip: (B, min(77, tokenizer.model_max_length)) int64.
        t5: (B, T) int64, T = min(512, tokenizer_2.model_max_length).
        cut: The end of each prompt that did not fit in T tokens, in words; "" where all of it did.
    """

    clip: Tensor
    t5: Tensor
    cut: tuple[str, ...]


@dataclass(frozen=True)
class PromptEmbeds:
    """What the transformer reads of B prompts.

    Attributes:
        pooled: (B, P) CLIP's pooled output.
        tokens: (B, T, E) T5's last hidden states.
    """

    pooled: Tensor
    tokens: Tensor


def tokenize(tokenizer: PreTrainedTokenizerBase, tokenizer_2: PreTrainedTokenizerBase, prompts: list[str]) -> TokenIds:
    """Turn prompts into padded token ids for both text encoders.

    Args:
        tokenizer: The CLIP slot's tokenizer.
        tokenizer_2: The T5 slot's (fast) tokenizer; its length decides what is reported as cut.
        prompts: B prompts; empty ones are allowed.

    Returns:
        The ids, on the CPU, and the text that was cut.
    """
    fixed = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    clip_length = min(CLIP_TOKENS, tokenizer.model_max_length)
    t5_length = min(T5_TOKENS, tokenizer_2.model_max_length)
    with _tokenizing:
        clip = tokenizer(prompts, max_length=clip_length, **fixed)
        t5 = tokenizer_2(
            prompts, max_length=t5_length, return_attention_mask=True, return_offsets_mapping=True, **fixed
        )
    full = t5.attention_mask.all(dim=1).tolist()
    last_char = t5.offset_mapping[..., 1].amax(dim=1).tolist()
    cut = tuple(_cut_text(p, end) if is_full else "" for p, end, is_full in zip(prompts, last_char, full, strict=True))
    return TokenIds(clip=clip.input_ids, t5=t5.input_ids, cut=cut)


def _cut_text(prompt: str, end: int) -> str:
    """The words of `prompt` from character `end` on, a word that was cut in the middle included."""
    if prompt[end : end + 1].isalnum():
        end = max(prompt.rfind(" ", 0, end), 0)
    rest = prompt[end:].strip()
    return rest if any(c.isalnum() for c in rest) else ""


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[str]:
    """List the words of a prompt that the (fast) tokenizer can only read as its unknown token.

    Args:
        tokenizer: The T5 slot's tokenizer. A sub-word tokenizer spells nearly any word and so has nearly none.
        prompt: One prompt.

    Returns:
        Each such word once, in the order of the prompt; bare punctuation is left out.
    """
    with _tokenizing:
        encoded = tokenizer(prompt, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    pairs = zip(encoded.input_ids, encoded.offset_mapping, strict=True)
    words = [prompt[start:end].strip() for token, (start, end) in pairs if token == tokenizer.unk_token_id]
    return list(dict.fromkeys(word for word in words if any(c.isalnum() for c in word)))


def encode_tokens(text_encoder: CLIPTextModel, text_encoder_2: T5EncoderModel, ids: TokenIds) -> PromptEmbeds:
    """Run both text encoders; differentiable, so that training can train them.

    Args:
        text_encoder: CLIP, read through its pooled output only.
        text_encoder_2: T5, unmasked as in FLUX: padding is read like text.
        ids: Ids of B prompts, on any device.

    Returns:
        The embeddings, on the encoders' device and in their dtype.
    """
    pooled = text_encoder(ids.clip.to(text_encoder.device)).pooler_output  # (B, P)
    tokens = text_encoder_2(ids.t5.to(text_encoder_2.device)).last_hidden_state  # (B, T, E)
    return PromptEmbeds(pooled=pooled, tokens=tokens)


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_2: PreTrainedTokenizerBase,
    text_encoder: CLIPTextModel,
    text_encoder_2: T5EncoderModel,
    prompts: list[str],
) -> tuple[PromptEmbeds, TokenIds]:
    """Tokenize B prompts and run both text encoders.

    Args:
        tokenizer: The CLIP slot's tokenizer.
        tokenizer_2: The T5 slot's tokenizer.
        text_encoder: CLIP.
        text_encoder_2: T5.
        prompts: B prompts.

    Returns:
        The embeddings, and the ids with what was cut.
    """
    ids = tokenize(tokenizer, tokenizer_2, prompts)
    return encode_tokens(text_encoder, text_encoder_2, ids), ids


def fit_size(height: int, width: int, grid: int, default_size: int, max_size: int) -> tuple[int, int]:
    """Choose the size to work at: the wanted shape, at an area the model knows.

    Args:
        height: Wanted height in pixels.
        width: Wanted width in pixels.
        grid: Pixels per token along a side; the result is a multiple of it.
        default_size: Side of the smallest square worked at, in pixels.
        max_size: Side of the largest square worked at, in pixels.

    Returns:
        (height, width) in pixels; the aspect ratio is kept but for rounding to the grid.
    """
    area = min(max(height * width, default_size**2), max_size**2)
    scale = (area / (height * width)) ** 0.5
    return max(round(height * scale / grid), 1) * grid, max(round(width * scale / grid), 1) * grid


def images_to_tensor(images: list[Image.Image], height: int, width: int) -> Tensor:
    """Resize pictures to the working size.

    Args:
        images: B RGB pictures.
        height: Working height in pixels.
        width: Working width in pixels.

    Returns:
        (B, 3, height, width) float32 in [-1, 1], on the CPU.
    """
    return VaeImageProcessor().preprocess(images, height=height, width=width)


def resize_disparity(disparity: np.ndarray, height: int, width: int) -> Tensor:
    """Resize disparity maps, without overshooting at edges.

    Args:
        disparity: (B, H, W) float32 in [0, 1].
        height: Wanted height in pixels.
        width: Wanted width in pixels.

    Returns:
        (B, height, width) float32 in [0, 1], on the CPU.
    """
    maps = torch.from_numpy(disparity).unsqueeze(1)
    return F.interpolate(maps, size=(height, width), mode="bilinear", antialias=True).squeeze(1).clamp(0, 1)


def disparity_to_image(disparity: Tensor, inverse: bool = False) -> Tensor:
    """Turn disparity into the picture the autoencoder sees.

    Args:
        disparity: (B, H, W) in [0, 1], near = 1.
        inverse: Whether this model works on 1 - disparity (`depth_transform: inverse` of its weights).

    Returns:
        (B, 3, H, W) in [-1, 1], the three channels equal.
    """
    shown = 1 - disparity if inverse else disparity
    return (shown * 2 - 1).unsqueeze(1).expand(-1, 3, -1, -1)


def encode_images(vae: ModelMixin, images: Tensor) -> Tensor:
    """Encode pictures to scaled latents.

    Args:
        vae: An autoencoder with diffusers' interface.
        images: (B, 3, H, W) in [-1, 1] on the autoencoder's device, H and W multiples of its factor.

    Returns:
        (B, C, h, w): (mode of the latent distribution - shift) * scale.
    """
    latents = vae.encode(images.to(vae.dtype)).latent_dist.mode()
    return (latents - vae.config.shift_factor) * vae.config.scaling_factor


def pack_latents(latents: Tensor) -> Tensor:
    """Turn each 2 x 2 of latents into one token, row by row.

    Args:
        latents: (B, C, h, w), h and w even.

    Returns:
        (B, L, 4C).
    """
    b, c, h, w = latents.shape
    patches = latents.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)  # (B, h/2, w/2, C, 2, 2)
    return patches.reshape(b, (h // 2) * (w // 2), c * 4)


def unpack_latents(tokens: Tensor, h: int, w: int) -> Tensor:
    """Undo `pack_latents`.

    Args:
        tokens: (B, L, 4C).
        h: Height of the latent map, even.
        w: Width of the latent map, even; h/2 * w/2 = L.

    Returns:
        (B, C, h, w).
    """
    b, _, c4 = tokens.shape
    patches = tokens.reshape(b, h // 2, w // 2, c4 // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)  # (B, C, h/2, 2, w/2, 2)
    return patches.reshape(b, c4 // 4, h, w)


def image_ids(h: int, w: int) -> Tensor:
    """Positions of the image tokens for RoPE, the same for both branches.

    Args:
        h: Height of the latent map, even.
        w: Width of the latent map, even.

    Returns:
        (L, 3) float32: 0, row, column.
    """
    rows, columns = torch.meshgrid(torch.arange(h // 2), torch.arange(w // 2), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def text_ids(t: int) -> Tensor:
    """Positions of the text tokens for RoPE: FLUX gives them none.

    Args:
        t: Number of text tokens T.

    Returns:
        (T, 3) float32 zeros.
    """
    return torch.zeros(t, 3)
