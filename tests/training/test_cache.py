"""Cached worlds: content, resuming, and refusal of what does not fit."""

import json

import pytest
import torch

from jointdit_core.encode import disparity_to_image, encode_images, pack_latents
from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.cache import MIN_STD, CacheConfig, LatentPairs, write_cache
from jointdit_core.worlds import batch, captions, cell_labels, label_table, render, sample_scene, to_disparity

CONFIG = CacheConfig(scenes=8, first_seed=77, size=64, samples=1, shard=4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory, vae, tokenizer):
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder, CONFIG, vae, tokenizer, batch_size=2)
    return folder


def test_latents_and_captions_are_those_of_the_seeds(cache, vae, tokenizer):
    pairs = LatentPairs.load(cache, vae, len(tokenizer), CPU)
    assert len(pairs) == 8
    scenes = [sample_scene(77 + 4), sample_scene(77 + 5)]
    with torch.inference_mode():
        drawn = render(batch(scenes), 64, 1)
        rgb = encode_images(vae, drawn.rgb * 2 - 1)
        depth = encode_images(vae, disparity_to_image(to_disparity(drawn.depth)))
    assert torch.equal(pairs.labels[4:6], cell_labels(label_table(scenes), drawn, 8))
    assert torch.allclose(pairs.rgb[4:6].float(), rgb, atol=0.01)
    assert torch.allclose(pairs.depth[4:6].float(), depth, atol=0.01)
    spoken = tokenizer.decode(pairs.captions[4, 0], skip_special_tokens=True)
    assert spoken.replace(" ,", ",") == captions(scenes[0], 4)[0]


def test_shards_already_there_are_left_alone(cache, vae, tokenizer):
    shards = sorted(cache.glob("*.safetensors"))
    before = [(shard.stat().st_mtime_ns, shard.read_bytes()) for shard in shards]
    shards[1].unlink()
    write_cache(cache, CONFIG, vae, tokenizer, batch_size=2)
    after = [(shard.stat().st_mtime_ns, shard.read_bytes()) for shard in shards]
    assert after[0] == before[0]
    assert after[1][1] == before[1][1]
    assert not list(cache.glob("*.partial"))


def test_a_cache_of_something_else_is_refused_and_kept(cache, vae, tokenizer):
    other = AutoencoderPatchPCA.fit(torch.randn(2, 3, 64, 64), 4, 8, 0.5)
    manifest = (cache / "manifest.json").read_text()
    with pytest.raises(ValueError, match="another cache"):
        write_cache(cache, CONFIG, other, tokenizer, batch_size=2)
    assert (cache / "manifest.json").read_text() == manifest
    with pytest.raises(ValueError, match="autoencoder"):
        LatentPairs.load(cache, other, len(tokenizer), CPU)
    with pytest.raises(ValueError, match="vocabulary"):
        LatentPairs.load(cache, vae, json.loads(manifest)["vocabulary"] + 1, CPU)


def test_no_cache_and_numbers_that_do_not_divide_are_named(tmp_path, vae, tokenizer):
    with pytest.raises(FileNotFoundError, match="no cached worlds"):
        LatentPairs.load(tmp_path, vae, len(tokenizer), CPU)
    with pytest.raises(ValueError, match="divide"):
        write_cache(tmp_path, CONFIG, vae, tokenizer, batch_size=3)


def test_token_std_is_that_of_the_packed_tokens_and_never_zero():
    generator = torch.Generator().manual_seed(0)
    rgb, depth = (torch.randn(64, 4, 8, 8, generator=generator) for _ in range(2))
    spread = torch.tensor([3.0, 1.0, 0.5, 0.0]).view(4, 1, 1)
    pairs = LatentPairs(rgb, depth * spread, torch.zeros(64, 1, 8, dtype=torch.long), torch.zeros(64, 2, 8, 8))
    std = pairs.token_std()
    assert std.shape == (2, 16)
    for row, latents in zip(std, (pairs.rgb, pairs.depth), strict=True):
        expected = pack_latents(latents).flatten(0, 1).std(0).clamp(min=MIN_STD)
        torch.testing.assert_close(row, expected, rtol=0.1, atol=0.0)
