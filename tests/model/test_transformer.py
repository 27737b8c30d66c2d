"""The joint transformer against plain FLUX and against the equations; training, compiling, saving and loading."""

import json

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel
from diffusers.models.attention_dispatch import attention_backend
from safetensors.torch import load_file, save_file

from jointdit_core.model.transformer import JointDiTTransformer2DModel, added_parameters, freeze_backbone
from tests.model import reference
from tests.model.builders import TINY_FLUX, build_inputs, build_model, relative_error, run_reference, shake

WEIGHTS = "diffusion_pytorch_model.safetensors"
TASKS = {
    "joint generation": ([1.0, 0.5], [1.0, 0.5]),
    "depth estimation": ([0.0, 0.0], [1.0, 0.3]),
    "depth-conditioned": ([0.7, 0.2], [0.0, 0.0]),
    "uneven": ([0.13, 0.9], [0.77, 0.41]),
    "both clean": ([0.0, 0.0], [0.0, 0.0]),
    "one pair at each end": ([0.0, 1.0], [0.0, 1.0]),
}


def plain_flux(model):
    """FLUX with the model's backbone weights."""
    flux = FluxTransformer2DModel(**TINY_FLUX).eval()
    backbone = {k.replace(".base_layer", ""): v for k, v in model.state_dict().items() if k in base_keys(model)}
    flux.load_state_dict(backbone, strict=True)
    return flux


def base_keys(model):
    """Keys of the parameters that plain FLUX has too."""
    return model.state_dict().keys() - set(added_parameters(model))


@torch.no_grad()
@pytest.mark.parametrize("sigmas", TASKS.values(), ids=TASKS)
def test_forward_equals_plain_flux_until_the_joint_parts_are_trained(sigmas):
    model = build_model()
    inputs = build_inputs(*sigmas)
    actual, expected = model(**inputs).sample, plain_flux(model)(**inputs).sample
    assert (actual - expected).abs().max() <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("form", ["released", "paper", "off"])
@pytest.mark.parametrize("sigmas", TASKS.values(), ids=TASKS)
def test_forward_follows_the_equations(form, sigmas):
    model = shake(build_model(adaptive_weights=form))
    inputs = build_inputs(*sigmas)
    expected = run_reference(reference.our_linears(model.state_dict()), model.config, inputs)
    assert relative_error(model(**inputs).sample, expected) <= 2e-5


@torch.no_grad()
def test_forward_follows_the_equations_without_guidance_and_at_another_size_and_alpha():
    model = shake(build_model(guidance_embeds=False, num_attention_heads=3, num_layers=1, adaptive_alpha=2.0))
    inputs = build_inputs([0.4], [0.8], model.config, height=2, width=7)
    expected = run_reference(reference.our_linears(model.state_dict()), model.config, inputs)
    assert relative_error(model(**inputs).sample, expected) <= 2e-5


@torch.no_grad()
def test_preconditioned_output_of_unit_variance_becomes_the_velocity():
    """Of clean tokens c and noise n: (sigma c / s - (1 - sigma) s n) / sqrt(D) must give v = n - c."""
    model = build_model(prediction_type="preconditioned")
    inputs = build_inputs([0.0, 0.4, 1.0], [0.5, 0.9, 0.1])
    generator = torch.manual_seed(0)
    model.token_std.copy_(torch.rand(model.token_std.shape, generator=generator) + 0.1)
    std = model.token_std.double().repeat_interleave(3, dim=0)[:, None]
    sigmas = inputs["timestep"].double()[:, None, None]
    clean, noise = torch.randn(2, *inputs["hidden_states"].shape, dtype=torch.float64, generator=generator)
    clean *= std
    inputs["hidden_states"] = ((1 - sigmas) * clean + sigmas * noise).float()
    target = (sigmas * clean / std - (1 - sigmas) * std * noise) / (((1 - sigmas) * std) ** 2 + sigmas**2).sqrt()
    assert target.std().item() == pytest.approx(1, abs=0.1)
    model.proj_out.register_forward_hook(lambda *_: target.float())
    assert (model(**inputs).sample - (noise - clean)).abs().max() <= 1e-4


