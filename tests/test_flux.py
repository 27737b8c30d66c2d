"""FLUX.1-dev and the released add-ons, made up at tiny size in the folders they are downloaded as."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from jointdit_core import JointDiTPipeline
from jointdit_core.model.fused import fuse_projections
from jointdit_core.model.released import load_released
from jointdit_core.model.transformer import added_parameters
from tests.model.test_released import make_released

CONFIG = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}


@pytest.fixture
def folders(pipe, tmp_path) -> tuple[Path, Path]:
    """FLUX's folder in diffusers' layout with its original weights, and the add-ons' folder."""
    flux, addons = tmp_path / "flux", tmp_path / "addons"
    for name in ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"):
        pipe.components[name].save_pretrained(flux / name)
    FluxTransformer2DModel(**CONFIG).save_config(flux / "transformer")
    base, extra = make_released(CONFIG, {"blocks": 4, "txt_in": 5})
    save_file(base, flux / "flux1-dev.safetensors")
    addons.mkdir()
    save_file(extra, addons / "jointdit_addons.safetensors")
    settings = {"is_txt_ids_training": False, "is_attnmask_training": False, "depth_transform": "inverse"}
    (addons / "jointdit.json").write_text(json.dumps(settings))
    return flux, addons


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


class Hub(BaseHTTPRequestHandler):
    """Answers every request as the hub answers for a gated or a private repository."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo" if "gated" in self.path else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    "repository, said", [("maker/gated", "accepted its licence"), ("maker/nothing", "neither a folder here nor")]
)
def test_refusal_of_the_hub_is_one_sentence_without_the_token(repository, said, monkeypatch, tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    try:
        with pytest.raises(OSError, match=said) as refusal:
            JointDiTPipeline.from_flux("unused", repository)
    finally:
        server.shutdown()
    assert repository in str(refusal.value) and "hf_secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


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
