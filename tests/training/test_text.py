"""The text encoders learn alone what captions tell, and nothing else of the model changes."""

import torch

from jointdit_core.training.cache import LatentPairs
from jointdit_core.training.text import train_text


def told_pairs(pairs, count):
    """Pairs whose picture is told by one word of their caption, wherever it stands."""
    generator = torch.Generator().manual_seed(1)
    captions = torch.randint(10, 50, (count, 2, pairs.captions.shape[-1]), generator=generator)
    word = torch.randint(2, (count,), generator=generator)
    place = torch.randint(captions.shape[-1], (count, 2, 1), generator=generator)
    captions.scatter_(2, place, (5 + word)[:, None, None].expand(-1, 2, 1))
    rgb = (word * 2.0 - 1)[:, None, None, None].expand(-1, 4, 8, 8)
    return LatentPairs(rgb.half(), -rgb.half(), captions, word.byte()[:, None, None, None].expand(-1, 2, 8, 8))


def test_captions_never_seen_are_understood(pipeline, pairs):
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in pipeline.transformer.state_dict().items()}
    words = pipeline.text_encoder_2.get_input_embeddings().weight.clone()
    told = told_pairs(pairs, 400)
    assert told.rgb.float().square().mean() == 1  # what guessing the mean would miss
    assert train_text(pipeline, told, minutes=0.25, held_out=100) < 0.1
    assert all(torch.equal(value, before[name]) for name, value in pipeline.transformer.state_dict().items())
    assert not torch.equal(words, pipeline.text_encoder_2.get_input_embeddings().weight)
    assert not pipeline.text_encoder_2.training
