"""The velocity that joint conditional flow matching (Eq. 4) compares with noise - x_0.

Letters: B pairs, L image tokens, C channels of a packed latent token.
"""

from __future__ import annotations

import torch

from ..encode import PromptEmbeds, image_ids, text_ids
from ..model.joint_attention import merge_branches
from ..model.transformer import JointDiTTransformer2DModel


def predict_velocity(
    transformer: JointDiTTransformer2DModel,
    tokens: torch.Tensor,
    sigmas: torch.Tensor,
    embeds: PromptEmbeds,
    grid: tuple[int, int],
    guidance: torch.Tensor | None,
) -> torch.Tensor:
    """Run the transformer on noised pairs.

    Args:
        transformer: The model.
        tokens: (2B, L, C) x_sigma, rgb rows first.
        sigmas: (2B,).
        embeds: Embeddings of the B prompts.
        grid: (h, w) of the latent map, in latents.
        guidance: (B,) scale for a model with embedded guidance, else None.

    Returns:
        v, (2B, L, C) float32.
    """
    velocity = transformer(
        hidden_states=tokens,
        encoder_hidden_states=merge_branches(embeds.tokens, embeds.tokens),
        pooled_projections=merge_branches(embeds.pooled, embeds.pooled),
        timestep=sigmas,
        img_ids=image_ids(*grid).to(tokens.device),
        txt_ids=text_ids(embeds.tokens.shape[1]).to(tokens.device),
        guidance=None if guidance is None else merge_branches(guidance, guidance),
        return_dict=False,
    )[0]
    return velocity.float()
