"""Prompts, pictures and maps on their way in."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image

from jointdit_core.encode import (
    TokenIds,
    disparity_to_image,
    encode_images,
    encode_prompt,
    encode_tokens,
    fit_size,
    image_ids,
    images_to_tensor,
    pack_latents,
    resize_disparity,
    text_ids,
    tokenize,
    unknown_words,
    unpack_latents,
)
from tests.tiny import TOKENS, tiny_tokenizer


def test_unpack_undoes_pack():
    latents = torch.randn(2, 3, 6, 10)
    tokens = pack_latents(latents)
    assert tokens.shape == (2, 15, 12)
    assert torch.equal(unpack_latents(tokens, 6, 10), latents)


def test_pack_and_ids_are_those_of_flux():
    latents = torch.randn(2, 4, 6, 8)
    assert torch.equal(pack_latents(latents), FluxPipeline._pack_latents(latents, 2, 4, 6, 8))
    ids = FluxPipeline._prepare_latent_image_ids(2, 3, 4, torch.device("cpu"), torch.float32)
    assert torch.equal(image_ids(6, 8), ids)
    assert torch.equal(text_ids(5), torch.zeros(5, 3))


@pytest.mark.parametrize("prompt", ["", " ", "?!"])
def test_tokenize_takes_empty_prompts(prompt):
    ids = tokenize(tiny_tokenizer(), tiny_tokenizer(), [prompt])
    assert ids.t5.tolist() == [[1] + [0] * (TOKENS - 1)] == ids.clip.tolist()
    assert ids.cut == ("",)


def test_tokenize_tells_what_was_cut_in_words():
    eleven = "a red ball left of a blue cube in the house"
    prompts = [eleven + ".", eleven + ", behind the Green tree.", "a ball"]
    ids = tokenize(tiny_tokenizer(), tiny_tokenizer(), prompts)
    assert ids.cut == ("", ", behind the Green tree.", "")
    assert ids.t5.shape == ids.clip.shape == (3, TOKENS)


def test_tokenize_tells_the_whole_word_it_cut_in_two():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = {piece: i for i, piece in enumerate(["<pad>", "<unk>", "snow", "##man", "a"])}
    wordpiece = Tokenizer(models.WordPiece(pieces, unk_token="<unk>"))
    wordpiece.pre_tokenizer = pre_tokenizers.Whitespace()
    short = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece, pad_token="<pad>", unk_token="<unk>", model_max_length=2
    )
    assert tokenize(short, short, ["a snowman a"]).cut == ("snowman a",)


def test_unknown_words_are_told_once_and_without_punctuation():
    assert unknown_words(tiny_tokenizer(), "A purple ball, a PURPLE cat & a red cube?!") == ["purple", "PURPLE", "cat"]
    assert unknown_words(tiny_tokenizer(), "a red ball") == []
    assert unknown_words(tiny_tokenizer(), "") == []


def test_tokenizers_may_be_shared_by_threads():
    shared = tiny_tokenizer()
    shorter = tiny_tokenizer()
    shorter.model_max_length = 5
    prompts = ["a red ball left of a purple cube", "the house"] * 20
    expected = tokenize(shared, shorter, prompts), [unknown_words(shared, prompt) for prompt in prompts]

    def read(_):
        ids = tokenize(shared, shorter, prompts)
        return (
            torch.equal(ids.t5, expected[0].t5),
            ids.cut == expected[0].cut,
            [unknown_words(shared, prompt) for prompt in prompts] == expected[1],
        )

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(64))) == {(True, True, True)}


def test_encode_prompt_reads_padding_like_text(pipe):
    embeds, ids = encode_prompt(
        pipe.tokenizer, pipe.tokenizer_2, pipe.text_encoder, pipe.text_encoder_2, ["a red ball", "the blue cube"]
    )
    assert embeds.pooled.shape == (2, 16)
    assert embeds.tokens.shape == (2, TOKENS, 24)
    longer = TokenIds(ids.clip, torch.cat([ids.t5, torch.zeros(2, 3, dtype=torch.long)], dim=1), ids.cut)
    tokens = encode_tokens(pipe.text_encoder, pipe.text_encoder_2, longer).tokens[:, :TOKENS]
    assert (tokens - embeds.tokens).abs().max() > 1e-4  # a mask would hide the added padding


def test_encode_tokens_lets_gradients_through(pipe):
    ids = tokenize(pipe.tokenizer, pipe.tokenizer_2, ["a red ball"])
    embeds = encode_tokens(pipe.text_encoder, pipe.text_encoder_2, ids)
    wrt = [pipe.text_encoder.get_input_embeddings().weight, pipe.text_encoder_2.get_input_embeddings().weight]
    gradients = torch.autograd.grad(embeds.pooled[0, 0] + embeds.tokens[0, 0, 0], wrt)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_encode_images_shifts_then_scales(pipe):
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        latents = encode_images(pipe.vae, images)
        expected = (pipe.vae.encode(images).latent_dist.mean - 0.1) * 0.9
    assert latents.shape == (2, 4, 4, 6)
    assert torch.equal(latents, expected)


def test_disparity_to_image_shows_near_bright():
    image = disparity_to_image(torch.tensor([[[0.0, 0.25, 1.0]]]))
    assert image.shape == (1, 3, 1, 3)
    assert image[0, :, 0].tolist() == [[-1.0, -0.5, 1.0]] * 3
    inverted = disparity_to_image(torch.tensor([[[0.0, 0.25, 1.0]]]), inverse=True)
    assert torch.equal(inverted, -image)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (64, 64), (1, 8), (640, 480), (3000, 4000), (333, 1999)])
def test_fit_size_keeps_shape_and_known_area(height, width):
    grid = 16
    h, w = fit_size(height, width, grid, 256, 512)
    assert h % grid == w % grid == 0
    assert abs(h - w * height / width) <= grid * (1 + height / width) / 2 + 1e-6  # aspect, up to half a grid step each
    exact = min(max(height * width, 256**2), 512**2)
    assert math.isclose(h * w, exact, rel_tol=0.12)


def test_fit_size_leaves_a_known_size_alone():
    assert fit_size(256, 256, 32, 256, 256) == (256, 256)
    assert fit_size(384, 512, 16, 256, 512) == (384, 512)


def test_images_to_tensor_spans_minus_one_to_one():
    black_white = Image.fromarray(np.repeat(np.array([[[0], [255]]], np.uint8), 3, axis=2).repeat(8, 0).repeat(8, 1))
    tensor = images_to_tensor([black_white], 16, 32)
    assert tensor.shape == (1, 3, 16, 32)
    assert (tensor.min(), tensor.max()) == (-1, 1)


def test_resize_disparity_neither_overshoots_nor_changes_its_own_size():
    maps = np.random.default_rng(1).random((2, 31, 47), dtype=np.float32).round()
    assert np.array_equal(resize_disparity(maps, 31, 47).numpy(), maps)
    resized = resize_disparity(maps, 64, 20)
    assert resized.shape == (2, 64, 20)
    assert 0 <= resized.min() and resized.max() <= 1
    constant = resize_disparity(np.full((1, 20, 20), 0.3, np.float32), 64, 48)
    assert torch.allclose(constant, torch.tensor(0.3), atol=1e-6)
