"""Generation metrics with stand-ins for the networks that look: figures against plain numpy, the command end to end."""

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from jointdit_core.evaluation.__main__ import main
from jointdit_core.evaluation.generation import (
    Inception,
    clip_score,
    followed,
    frechet_distance,
    inception_score,
    read_prompts,
)
from tests.tiny import tiny_pipeline, tiny_tokenizer
from tests.training.annotators import save_depth_model

CPU = torch.device("cpu")
FEATURES = 8


class StandIn(torch.nn.Module):
    """Answers as the Inception file does, from the means of eight patches."""

    def __init__(self):
        super().__init__()
        weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weights", weights)

    def forward(self, x: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(x.float() / 255, [2, 4])[:, 0].flatten(1)
        if return_features:
            return pooled
        return torch.softmax(4 * pooled[:, :6] @ self.weights, dim=1)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    file = tmp_path_factory.mktemp("inception") / "inception.pt"
    torch.jit.script(StandIn()).save(str(file))
    return file


def pictures(count, seed, low=0):
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(low, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]


def raw(images):
    with torch.no_grad():
        x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
        return [StandIn()(x, return_features=features).double().numpy() for features in (True, False)]


def test_fid_is_that_of_the_formula(inception):
    real, made = pictures(40, 0), pictures(30, 1, low=40)
    found = frechet_distance(made, real, Inception(inception, features=FEATURES), CPU, 7)
    a, b = raw(made)[0], raw(real)[0]
    between = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * between)
    assert found == pytest.approx(expected, rel=1e-3)
    same = frechet_distance(real, real, Inception(inception, features=FEATURES), CPU, 16)
    assert abs(same) < 1e-4 < found


def test_is_of_a_single_split_is_that_of_the_formula(inception):
    made = pictures(30, 2)
    found = inception_score(made * 10, Inception(inception, scores=True), CPU, 32)
    p = raw(made)[1]
    whole = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert found == pytest.approx(whole, rel=0.02)  # ten random splits of ten copies each are nearly the whole


