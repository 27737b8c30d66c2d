"""ImageReward at tiny size: its scores against plain arithmetic from the published names, the ranking, the command."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertTokenizerFast, BlipTextConfig, BlipVisionConfig

from jointdit_core.evaluation import reward
from jointdit_core.evaluation.__main__ import main
from jointdit_core.evaluation.reward import PIXEL_MEAN, PIXEL_STD, load_reward, rank_shares, rewards

WIDTH, TEXT_WIDTH, HEADS, LAYERS, PATCH = 32, 24, 2, 2, 56
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "ball", "tree"]
SIZES = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
VISION = BlipVisionConfig(
    **SIZES, hidden_size=WIDTH, intermediate_size=64, image_size=224, patch_size=PATCH, layer_norm_eps=1e-6
)
TEXT = BlipTextConfig(
    **SIZES, hidden_size=TEXT_WIDTH, intermediate_size=48, encoder_hidden_size=WIDTH, vocab_size=8, layer_norm_eps=1e-12
)


def published():
    """Random weights under the published file's names."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 17, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
    }
    shapes |= norm("norm", WIDTH)
    for i in range(LAYERS):
        shapes |= norm(f"blocks.{i}.norm1", WIDTH) | norm(f"blocks.{i}.norm2", WIDTH)
        shapes |= linear(f"blocks.{i}.attn.qkv", WIDTH, 3 * WIDTH) | linear(f"blocks.{i}.attn.proj", WIDTH, WIDTH)
        shapes |= linear(f"blocks.{i}.mlp.fc1", WIDTH, 64) | linear(f"blocks.{i}.mlp.fc2", 64, WIDTH)
    text = {"embeddings.word_embeddings.weight": (8, TEXT_WIDTH)} | norm("embeddings.LayerNorm", TEXT_WIDTH)
    text["embeddings.position_embeddings.weight"] = (512, TEXT_WIDTH)
    for i in range(LAYERS):
        for kind, wide in (("attention", TEXT_WIDTH), ("crossattention", WIDTH)):
            at = f"encoder.layer.{i}.{kind}"
            text |= linear(f"{at}.self.query", TEXT_WIDTH, TEXT_WIDTH)
            text |= linear(f"{at}.self.key", wide, TEXT_WIDTH) | linear(f"{at}.self.value", wide, TEXT_WIDTH)
            text |= linear(f"{at}.output.dense", TEXT_WIDTH, TEXT_WIDTH) | norm(f"{at}.output.LayerNorm", TEXT_WIDTH)
        text |= linear(f"encoder.layer.{i}.intermediate.dense", TEXT_WIDTH, 48)
        text |= linear(f"encoder.layer.{i}.output.dense", 48, TEXT_WIDTH)
        text |= norm(f"encoder.layer.{i}.output.LayerNorm", TEXT_WIDTH)
    head = {}
    for place, (a, b) in {0: (TEXT_WIDTH, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}.items():
        head |= linear(f"layers.{place}", a, b)
    names = {f"blip.visual_encoder.{name}": shape for name, shape in shapes.items()}
    names |= {f"blip.text_encoder.{name}": shape for name, shape in text.items()}
    names |= {f"mlp.{name}": shape for name, shape in head.items()} | linear("blip.vision_proj", WIDTH, 8)
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in names.items()}
    for name, tensor in state.items():  # of a size at which pictures and prompts tell
        if tensor.ndim == 1:
            tensor.mul_(0.3).add_("orm" in name and "weight" in name)
        elif "embeddings" not in name and "_" not in name.split(".")[-1]:
            tensor.mul_(1.5 / math.sqrt(tensor[0].numel()))
    return state | {"blip.text_encoder.embeddings.position_ids": torch.arange(512)[None]}


