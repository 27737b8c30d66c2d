"""Float8 linears: near the plain model, and refused where they cannot be."""

from __future__ import annotations

import pytest
import torch

from jointdit_core.model.fp8 import Float8Linear, quantize_float8
from jointdit_core.model.fused import fuse_projections
from tests.model.builders import build_inputs, build_model, shake


@torch.no_grad()
def test_float8_linear_errs_by_its_rounding_only():
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 48), torch.randn(2, 5, 64) * torch.tensor([1e-3, 10.0])[:, None, None]
    bias = linear.bias * torch.tensor([1e-3, 10.0])[:, None]  # of the products' scale, which it is rounded with
    for rows, b in zip(x, bias, strict=True):  # rows of any scale alike
        expected, actual = torch.nn.functional.linear(rows, linear.weight, b), Float8Linear(linear.weight, b)(rows)
        assert actual.shape == expected.shape and actual.dtype == rows.dtype
        assert 1e-4 < (actual - expected).norm() / (expected - b).norm() < 0.06


@torch.no_grad()
@pytest.mark.parametrize("merge_lora", [False, True])
def test_float8_transformer_stays_near_the_plain_one(merge_lora):
    model = shake(build_model())
    inputs = build_inputs([0.4, 0.9], [0.8, 0.1])
    expected = model(**inputs).sample
    fuse_projections(model, merge_lora)
    before = sum(p.nbytes for p in [*model.parameters(), *model.buffers()])
    quantize_float8(model)
    assert sum(p.nbytes for p in [*model.parameters(), *model.buffers()]) < 0.8 * before
    error = (model(**inputs).sample - expected).norm() / expected.norm()
    assert 1e-3 < error < 0.15


def test_unfused_transformer_is_refused():
    with pytest.raises(ValueError, match="Fuse the transformer's projections"):
        quantize_float8(build_model())
