"""The graphs of the repeated blocks that are compiled ahead of time."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from jointdit_core.ahead import export_blocks
from jointdit_core.model.fused import fuse_projections
from tests.tiny import tiny_pipeline


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
