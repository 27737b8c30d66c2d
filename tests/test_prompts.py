"""Remembered prompts: the same results to the bit, without the text encoders, in bounded memory."""

from __future__ import annotations

import hashlib
from functools import partial

import pytest
import torch
from torch import nn

from jointdit_core.memory import PLANS
from tests.tiny import tiny_pipeline, tiny_tokenizer


@pytest.fixture
def pipe():
    return tiny_pipeline()


def count_calls(model: nn.Module) -> list:
    calls: list = []
    model.register_forward_hook(lambda *_: calls.append(1))
    return calls


def digest(output) -> str:
    images, maps = ([one] if not isinstance(one, list) else one for one in (output.image, output.disparity))
    return hashlib.sha256(b"".join([*(i.tobytes() for i in images), *(m.tobytes() for m in maps)])).hexdigest()


def test_results_are_the_same_with_and_without_and_in_any_batch(pipe):
    asks = [
        {"prompt": "a red ball", "seed": 1},
        {"prompt": ["a red ball", "the tree", "a red ball"], "seed": 1, "negative_prompt": "the tree"},
        {"prompt": "a red ball", "seed": 1, "guidance_scale": 1.0},
    ]
    runs = [partial(pipe, num_inference_steps=2, **ask) for ask in asks]
    expected = [digest(run()) for run in runs]
    pipe.remember_prompts(8)
    assert [digest(run()) for run in runs] == expected
    assert [digest(run()) for run in reversed(runs)] == expected[::-1]


def test_prompt_that_comes_again_needs_no_text_encoder(pipe):
    calls = count_calls(pipe.text_encoder_2)
    ask = {"prompt": "a red ball", "negative_prompt": "", "num_inference_steps": 1, "seed": 1}
    pipe(**ask)
    pipe(**ask)
    assert len(calls) == 4
    pipe.remember_prompts(8)
    expected = digest(pipe(**ask))
    assert len(calls) == 6 and digest(pipe(**ask)) == expected and len(calls) == 6
    pipe.text_encoder_2.to("meta")  # released
    assert digest(pipe(**ask)) == expected
    with pytest.raises((NotImplementedError, RuntimeError)):
        pipe(**{**ask, "prompt": "the tree"})


def test_only_the_last_prompts_are_remembered_for_one_pair_of_encoders(pipe):
    calls = count_calls(pipe.text_encoder_2)
    pipe.remember_prompts(2)
    reader, parts = pipe._prompts, (pipe.tokenizer, pipe.tokenizer_2, pipe.text_encoder, pipe.text_encoder_2)
    with torch.no_grad():
        for prompt, known in [("a", False), ("the", False), ("a", True), ("on", False), ("a", True), ("the", False)]:
            before = len(calls)
            reader.read(*parts, [prompt])
            assert (len(calls) == before) is known, prompt
        other = tiny_pipeline()
        nn.init.zeros_(other.text_encoder_2.shared.weight)
        embeds, _ = reader.read(*parts[:3], other.text_encoder_2, ["a"])
        assert not torch.equal(embeds.tokens, reader.read(*parts, ["a"])[0].tokens)


def test_what_was_cut_is_told_again(pipe):
    pipe.remember_prompts(2)
    long = "a red ball left of a blue cube behind the green tree in front of house"
    first, second = (pipe(long, num_inference_steps=1, seed=1).notes for _ in range(2))
    assert first == second and "was left out" in first[0] and tiny_tokenizer().model_max_length == 12


def test_offloaded_text_encoders_stay_where_they_are(pipe):
    PLANS["bf16-offload"].apply(pipe, torch.device("cpu"))
    pipe.set_progress_bar_config(disable=True)
    pipe.remember_prompts(2)
    first = digest(pipe("a red ball", num_inference_steps=1, seed=1))
    calls = count_calls(pipe.text_encoder_2)
    assert digest(pipe("a red ball", num_inference_steps=1, seed=1)) == first and calls == []
