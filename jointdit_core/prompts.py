"""What the text encoders made of prompts, remembered, so that a prompt that comes again needs none of them.

Letters: T text tokens, P width of the pooled text vector, E width of a text token.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from .encode import PromptEmbeds, encode_prompt, unknown_words

_remembering = threading.Lock()  # one for all readers, so that a pipeline can still be copied


class _Read(NamedTuple):
    """One prompt as it was read: pooled (1, P) and tokens (1, T, E) on the CPU, and what was cut off."""

    pooled: Tensor
    tokens: Tensor
    cut: str


class PromptReader:
    """Reads prompts one by one, so that what one becomes depends on no other, and remembers the last of them.

    It remembers by the prompt's exact text and for one pair of text encoders; others make it forget. Weights that
    change in place it cannot see. Of FLUX.1-dev a prompt takes 4 MiB of main memory.
    """

    def __init__(self, size: int) -> None:
        """Make one that has read nothing.

        Args:
            size: Prompts to remember; 0 for none.
        """
        self.size = size
        self._encoders: tuple = ()
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def read(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokenizer_2: PreTrainedTokenizerBase,
        text_encoder: CLIPTextModel,
        text_encoder_2: T5EncoderModel,
        prompts: list[str],
    ) -> tuple[PromptEmbeds, tuple[str, ...]]:
        """Encode B prompts, or remember them.

        Args:
            tokenizer: As in `encode.encode_prompt`, like all arguments.
            tokenizer_2: T5's.
            text_encoder: CLIP.
            text_encoder_2: T5; on a hit it is not called, and so stays where it is.
            prompts: B prompts.

        Returns:
            The embeddings on the CPU, and what was cut off each prompt.
        """
        encoders = text_encoder, text_encoder_2
        with _remembering:
            if any(new is not old for new, old in zip(encoders, self._encoders or (None, None), strict=True)):
                self._encoders, self._read = encoders, OrderedDict()
            found = {prompt: self._read[prompt] for prompt in prompts if prompt in self._read}
        for prompt in dict.fromkeys(prompts):
            if prompt not in found:
                embeds, ids = encode_prompt(tokenizer, tokenizer_2, *encoders, [prompt])
                found[prompt] = _Read(embeds.pooled.detach().cpu(), embeds.tokens.detach().cpu(), ids.cut[0])
        with _remembering:
            if encoders == self._encoders:
                self._read |= found
                for prompt in found:
                    self._read.move_to_end(prompt)
                while len(self._read) > self.size:
                    self._read.popitem(last=False)
        read = [found[prompt] for prompt in prompts]
        pooled, tokens = torch.cat([one.pooled for one in read]), torch.cat([one.tokens for one in read])
        return PromptEmbeds(pooled=pooled, tokens=tokens), tuple(one.cut for one in read)


class PromptsMixin:
    """A pipeline that may remember what its text encoders made of prompts."""

    def remember_prompts(self, count: int) -> None:
        """Keep what the text encoders make of the last prompts, so that one that comes again needs none of them.

        The results are the same. Call it when the text encoders are in their final form: it is not told of changes.

        Args:
            count: Prompts to remember, 4 MiB of main memory each for FLUX.1-dev; 0 forgets all.
        """
        self._prompts = PromptReader(count)

    def _read(self, prompts: list[str]) -> tuple[PromptEmbeds, tuple[str, ...]]:
        """Encode B prompts, and note what of them this model cannot read."""
        parts = self.tokenizer, self.tokenizer_2, self.text_encoder, self.text_encoder_2
        embeds, cuts = self._prompts.read(*parts, prompts)
        device = self._execution_device
        notes = []
        for prompt, cut in zip(prompts, cuts, strict=True):
            if cut:
                notes.append(f'The prompt is longer than this model reads; this part was left out: "{cut}"')
            if unknown := unknown_words(self.tokenizer_2, prompt):
                notes.append(f"These words are unknown to this model and were ignored: {', '.join(unknown)}")
        embeds = PromptEmbeds(pooled=embeds.pooled.to(device), tokens=embeds.tokens.to(device))
        return embeds, tuple(dict.fromkeys(notes))
