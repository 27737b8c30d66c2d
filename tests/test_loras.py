"""LoRAs of FLUX, made by diffusers and peft themselves, on both halves and in every form of the transformer."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders.lora_base import _pack_dict_with_prefix
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from jointdit_core.loras import AskedLora, find_lora, merge_loras, parse_lora
from jointdit_core.model.branch_lora import ADAPTER, DepthLoraLinear
from jointdit_core.model.fp8 import quantize_float8
from jointdit_core.model.fused import fuse_projections
from jointdit_core.model.joint_attention import split_branches
from tests.model.builders import build_inputs, relative_error
from tests.tiny import tiny_pipeline

TARGETS = ["to_q", "add_k_proj", "to_out.0", "net.0.proj", "proj_mlp", "proj_out", "norm1.linear", "x_embedder"]


@pytest.fixture
def pipe():
    """A pipeline whose joint parts are zero, so that each half is a FLUX of its own."""
    made = tiny_pipeline(guidance_embeds=True)
    for processor in made.transformer.attn_processors.values():
        torch.nn.init.zeros_(processor.joint.weight)
        torch.nn.init.zeros_(processor.joint.bias)
    return made


def plain_flux(pipe, half: int) -> FluxTransformer2DModel:
    """diffusers' FLUX with the weights that one half of a pipeline's transformer sees."""
    flux = FluxTransformer2DModel.from_config(pipe.transformer.config)
    state = {}
    for name, module in pipe.transformer.named_modules():
        linear = module.base_layer if isinstance(module, DepthLoraLinear) else module
        for leaf, value in linear.named_parameters(recurse=False):
            state[f"{name}.{leaf}"] = value.detach().clone()
        if half and isinstance(module, DepthLoraLinear):
            update = module.lora_B[ADAPTER].weight @ module.lora_A[ADAPTER].weight
            state[f"{name}.weight"] += 0.5 * update.detach()
    flux.load_state_dict({key: state[key] for key in flux.state_dict()}, strict=True)
    return flux.eval()


@pytest.fixture
def lora(pipe, tmp_path) -> Path:
    """A LoRA that diffusers saved, its alpha in the file's metadata."""
    flux, config = plain_flux(pipe, 0), LoraConfig(r=3, lora_alpha=6, target_modules=TARGETS)
    torch.manual_seed(5)
    flux.add_adapter(config)
    for name, parameter in flux.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    layers, facts = get_peft_model_state_dict(flux), flux.peft_config["default"].to_dict()
    FluxPipeline.save_lora_weights(tmp_path, layers, transformer_lora_adapter_metadata=facts)
    return tmp_path / "pytorch_lora_weights.safetensors"


def flux_with(pipe, half: int, lora: Path, scale: float, inputs: dict) -> torch.Tensor:
    """What diffusers' FLUX with that LoRA answers to one half of the inputs."""
    flux = plain_flux(pipe, half)
    state, alphas, facts = FluxPipeline.lora_state_dict(lora, return_alphas=True, return_lora_metadata=True)
    flux.load_lora_adapter(state, network_alphas=alphas, metadata=facts, adapter_name="style")
    flux.set_adapters("style", scale)
    rows = {"hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance"}
    return flux(**{k: split_branches(v)[half] if k in rows else v for k, v in inputs.items()}).sample


def inputs_for(pipe) -> dict:
    return build_inputs([0.4, 0.9], [0.8, 0.1], pipe.transformer.config)


def errors(pipe, expected: list[torch.Tensor], inputs: dict) -> list[float]:
    halves = split_branches(pipe.transformer(**inputs).sample)
    return [relative_error(half, one) for half, one in zip(halves, expected, strict=True)]


