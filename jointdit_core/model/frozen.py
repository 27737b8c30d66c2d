"""Frozen branches (approximate): steps in which one branch's rows are not computed.

In depth estimation and depth-conditioned generation one branch stays at sigma 0, so its input never changes; all that
changes is what it reads of the other. It may be computed in the first step only. In joint generation depth may be
computed in every second step only. In the steps between, the frozen branch's queries, keys and values of every block
are those of the last step that computed it, and so is its velocity.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from .joint_attention import Kept, merge_branches, split_branches
from .transformer import JointDiTTransformer2DModel

FREEZES = CLEAN, HALF_DEPTH = "clean-branch", "half-depth"


class FrozenBranch:
    """One request's frozen branch; dies with the request."""

    def __init__(self, branch: int, every: int | None) -> None:
        """Start before the first step.

        Args:
            branch: 0 rgb, 1 depth.
            every: Computed in every so manieth step; None: in the first only.
        """
        self.branch, self.every = branch, every
        self.computed = True
        self.kept: dict[FreezingForward, torch.Tensor] = {}
        self._velocity: torch.Tensor | None = None

    def begin(self, step: int) -> None:
        """Say which step, from 0, comes next."""
        self.computed = step == 0 or (self.every is not None and step % self.every == 0)

    def hold(self, velocity: torch.Tensor) -> torch.Tensor:
        """Give the branch's velocity: the present one if it was computed, else that of when it was."""
        if self.computed:
            self._velocity = velocity
        return self._velocity


def frozen_branch(model: JointDiTTransformer2DModel, sigma_rgb: float, sigma_depth: float) -> FrozenBranch | None:
    """Decide what a request freezes.

    Args:
        model: As `freeze_branches` left it.
        sigma_rgb: Start sigma of the rgb branch.
        sigma_depth: Start sigma of the depth branch.

    Returns:
        The request's frozen branch, or None.
    """
    clean = [sigma_rgb == 0, sigma_depth == 0]
    if model.freezes == CLEAN and sum(clean) == 1:
        return FrozenBranch(clean.index(True), every=None)
    if model.freezes == HALF_DEPTH and not any(clean):
        return FrozenBranch(1, every=2)
    return None


class OfBranch(nn.Module):
    """A layer with something of its own for each branch, on rows of one branch only."""

    def __init__(self, layer: nn.Module, branch: int) -> None:
        """Hold the layer.

        Args:
            layer: With a method `of_branch`.
            branch: 0 rgb, 1 depth.
        """
        super().__init__()
        self.layer, self.branch = layer, branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (B, ..., in)."""
        return self.layer.of_branch(x, self.branch)


class FreezingForward:
    """A block's forward that leaves out a frozen branch's rows."""

    def __init__(self, block: nn.Module, last: bool, compiled: bool) -> None:
        """Prepare the block for rows of either branch alone; no weight is copied.

        Args:
            block: A block of the transformer in its final form.
            last: Whether no block follows.
            compiled: Whether to compile the forms for one branch, as the block is.
        """
        self.both, self.last = block.forward, last
        self.shape = block.attn.heads, block.attn.head_dim
        self.alone = []
        for branch in (0, 1):
            alone = _of_branch(block, branch)
            vars(alone).pop("forward", None)
            self.alone.append(torch.compile(alone.forward, fullgraph=True) if compiled else alone.forward)

    def __call__(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
        joint_attention_kwargs: dict[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the block; arguments and result as diffusers has them, rows as `Kept` says."""
        others = dict(joint_attention_kwargs)
        frozen: FrozenBranch | None = others.pop("frozen", None)
        if frozen is None:
            return self.both(hidden_states, encoder_hidden_states, temb, image_rotary_emb, others)
        if frozen.computed:
            if self not in frozen.kept:
                tokens = hidden_states.shape[1] + encoder_hidden_states.shape[1]
                frozen.kept[self] = hidden_states.new_empty(3, len(hidden_states) // 2, tokens, *self.shape)
            others["kept"] = Kept(frozen.kept[self], frozen.branch, filled=False)
            return self.both(hidden_states, encoder_hidden_states, temb, image_rotary_emb, others)

        moving = 1 - frozen.branch
        if len(hidden_states) == len(temb):  # the first block, given both branches
            hidden_states, encoder_hidden_states = (
                split_branches(x)[moving] for x in (hidden_states, encoder_hidden_states)
            )
        others["branch_weights"] = split_branches(others["branch_weights"])[moving]
        others["kept"] = Kept(frozen.kept[self], frozen.branch, filled=True)
        results = self.alone[moving](
            hidden_states, encoder_hidden_states, split_branches(temb)[moving], image_rotary_emb, others
        )
        # The layers after the last block are given both branches again; nobody reads the frozen one's result.
        return tuple(merge_branches(x, x) for x in results) if self.last else results


def freeze_branches(model: JointDiTTransformer2DModel, which: str, compiled: bool) -> None:
    """Let requests leave out rows of a branch.

    Args:
        model: In its final form, changed in place.
        which: `CLEAN`, a clean branch after the first step, or `HALF_DEPTH`, depth in every second step of joint
            generation.
        compiled: Whether its blocks are compiled.

    Raises:
        ValueError: The blocks' weights are streamed, which happens around each block as a whole.
    """
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    if any(hasattr(block, "_diffusers_hook") for block in blocks):
        raise ValueError("A frozen branch needs the transformer's weights in place; they are streamed here.")
    for block in blocks:
        block.forward = FreezingForward(block, block is blocks[-1], compiled)
    model.freezes = which


def _of_branch(module: nn.Module, branch: int) -> nn.Module:
    """The same module for rows of one branch; what it holds is shared, not copied."""
    if hasattr(module, "of_branch"):
        return OfBranch(module, branch)
    children = {name: _of_branch(child, branch) for name, child in module.named_children()}
    if all(children[name] is child for name, child in module.named_children()):
        return module
    changed = copy.copy(module)
    changed._modules = {**module._modules, **children}
    return changed
