"""FLUX.1-dev and the released add-ons, made up at tiny size in the folders they are downloaded as."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file

from jointdit_core import JointDiTPipeline
from jointdit_core.loras import AskedLora, merge_loras
from jointdit_core.model.fused import fuse_projections
from jointdit_core.model.released import load_released
from jointdit_core.model.transformer import added_parameters
from tests.conftest import CONFIG
from tests.hub_server import COMMIT
from tests.model.test_released import make_released


def test_from_flux_joins_both_downloads(folders):
    pipe = JointDiTPipeline.from_flux(*map(str, folders), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert (pipe.config.default_size, pipe.config.depth_transform, pipe.config.depth_guidance_scale) == (
        512,
        "inverse",
        3.5,
    )
    expected = load_released(*make_released(CONFIG, {"blocks": 4, "txt_in": 5}), CONFIG).state_dict()
    loaded = pipe.transformer.state_dict()
    assert loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)
    pipe.register_to_config(default_size=64, max_size=64)
    out = pipe.joint_generation("a red ball", seed=1, num_inference_steps=1)
    assert out.image.size == (64, 64) and out.disparity.std() > 0


def test_from_flux_gives_all_models_the_dtype(folders):
    pipe = JointDiTPipeline.from_flux(*map(str, folders))
    names = ("transformer", "vae", "text_encoder", "text_encoder_2")
    assert {pipe.components[name].dtype for name in names} == {torch.bfloat16}
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(default_size=64, max_size=64)
    assert pipe.joint_generation("a red ball", seed=1, num_inference_steps=1).disparity.std() > 0


@pytest.mark.parametrize(
    "file", ["flux/flux1-dev.safetensors", "addons/jointdit_addons.safetensors", "addons/jointdit.json"]
)
def test_from_flux_names_what_is_missing(folders, file):
    (folders[0].parent / file).unlink()
    with pytest.raises(OSError, match="needs") as refusal:
        JointDiTPipeline.from_flux(*map(str, folders))
    assert file.split("/")[0] in str(refusal.value)


@pytest.mark.parametrize("shard", ["10GB", "20KB"], ids=["one file", "sharded"])
def test_diffusers_weights_give_the_same_transformer_as_the_original_file(folders, shard):
    flux, addons = folders
    from_original = JointDiTPipeline.from_flux(str(flux), str(addons), dtype=torch.float32).transformer.state_dict()
    added = (".lora_", ".processor.")
    base = {k.replace(".base_layer", ""): v for k, v in from_original.items() if not any(part in k for part in added)}
    plain = FluxTransformer2DModel(**CONFIG)
    plain.load_state_dict(base, strict=True)
    plain.save_pretrained(flux / "transformer", max_shard_size=shard)
    (flux / "flux1-dev.safetensors").unlink()
    loaded = JointDiTPipeline.from_flux(str(flux), str(addons), dtype=torch.float32).transformer.state_dict()
    assert loaded.keys() == from_original.keys()
    assert all(torch.equal(loaded[key], value) for key, value in from_original.items())


def test_addons_are_saved_in_the_released_layout_bit_by_bit(folders, tmp_path):
    flux, addons = folders
    pipe = JointDiTPipeline.from_flux(str(flux), str(addons), dtype=torch.float32)
    pipe.save_addons(tmp_path / "own")
    files = [addons / "jointdit_addons.safetensors", tmp_path / "own" / "jointdit.safetensors"]
    with safe_open(files[0], "pt") as released, safe_open(files[1], "pt") as saved:
        assert set(saved.keys()) == set(released.keys())
        assert all(torch.equal(saved.get_tensor(key), released.get_tensor(key)) for key in released.keys())
    assert json.loads((tmp_path / "own" / "jointdit.json").read_bytes()) == json.loads(
        (addons / "jointdit.json").read_bytes()
    )
    again = JointDiTPipeline.from_flux(str(flux), str(tmp_path / "own"), dtype=torch.float32)
    expected, loaded = pipe.transformer.state_dict(), again.transformer.state_dict()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_saved_addons_load_as_they_were(folders, tmp_path):
    flux, addons = map(str, folders)
    pipe = JointDiTPipeline.from_flux(flux, addons, dtype=torch.float32)
    with torch.no_grad():  # trained on: q, k and v no longer share one A
        for name in added_parameters(pipe.transformer):
            pipe.transformer.get_parameter(name).add_(torch.randn(()))
    pipe.save_addons(tmp_path / "own")
    saved = sum(path.stat().st_size for path in (tmp_path / "own").iterdir())
    assert saved < 0.8 * sum(parameter.nbytes for parameter in pipe.transformer.parameters())
    again = JointDiTPipeline.from_flux(flux, str(tmp_path / "own"), dtype=torch.float32)
    assert again.config.depth_transform == "inverse"
    expected, loaded = pipe.transformer.state_dict(), again.transformer.state_dict()
    assert loaded.keys() == expected.keys() and all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_fused_addons_are_not_saved(folders, tmp_path):
    pipe = JointDiTPipeline.from_flux(*map(str, folders), dtype=torch.float32)
    fuse_projections(pipe.transformer)
    with pytest.raises(ValueError, match="before fusing"):
        pipe.save_addons(tmp_path / "own")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    "file",
    [
        "flux/flux1-dev.safetensors",
        "addons/jointdit_addons.safetensors",
        "flux/vae/diffusion_pytorch_model.safetensors",
        "flux/text_encoder_2/model.safetensors",
    ],
)
def test_partial_file_is_named(folders, file):
    path = folders[0].parent / file
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(OSError, match="is damaged.*Fetch it again") as refusal:
        JointDiTPipeline.from_flux(*map(str, folders))
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    "flags, named",
    [
        ({"is_txt_ids_training": True, "depth_transform": "none"}, "is_txt_ids_training"),
        ({"is_attnmask_training": True, "depth_transform": "none"}, "is_attnmask_training"),
        ({"depth_transform": "log"}, "'log'"),
    ],
)
def test_flags_that_are_not_supported_are_refused_by_name(folders, flags, named):
    (folders[1] / "jointdit.json").write_text(json.dumps(flags))
    with pytest.raises(ValueError, match=named):
        JointDiTPipeline.from_flux(*map(str, folders))


def test_both_repositories_come_from_the_hub_small_files_first(hub, folders):
    pipe = JointDiTPipeline.from_flux("maker/flux", "maker/addons", revision=COMMIT)
    local = JointDiTPipeline.from_flux(*map(str, folders)).transformer.state_dict()
    assert all(torch.equal(value, local[key]) for key, value in pipe.transformer.state_dict().items())
    fetched = hub.fetched("")
    weights = [name.endswith(".safetensors") for name in fetched]
    assert {"transformer/config.json", "vae/config.json", "jointdit.json"} <= set(fetched[: weights.index(True)])
    hub.asked.clear()
    JointDiTPipeline.from_flux("maker/flux", "maker/addons", revision=COMMIT)
    assert hub.fetched("") == []


def test_closed_base_is_told_before_anything_large_comes(hub):
    hub.gated.add("maker/flux")
    with pytest.raises(OSError, match="maker/flux is open only to those who accepted its licence.*set HF_TOKEN"):
        JointDiTPipeline.from_flux("maker/flux", "maker/addons")
    assert hub.fetched(".safetensors") == hub.fetched("jointdit.json") == []


def test_weights_that_are_not_the_published_ones_are_refused(hub):
    name = "text_encoder_2/model.safetensors"
    content = hub.files["maker/flux"][name]
    hub.damaged[name] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(OSError, match=f"{name} is not the one that was published"):
        JointDiTPipeline.from_flux("maker/flux", "maker/addons")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"in_channels": 24}, "reads 24 channels a token, its autoencoder gives 16"),
        ({"_class_name": "SD3Transformer2DModel"}, "its transformer is a SD3Transformer2DModel"),
    ],
)
def test_base_of_another_shape_is_refused_before_its_weights_come(hub, change, said):
    name = "transformer/config.json"
    config = json.loads(hub.files["maker/flux"][name]) | change
    hub.files["maker/flux"][name] = json.dumps(config).encode()
    with pytest.raises(ValueError, match=f"maker/flux is not of FLUX.1-dev's shape.*{said}"):
        JointDiTPipeline.from_flux("maker/flux", "maker/addons")
    assert hub.fetched(".safetensors") == []


def test_original_file_of_another_base_is_found(folders):
    flux, addons = folders
    expected = JointDiTPipeline.from_flux(str(flux), str(addons)).transformer.state_dict()
    (flux / "flux1-dev.safetensors").rename(flux / "flux1-krea-dev.safetensors")
    loaded = JointDiTPipeline.from_flux(str(flux), str(addons)).transformer.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


def test_lora_is_merged_in_memory_and_not_into_the_files(folders, tmp_path):
    flux, addons = folders
    digest = hashlib.sha256((flux / "flux1-dev.safetensors").read_bytes()).digest()
    pipe = JointDiTPipeline.from_flux(str(flux), str(addons), dtype=torch.float32)
    linear = pipe.transformer.transformer_blocks[0].attn.to_k.base_layer
    before = linear.weight.clone()
    name, a, b = "transformer.transformer_blocks.0.attn.to_k", torch.randn(2, 32), torch.randn(32, 2)
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, tmp_path / "style.safetensors")
    merge_loras(pipe, [AskedLora(str(tmp_path / "style.safetensors"), None, 0.5)])
    assert torch.allclose(linear.weight, before + 0.5 * b @ a, atol=1e-5)
    assert digest == hashlib.sha256((flux / "flux1-dev.safetensors").read_bytes()).digest()


MEASURE = """
import sys, torch
from jointdit_core import JointDiTPipeline
# Not getrusage: its peak begins with that of the process that started this one.
def read(name):
    [line] = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) * 1024
before = read("VmRSS:")
pipe = JointDiTPipeline.from_flux(sys.argv[1], sys.argv[2])
models = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
total = sum(p.nbytes for model in models for p in model.parameters())
checksum = sum(float(p.float().sum()) for p in pipe.transformer.parameters())  # reads every page of the mapped files
print((read("VmHWM:") - before) / total, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc")
def test_loading_holds_the_weights_in_memory_once(folders):
    flux, addons = folders
    config = {**CONFIG, "num_attention_heads": 64, "num_layers": 2, "num_single_layers": 4}
    (flux / "transformer" / "config.json").write_text(
        json.dumps({"_class_name": "FluxTransformer2DModel", "patch_size": 1, "out_channels": None, **config})
    )
    base, extra = make_released(config, {"blocks": 4, "txt_in": 5}, torch.bfloat16)
    save_file(base, flux / "flux1-dev.safetensors")
    save_file(extra, addons / "jointdit_addons.safetensors")
    ran = subprocess.run([sys.executable, "-c", MEASURE, flux, addons], capture_output=True, text=True, check=True)
    ratio, total = map(float, ran.stdout.split())
    assert total > 300e6 and 0.9 < ratio < 1.2, ran.stdout