@torch.no_grad()
def test_loaded_fused_and_unloaded_as_in_diffusers(pipe, lora):
    inputs = inputs_for(pipe)
    without = [plain_flux(pipe, half) for half in (0, 1)]
    before = pipe.transformer(**inputs).sample
    expected = [flux_with(pipe, half, lora, 0.7, inputs) for half in (0, 1)]
    pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="style")
    pipe.set_adapters("style", 0.7)
    assert max(errors(pipe, expected, inputs)) < 1e-5
    pipe.disable_lora()
    assert torch.equal(pipe.transformer(**inputs).sample, before)
    pipe.enable_lora()
    pipe.fuse_lora()
    assert max(errors(pipe, expected, inputs)) < 1e-5
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert relative_error(pipe.transformer(**inputs).sample, before) < 1e-5
    for half, flux in enumerate(without):
        for key, value in plain_flux(pipe, half).state_dict().items():
            assert torch.allclose(value, flux.state_dict()[key], atol=1e-6), key
    assert list(pipe.transformer.peft_config) == [ADAPTER]


@torch.no_grad()
@pytest.mark.parametrize("form", ["plain", "fused", "merged", "float8"])
def test_merged_lora_is_in_every_form(pipe, lora, form):
    inputs = inputs_for(pipe)
    expected = [flux_with(pipe, half, lora, -0.5, inputs) for half in (0, 1)]
    moved = [relative_error(plain_flux(pipe, half)(**half_of(inputs, half)).sample, expected[half]) for half in (0, 1)]
    digest = hashlib.sha256(lora.read_bytes()).digest()
    merge_loras(pipe, [AskedLora(str(lora), None, -0.5)])
    if form != "plain":
        fuse_projections(pipe.transformer, merge_lora=form == "merged")
    if form == "float8":
        quantize_float8(pipe.transformer)
    worst = max(errors(pipe, expected, inputs))
    assert worst < (0.15 if form == "float8" else 1e-4) and worst < 0.5 * min(moved)
    assert digest == hashlib.sha256(lora.read_bytes()).digest()


def half_of(inputs: dict, half: int) -> dict:
    return {k: v if k.endswith("_ids") else split_branches(v)[half] for k, v in inputs.items()}


@torch.no_grad()
def test_two_loras_add_up_and_leave_what_can_be_saved(pipe, lora, tmp_path):
    once, twice = copy.deepcopy(pipe), pipe
    merge_loras(once, [parse_lora(f"{lora}:0.6")])
    merge_loras(twice, [parse_lora(f"{lora}:0.5"), parse_lora(f"{lora}:0.1")])
    inputs = inputs_for(pipe)
    assert relative_error(twice.transformer(**inputs).sample, once.transformer(**inputs).sample.double()) < 1e-5
    twice.save_pretrained(tmp_path / "whole")
    again = type(pipe).from_pretrained(tmp_path / "whole")
    assert torch.equal(again.transformer(**inputs).sample, twice.transformer(**inputs).sample)


@torch.no_grad()
def test_kohya_file_for_both_models_is_merged(pipe, tmp_path):
    generator = torch.Generator().manual_seed(6)
    to_out = pipe.transformer.transformer_blocks[0].attn.to_out[0].base_layer
    attention = pipe.text_encoder.get_submodule("encoder.layers.0.self_attn")
    tensors, expected = {}, {}
    for name, linear in {
        "lora_unet_double_blocks_0_img_attn_proj": to_out,
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": attention.q_proj,
        "lora_te1_text_model_encoder_layers_0_self_attn_out_proj": attention.out_proj,
    }.items():
        down, up = (
            torch.randn(shape, generator=generator) for shape in ((2, linear.in_features), (linear.out_features, 2))
        )
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}
        expected[linear] = linear.weight + 0.5 * up @ down
    save_file(tensors, tmp_path / "kohya.safetensors")
    merge_loras(pipe, [parse_lora(str(tmp_path / "kohya.safetensors"))])
    assert attention.q_proj in expected and attention.out_proj in expected  # plain linears again
    for linear, weight in expected.items():
        assert torch.allclose(linear.weight, weight, atol=1e-5)


def test_loaded_loras_are_refused_where_they_would_be_lost(pipe, lora, tmp_path):
    pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="style")
    for attempt in (
        lambda: fuse_projections(pipe.transformer),
        lambda: pipe.save_pretrained(tmp_path / "whole"),
        lambda: pipe.save_addons(tmp_path / "own"),
    ):
        with pytest.raises(ValueError, match=r"\(style\); take them off with unload_lora_weights"):
            attempt()


