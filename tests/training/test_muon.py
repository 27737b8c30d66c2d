"""Muon against singular values and against itself one matrix at a time."""

import pytest
import torch

from jointdit_core.training.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalize(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    rotated = u.mT @ result @ v.mT  # diagonal where the singular vectors are kept
    assert torch.allclose(rotated, torch.diag_embed(rotated.diagonal(dim1=1, dim2=2)), atol=1e-4)


def test_grouping_by_shape_changes_nothing():
    torch.manual_seed(0)
    together = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 6), (4, 6), (6, 4))]
    alone = [torch.nn.Parameter(p.detach().clone()) for p in together]
    optimizers = [Muon(together, 0.1, 0.01, dtype=torch.float32)]
    optimizers += [Muon([p], 0.1, 0.01, dtype=torch.float32) for p in alone]
    for _ in range(3):
        for a, b in zip(together, alone, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_it_minimises():
    torch.manual_seed(0)
    weight, target = torch.nn.Parameter(torch.zeros(8, 16)), torch.randn(8, 16)
    optimizer = Muon([weight], lr=0.05, weight_decay=0.0, dtype=torch.float32)
    for _ in range(100):
        loss = (weight - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.1


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1, weight_decay=0.0)
