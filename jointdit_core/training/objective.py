"""What a training step minimises: the JCFM loss (Eq. 4), or the distillation of guidance into one pass.

Letters: B pairs, L image tokens, C channels of a packed latent token, T text tokens.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..denoise import add_noise
from ..encode import PromptEmbeds, TokenIds, encode_tokens, pack_latents
from ..model.joint_attention import merge_branches, split_branches
from ..pipeline import JointDiTPipeline
from .semantics import SemanticHead
from .sigmas import SigmaSampling, sample_sigmas
from .velocity import predict_velocity

PROMPT_DROP = 0.1
SEMANTIC_WEIGHT = 0.1  # of the semantic loss beside Eq. 4


class TrainedParts(nn.Module):
    """The parts of a pipeline that training may change, as one module."""

    def __init__(self, pipeline: JointDiTPipeline, semantic: bool = False):
        """Take the parts out of a pipeline, not copies of them.

        Args:
            pipeline: Where they live.
            semantic: Whether a `SemanticHead` is trained along.
        """
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder = pipeline.text_encoder  # None where prompts come embedded
        self.text_encoder_2 = pipeline.text_encoder_2
        self.semantic = SemanticHead(pipeline.transformer) if semantic else None
        # Under autocast FLUX would round sigma to bfloat16; the pipeline then asks for levels never seen.
        self.exact_timestep: torch.Tensor | None = None
        self.transformer.time_text_embed.register_forward_pre_hook(self._with_exact_timestep)

    def _with_exact_timestep(self, module: nn.Module, args: tuple) -> tuple | None:
        return None if self.exact_timestep is None else (self.exact_timestep, *args[1:])

    def forward(
        self,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        text: torch.Tensor | PromptEmbeds,
        grid: tuple[int, int],
        guidance: torch.Tensor | None,
        labels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the velocity of noised pairs.

        Args:
            x: (2B, L, C) tokens at `sigmas`, rgb rows first.
            sigmas: (2B,).
            text: (B, T) token ids, the same in both text slots, or B embedded prompts.
            grid: (h, w) of the latent map.
            guidance: (B,) or None for a model without embedded guidance.
            labels: (B, 2, h, w), see `SemanticHead.forward`; not needed without a head.

        Returns:
            v, (2B, L, C) float32, and the semantic loss, 0 without a head or labels.
        """
        self.exact_timestep = sigmas * 1000
        given = isinstance(text, PromptEmbeds)
        embeds = text if given else encode_tokens(self.text_encoder, self.text_encoder_2, TokenIds(text, text, ()))
        velocity = predict_velocity(self.transformer, x, sigmas, embeds, grid, guidance)
        self.exact_timestep = None
        read = self.semantic is not None and labels is not None
        return velocity, self.semantic(labels) if read else velocity.new_zeros(())


