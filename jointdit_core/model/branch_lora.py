"""A peft LoRA layer whose update reaches the depth rows only; the rgb rows see the plain FLUX weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from .joint_attention import merge_branches, split_branches

ADAPTER = "depth"
SCALE = 0.5  # alpha / r of the released weights

# Which of FLUX's linears carry a LoRA. The MLPs and the single block's output projection have none.
TARGETS = (
    r"transformer_blocks\.\d+\.(norm1\.linear|norm1_context\.linear|attn\.(to_[qkv]|add_[qkv]_proj|to_out\.0|to_add_out))"
    r"|single_transformer_blocks\.\d+\.(norm\.linear|proj_mlp|attn\.to_[qkv])"
    r"|time_text_embed\.text_embedder\.linear_[12]"
    r"|context_embedder"
)


class DepthLoraLinear(nn.Module, LoraLayer):
    """A linear layer on 2B rows with a low-rank update of the depth half."""

    def __init__(
        self, base_layer: nn.Linear, adapter_name: str, config: LoraConfig, r: int, lora_alpha: float, **kwargs: Any
    ) -> None:
        """Wrap a linear layer, as peft's injection asks of a custom layer.

        Args:
            base_layer: The layer to wrap.
            adapter_name: Name under which peft files the update.
            config: The injected configuration.
            r: Rank.
            lora_alpha: Scale times rank.
            **kwargs: What else peft passes to every kind of LoRA layer; not used.
        """
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer.

        Args:
            x: Tensor (2B, ..., in_features), rgb rows first.

        Returns:
            Tensor (2B, ..., out_features).
        """
        rgb, depth = split_branches(self.base_layer(x))
        _, x_depth = split_branches(x)
        return merge_branches(rgb, depth + self._update(x_depth))

    def of_branch(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """Apply the layer to rows of one branch, 0 rgb or 1 depth."""
        out = self.base_layer(x)
        return out + self._update(x) if branch == 1 else out

    def _update(self, x: torch.Tensor) -> torch.Tensor:
        return self.lora_B[ADAPTER](self.lora_A[ADAPTER](x)) * self.scaling[ADAPTER]


def add_depth_lora(model: nn.Module, rank: int, rank_overrides: dict[str, int]) -> None:
    """Put a `DepthLoraLinear` in the place of every linear of a FLUX transformer that the method adapts.

    Args:
        model: The transformer, changed in place.
        rank: Rank of every update not named in `rank_overrides`.
        rank_overrides: Suffix of a module's name -> its rank.

    Raises:
        ValueError: An override fits no adapted linear.
    """
    adapted = [name for name, _ in model.named_modules() if re.fullmatch(TARGETS, name)]
    idle = [suffix for suffix in rank_overrides if not any(f".{name}".endswith(f".{suffix}") for name in adapted)]
    if idle:
        raise ValueError(f"lora_rank_overrides: {', '.join(idle)} fits none of the linears that carry a LoRA")
    config = LoraConfig(
        target_modules=TARGETS,
        r=rank,
        lora_alpha=SCALE * rank,
        rank_pattern=rank_overrides,
        alpha_pattern={suffix: SCALE * override for suffix, override in rank_overrides.items()},
    )
    config._register_custom_module({nn.Linear: DepthLoraLinear})
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    # peft froze all but its own layers; what is trained is the caller's choice.
    model.requires_grad_(True)