@torch.no_grad()
def test_preconditioned_model_that_adds_nothing_filters_linearly():
    """E[v | x] of independent normals, written as a regression of v on x_sigma."""
    model = build_model(prediction_type="preconditioned")
    model.token_std.fill_(0.3)
    inputs = build_inputs([0.2, 0.7], [0.6, 1.0])
    sigmas = inputs["timestep"].double()[:, None, None]
    slope = (sigmas - (1 - sigmas) * 0.09) / ((1 - sigmas) ** 2 * 0.09 + sigmas**2)  # cov(v, x) / var(x)
    model.proj_out.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    assert (model(**inputs).sample - slope * inputs["hidden_states"]).abs().max() <= 1e-5


@torch.no_grad()
def test_each_place_has_its_own_token_on_its_own_grid():
    model, plain = shake(build_model(position_grid=3)), shake(build_model())
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "position"})
    inputs = build_inputs([0.3, 0.8], [0.6, 0.2], height=3, width=3)
    rgb, depth = model.position.flatten(2).mT  # (L, C) each, row by row
    placed = inputs | {"hidden_states": inputs["hidden_states"] + torch.stack([rgb, rgb, depth, depth])}
    assert (model(**inputs).sample - plain(**placed).sample).abs().max() <= 1e-4


@torch.no_grad()
def test_the_places_stretch_over_pictures_of_other_shapes():
    model = build_model(position_grid=2)
    model.position.copy_(torch.tensor([0.0, 1.0]).expand(2, 8, 2, 2))  # left 0, right 1
    inputs = build_inputs([0.3], [0.6], height=3, width=8)
    found = model._positions(inputs["img_ids"], inputs["hidden_states"])  # (2, 24, 8)
    expected = ((torch.arange(8) + 0.5) / 4 - 0.5).clamp(0, 1)  # of the columns' middles, between 1/4 and 3/4
    assert found.shape == (2, 24, 8)
    assert (found.reshape(2, 3, 8, 8) - expected[:, None]).abs().max() <= 1e-6


@torch.no_grad()
def test_lora_changes_the_depth_rows_only():
    model = shake(build_model())
    for name, parameter in model.named_parameters():
        if ".processor.joint." in name:
            parameter.zero_()
    inputs = build_inputs([0.4, 0.9], [0.8, 0.1])
    (rgb, depth) = model(**inputs).sample.chunk(2)
    (plain_rgb, plain_depth) = plain_flux(model)(**inputs).sample.chunk(2)
    assert (rgb - plain_rgb).abs().max() <= 1e-5
    assert (depth - plain_depth).abs().max() > 0.1


@torch.no_grad()
def test_pairs_in_a_batch_do_not_see_each_other():
    model = shake(build_model())
    inputs = build_inputs([0.4, 0.9], [0.8, 0.1])
    both = model(**inputs).sample
    second = {k: v if k.endswith("_ids") else v[1::2] for k, v in inputs.items()}
    assert (model(**second).sample - both[1::2]).abs().max() <= 1e-5


def test_frozen_backbone_leaves_gradients_to_all_added_parameters_only():
    model = shake(build_model())
    freeze_backbone(model)
    model(**build_inputs([0.4, 0.0], [0.8, 0.3])).sample.square().mean().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == set(added_parameters(model))
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in reached)