def changed(change):
    """A LoRA file with its tensors changed."""

    def write(lora: Path) -> Path:
        tensors = load_file(lora)
        change(tensors)
        save_file(tensors, lora.parent / "changed.safetensors")
        return lora.parent / "changed.safetensors"

    return write


def renamed(lora: Path) -> Path:
    return lora.rename(lora.with_suffix(".bin"))


def cut(lora: Path) -> Path:
    lora.write_bytes(lora.read_bytes()[:-4])
    return lora


OUT = "transformer.transformer_blocks.0.attn.to_out.0.lora_{}.weight"
BAD = {
    "no LoRA at all": (
        changed(lambda t: (t.clear(), t.update({"unet.conv.weight": torch.ones(2, 2)}))),
        "is not a LoRA for FLUX",
    ),
    "another model's": (
        changed(lambda t: t.update(_pack_dict_with_prefix({"down.0.lora_A.weight": torch.ones(3, 4)}, "unet"))),
        "it holds unet.down.0.lora_A.weight",
    ),
    "a deeper model's": (
        changed(lambda t: t.update({OUT.format("A").replace("s.0", "s.18"): torch.ones(3, 32)})),
        "whose transformer has no linear transformer_blocks.18.attn.to_out.0",
    ),
    "a wider model's": (
        changed(lambda t: t.update({OUT.format("A"): torch.ones(3, 48)})),
        r"maps 32 to 32 channels, its LoRA has A \(3, 48\) and B \(32, 3\)",
    ),
    "half of one": (changed(lambda t: t.pop(OUT.format("B"))), r"A \(3, 32\) and B \(\)"),
    "with norms": (
        changed(lambda t: t.update({"transformer.transformer_blocks.0.attn.norm_q.weight": torch.ones(16)})),
        "is not a LoRA for FLUX; it holds transformer.transformer_blocks.0.attn.norm_q.weight",
    ),
    "DoRA": (changed(lambda t: t.update({"transformer.x.lora_magnitude_vector": torch.ones(3)})), "of the kind DoRA"),
    "a pickle": (renamed, "is not a safetensors file"),
    "in part": (cut, "is damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_lora_of_this_model_is_refused_and_changes_nothing(pipe, lora, case):
    spoil, said = BAD[case]
    before = copy.deepcopy(pipe.transformer.state_dict())
    with pytest.raises((OSError, ValueError), match=said) as refusal:
        merge_loras(pipe, [parse_lora(str(spoil(lora)))])
    assert "\n" not in str(refusal.value) and str(lora.parent) in str(refusal.value)
    after = pipe.transformer.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize(
    "text, asked",
    [
        ("maker/style", AskedLora("maker/style", None, 1.0)),
        ("maker/style:0.8", AskedLora("maker/style", None, 0.8)),
        ("maker/style/a.safetensors@v1:-1", AskedLora("maker/style/a.safetensors", "v1", -1.0)),
        ("C:\\loras\\a.safetensors", AskedLora("C:\\loras\\a.safetensors", None, 1.0)),
    ],
)
def test_flag_is_read(text, asked):
    assert parse_lora(text) == asked


@pytest.mark.parametrize("text", ["", ":0.5", "maker/style:much", "maker/style:nan", "maker/style:11"])
def test_flag_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="--lora takes FILE_OR_REPOSITORY"):
        parse_lora(text)


def test_folder_must_hold_one_lora(lora):
    assert find_lora(AskedLora(str(lora.parent), None, 1.0)) == lora
    save_file({}, lora.parent / "another.safetensors")
    with pytest.raises(ValueError, match="it has another.safetensors, pytorch_lora_weights.safetensors"):
        find_lora(AskedLora(str(lora.parent), None, 1.0))
    with pytest.raises(OSError, match="neither a file here nor a repository's name"):
        find_lora(AskedLora("./nowhere.safetensors", None, 1.0))
