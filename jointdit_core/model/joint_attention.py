"""How the two branches meet: row layout, joint attention (Eq. 5) and adaptive scheduling weights (Eq. 6).

Letters: B pairs, S = T + L text and image tokens (text first), H heads, D width.
A batch of B pairs is a tensor of 2B rows: B rgb rows, then the B depth rows in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttention, _get_qkv_projections
from torch import nn
from torch.nn import functional as F

WeightForm = Literal["released", "paper", "off"]


def split_branches(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split 2B rows into the rgb and the depth rows.

    Args:
        x: Tensor (2B, ...), rgb rows first.

    Returns:
        Views (rgb, depth), each (B, ...).
    """
    pairs = x.shape[0] // 2
    return x[:pairs], x[pairs:]


def merge_branches(rgb: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Join rgb and depth rows, the inverse of `split_branches`.

    Args:
        rgb: Tensor (B, ...).
        depth: Tensor (B, ...).

    Returns:
        Tensor (2B, ...), rgb rows first.
    """
    return torch.cat([rgb, depth])


def swap_branches(x: torch.Tensor) -> torch.Tensor:
    """Put each branch's rows in the place of the other's.

    Args:
        x: Tensor (2B, ...), rgb rows first.

    Returns:
        Tensor (2B, ...), depth rows first.
    """
    rgb, depth = split_branches(x)
    return merge_branches(depth, rgb)


def adaptive_weights(
    sigma_rgb: torch.Tensor, sigma_depth: torch.Tensor, form: WeightForm = "released", alpha: float = 3.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weigh the joint attention so that the noisier branch listens more (Eq. 6).

    Args:
        sigma_rgb: Noise levels (B,) in [0, 1], 1 = noise.
        sigma_depth: Noise levels (B,) in [0, 1].
        form: "released" takes the receiver's share of the noise, "paper" the other branch's share of t = 1 - sigma,
            "off" is 1/2 throughout. The two agree where both sigmas are equal.
        alpha: Steepness.

    Returns:
        (w_rgb, w_depth), each (B,) float32 in (0, 1), named by who receives. Where the share is 0/0 they are 1/2.
    """
    sigma_rgb, sigma_depth = sigma_rgb.float(), sigma_depth.float()
    if form == "off":
        return torch.full_like(sigma_rgb, 0.5), torch.full_like(sigma_depth, 0.5)
    # (the amount that makes rgb listen, the amount that makes depth listen)
    for_rgb, for_depth = (sigma_rgb, sigma_depth) if form == "released" else (1 - sigma_depth, 1 - sigma_rgb)
    total = for_rgb + for_depth
    share_rgb = torch.where(total > 0, for_rgb / total, 0.5)
    share_depth = torch.where(total > 0, for_depth / total, 0.5)
    # Eq. 6
    return torch.sigmoid(alpha * (share_rgb - 0.5)), torch.sigmoid(alpha * (share_depth - 0.5))


class Kept(NamedTuple):
    """What one block keeps of a branch whose rows are computed in a request's first step only.

    Attributes:
        qkv: Its queries, keys and values (3, B, S, H, D / H), ready for attention.
        branch: Whose they are, 0 rgb, 1 depth.
        filled: Whether they are to be read; else they are to be written.
    """

    qkv: torch.Tensor
    branch: int
    filled: bool


class JointLinear(nn.Linear):
    """The joint Linear of Eq. 5: what both branches read of each other -> what is added to each."""

    def receive(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Compute what one branch receives.

        Args:
            x: [o_rgb, o_depth] (..., 2D).
            branch: 0 rgb, 1 depth.

        Returns:
            (..., D).
        """
        return F.linear(x, self.weight.chunk(2)[branch], self.bias.chunk(2)[branch])


class JointAttnProcessor(nn.Module):
    """FLUX attention in which each branch also reads the other's keys and values (Eq. 5).

    One processor serves one block, double or single: the joint term enters before the block's output projections.
    """

    # Set from outside by diffusers' `set_attention_backend` and `enable_parallelism`.
    _attention_backend = None
    _parallel_config = None

    def __init__(self, dim: int) -> None:
        """Start with a joint part that adds nothing.

        Args:
            dim: Width D of the block.
        """
        super().__init__()
        self.joint = JointLinear(2 * dim, 2 * dim)
        nn.init.zeros_(self.joint.weight)
        nn.init.zeros_(self.joint.bias)

    # FluxAttention reads this signature to decide which arguments it passes on, so they are named on `__call__`.
    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        *,
        branch_weights: torch.Tensor,
        kept: Kept | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attend within and across the branches.

        Args:
            attn: The block's attention module, which owns projections and norms.
            hidden_states: Image tokens (2B, L, D) in a double block, text and image tokens (2B, S, D) in a single one.
            encoder_hidden_states: Text tokens (2B, T, D), double blocks only.
            attention_mask: Not used; FLUX's text is unmasked.
            image_rotary_emb: RoPE cosines and sines, each (S, D / H).
            branch_weights: Adaptive weights (2B,) of Eq. 6, in (0, 1).
            kept: Where one branch is frozen, its part in this block. Once that is filled, all rows here are the other
                branch's, B instead of 2B.

        Returns:
            (image, text) tokens after their output projections in a double block, else all tokens (2B, S, D).
        """
        query, key, value, *text_qkv = _get_qkv_projections(attn, hidden_states, encoder_hidden_states)
        text_qkv = None if encoder_hidden_states is None else text_qkv
        out = self.attend(attn, (query, key, value), text_qkv, image_rotary_emb, branch_weights, kept)
        if encoder_hidden_states is None:
            return out
        text, image = out.split([encoder_hidden_states.shape[1], hidden_states.shape[1]], dim=1)
        for layer in attn.to_out:
            image = layer(image)
        return image, attn.to_add_out(text)

    def attend(
        self,
        attn: FluxAttention,
        qkv: Sequence[torch.Tensor],
        text_qkv: Sequence[torch.Tensor] | None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
        branch_weights: torch.Tensor,
        kept: Kept | None,
    ) -> torch.Tensor:
        """Add what each branch reads of the other to what it reads of itself.

        Args:
            attn: The block's attention module, which owns the norms.
            qkv: Projected query, key and value, each (2B, L, D), or (2B, S, D) in a single block.
            text_qkv: The same of the text, each (2B, T, D), double blocks only.
            image_rotary_emb: RoPE cosines and sines, each (S, D / H).
            branch_weights: Adaptive weights (2B,) of Eq. 6.
            kept: As in `__call__`.

        Returns:
            (2B, S, D), with `kept` filled (B, S, D).
        """
        query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in qkv)  # (2B, L, H, D/H)
        query, key = attn.norm_q(query), attn.norm_k(key)
        if text_qkv is not None:
            text_query, text_key, text_value = (x.unflatten(-1, (-1, attn.head_dim)) for x in text_qkv)
            query = torch.cat([attn.norm_added_q(text_query), query], dim=1)  # (2B, S, H, D/H)
            key = torch.cat([attn.norm_added_k(text_key), key], dim=1)
            value = torch.cat([text_value, value], dim=1)
        query = apply_rotary_emb(query, image_rotary_emb, sequence_dim=1)
        key = apply_rotary_emb(key, image_rotary_emb, sequence_dim=1)

        weights = branch_weights.to(query.dtype)[:, None, None]
        if kept is not None and kept.filled:
            to_own, received = self._read_kept(query, key, value, kept)
        else:
            if kept is not None:
                kept.qkv.copy_(torch.stack([split_branches(x)[kept.branch] for x in (query, key, value)]))
            to_own, received = self._read_each_other(query, key, value)
        return to_own + weights * received

    def _read_each_other(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Self-attention, and what each branch receives of the other, (2B, S, D) each, from (2B, S, H, D / H)."""
        # A row's keys and values answer its own queries and the other branch's: self and joint attention in one call.
        queries = torch.cat([query, swap_branches(query)], dim=1)  # (2B, 2S, H, D/H)
        # By sizes: of `chunk` an export for any S cannot tell how many pieces it gives.
        to_own, to_other = self._answer(queries, key, value).split([query.shape[1]] * 2, dim=1)  # (2B, S, D) each
        # Eq. 5: o_rgb = Attn(q_rgb, k_depth, v_depth) was answered by the depth rows, o_depth by the rgb rows.
        o_depth, o_rgb = split_branches(to_other)
        return to_own, merge_branches(*self.joint(torch.cat([o_rgb, o_depth], dim=-1)).chunk(2, dim=-1))

    def _read_kept(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kept: Kept
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the branch that is not frozen, (B, S, D) each, from its (B, S, H, D / H)."""
        frozen_query, frozen_key, frozen_value = kept.qkv
        queries = torch.cat([query, frozen_query], dim=1)  # (B, 2S, H, D/H)
        to_own, o_frozen = self._answer(queries, key, value).split([query.shape[1]] * 2, dim=1)
        o_moving = self._answer(query, frozen_key, frozen_value)
        o_rgb, o_depth = (o_frozen, o_moving) if kept.branch == 0 else (o_moving, o_frozen)
        answers, moving = torch.cat([o_rgb, o_depth], dim=-1), 1 - kept.branch
        if not hasattr(self.joint, "receive"):  # a linear of another number format has put itself in its place
            return to_own, self.joint(answers).chunk(2, dim=-1)[moving]
        return to_own, self.joint.receive(answers, moving)

    def _answer(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attention of (N, Q, H, D / H) to (N, S, H, D / H), as (N, Q, D)."""
        config = {"backend": self._attention_backend, "parallel_config": self._parallel_config}
        return dispatch_attention_fn(query, key, value, **config).flatten(2)
