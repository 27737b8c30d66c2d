"""Tiny joint transformers, inputs for them, and made-up weights in the released format."""

from __future__ import annotations

import torch
from torch import Tensor

from jointdit_core.model.transformer import JointDiTTransformer2DModel
from tests.model import reference

TINY_FLUX = {
    "in_channels": 8,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 20,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}
TINY = {**TINY_FLUX, "adaptive_weights": "released", "adaptive_alpha": 3.0}


def build_model(seed: int = 0, **changes: object) -> JointDiTTransformer2DModel:
    """Build a tiny model whose added parts still change nothing."""
    torch.manual_seed(seed)
    settings = {**TINY, "lora_rank": 4, "lora_rank_overrides": {"context_embedder": 6, "linear_1": 3}, **changes}
    return JointDiTTransformer2DModel(**settings).eval()


def shake(model: JointDiTTransformer2DModel, seed: int = 1) -> JointDiTTransformer2DModel:
    """Give every parameter a random value large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = ".norm_" in name and name.endswith(".weight") and parameter.ndim == 1
            parameter.copy_(1 + 0.2 * noise if is_norm else noise * (0.7 / parameter.shape[-1] ** 0.5))
    return model


def build_inputs(
    sigma_rgb: list[float],
    sigma_depth: list[float],
    config: dict = TINY,
    seed: int = 2,
    height: int = 3,
    width: int = 4,
) -> dict[str, Tensor]:
    """Build the arguments of `forward` for len(sigma_rgb) pairs."""
    generator = torch.Generator().manual_seed(seed)
    rows, tokens, text = 2 * len(sigma_rgb), height * width, 5
    img_ids = torch.zeros(tokens, 3)
    img_ids[:, 1] = torch.arange(tokens) // width
    img_ids[:, 2] = torch.arange(tokens) % width
    inputs = {
        "hidden_states": torch.randn(rows, tokens, config["in_channels"], generator=generator),
        "encoder_hidden_states": torch.randn(rows, text, config["joint_attention_dim"], generator=generator),
        "pooled_projections": torch.randn(rows, config["pooled_projection_dim"], generator=generator),
        "timestep": torch.tensor([*sigma_rgb, *sigma_depth]),
        "img_ids": img_ids,
        "txt_ids": torch.zeros(text, 3),
    }
    if config["guidance_embeds"]:
        inputs["guidance"] = torch.full((rows,), 3.5)
    return inputs


def run_reference(reader: tuple, config: dict, inputs: dict[str, Tensor]) -> Tensor:
    """Compute the float64 reference on the arguments of `forward`."""
    return reference.forward(
        reader,
        config,
        inputs["hidden_states"],
        inputs["encoder_hidden_states"],
        inputs["pooled_projections"],
        inputs["timestep"],
        torch.cat([inputs["txt_ids"], inputs["img_ids"]]),
        inputs.get("guidance"),
    )


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value."""
    return float((actual.double() - expected).abs().max() / expected.abs().max())