def test_fresh_model_trains_all_its_parameters():
    assert all(parameter.requires_grad for parameter in build_model().parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = shake(build_model()).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        model(**build_inputs([0.4], [0.8])).sample.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


@torch.no_grad()
def test_attention_backend_can_be_chosen():
    model = shake(build_model())
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    with_backend = build_model()
    with_backend.load_state_dict(model.state_dict())
    with attention_backend("native"):  # `set_attention_backend` also sets the process's default; this puts it back
        with_backend.set_attention_backend("_native_math")
        assert {p._attention_backend.value for p in with_backend.attn_processors.values()} == {"_native_math"}
        assert (with_backend(**inputs).sample - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_fusing_projections_does_not_lose_the_lora():
    model = shake(build_model())
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    model.fuse_qkv_projections()
    assert torch.equal(model(**inputs).sample, expected)


# The graphs are what we answer for; turning them into machine code is left out here, for it takes a minute on a CPU.
def test_whole_model_compiles_into_one_graph_forward_and_backward():
    model = shake(build_model(num_layers=1, num_single_layers=1))
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    expected.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    actual = torch.compile(model, fullgraph=True, backend="aot_eager")(**inputs).sample
    actual.square().mean().backward()
    assert (actual - expected).abs().max() <= 1e-5
    assert all(torch.allclose(model.get_parameter(name).grad, g, atol=1e-5) for name, g in gradients.items())


@torch.no_grad()
def test_repeated_blocks_compile_into_whole_graphs_that_all_blocks_share():
    torch._dynamo.reset()
    model = shake(build_model(num_layers=3, num_single_layers=3))
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    graphs = []
    model.compile_repeated_blocks(fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    assert (model(**inputs).sample - expected).abs().max() <= 1e-5
    # Double blocks, the first single block (its inputs have other strides, as in plain FLUX), further single blocks.
    assert len(graphs) == 3


def test_full_size_model_has_the_counted_parameters():
    with init_empty_weights():
        model = JointDiTTransformer2DModel(guidance_embeds=True)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    added = {name: counts[name] for name in added_parameters(model)}
    # The release shares one A among the parts of a fused linear, we hold one each.
    parts = ("to_k", "to_v", "add_k_proj", "add_v_proj", "proj_mlp")
    repeated = sum(n for name, n in added.items() if ".lora_A." in name and name.split(".lora_A")[0].endswith(parts))
    backbone = sum(counts.values()) - sum(added.values())
    assert round(backbone / 1e6) == 11_901
    assert round((backbone + sum(added.values()) - repeated) / 1e6) == 14_256


@pytest.mark.parametrize("shard", ["10GB", "60KB"], ids=["one file", "sharded"])
@pytest.mark.parametrize("low_memory", [True, False])
def test_saving_and_loading_keeps_every_bit(tmp_path, shard, low_memory):
    model = shake(build_model(adaptive_weights="paper", adaptive_alpha=2.0))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    loaded = JointDiTTransformer2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=low_memory)
    inputs = build_inputs([0.4], [0.8])
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    assert {k: v for k, v in loaded.config.items() if not k.startswith("_")} == {
        k: v if not isinstance(v, tuple) else list(v) for k, v in model.config.items() if not k.startswith("_")
    }
    with torch.no_grad():
        # Equal weights at other addresses: CPU kernels may differ in the last bit.
        assert (loaded(**inputs).sample - model(**inputs).sample).abs().max() <= 1e-5


def damage(path, change):
    """Rewrite the weights file through `change`, a function of the tensors that edits them in place."""
    tensors = load_file(path / WEIGHTS)
    change(tensors)
    save_file(tensors, path / WEIGHTS)


KEY = "transformer_blocks.1.attn.processor.joint.weight"


def test_missing_key_is_refused_by_name(tmp_path):
    build_model().save_pretrained(tmp_path)
    damage(tmp_path, lambda tensors: tensors.pop(KEY))
    with pytest.raises(ValueError, match=f"missing: {KEY}"):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)


def test_unexpected_key_is_refused_by_name(tmp_path):
    build_model().save_pretrained(tmp_path)
    damage(tmp_path, lambda tensors: tensors.update({"stranger.weight": torch.zeros(3)}))
    with pytest.raises(ValueError, match="unexpected: stranger.weight"):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("low_memory", [True, False])
def test_key_of_another_shape_is_refused_by_name(tmp_path, low_memory):
    build_model().save_pretrained(tmp_path)
    damage(tmp_path, lambda tensors: tensors.update({KEY: tensors[KEY][:-1].clone()}))
    with pytest.raises(ValueError, match=f"of another shape: {KEY}"):
        JointDiTTransformer2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=low_memory)


def test_shard_that_lacks_a_listed_key_is_refused_by_name(tmp_path):
    build_model().save_pretrained(tmp_path, max_shard_size="60KB")
    index = json.loads((tmp_path / f"{WEIGHTS}.index.json").read_text())
    shard = tmp_path / index["weight_map"][KEY]
    save_file({key: tensor for key, tensor in load_file(shard).items() if key != KEY}, shard)
    with pytest.raises(ValueError, match=f"missing: {KEY}"):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("cut", [4, 5000])
def test_truncated_file_is_refused_by_name(tmp_path, cut):
    build_model().save_pretrained(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:-cut])
    with pytest.raises(OSError, match=WEIGHTS):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)


def test_absent_weights_are_refused_by_name_even_where_a_pickle_lies(tmp_path):
    model = build_model()
    model.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match=WEIGHTS):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)


def test_damaged_config_is_refused_by_name(tmp_path):
    build_model().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{ not json")
    with pytest.raises(OSError, match="config.json"):
        JointDiTTransformer2DModel.from_pretrained(tmp_path)