class Objective:
    """JCFM (Eq. 4), and guidance distillation once a teacher is set."""

    def __init__(
        self, sampling: SigmaSampling, empty_prompt: torch.Tensor | PromptEmbeds, unknown: int | None, guidance: bool
    ):
        """Keep what does not change between steps.

        Args:
            sampling: Distribution of the noise levels.
            empty_prompt: (T,) ids of the dropped prompt, or the prompt embedded, B = 1.
            unknown: Id of the unknown token, which replaces 2 % of the words so that the model learns to ignore it;
                None for embedded prompts.
            guidance: Whether the model has embedded guidance; it is 1 ("none") for the plain loss.
        """
        self.sampling, self.empty_prompt, self.unknown, self.guidance = sampling, empty_prompt, unknown, guidance
        self.teacher: nn.Module | None = None
        self.max_guidance = 1.0

    def distill_from(self, teacher: TrainedParts, max_guidance: float) -> None:
        """Teach guidance scales up to `max_guidance` from a frozen copy of `teacher`.

        Args:
            teacher: The trained parts as they are now.
            max_guidance: Largest scale, above 1.

        Raises:
            ValueError: If the model has no embedded guidance to learn with.
        """
        if not self.guidance:
            raise ValueError("this model has no embedded guidance, so guidance cannot be distilled into it")
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.max_guidance = max_guidance

    def drop_words(self, captions: torch.Tensor, image_given: torch.Tensor) -> torch.Tensor:
        """Empty 10 % of the prompts, half of them where the image is given, and 2 % of the words.

        Args:
            captions: (B, T) ids.
            image_given: (B,) bool; depth estimation runs without a prompt, so it must be learnt so.

        Returns:
            (B, T) ids.
        """
        special = captions <= self.unknown  # padding and end come first in the vocabulary
        lost = (torch.rand(captions.shape, device=captions.device) < 0.02) & ~special
        captions = torch.where(lost, self.unknown, captions)
        dropped = torch.rand(len(captions), device=captions.device) < torch.where(image_given, 0.5, PROMPT_DROP)
        return torch.where(dropped[:, None], self.empty_prompt, captions)

    def drop_prompts(self, embeds: PromptEmbeds) -> PromptEmbeds:
        """Empty 10 % of the embedded prompts, as the paper does."""
        dropped = torch.rand(len(embeds.pooled), 1, device=embeds.pooled.device) < PROMPT_DROP
        return PromptEmbeds(
            torch.where(dropped, self.empty_prompt.pooled, embeds.pooled),
            torch.where(dropped[..., None], self.empty_prompt.tokens, embeds.tokens),
        )

    def __call__(
        self,
        parts: nn.Module,
        latents_rgb: torch.Tensor,
        latents_depth: torch.Tensor,
        text: torch.Tensor | PromptEmbeds,
        labels: torch.Tensor | None,
        share: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Compute the loss of a batch, or one process's share of it.

        Every process draws the noise of the whole batch, so that many train exactly as one does.

        Args:
            parts: `TrainedParts`, perhaps wrapped.
            latents_rgb: (B, C/4, h, w) clean scaled latents.
            latents_depth: (B, C/4, h, w).
            text: (B, T) ids, or B embedded prompts.
            labels: (B, 2, h, w), see `SemanticHead.forward`, or None.
            share: (i, n): the pairs i, i + n, ... of the batch.

        Returns:
            Mean squared error over all noisy rows of both branches, plus `SEMANTIC_WEIGHT` times the semantic loss; a
            scalar, of which the mean over all shares is the batch's.
        """
        clean = merge_branches(pack_latents(latents_rgb.float()), pack_latents(latents_depth.float()))  # (2B, L, C)
        grid = latents_rgb.shape[-2:]
        noise = torch.randn_like(clean)
        sigma_rgb, sigma_depth = sample_sigmas(self.sampling, len(latents_rgb), clean.device)
        given = isinstance(text, PromptEmbeds)
        text = self.drop_prompts(text) if given else self.drop_words(text, image_given=sigma_rgb < sigma_depth)
        scale = torch.ones(len(latents_rgb), device=clean.device) if self.guidance else None
        if self.teacher is not None:
            taught = torch.rand_like(scale) < 0.75
            scale = torch.where(taught, 1 + (self.max_guidance - 1) * torch.rand_like(scale), scale)
        sigmas = merge_branches(sigma_rgb, sigma_depth)
        # The velocity of an exactly clean branch is never used, and cannot be known.
        noisy = (sigmas > 0).float()  # (2B,)
        rows_of_a_share = noisy.sum() / share[1]

        def own(rows: torch.Tensor) -> torch.Tensor:
            return rows[share[0] :: share[1]]

        def own_of_both(rows: torch.Tensor) -> torch.Tensor:
            return merge_branches(*map(own, split_branches(rows)))

        clean, noise, sigmas, noisy = (own_of_both(rows) for rows in (clean, noise, sigmas, noisy))
        text = PromptEmbeds(own(text.pooled), own(text.tokens)) if given else own(text)
        scale = scale if scale is None else own(scale)
        x = add_noise(clean, noise, sigmas[:, None, None])
        target = noise - clean
        if self.teacher is not None:
            guided = self.guided_velocity(x, sigmas, text, grid, scale)
            target = torch.where(merge_branches(own(taught), own(taught))[:, None, None], guided, target)
        velocity, semantic = parts(x, sigmas, text, grid, scale, None if labels is None else own(labels))
        errors = (velocity - target).square().mean((1, 2))  # (2B / n,)
        return (errors * noisy).sum() / rows_of_a_share + SEMANTIC_WEIGHT * semantic  # Eq. 4, and beside it

    @torch.no_grad()
    def guided_velocity(
        self, x: torch.Tensor, sigmas: torch.Tensor, captions: torch.Tensor, grid: tuple[int, int], scale: torch.Tensor
    ) -> torch.Tensor:
        """The teacher's classifier-free guidance: v(empty) + scale * (v(prompt) - v(empty)), (2B, L, C)."""
        ones = torch.ones_like(scale)
        prompted, _ = self.teacher(x, sigmas, captions, grid, ones)
        empty, _ = self.teacher(x, sigmas, self.empty_prompt.expand_as(captions), grid, ones)
        return empty + merge_branches(scale, scale)[:, None, None] * (prompted - empty)
