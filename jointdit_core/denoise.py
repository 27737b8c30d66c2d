"""The two-sigma Euler loop: both branches step from their start sigma to 0 together, each on its own schedule.

Letters: B pairs, L image tokens, C channels of a packed token, S steps, N = B or, with an unconditional half, 2B.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from .encode import PromptEmbeds, text_ids
from .model.frozen import FrozenBranch, frozen_branch
from .model.joint_attention import merge_branches, split_branches
from .model.transformer import JointDiTTransformer2DModel

OnStep = Callable[[int, Tensor, Tensor], None]


def schedule(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, image_tokens: int, start: float) -> list[float]:
    """Compute one branch's noise levels: FLUX's shifted schedule times its start sigma.

    So both branches reach 0 together whatever their starts, start 1 is FLUX's own schedule and start 0 stays clean.

    Args:
        scheduler: Read for its configuration only; two threads may share it.
        steps: S >= 1.
        image_tokens: L, on which the shift towards noise depends.
        start: First sigma in [0, 1].

    Returns:
        S + 1 sigmas, the first `start`, the last 0.
    """
    own = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    config = own.config
    per_token = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + per_token * (image_tokens - config.base_image_seq_len)
    own.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), mu=mu)
    return [start * sigma for sigma in own.sigmas.tolist()]


def add_noise(clean: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """Noise clean latents: x_sigma = (1 - sigma) x_0 + sigma noise.

    Args:
        clean: x_0, any shape.
        noise: Standard normal, of the same shape.
        sigma: In [0, 1], broadcastable; 0 gives `clean` bit by bit.

    Returns:
        x_sigma, of the same shape.
    """
    return (1 - sigma) * clean + sigma * noise


def denoise(
    transformer: JointDiTTransformer2DModel,
    tokens_rgb: Tensor,
    tokens_depth: Tensor,
    sigmas_rgb: list[float],
    sigmas_depth: list[float],
    img_ids: Tensor,
    embeds: PromptEmbeds,
    negative: PromptEmbeds | None,
    guidance_scale: float,
    on_step: OnStep,
) -> tuple[Tensor, Tensor]:
    """Integrate both branches to sigma 0.

    Args:
        transformer: Its device and dtype decide where and how each step is computed.
        tokens_rgb: (B, L, C) float32 at sigmas_rgb[0].
        tokens_depth: (B, L, C) float32 at sigmas_depth[0].
        sigmas_rgb: S + 1 noise levels; all 0 keeps the branch as given.
        sigmas_depth: The same for depth.
        img_ids: (L, 3) from `image_ids`.
        embeds: The B prompts.
        negative: The B negative prompts for classifier-free guidance, None without.
        guidance_scale: Weight of the guidance, embedded or classifier-free.
        on_step: Called after each step with (steps done, clean rgb estimate, clean depth estimate),
            both (B, L, C) float32; what it raises ends the loop.

    Returns:
        Clean (tokens_rgb, tokens_depth), each (B, L, C) float32.
    """
    conditions = [embeds] if negative is None else [embeds, negative]
    # Once and not in every step: a copy to the card waits for all that was asked of it before.
    txt_ids = text_ids(embeds.tokens.shape[1]).to(img_ids.device)
    frozen = frozen_branch(transformer, sigmas_rgb[0], sigmas_depth[0])
    for step in range(len(sigmas_rgb) - 1):
        sigma_rgb, sigma_depth = sigmas_rgb[step], sigmas_depth[step]
        if frozen is not None:
            frozen.begin(step)
        v_rgb, v_depth = velocity(
            transformer,
            tokens_rgb,
            tokens_depth,
            sigma_rgb,
            sigma_depth,
            img_ids,
            txt_ids,
            conditions,
            guidance_scale,
            frozen,
        )
        clean_rgb = _euler(tokens_rgb, v_rgb, sigma_rgb, 0.0)
        clean_depth = _euler(tokens_depth, v_depth, sigma_depth, 0.0)
        tokens_rgb = _euler(tokens_rgb, v_rgb, sigma_rgb, sigmas_rgb[step + 1])
        tokens_depth = _euler(tokens_depth, v_depth, sigma_depth, sigmas_depth[step + 1])
        on_step(step + 1, clean_rgb, clean_depth)
    return tokens_rgb, tokens_depth


def velocity(
    transformer: JointDiTTransformer2DModel,
    tokens_rgb: Tensor,
    tokens_depth: Tensor,
    sigma_rgb: float,
    sigma_depth: float,
    img_ids: Tensor,
    txt_ids: Tensor,
    conditions: list[PromptEmbeds],
    guidance_scale: float,
    frozen: FrozenBranch | None,
) -> tuple[Tensor, Tensor]:
    """Predict the guided velocity of both branches in one call of the transformer.

    Args:
        transformer: The model.
        tokens_rgb: (B, L, C) at sigma_rgb.
        tokens_depth: (B, L, C) at sigma_depth.
        sigma_rgb: Noise level of the rgb branch in [0, 1].
        sigma_depth: Noise level of the depth branch in [0, 1].
        img_ids: (L, 3).
        txt_ids: (T, 3).
        conditions: The prompts, and where guidance is classifier-free the negative prompts.
        guidance_scale: Weight of the guidance.
        frozen: Of this request, where one branch is frozen.

    Returns:
        (v_rgb, v_depth), each (B, L, C) float32.
    """
    n = len(tokens_rgb) * len(conditions)
    pooled = torch.cat([condition.pooled for condition in conditions])  # (N, P)
    text = torch.cat([condition.tokens for condition in conditions])  # (N, T, E)
    tokens = merge_branches(tokens_rgb.repeat(len(conditions), 1, 1), tokens_depth.repeat(len(conditions), 1, 1))
    sigmas = merge_branches(tokens.new_full((n,), sigma_rgb), tokens.new_full((n,), sigma_depth))
    v = transformer(
        hidden_states=tokens.to(transformer.dtype),  # (2N, L, C)
        encoder_hidden_states=merge_branches(text, text).to(transformer.dtype),  # (2N, T, E)
        pooled_projections=merge_branches(pooled, pooled).to(transformer.dtype),  # (2N, P)
        timestep=sigmas,  # (2N,)
        img_ids=img_ids,
        txt_ids=txt_ids,
        guidance=tokens.new_full((2 * n,), guidance_scale) if transformer.config.guidance_embeds else None,
        joint_attention_kwargs=None if frozen is None else {"frozen": frozen},
    ).sample.float()
    branches = split_branches(v)  # (N, L, C) each
    if len(conditions) > 1:
        branches = [_guide(v, guidance_scale) for v in branches]
    if frozen is not None:
        branches = [frozen.hold(v) if branch == frozen.branch else v for branch, v in enumerate(branches)]
    return tuple(branches)


def _guide(v: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance on (2B, L, C): B conditional rows, then B unconditional ones."""
    with_prompt, without = v.chunk(2)
    return without + guidance_scale * (with_prompt - without)


def _euler(tokens: Tensor, v: Tensor, sigma: float, next_sigma: float) -> Tensor:
    """One Euler step; a clean branch is put back unchanged."""
    return tokens if sigma == 0 else tokens + (next_sigma - sigma) * v
