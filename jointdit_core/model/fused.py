"""The transformer in a faster form that computes the same: fewer, larger matrix products in each block.

The joint Linear stays a product of its own. Folded into the output projections it would cost the same arithmetic, in
more and smaller products.

Letters: B pairs, S text and image tokens, D width, M width of a single block's MLP, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.transformers.transformer_flux import FluxAttention
from torch import nn
from torch.nn import functional as F

from .branch_lora import ADAPTER, DepthLoraLinear
from .joint_attention import JointAttnProcessor, Kept, merge_branches, split_branches
from .transformer import JointDiTTransformer2DModel, refuse_other_loras


class BranchLinear(nn.Module):
    """A linear layer with weights of its own for each branch, computed as one batched product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Take over the weights.

        Args:
            weight: (2, out, in), rgb's first.
            bias: (out,), common to both.
        """
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (2B, S, in), rgb rows first; gives (2B, S, out)."""
        rows = x.reshape(2, -1, x.shape[-1])  # (2, B * S, in)
        # The bias apart: compiled, it is added by whatever reads the result; `baddbmm` would first write it everywhere.
        return (rows @ self.weight.transpose(1, 2)).view(*x.shape[:-1], -1) + self.bias

    def of_branch(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Apply the layer to rows of one branch, 0 rgb or 1 depth."""
        return F.linear(x, self.weight[branch], self.bias)


class FusedLoraLinear(nn.Module):
    """Several linears of one input as one, the depth half's LoRA as R more input channels of the same product."""

    def __init__(self, linear: nn.Linear, lora_a: torch.Tensor) -> None:
        """Take over the weights.

        Args:
            linear: The plain linears, stacked along their outputs; beside their inputs stands lora_B (out, R), scaled.
            lora_a: (R, in).
        """
        super().__init__()
        self.linear = linear
        self.lora_a = nn.Parameter(lora_a, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (2B, ..., in), rgb rows first; gives (2B, ..., out)."""
        _, x_depth = split_branches(x)
        down = F.linear(x_depth, self.lora_a)  # (B, ..., R)
        return self.linear(torch.cat([x, merge_branches(torch.zeros_like(down), down)], dim=-1))

    def of_branch(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Apply the layer to rows of one branch, 0 rgb or 1 depth."""
        down = F.linear(x, self.lora_a) if branch == 1 else x.new_zeros(*x.shape[:-1], len(self.lora_a))
        return self.linear(torch.cat([x, down], dim=-1))


class NoChannels(nn.Module):
    """Stands where a single block calls its MLP's input linear, which the fused one computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give (2B, S, 0)."""
        return x[..., :0]


class SingleBlockProcessor(JointAttnProcessor):
    """Joint attention of a single block whose projections of q, k and v also compute its MLP's input."""

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        *,
        branch_weights: torch.Tensor,
        kept: Kept | None = None,
    ) -> torch.Tensor:
        """Attend as `JointAttnProcessor` does, and activate the MLP.

        Args:
            attn: As in `JointAttnProcessor`, like all arguments.
            hidden_states: (2B, S, D).
            encoder_hidden_states: Not used: the text is in `hidden_states`.
            attention_mask: Not used.
            image_rotary_emb: Each (S, D / H).
            branch_weights: (2B,).
            kept: Of a frozen branch.

        Returns:
            (2B, S, D + M), what the block's output projection reads.
        """
        fused = attn.to_qkv(hidden_states)  # (2B, S, 3D + M)
        qkv, mlp = fused.split([3 * attn.inner_dim, fused.shape[-1] - 3 * attn.inner_dim], dim=-1)
        out = self.attend(attn, qkv.chunk(3, dim=-1), None, image_rotary_emb, branch_weights, kept)
        return torch.cat([out, F.gelu(mlp, approximate="tanh")], dim=-1)


def fuse_projections(model: JointDiTTransformer2DModel, merge_lora: bool = False) -> None:
    """Bring a loaded transformer into its faster form, for inference; the result is the same but for rounding.

    Fused are q, k, v and a single block's MLP input, and the LoRA of all linears in the blocks. The blocks stay
    diffusers' own, so compiling, caching and attention backends work as before.

    Args:
        model: The transformer, changed in place, block by block.
        merge_lora: Whether the fused linears hold a second, merged set of weights for the depth half instead of the
            LoRA beside the common one: fewer products, more memory. Modulations, which cost the reading of their
            weights, keep theirs beside.

    Raises:
        ValueError: The projections are fused already, or other LoRAs than the depth half's are loaded.
    """
    if model.projections_fused:
        raise ValueError("This transformer's projections are fused already.")
    refuse_other_loras(model, "fusing")
    with torch.no_grad():
        for block in model.transformer_blocks:
            attn = block.attn
            for norm in (block.norm1, block.norm1_context):
                norm.linear = _fuse([norm.linear], merge_lora=False)
            attn.to_qkv = _fuse([attn.to_q, attn.to_k, attn.to_v], merge_lora)
            attn.to_added_qkv = _fuse([attn.add_q_proj, attn.add_k_proj, attn.add_v_proj], merge_lora)
            attn.to_out[0] = _fuse([attn.to_out[0]], merge_lora)
            attn.to_add_out = _fuse([attn.to_add_out], merge_lora)
            attn.fused_projections = True  # read by diffusers' `_get_qkv_projections`
            _remove(attn, ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"))
        for block in model.single_transformer_blocks:
            attn = block.attn
            block.norm.linear = _fuse([block.norm.linear], merge_lora=False)
            attn.to_qkv = _fuse([attn.to_q, attn.to_k, attn.to_v, block.proj_mlp], merge_lora)
            block.proj_mlp = NoChannels()
            attn.set_processor(_of_single_block(attn.processor))
            _remove(attn, ("to_q", "to_k", "to_v"))
    model.projections_fused = True


def _remove(attn: FluxAttention, replaced: Sequence[str]) -> None:
    """Free the linears whose replacement is in place."""
    for name in replaced:
        delattr(attn, name)


def _of_single_block(old: JointAttnProcessor) -> SingleBlockProcessor:
    """The same processor, in the fused form."""
    with torch.device("meta"):  # its own joint Linear is replaced at once
        processor = SingleBlockProcessor(old.joint.in_features // 2)
    processor.joint = old.joint
    processor._attention_backend, processor._parallel_config = old._attention_backend, old._parallel_config
    return processor


def _fuse(layers: Sequence[DepthLoraLinear], merge_lora: bool) -> nn.Module:
    """Stack linears of one input along their outputs."""
    weight = torch.cat([layer.base_layer.weight for layer in layers])
    bias = torch.cat([layer.base_layer.bias for layer in layers])
    if merge_lora:
        return BranchLinear(torch.stack([weight, torch.cat([_depth_weight(layer) for layer in layers])]), bias)
    down = [layer.lora_A[ADAPTER].weight for layer in layers]
    up = [layer.lora_B[ADAPTER].weight * layer.scaling[ADAPTER] for layer in layers]
    # The released weights share one A among the parts of a fused linear; without values there is nothing to compare.
    if all(a.shape == down[0].shape and (a.is_meta or torch.equal(a, down[0])) for a in down):
        lora_a, lora_b = down[0].detach().clone(), torch.cat(up)
    else:
        lora_a, lora_b = torch.cat(down), torch.block_diag(*up)
    weight = torch.cat([weight, lora_b], dim=1)  # (out, in + R)
    linear = nn.Linear(*weight.shape[::-1], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return FusedLoraLinear(linear, lora_a)


def _depth_weight(layer: DepthLoraLinear) -> torch.Tensor:
    """The weight that the depth half sees, (out, in)."""
    weight = layer.base_layer.weight
    a, b = layer.lora_A[ADAPTER].weight.float(), layer.lora_B[ADAPTER].weight.float()
    return (weight.float() + layer.scaling[ADAPTER] * b @ a).to(weight.dtype)
