"""Pictures prepared with real, tiny models: content, resuming, sharing, and what is wrong with files."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from jointdit_core.encode import disparity_to_image, encode_images, encode_prompt, images_to_tensor
from jointdit_core.training.__main__ import main
from jointdit_core.training.annotate import captioner, depth_estimator
from jointdit_core.training.shards import PreparedPairs, sha256
from tests.tiny import tiny_pipeline
from tests.training.annotators import save_depth_model
from tests.training.full_scale import content, full_disk, prepare_options

CPU = torch.device("cpu")


def test_pairs_are_what_the_pipeline_would_encode(made):
    pipe = tiny_pipeline(guidance_embeds=True)
    pairs = PreparedPairs.load(made / "out", pipe.vae, CPU)
    listed = content(made / "out")
    assert len(pairs) == 8 == len(listed)
    estimate, describe = depth_estimator(str(made / "depth"), CPU), captioner(str(made / "caption"), CPU)
    for row in (0, 5, 7):
        stored = Image.open(made / "pictures" / listed[row]["file"])
        square = ImageOps.fit(stored, (64, 64), Image.Resampling.LANCZOS)
        near = estimate([square])[0]
        disparity = torch.from_numpy((near - near.min()) / (near.max() - near.min()))[None]
        text = describe([square])[0]
        assert text == listed[row]["caption"] and text
        found = pairs.take([row])
        parts = (pipe.tokenizer, pipe.tokenizer_2, pipe.text_encoder, pipe.text_encoder_2)
        with torch.no_grad():
            embeds, _ = encode_prompt(*parts, [text])
            empty, _ = encode_prompt(*parts, [""])
            rgb = encode_images(pipe.vae, images_to_tensor([square], 64, 64))
            depth = encode_images(pipe.vae, disparity_to_image(disparity))
        for a, b in ((found.rgb, rgb), (found.depth, depth), (found.text.tokens, embeds.tokens)):
            torch.testing.assert_close(a, b, atol=5e-3, rtol=5e-3)
        torch.testing.assert_close(pairs.empty.pooled, empty.pooled, atol=5e-3, rtol=5e-3)


def test_the_manifest_counts_names_and_hashes(made):
    manifest = json.loads((made / "out" / "manifest.json").read_text())
    assert manifest["counts"] == {"pictures": 10, "pairs": 8, "skipped": 2}
    reasons = {one["file"]: one["reason"] for one in manifest["skipped"]}
    assert "damaged" in reasons["broken.jpg"] and "too small" in reasons["small.png"]
    for shard in manifest["shards"]:
        file = made / "out" / shard["file"]
        assert sha256(file) == shard["sha256"] and file.stat().st_size == shard["bytes"]


def test_only_what_is_missing_or_damaged_is_made_again(made, tmp_path, caplog):
    out = tmp_path / "out"
    shutil.copytree(made / "out", out)
    shards = sorted(out.glob("pairs-*.safetensors"))
    before = [(shard.stat().st_mtime_ns, shard.read_bytes()) for shard in shards]
    data = bytearray(before[1][1])
    data[-5] ^= 1  # one bit
    shards[1].write_bytes(data)
    shards[2].with_suffix(".json").unlink()  # as after a kill
    main(prepare_options(made, out))
    assert f"{shards[1]} is damaged" in caplog.text
    after = [(shard.stat().st_mtime_ns, shard.read_bytes()) for shard in shards]
    assert after[0] == before[0] and [b for _, b in after] == [b for _, b in before]
    assert not list(out.glob("*.partial"))


def test_another_preparation_in_the_folder_and_distances_are_refused(made, tmp_path):
    with pytest.raises(SystemExit, match="other size"):
        main([*prepare_options(made, made / "out"), "--size", "32"])
    save_depth_model(tmp_path / "metric", "metric")
    with pytest.raises(ValueError, match="gives distances"):
        depth_estimator(str(tmp_path / "metric"), CPU)
    unloaded = [*prepare_options(made, tmp_path / "none"), "--model", "none of this is loaded"]
    for folder, sentence in ((made / "model", "holds no picture"), (tmp_path / "absent", "absent is not a folder")):
        with pytest.raises(SystemExit, match=sentence):
            main([*unloaded, "--images", str(folder)])


def test_damaged_shards_are_named_at_loading_and_reading(made, tmp_path):
    vae = tiny_pipeline(guidance_embeds=True).vae
    out = tmp_path / "out"
    shutil.copytree(made / "out", out)
    shard = out / "pairs-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="pairs-00001.safetensors is missing or cut short"):
        PreparedPairs.load(out, vae, CPU)
    shard.write_bytes(b"\xff" * 8 + whole[8:])
    with pytest.raises(OSError, match="pairs-00001.safetensors is damaged"):
        PreparedPairs.load(out, vae, CPU).take(range(8))
    (out / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="no finished"):
        PreparedPairs.load(out, vae, CPU)
    torch.nn.init.normal_(vae.encoder.conv_in.weight)
    with pytest.raises(ValueError, match="another autoencoder"):
        PreparedPairs.load(made / "out", vae, CPU)
    with pytest.raises(ValueError, match="--depth-transform inverse"):
        PreparedPairs.load(made / "out", tiny_pipeline(guidance_embeds=True).vae, CPU, depth_transform="inverse")
    with pytest.raises(ValueError, match="kept to validate"):
        PreparedPairs.load(made / "out", tiny_pipeline(guidance_embeds=True).vae, CPU, held_out=8)


def test_a_full_disk_is_said_and_leaves_no_half_file(made, tmp_path):
    with full_disk(6000), pytest.raises(SystemExit, match="pairs-00000.safetensors could not be written"):
        main(prepare_options(made, tmp_path))
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.safetensors"))
    assert not (tmp_path / "manifest.json").exists()


def test_true_depth_is_used_where_a_source_has_it(made, tmp_path):
    results = tmp_path / "replica" / "room0" / "results"
    results.mkdir(parents=True)
    depth = np.linspace(6, 2, 64)[:, None].repeat(64, 1)
    for i in range(2):
        Image.new("RGB", (64, 64), ("gray", "red")[i]).save(results / f"frame{i:06d}.jpg")
        Image.fromarray((depth * 6553.5).round().astype(np.uint16)).save(results / f"depth{i:06d}.png")
    (results / "depth000001.png").unlink()
    options = prepare_options(made, tmp_path / "out")
    options[1:3] = ["--replica", str(tmp_path / "replica")]
    main([*options, "--depth-model", "none of this is loaded"])
    vae = tiny_pipeline(guidance_embeds=True).vae
    pairs = PreparedPairs.load(tmp_path / "out", vae, CPU)
    near = 1 / torch.from_numpy(depth)[None]
    disparity = ((near - near.min()) / (near.max() - near.min())).float()
    with torch.no_grad():
        expected = encode_images(vae, disparity_to_image(disparity))
    torch.testing.assert_close(pairs.take([0]).depth, expected, atol=5e-3, rtol=5e-3)
    (skipped,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"]
    assert skipped["file"] == "room0/results/frame000001.jpg" and "depth000001.png is missing" in skipped["reason"]