def test_clip_score_is_the_cosine(tmp_path):
    torch.manual_seed(0)
    side = {"height": 16, "width": 16}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0}
    config = CLIPConfig(
        text_config=small | text, vision_config=small | {"image_size": 16, "patch_size": 8}, projection_dim=8
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    processor = CLIPProcessor(
        image_processor=CLIPImageProcessorPil(size=side, crop_size=side), tokenizer=tiny_tokenizer()
    )
    processor.save_pretrained(tmp_path)
    images, prompts = pictures(5, 3), ["a red ball", "a house", "the tree", "a blue cube", "red"]
    inputs = processor(text=prompts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model(**{key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")})
    cosines = torch.nn.functional.cosine_similarity(out.image_embeds, out.text_embeds)
    found = clip_score(images, prompts, str(tmp_path), CPU, 2)
    assert found == pytest.approx(max(100 * cosines.mean().item(), 0), abs=1e-3)


def test_a_map_that_is_followed_has_no_error():
    given = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    (exact,) = followed([given], [0.5 * given + 0.1])
    assert exact.abs_rel == pytest.approx(0, abs=1e-4) and exact.delta1 == 100
    (turned,) = followed([given], [given.T.copy()])
    assert turned.abs_rel > 10


def test_lists_of_another_form_are_named(tmp_path):
    (tmp_path / "plain.txt").write_text("a red ball\n\na house\n")
    (tmp_path / "named.txt").write_text("1.png\ta red ball\n")
    assert [p.text for p in read_prompts(tmp_path / "plain.txt", False)] == ["a red ball", "a house"]
    assert read_prompts(tmp_path / "named.txt", True)[0].file == "1.png"
    with pytest.raises(ValueError, match="line 1 of .*plain.txt is not picture<TAB>prompt"):
        read_prompts(tmp_path / "plain.txt", True)
    with pytest.raises(ValueError, match="without tabs"):
        read_prompts(tmp_path / "named.txt", False)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="no prompts"):
        read_prompts(tmp_path / "empty.txt", False)


class Other(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().mean()


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "cut", "weights", "other", "fewer"])
def test_a_file_that_is_not_inception_is_told_before_anything_is_loaded(tmp_path, inception, kind):
    file = tmp_path / "file.pt"
    if kind in ("empty", "text", "cut"):
        file.write_bytes({"empty": b"", "text": b"no network", "cut": inception.read_bytes()[:-100]}[kind])
    elif kind == "weights":
        torch.save({"weights": torch.zeros(3)}, file)
    elif kind != "absent":
        torch.jit.script(Other() if kind == "other" else StandIn()).save(str(file))
    (tmp_path / "plain.txt").write_text("a red ball\n" * 2)
    for name, picture in zip("ab", pictures(2, 0), strict=True):
        picture.save(tmp_path / f"{name}.png")
    command = ["generation", "--model", "none of this is loaded", "--inception", str(file), "--images", str(tmp_path)]
    command += ["--prompts", str(tmp_path / "plain.txt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"file.pt is .*another network.*; --inception takes inception-2015") as told:
        main(command)
    assert "\n" not in str(told.value) and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="must give two each"):
        main([*command, "--limit", "1"])


def test_the_command_measures_both_tasks_and_goes_on(tmp_path, inception, monkeypatch, capsys):
    monkeypatch.setattr("jointdit_core.evaluation.generation.FEATURES", FEATURES)
    tiny_pipeline().save_pretrained(tmp_path / "model")
    (tmp_path / "real").mkdir()
    names = [f"{i}.png" for i in range(12)]
    for name, image in zip(names, pictures(12, 5), strict=True):
        image.resize((40, 32)).save(tmp_path / "real" / name)
    (tmp_path / "plain.txt").write_text("a red ball\n" * 12)
    (tmp_path / "named.txt").write_text("".join(f"{name}\ta red ball\n" for name in names))
    common = ["generation", "--model", str(tmp_path / "model"), "--images", str(tmp_path / "real"), "--steps", "1"]
    common += ["--inception", str(inception)]
    joint = [*common, "--prompts", str(tmp_path / "plain.txt"), "--out", str(tmp_path / "joint")]
    main(joint)
    figures = json.loads((tmp_path / "joint" / "generation.json").read_text())
    assert figures["fid"] > 0 and figures["is"] >= 1 and "clip" not in figures
    assert "| Ours (paper), MS-COCO 30K | 11.27 | 34.35 | 30.76 |" in capsys.readouterr().out
    made = sorted((tmp_path / "joint" / "pictures").iterdir())
    times = [file.stat().st_mtime_ns for file in made]
    made[3].unlink()
    main(joint)
    again = [file.stat().st_mtime_ns for file in made]
    assert [a == b for a, b in zip(times, again, strict=True)] == [i != 3 for i in range(12)]
    assert json.loads((tmp_path / "joint" / "generation.json").read_text()) == figures
    depth = ["--depth-model", save_depth_model(tmp_path / "depth"), "--on-depth", "--limit", "4"]
    main([*common, "--prompts", str(tmp_path / "named.txt"), "--out", str(tmp_path / "on-depth"), *depth])
    figures = json.loads((tmp_path / "on-depth" / "generation.json").read_text())
    assert figures["pictures"] == 4 and figures["abs_rel"] > 0
    assert "| UniCon, OpenImages 6K | 13.21 | 9.26 |" in capsys.readouterr().out
    (tmp_path / "real" / "2.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="2.png is damaged"):
        main([*common, "--prompts", str(tmp_path / "named.txt"), "--out", str(tmp_path / "x"), *depth])
    (tmp_path / "real" / "2.png").unlink()
    with pytest.raises(SystemExit, match="2.png of .*named.txt is missing"):
        main([*common, "--prompts", str(tmp_path / "named.txt"), "--out", str(tmp_path / "x"), *depth])
    with pytest.raises(SystemExit, match="--images"):
        main(["generation", "--prompts", str(tmp_path / "plain.txt"), "--inception", str(inception), "--out", "x"])
