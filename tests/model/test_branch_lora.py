"""Which linears carry a LoRA, of which rank, and what it adds."""

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from jointdit_core.model.branch_lora import DepthLoraLinear
from jointdit_core.model.transformer import JointDiTTransformer2DModel
from tests.model.builders import TINY, build_model, shake

DOUBLE = {"norm1.linear", "norm1_context.linear", "attn.to_out.0", "attn.to_add_out"}
DOUBLE |= {"attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}
SINGLE = {"norm.linear", "proj_mlp", "attn.to_q", "attn.to_k", "attn.to_v"}
GLOBAL = {"time_text_embed.text_embedder.linear_1", "time_text_embed.text_embedder.linear_2", "context_embedder"}


def ranks(model):
    """Name of each adapted linear -> its rank."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, DepthLoraLinear)}
    return {name: layer.lora_A["depth"].weight.shape[0] for name, layer in layers.items()}


def test_exactly_the_listed_linears_are_adapted():
    expected = {f"transformer_blocks.{i}.{name}" for i in range(2) for name in DOUBLE}
    expected |= {f"single_transformer_blocks.{i}.{name}" for i in range(2) for name in SINGLE}
    assert ranks(build_model()).keys() == expected | GLOBAL


def test_ranks_follow_the_overrides():
    found = ranks(build_model(lora_rank=5, lora_rank_overrides={"context_embedder": 7, "norm.linear": 2}))
    assert found.pop("context_embedder") == 7
    assert {found.pop(f"single_transformer_blocks.{i}.norm.linear") for i in range(2)} == {2}
    assert set(found.values()) == {5}


def test_default_ranks_are_the_released_ones():
    found = ranks(JointDiTTransformer2DModel(**{**TINY, "num_layers": 1, "num_single_layers": 1}))
    assert [found.pop(name) for name in sorted(GLOBAL)] == [1024, 512, 1024]
    assert set(found.values()) == {64}


def test_update_is_half_b_a_x_on_the_depth_rows():
    layer = build_model().context_embedder
    torch.nn.init.normal_(layer.lora_B["depth"].weight)
    x = torch.randn(4, 3, 24)
    a, b = layer.lora_A["depth"].weight, layer.lora_B["depth"].weight
    update = layer(x) - layer.base_layer(x)
    assert torch.equal(update[:2], torch.zeros(2, 3, 32))
    assert torch.allclose(update[2:], 0.5 * x[2:] @ a.T @ b.T, atol=1e-5)


def test_own_update_is_never_merged_because_both_halves_share_the_base():
    model = shake(build_model())
    assert all(isinstance(model.get_submodule(name), BaseTunerLayer) for name in ranks(model))
    before = model.context_embedder.base_layer.weight.clone()
    model.fuse_lora()
    assert torch.equal(model.context_embedder.base_layer.weight, before) and not model.context_embedder.merged


def test_override_that_names_no_linear_is_refused():
    with pytest.raises(ValueError, match="contxt_embedder"):
        build_model(lora_rank_overrides={"contxt_embedder": 7})
