"""The JointDiT transformer: FLUX on 2B rows, joined by attention, its depth half adapted by LoRA.

Letters: B pairs, L image tokens, T text tokens, C channels of a packed latent token, E width of a text token,
P width of the pooled text, D width of the blocks. Row order: B rgb rows, then the B depth rows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection
from typing import Any, Literal

import torch
from diffusers import FluxTransformer2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn
from torch.nn import functional as F

from .branch_lora import ADAPTER, add_depth_lora, other_loras, remove_other_loras
from .joint_attention import JointAttnProcessor, WeightForm, adaptive_weights, merge_branches, split_branches

# Ranks of the released weights where they differ from 64.
FLUX_RANK_OVERRIDES = {
    "time_text_embed.text_embedder.linear_1": 512,
    "time_text_embed.text_embedder.linear_2": 1024,
    "context_embedder": 1024,
}
PredictionType = Literal["velocity", "preconditioned"]


class JointDiTTransformer2DModel(FluxTransformer2DModel):
    """FLUX's transformer for pairs of an RGB image and its disparity map."""

    projections_fused = False  # set by `fused.fuse_projections`
    freezes: str | None = None  # set by `frozen.freeze_branches`

    @register_to_config
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 64,
        out_channels: int | None = None,
        num_layers: int = 19,
        num_single_layers: int = 38,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, int, int] = (16, 56, 56),
        lora_rank: int = 64,
        lora_rank_overrides: dict[str, int] | None = None,
        adaptive_weights: WeightForm = "released",
        adaptive_alpha: float = 3.0,
        prediction_type: PredictionType = "velocity",
        position_grid: int = 0,
    ) -> None:
        """Build FLUX and add the joint parts, which change nothing until they are trained.

        Args:
            patch_size: As in `FluxTransformer2DModel`, like all arguments down to `axes_dims_rope`.
            in_channels: C.
            out_channels: C if None.
            num_layers: Number of double blocks.
            num_single_layers: Number of single blocks.
            attention_head_dim: Width of a head.
            num_attention_heads: D / width of a head.
            joint_attention_dim: E.
            pooled_projection_dim: P.
            guidance_embeds: Whether `forward` takes a guidance scale.
            axes_dims_rope: RoPE channels per axis; they sum to the width of a head.
            lora_rank: Rank of the depth half's LoRA.
            lora_rank_overrides: Suffix of a module's name -> its own rank; None means the released model's.
            adaptive_weights: Form of Eq. 6, see `joint_attention.adaptive_weights`.
            adaptive_alpha: Steepness of Eq. 6.
            prediction_type: What the last layer gives: "velocity" as in FLUX, or "preconditioned", what a linear filter
                cannot tell of the clean tokens, scaled to unit variance (Karras et al. 2022, arXiv 2206.00364, for the
                interpolation of flow matching). A narrow network learns it sooner. The filter is made for tokens of
                the standard deviation in `token_std`, (2, C), rgb's first. `forward` returns v in either case.
            position_grid: G > 0 adds a learned token to every image token by its place in the picture, one for each of
                G x G places and each branch, interpolated between them. RoPE tells places from each other only, and
                what is at the bottom of a picture is not what is at the top; 0 leaves it to the training, as FLUX does.
        """
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=axes_dims_rope,
        )
        if prediction_type == "preconditioned":
            self.register_buffer("token_std", torch.ones(2, in_channels))
        if position_grid:
            self.position = nn.Parameter(0.1 * torch.randn(2, in_channels, position_grid, position_grid))
        overrides = FLUX_RANK_OVERRIDES if lora_rank_overrides is None else lora_rank_overrides
        add_depth_lora(self, lora_rank, overrides)
        self.set_attn_processor({name: JointAttnProcessor(self.inner_dim) for name in self.attn_processors})
        for module in self.modules():
            if isinstance(module, AttentionModuleMixin):
                # Fusing would replace q, k and v by one plain linear and lose their LoRA.
                module._supports_qkv_fusion = False

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        pooled_projections: torch.Tensor,
        timestep: torch.Tensor,
        img_ids: torch.Tensor,
        txt_ids: torch.Tensor,
        guidance: torch.Tensor | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """Predict the velocity v = noise - x_0 of both branches.

        Args:
            hidden_states: Noised packed latents (2B, L, C).
            encoder_hidden_states: Text tokens (2B, T, E).
            pooled_projections: Pooled text (2B, P).
            timestep: sigma of each row (2B,) in [0, 1], 1 = noise.
            img_ids: Positions of the image tokens (L, 3).
            txt_ids: Positions of the text tokens (T, 3).
            guidance: Guidance scale of each row (2B,), for a model with `guidance_embeds`.
            joint_attention_kwargs: As in FLUX; of use are "scale", which scales the active LoRAs (the depth half's,
                until others are loaded, then those), and "frozen", a request's `frozen.FrozenBranch`.
            return_dict: Whether to wrap the result.

        Returns:
            v, (2B, L, C), as `sample` or as the only element of a tuple.
        """
        weights = adaptive_weights(  # Eq. 6
            *split_branches(timestep), self.config.adaptive_weights, self.config.adaptive_alpha
        )
        placed = hidden_states + self._positions(img_ids, hidden_states) if self.config.position_grid else hidden_states
        output = super().forward(
            hidden_states=placed,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled_projections,
            timestep=timestep,
            img_ids=img_ids,
            txt_ids=txt_ids,
            guidance=guidance,
            joint_attention_kwargs={**(joint_attention_kwargs or {}), "branch_weights": merge_branches(*weights)},
            return_dict=False,
        )[0]
        if self.config.prediction_type == "preconditioned":
            sigma = timestep.to(output.dtype)[:, None, None]  # (2B, 1, 1)
            std = self.token_std.repeat_interleave(len(output) // 2, dim=0)[:, None]  # (2B, 1, C)
            variance = ((1 - sigma) * std) ** 2 + sigma**2  # of x_sigma
            # The best linear guess of v from x_sigma, and what the network adds to it.
            output = (sigma - (1 - sigma) * std**2) / variance * hidden_states - std / variance.sqrt() * output
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _positions(self, img_ids: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the learned tokens (2B, L, C) of all places, the grid stretched over the picture."""
        places = img_ids[:, 1:]  # (L, 2): row, column
        centers = (places + 0.5) / (places.amax(0) + 1) * 2 - 1
        grid = centers.flip(1).to(self.position.dtype).expand(2, 1, -1, -1)  # (2, 1, L, 2): x, y in [-1, 1]
        found = F.grid_sample(self.position, grid, padding_mode="border", align_corners=False)  # (2, C, 1, L)
        return found.squeeze(2).mT.repeat_interleave(len(tokens) // 2, dim=0).to(tokens.dtype)

    @functools.wraps(FluxTransformer2DModel.save_pretrained)  # pipelines read its signature
    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model, unless its weights are in a form that no longer loads.

        Args:
            save_directory: Folder to write to.
            **kwargs: As in diffusers' `ModelMixin.save_pretrained`.

        Raises:
            ValueError: The projections are fused, or other LoRAs than the depth half's are loaded.
        """
        if self.projections_fused:
            raise ValueError("This transformer's projections are fused for speed; save it before fusing.")
        refuse_other_loras(self, "saving")
        super().save_pretrained(save_directory, **kwargs)

    def unload_lora(self) -> None:
        """Take off what `load_lora_adapter` put on; the depth half keeps its own LoRA. Merged ones stay merged."""
        remove_other_loras(self)
        _maybe_remove_and_reapply_group_offloading(self)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> JointDiTTransformer2DModel:
        """Load a saved model, refusing weights that are not exactly this model's.

        Args:
            pretrained_model_name_or_path: Folder or hub repository in diffusers' layout.
            **kwargs: As in diffusers' `ModelMixin.from_pretrained`.

        Returns:
            The model in evaluation mode.

        Raises:
            OSError: A file is missing or damaged; the message names it.
            ValueError: A key is missing, unexpected or of another shape; the message names it.
        """
        # Only safetensors: a pickle could run code. Mismatched sizes are listed instead of raised, to be named here.
        strict = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        model, info = super().from_pretrained(pretrained_model_name_or_path, **{**kwargs, **strict})
        misshaped = {key for key, *_ in info["mismatched_keys"]}
        missing = set(info["missing_keys"])
        if kwargs.get("device_map") is None:
            # What a shard's index promises and the shard lacks stays on the meta device.
            missing |= {name for name, parameter in model.named_parameters() if parameter.is_meta}
        problems = {
            "missing": missing - misshaped,
            "unexpected": set(info["unexpected_keys"]),
            "of another shape": misshaped,
        }
        found = "; ".join(f"{kind}: {name_some(keys)}" for kind, keys in problems.items() if keys)
        if found:
            raise ValueError(f"The weights at {pretrained_model_name_or_path} do not fit their config: {found}")
        return model


def name_some(keys: Collection[str]) -> str:
    """List keys for an error message.

    Args:
        keys: Any number of keys.

    Returns:
        The first few in order, and how many more there are.
    """
    shown = ", ".join(sorted(keys)[:5])
    return shown if len(keys) <= 5 else f"{shown} and {len(keys) - 5} more"


def added_parameters(model: JointDiTTransformer2DModel) -> list[str]:
    """Name what JointDiT adds to FLUX: the joint linears and the LoRA.

    Args:
        model: The transformer.

    Returns:
        Parameter names as in `named_parameters`.
    """
    marks = f".lora_A.{ADAPTER}.", f".lora_B.{ADAPTER}.", ".processor.joint."
    return [name for name, _ in model.named_parameters() if any(mark in name for mark in marks)]


def refuse_other_loras(model: JointDiTTransformer2DModel, before: str) -> None:
    """Refuse a transformer on which LoRAs other than the depth half's are loaded.

    Args:
        model: The transformer.
        before: What they stand in the way of.

    Raises:
        ValueError: The message names them and says what to do.
    """
    if names := other_loras(model):
        raise ValueError(
            f"LoRAs are loaded beside FLUX's weights ({name_some(names)}); take them off with unload_lora_weights() "
            f"before {before}, after fuse_lora() where they are to stay."
        )


def freeze_backbone(model: JointDiTTransformer2DModel) -> None:
    """Leave only the added parameters trainable.

    Args:
        model: The transformer, changed in place.
    """
    model.requires_grad_(False)
    for name in added_parameters(model):
        model.get_parameter(name).requires_grad_(True)
