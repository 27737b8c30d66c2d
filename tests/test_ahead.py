"""The graphs of the repeated blocks that are compiled ahead of time."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from jointdit_core.ahead import call_with_whole_tensors, export_blocks
from jointdit_core.model.fused import fuse_projections
from tests.tiny import tiny_pipeline, tiny_transformer


@torch.no_grad()
def test_one_graph_computes_what_its_list_of_blocks_does_at_any_size():
    pipe = tiny_pipeline(guidance_embeds=True)
    pipe.transformer.single_transformer_blocks = torch.nn.ModuleList()  # for the test's time; they are exported alike
    fuse_projections(pipe.transformer)
    ask = {"prompt": "a red ball", "seed": 1, "num_inference_steps": 1}
    expected = pipe(**ask, width=96, height=64).disparity
    graphs, calls = export_blocks(pipe.transformer, lambda: pipe(**ask)), []
    assert list(graphs) == ["transformer_blocks"]
    [block] = pipe.transformer.transformer_blocks
    graph, weights = graphs["transformer_blocks"].module(), block.state_dict()
    block.forward = lambda **call: calls.append(1) or functional_call(graph, weights, (), call)
    assert pipe(**ask, width=96, height=64).disparity == pytest.approx(expected, abs=1e-4)
    assert calls == [1]


def test_blocks_are_called_with_whole_tensors():
    transformer, got = tiny_transformer(), []
    call_with_whole_tensors(transformer)
    for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
        block.forward = lambda **call: got.append(call)
        text, image = torch.arange(2 * 5 * 4.0).view(2, 5, 4).split([2, 3], dim=1)
        block(hidden_states=image, encoder_hidden_states=text, temb=None)
    assert len(got) > 1
    for call in got:
        assert call["hidden_states"].is_contiguous() and call["encoder_hidden_states"].is_contiguous()
        assert torch.equal(call["hidden_states"], image) and torch.equal(call["encoder_hidden_states"], text)