def linear(name, a, b):
    return {f"{name}.weight": (b, a), f"{name}.bias": (b,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def expected(state, image, ids):
    """The reward in float64, for a prompt without padding, written from the published network."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def apply(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def normed(name, x, eps):
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + eps)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attend(q, k, v):
        q, k, v = (x.view(len(x), HEADS, -1).transpose(0, 1) for x in (q, k, v))
        share = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
        return (share @ v).transpose(0, 1).flatten(1)

    def gelu(x):
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    at = "blip.visual_encoder"
    pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) / 255
    pixels = torch.from_numpy((pixels - PIXEL_MEAN) / PIXEL_STD).permute(2, 0, 1)
    patches = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).permute(1, 2, 0, 3, 4).reshape(16, -1)
    kernel = state[f"{at}.patch_embed.proj.weight"].flatten(1)
    x = torch.cat([state[f"{at}.cls_token"][0], patches @ kernel.T + state[f"{at}.patch_embed.proj.bias"]])
    x = x + state[f"{at}.pos_embed"][0]
    for i in range(LAYERS):
        block = f"{at}.blocks.{i}"
        q, k, v = apply(f"{block}.attn.qkv", normed(f"{block}.norm1", x, 1e-6)).chunk(3, -1)
        x = x + apply(f"{block}.attn.proj", attend(q, k, v))
        x = x + apply(f"{block}.mlp.fc2", gelu(apply(f"{block}.mlp.fc1", normed(f"{block}.norm2", x, 1e-6))))
    seen = normed(f"{at}.norm", x, 1e-6)

    at = "blip.text_encoder"
    y = state[f"{at}.embeddings.word_embeddings.weight"][ids]
    y = normed(
        f"{at}.embeddings.LayerNorm", y + state[f"{at}.embeddings.position_embeddings.weight"][: len(ids)], 1e-12
    )
    for i in range(LAYERS):
        layer = f"{at}.encoder.layer.{i}"
        for kind in ("attention", "crossattention"):
            source = y if kind == "attention" else seen
            part = f"{layer}.{kind}"
            q, k, v = (apply(f"{part}.self.{n}", z) for n, z in (("query", y), ("key", source), ("value", source)))
            y = normed(f"{part}.output.LayerNorm", y + apply(f"{part}.output.dense", attend(q, k, v)), 1e-12)
        wide = gelu(apply(f"{layer}.intermediate.dense", y))
        y = normed(f"{layer}.output.LayerNorm", y + apply(f"{layer}.output.dense", wide), 1e-12)
    first = y[0]
    for place in (0, 2, 4, 6, 7):
        first = apply(f"mlp.layers.{place}", first)
    return (first.item() - 0.16717362830052426) / 1.0333394966054072


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder / "bert")
    torch.save(published(), folder / "ImageReward.pt")
    return folder


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((96, 96))


def test_scores_are_those_of_the_published_network(work):
    network = load_reward(work / "ImageReward.pt", VISION, TEXT)
    images, prompts = [picture(0), picture(1), picture(0)], ["a red ball", "a tree", "a tree"]
    found = rewards(network, str(work / "bert"), images, prompts)
    ids = [[2, 4, 5, 6, 3], [2, 4, 7, 3], [2, 4, 7, 3]]  # with [CLS] and [SEP]; padding counts for nothing
    wanted = [expected(published(), image, torch.tensor(row)) for image, row in zip(images, ids, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=2e-4)
    assert len({round(value, 3) for value in wanted}) == 3
    save_file({name: tensor.clone() for name, tensor in published().items()}, work / "same.safetensors")
    same = load_reward(work / "same.safetensors", VISION, TEXT)
    assert torch.equal(rewards(same, str(work / "bert"), images, prompts), found)


def test_shares_of_ranks():
    shares = rank_shares(np.array([[3.0, 1.0, 5.0, 2.0], [2.0, 2.0, 4.0, 2.0], [1.0, 3.0, 6.0, 1.0]]))
    assert shares.tolist() == [[50, 25, 25], [0, 75, 25], [50, 0, 50]]


def test_other_files_are_not_taken_for_weights(work):
    torch.save({"layer": torch.zeros(2)}, work / "other.pt")
    with pytest.raises(ValueError, match="other.pt does not hold ImageReward's weights"):
        load_reward(work / "other.pt", VISION, TEXT)
    torch.save(torch.nn.Linear(2, 2), work / "code.pt")
    (work / "cut.pt").write_bytes((work / "ImageReward.pt").read_bytes()[:1000])
    (work / "cut.safetensors").write_bytes(b"no weights")
    for name in ("code.pt", "cut.pt", "cut.safetensors"):
        with pytest.raises(OSError, match=f"{name} is damaged, or holds more than tensors"):
            load_reward(work / name, VISION, TEXT)
    with pytest.raises(FileNotFoundError, match="ImageReward, is missing"):
        load_reward(work / "none.pt", VISION, TEXT)


def test_the_command_ranks_folders(work, monkeypatch, capsys):
    monkeypatch.setattr(reward, "load_reward", lambda file: load_reward(file, VISION, TEXT))
    for place, name in enumerate(("first", "second")):
        (work / name / "pictures").mkdir(parents=True)
        for i in range(3):
            picture(10 * place + i).save(work / name / "pictures" / f"{i:06d}.png")
    (work / "prompts.txt").write_text("1.png\ta red ball\n2.png\ta tree\n3.png\ta ball\n")
    folders = [str(work / "first"), str(work / "second")]
    command = ["ranking", "--made", *folders, "--prompts", str(work / "prompts.txt"), "--out", str(work / "ranks")]
    command += ["--reward", str(work / "ImageReward.pt"), "--tokenizer", str(work / "bert"), "--batch-size", "2"]
    main(command)
    figures = json.loads((work / "ranks" / "ranking.json").read_text())
    assert [row["folder"] for row in figures["rows"]] == folders and figures["pictures"] == 3
    assert np.allclose(np.sum([row["ranks"] for row in figures["rows"]], axis=0), 100)
    network, texts = load_reward(work / "ImageReward.pt", VISION, TEXT), ["a red ball", "a tree", "a ball"]
    mean = rewards(network, str(work / "bert"), [picture(i) for i in range(3)], texts).mean().item()
    assert figures["rows"][0]["reward"] == pytest.approx(mean, abs=1e-5)
    out = capsys.readouterr().out
    assert "| both (paper, of four) | — | 30.73 | 26.07 | 24.45 | 18.75 |" in out
    (work / "second" / "pictures" / "000001.png").unlink()
    with pytest.raises(SystemExit, match="000001.png is missing"):
        main(command)
