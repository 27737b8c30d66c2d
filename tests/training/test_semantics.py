"""The semantic head: it reads the labels it is taught, teaches the blocks before it, and is never exported."""

import math

import torch

from jointdit_core.training.objective import TrainedParts
from jointdit_core.training.semantics import SemanticHead
from jointdit_core.worlds import COLOR_CLASSES, OBJECT_CLASSES


def velocity_and_loss(parts, pairs):
    torch.manual_seed(0)
    x = torch.randn(8, 16, 16)
    return parts(x, torch.full((8,), 0.5), pairs.captions[:, 0], (8, 8), torch.ones(4), pairs.labels)


def test_an_untrained_head_guesses_and_its_gradient_reaches_the_blocks_before_it(pipeline, pairs):
    parts = TrainedParts(pipeline, semantic=True)
    torch.nn.init.zeros_(parts.semantic.read.weight)
    torch.nn.init.zeros_(parts.semantic.read.bias)
    _, loss = velocity_and_loss(parts, pairs)
    assert math.isclose(loss.item(), math.log(len(OBJECT_CLASSES)) + math.log(len(COLOR_CLASSES)), rel_tol=1e-5)
    torch.nn.init.normal_(parts.semantic.read.weight)
    _, loss = velocity_and_loss(parts, pairs)
    loss.backward()
    assert parts.transformer.x_embedder.weight.grad.abs().max() > 0
    assert parts.transformer.proj_out.weight.grad is None


def test_every_latent_has_its_own_logits(pipeline, pairs):
    head = SemanticHead(pipeline.transformer)
    labels = torch.randint(3, (4, 2, 8, 8), dtype=torch.uint8)
    head.tokens = torch.randn(8, 16, pipeline.transformer.inner_dim)
    before = head(labels)
    head.tokens = torch.randn(8, 16, pipeline.transformer.inner_dim)
    perfect = torch.full((8, 16, 4, len(OBJECT_CLASSES) + len(COLOR_CLASSES)), 0.0)
    for b in range(8):
        for y in range(8):
            for x in range(8):
                token, corner = (y // 2) * 4 + x // 2, (y % 2) * 2 + x % 2
                perfect[b, token, corner, labels[b % 4, 0, y, x].int()] = 50.0
                perfect[b, token, corner, len(OBJECT_CLASSES) + labels[b % 4, 1, y, x].int()] = 50.0
    head.read.forward = lambda tokens: perfect.flatten(2)
    assert head(labels) < 1e-4 < before


def test_the_head_does_not_change_the_velocity(pipeline, pairs):
    torch.nn.init.normal_(pipeline.transformer.proj_out.weight)
    with_head, _ = velocity_and_loss(TrainedParts(pipeline, semantic=True), pairs)
    without, loss = velocity_and_loss(TrainedParts(pipeline), pairs)
    assert torch.equal(with_head, without) and loss == 0
