"""The transformer in a faster form that computes the same: fewer, larger matrix products in each block.

Letters: B pairs, S text and image tokens, D width, M width of a single block's MLP, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.transformers.transformer_flux import FluxAttention
from torch import nn
from torch.nn import functional as F

from .branch_lora import ADAPTER, DepthLoraLinear
from .joint_attention import JointAttnProcessor, merge_branches, split_branches
from .transformer import JointDiTTransformer2DModel, refuse_other_loras


class BranchLinear(nn.Module):
    """A linear layer with weights of its own for each branch, computed as one batched product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """Take over the weights.

        Args:
            weight: (2, out, in), rgb's first.
            bias: (2, out), or None.
        """
        super().__init__()
        self.in_features = weight.shape[-1]
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """Apply the layer.

        Args:
            x: (2B, S, in), rgb rows first.
            added: (2B, S, out), added to the result in place of the bias.

        Returns:
            (2B, S, out).
        """
        rows = x.reshape(2, -1, x.shape[-1])  # (2, B * S, in)
        start = self.bias[:, None] if added is None else added.reshape(2, -1, added.shape[-1])
        return torch.baddbmm(start, rows, self.weight.transpose(1, 2)).view(*x.shape[:-1], -1)


class FusedLoraLinear(nn.Module):
    """Several linears of one input as one, the depth half's LoRA as one small product beside it."""

    def __init__(self, linear: nn.Linear, lora_a: torch.Tensor, lora_b: torch.Tensor) -> None:
        """Take over the weights.

        Args:
            linear: The plain linears, stacked along their outputs.
            lora_a: (R, in).
            lora_b: (out, R), the LoRA's scale included.
        """
        super().__init__()
        self.linear = linear
        self.lora_a = nn.Parameter(lora_a, requires_grad=False)
        self.lora_b = nn.Parameter(lora_b, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (2B, S, in), rgb rows first; gives (2B, S, out)."""
        out = self.linear(x)
        _, x_depth = split_branches(x)
        _, out_depth = split_branches(out)
        out_depth += F.linear(F.linear(x_depth, self.lora_a), self.lora_b)  # in place: the rgb half is left alone
        return out


class FoldedProjection(nn.Module):
    """An output projection into which the joint Linear is folded: proj(a + w J(o)) = proj(a) + w (proj J)(o)."""

    def __init__(self, projection: nn.Module, joint: BranchLinear) -> None:
        """Hold the parts.

        Args:
            projection: The block's own output projection.
            joint: (proj J) of both branches, without bias, 2D channels in.
        """
        super().__init__()
        self.projection = projection
        self.joint = joint

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (2B, S, in + 2D): the projection's own input, then w [o_rgb, o_depth]."""
        width = self.joint.in_features
        own, answers = x.split([x.shape[-1] - width, width], dim=-1)
        return self.joint(answers, added=self.projection(own))


class NoChannels(nn.Module):
    """Stands where a single block calls its MLP's input linear, which the fused one computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give (2B, S, 0)."""
        return x[..., :0]


class FusedJointAttnProcessor(JointAttnProcessor):
    """Joint attention that leaves the joint Linear to the folded output projection."""

    def __init__(self, joint_bias: torch.Tensor) -> None:
        """Keep what of the joint Linear is not folded.

        Args:
            joint_bias: (2, D), rgb's first.
        """
        nn.Module.__init__(self)
        self.joint_bias = nn.Parameter(joint_bias, requires_grad=False)

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        *,
        branch_weights: torch.Tensor,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attend as `JointAttnProcessor` does; a single block's result also carries its MLP and the answers.

        Args:
            attn: As in `JointAttnProcessor`, like all arguments.
            hidden_states: (2B, L, D), or (2B, S, D) in a single block.
            encoder_hidden_states: (2B, T, D), double blocks only.
            attention_mask: Not used.
            image_rotary_emb: Each (S, D / H).
            branch_weights: (2B,).

        Returns:
            (image, text) tokens in a double block, else (2B, S, D + M + 2D) for the folded output projection.
        """
        d = attn.inner_dim
        fused = attn.to_qkv(hidden_states)  # (2B, L, 3D), in a single block (2B, S, 3D + M)
        qkv, mlp = fused[..., : 3 * d].chunk(3, dim=-1), fused[..., 3 * d :]
        text_qkv = None if encoder_hidden_states is None else attn.to_added_qkv(encoder_hidden_states).chunk(3, dim=-1)
        to_own, o_rgb, o_depth = self.attend(attn, qkv, text_qkv, image_rotary_emb)

        weights = branch_weights.to(to_own.dtype)[:, None, None]
        bias = self.joint_bias.repeat_interleave(len(to_own) // 2, dim=0)[:, None]  # (2B, 1, D)
        answers = torch.cat([o_rgb, o_depth], dim=-1)  # (B, S, 2D)
        own, answers = to_own + weights * bias, weights * merge_branches(answers, answers)
        if encoder_hidden_states is None:
            return torch.cat([own, F.gelu(mlp, approximate="tanh"), answers], dim=-1)
        out = torch.cat([own, answers], dim=-1)  # (2B, S, 3D)
        text, image = out.split([encoder_hidden_states.shape[1], hidden_states.shape[1]], dim=1)
        return attn.to_out[0](image), attn.to_add_out(text)


def fuse_projections(model: JointDiTTransformer2DModel, merge_lora: bool = False) -> None:
    """Bring a loaded transformer into its faster form, for inference; the result is the same but for rounding.

    Fused are q, k, v and a single block's MLP input; the joint Linear is folded into the output projections. The
    blocks stay diffusers' own, so compiling, caching and attention backends work as before.

    Args:
        model: The transformer, changed in place, block by block.
        merge_lora: Whether the fused linears hold a second, merged set of weights for the depth half instead of the
            LoRA beside the common one: fewer products, more memory.

    Raises:
        ValueError: The projections are fused already, or other LoRAs than the depth half's are loaded.
    """
    if model.projections_fused:
        raise ValueError("This transformer's projections are fused already.")
    refuse_other_loras(model, "fusing")
    with torch.no_grad():
        for block in model.transformer_blocks:
            attn = block.attn
            joint = attn.processor.joint
            attn.to_qkv = _fuse([attn.to_q, attn.to_k, attn.to_v], merge_lora)
            attn.to_added_qkv = _fuse([attn.add_q_proj, attn.add_k_proj, attn.add_v_proj], merge_lora)
            attn.to_out[0] = _fold(attn.to_out[0], joint)
            attn.to_add_out = _fold(attn.to_add_out, joint)
            _finish(attn, ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"))
        for block in model.single_transformer_blocks:
            attn = block.attn
            attn.to_qkv = _fuse([attn.to_q, attn.to_k, attn.to_v, block.proj_mlp], merge_lora)
            block.proj_mlp = NoChannels()
            block.proj_out = _fold(block.proj_out, attn.processor.joint)
            _finish(attn, ("to_q", "to_k", "to_v"))
    model.projections_fused = True


def _finish(attn: FluxAttention, replaced: Sequence[str]) -> None:
    """Free the replaced linears and set the processor that calls their replacement."""
    for name in replaced:
        delattr(attn, name)
    old = attn.processor
    processor = FusedJointAttnProcessor(old.joint.bias.detach().view(2, -1).clone())
    processor._attention_backend, processor._parallel_config = old._attention_backend, old._parallel_config
    attn.set_processor(processor)


def _fuse(layers: Sequence[DepthLoraLinear], merge_lora: bool) -> nn.Module:
    """Stack linears of one input along their outputs."""
    weight = torch.cat([layer.base_layer.weight for layer in layers])
    bias = torch.cat([layer.base_layer.bias for layer in layers])
    if merge_lora:
        merged = torch.cat([_depth_weight(layer, layer.base_layer.weight) for layer in layers])
        return BranchLinear(torch.stack([weight, merged]), torch.stack([bias, bias]))
    down = [layer.lora_A[ADAPTER].weight for layer in layers]
    up = [layer.lora_B[ADAPTER].weight * layer.scaling[ADAPTER] for layer in layers]
    # The released weights share one A among the parts of a fused linear; without values there is nothing to compare.
    if all(a.shape == down[0].shape and (a.is_meta or torch.equal(a, down[0])) for a in down):
        lora_a, lora_b = down[0].detach().clone(), torch.cat(up)
    else:
        lora_a, lora_b = torch.cat(down), torch.block_diag(*up)
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return FusedLoraLinear(linear, lora_a, lora_b)


def _fold(projection: nn.Module, joint: nn.Linear) -> FoldedProjection:
    """Fold the joint Linear into an output projection; only its first D input channels see the attention."""
    d = joint.out_features // 2
    plain = projection.base_layer if isinstance(projection, DepthLoraLinear) else projection
    weights = [plain.weight[:, :d], plain.weight[:, :d]]
    if isinstance(projection, DepthLoraLinear):
        weights[1] = _depth_weight(projection, plain.weight)
    # In float32: the product of two rounded weights is rounded once.
    folded = [(w.float() @ j.float()).to(w.dtype) for w, j in zip(weights, joint.weight.chunk(2), strict=True)]
    return FoldedProjection(projection, BranchLinear(torch.stack(folded)))


def _depth_weight(layer: DepthLoraLinear, weight: torch.Tensor) -> torch.Tensor:
    """The weight that the depth half sees, (out, in)."""
    a, b = layer.lora_A[ADAPTER].weight.float(), layer.lora_B[ADAPTER].weight.float()
    return (weight.float() + layer.scaling[ADAPTER] * b @ a).to(weight.dtype)
