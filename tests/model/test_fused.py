"""The fused transformer against the plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.models.attention_dispatch import attention_backend

from jointdit_core.model.fused import FusedLoraLinear, fuse_projections
from jointdit_core.model.released import load_released
from tests.model.builders import TINY, build_inputs, build_model, shake
from tests.model.test_released import make_released
from tests.model.test_transformer import TASKS


def fused_copy(model, merge_lora=False):
    fused = copy.deepcopy(model)
    fuse_projections(fused, merge_lora)
    return fused


@torch.no_grad()
@pytest.mark.parametrize("merge_lora", [False, True], ids=["LoRA beside", "LoRA merged"])
@pytest.mark.parametrize("sigmas", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_fused_equals_plain(sigmas, merge_lora, prediction):
    model = shake(build_model(prediction_type=prediction))
    inputs = build_inputs(*sigmas)
    expected = model(**inputs).sample
    assert (fused_copy(model, merge_lora)(**inputs).sample - expected).abs().max() <= 1e-4


@torch.no_grad()
def test_released_weights_keep_their_common_lora_a():
    model = load_released(*make_released(TINY, {"blocks": 4}), TINY)
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    fused = fused_copy(model)
    ranks = {module.lora_a.shape[0] for module in fused.modules() if isinstance(module, FusedLoraLinear)}
    assert ranks == {4}
    assert (fused(**inputs).sample - expected).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("merge_lora", [False, True], ids=["LoRA beside", "LoRA merged"])
def test_fused_blocks_compile_into_whole_graphs(merge_lora):
    torch._dynamo.reset()
    model = shake(build_model(num_layers=2, num_single_layers=3))
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    fused, graphs = fused_copy(model, merge_lora), []
    fused.compile_repeated_blocks(fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    assert (fused(**inputs).sample - expected).abs().max() <= 1e-4
    assert len(graphs) <= 3


@torch.no_grad()
def test_fused_model_keeps_its_attention_backend():
    model = shake(build_model())
    inputs = build_inputs([0.4], [0.8])
    expected = model(**inputs).sample
    with attention_backend("native"):  # `set_attention_backend` also sets the process's default; this puts it back
        model.set_attention_backend("_native_math")
        fuse_projections(model)
        assert {p._attention_backend.value for p in model.attn_processors.values()} == {"_native_math"}
        assert (model(**inputs).sample - expected).abs().max() <= 1e-4


def test_fused_model_is_neither_saved_nor_fused_again(tmp_path):
    fused = fused_copy(build_model())
    with pytest.raises(ValueError, match="save it before fusing"):
        fused.save_pretrained(tmp_path)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="fused already"):
        fuse_projections(fused)


def steps(model, count=6):
    """Outputs along a short path of noise levels, as a denoising loop asks for them."""
    levels = torch.linspace(1, 0.5, count).tolist()
    with model.cache_context("test"), torch.no_grad():
        return [model(**build_inputs([sigma], [sigma])).sample for sigma in levels]


@pytest.mark.parametrize("fuse", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize(
    "config",
    [
        FirstBlockCacheConfig(threshold=10.0),
        TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=2, use_lite_mode=True),
    ],
    ids=["first-block", "taylorseer"],
)
def test_step_caches_skip_work_and_stay_near(config, fuse):
    model = shake(build_model(num_layers=1, num_single_layers=2))
    expected = steps(model)
    if fuse:
        fuse_projections(model)
    calls = []
    model.single_transformer_blocks[1].norm.linear.register_forward_hook(lambda *_: calls.append(1))
    model.enable_cache(config)
    actual = steps(model)
    errors = [float((a - e).norm() / e.norm()) for a, e in zip(actual, expected, strict=True)]
    assert errors[0] <= 1e-4 and 1e-6 < max(errors) < 0.5
    assert len(calls) < len(expected)
