"""LoRAs beside FLUX's weights: the method's own, which reaches the depth rows only, and any others, which reach all."""

from __future__ import annotations

import re

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
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


class DepthLoraLinear(Linear):
    """A linear layer on 2B rows with a low-rank update of the depth half.

    Other LoRAs that peft puts on the same layer are updates of FLUX's own weights, so both halves see them, merged or
    not.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer.

        Args:
            x: Tensor (2B, ..., in_features), rgb rows first.

        Returns:
            Tensor (2B, ..., out_features).
        """
        rgb, depth = split_branches(self._plain(x))
        _, x_depth = split_branches(x)
        return merge_branches(rgb, depth + self._update(x_depth))

    def _plain(self, x: torch.Tensor) -> torch.Tensor:
        """FLUX's own layer with whatever LoRAs others put on it."""
        out = self.base_layer(x)
        if not self.merged and not self.disable_adapters:
            for name in self.active_adapters:
                if name != ADAPTER and name in self.lora_A:
                    out = out + self._update(x, name).to(out.dtype)
        return out

    def _update(self, x: torch.Tensor, name: str = ADAPTER) -> torch.Tensor:
        down = self.lora_A[name]
        return self.lora_B[name](down(x.to(down.weight.dtype))) * self.scaling[name]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Merge updates into FLUX's weights; never the depth half's, since both halves share these weights.

        Args:
            safe_merge: Whether to refuse values that are not finite.
            adapter_names: The updates; None for all active ones.
        """
        names = self.active_adapters if adapter_names is None else adapter_names
        super().merge(safe_merge, [name for name in names if name != ADAPTER])


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


def other_loras(model: nn.Module) -> list[str]:
    """Name the LoRAs that were loaded beside the depth half's, merged or not.

    Args:
        model: A transformer with `add_depth_lora`.

    Returns:
        Names as peft knows them.
    """
    return [name for name in model.peft_config if name != ADAPTER]


def remove_other_loras(model: nn.Module) -> None:
    """Take all LoRAs off but the depth half's own; what was merged stays merged.

    Args:
        model: A transformer with `add_depth_lora`, changed in place.
    """
    names = other_loras(model)
    layers = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    for path, layer in layers:
        if isinstance(layer, DepthLoraLinear):
            layer.merged_adapters.clear()
            layer.enable_adapters(True)
            layer.set_adapter(ADAPTER, inference_mode=True)
            for name in names:
                layer.delete_adapter(name)
        else:
            model.set_submodule(path, layer.get_base_layer())
    for name in names:
        del model.peft_config[name]
