"""JointDiTPipeline: prompt, image, disparity in any mixture -> image and disparity.

Letters: B pairs, H x W pixels, h x w latents, C latent channels, L image tokens.
"""

from __future__ import annotations

from functools import partial
from numbers import Integral

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ModelMixin
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from .decode import decode_latents, to_disparity, to_pil
from .denoise import add_noise, denoise, schedule
from .encode import (
    disparity_to_image,
    encode_images,
    fit_size,
    image_ids,
    images_to_tensor,
    pack_latents,
    resize_disparity,
    unpack_latents,
)
from .loaders import LoadersMixin
from .model import transformer as transformer_module
from .model.autoencoder import AutoencoderPatchPCA
from .model.transformer import JointDiTTransformer2DModel
from .output import Interrupted, JointDiTOutput, StepCallback
from .prompts import PromptsMixin
from .request import MAX_GUIDANCE, MAX_STEPS, Request, check_number, check_request
from .tasks import GUIDANCE_SCALE, TasksMixin

# `from_pretrained` finds how to load a component by the base classes that its class's module can see.
transformer_module.ModelMixin = ModelMixin


class JointDiTPipeline(DiffusionPipeline, TasksMixin, LoadersMixin, PromptsMixin):
    """Joint generation, depth estimation and depth-conditioned generation with one model."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL | AutoencoderPatchPCA,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: PreTrainedTokenizerBase,
        transformer: JointDiTTransformer2DModel,
        default_size: int = 512,
        max_size: int | None = None,
        depth_guidance_scale: float = 1.0,
        depth_transform: str = "none",
    ) -> None:
        """Hold the components.

        Args:
            scheduler: Its configuration gives the noise schedule.
            vae: An autoencoder with diffusers' encode / decode interface, for both branches.
            text_encoder: CLIP.
            tokenizer: CLIP's tokenizer.
            text_encoder_2: T5.
            tokenizer_2: T5's tokenizer.
            transformer: The joint model.
            default_size: Side of the square made when no size is asked for, and the least worked at, in pixels.
            max_size: Side of the largest square worked at, in pixels; larger results are scaled up from it.
                None means `default_size`.
            depth_guidance_scale: Guidance of depth estimation where the caller names none.
            depth_transform: "none", or "inverse" for weights that work on 1 - disparity.
        """
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transformer=transformer,
        )
        self.register_to_config(
            default_size=default_size,
            max_size=max_size,
            depth_guidance_scale=depth_guidance_scale,
            depth_transform=depth_transform,
        )
        self.remember_prompts(0)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        image: Image.Image | np.ndarray | list | None = None,
        disparity: np.ndarray | list[np.ndarray] | None = None,
        *,
        negative_prompt: str | list[str] = "",
        sigma_start_rgb: float | None = None,
        sigma_start_depth: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = GUIDANCE_SCALE,
        seed: int | list[int] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> JointDiTOutput:
        """Denoise both branches, each from its own start sigma.

        An argument that may be a list makes a batch of B; single values serve every pair of it.

        Args:
            prompt: What to show; "" and " " are allowed.
            image: PIL picture of 8 bits a channel or uint8 (H, W, 3); a batch has one size.
            disparity: Floating (H, W), or (B, H, W), in [0, 1], near = 1; a batch has one size.
            negative_prompt: What to steer away from, where guidance is classifier-free.
            sigma_start_rgb: 0 keeps `image` as it is, 1 ignores it, between them it is noised that far first.
                By default 0 where an image is given and 1 where not.
            sigma_start_depth: The same for `disparity`.
            height: Of the result in pixels, 64 to 2048, where nothing is given whose size it takes.
            width: Likewise.
            num_inference_steps: 1 to 200.
            guidance_scale: 0 to 30. Read by the model itself where it has a guidance embedding; elsewhere
                classifier-free guidance, which 1 and less turn off.
            seed: 0 to 2**63 - 1; pair i of a batch takes seed + i. A list gives each pair its own.
                None draws one, which the output tells.
            generator: Instead of `seed`, fresh CPU generators of the caller's: one for all pairs in turn, or a list.
            callback_on_step_end: Called as (steps done, steps in all, preview) after each step. `preview()` decodes
                the current estimate at the size worked at. Return False or raise `Interrupted` to stop.

        Returns:
            Image and disparity at the size of what was given, else at height x width.

        Raises:
            ValueError: An argument is not as described.
            Interrupted: The callback asked to stop.
            FloatingPointError: The result is not finite.
        """
        # 1. Check at the door.
        check_number("num_inference_steps", num_inference_steps, 1, MAX_STEPS, Integral)
        check_number("guidance_scale", guidance_scale, 0, MAX_GUIDANCE)
        request = check_request(
            prompt=prompt,
            image=image,
            disparity=disparity,
            negative_prompt=negative_prompt,
            sigma_start_rgb=sigma_start_rgb,
            sigma_start_depth=sigma_start_depth,
            height=height,
            width=width,
            seed=seed,
            generator=generator,
            default_size=self.config.default_size,
        )

        # 2. Read the prompts.
        guided = guidance_scale > 1 and not self.transformer.config.guidance_embeds
        embeds, notes = self._read(request.prompts)  # (B, P) and (B, T, E)
        negative = self._read(request.negative_prompts)[0] if guided else None
        if not guided and any(text.strip() for text in request.negative_prompts):
            notes += ("The negative prompt had no effect: it needs classifier-free guidance above 1.",)

        # 3. Bring both branches to their start sigma, at a size the model knows.
        h, w = self._latent_size(request)
        tokens_rgb, tokens_depth = self._start_tokens(request, h, w)  # (B, L, 4C) each

        # 4. Step both to sigma 0, each on its own schedule.
        # The context is where a step cache, if one is enabled, keeps this request's state.
        with self.progress_bar(total=num_inference_steps) as bar, self.transformer.cache_context("denoise"):

            def on_step(step: int, clean_rgb: Tensor, clean_depth: Tensor) -> None:
                bar.update()
                if callback_on_step_end is not None:
                    preview = partial(self._decode, request, clean_rgb, clean_depth, h, w)
                    if callback_on_step_end(step, num_inference_steps, preview) is False:
                        raise Interrupted(f"Stopped after step {step} of {num_inference_steps}.")

            try:
                tokens_rgb, tokens_depth = denoise(
                    self.transformer,
                    tokens_rgb,
                    tokens_depth,
                    schedule(self.scheduler, num_inference_steps, tokens_rgb.shape[1], request.start_rgb),
                    schedule(self.scheduler, num_inference_steps, tokens_rgb.shape[1], request.start_depth),
                    image_ids(h, w).to(tokens_rgb.device),
                    embeds,
                    negative,
                    guidance_scale,
                    on_step,
                )
            finally:
                self.maybe_free_model_hooks()  # also resets step caches, which an interrupted loop leaves half filled

        # 5. Decode at the caller's size; what was given clean goes back as it came.
        images, maps = self._decode(request, tokens_rgb, tokens_depth, h, w)
        return JointDiTOutput(image=images, disparity=maps, seed=request.outward(request.seeds), notes=notes)

    def _latent_size(self, request: Request) -> tuple[int, int]:
        """Size of the latent map (h, w) to work at, both even."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)  # pixels per latent, as in FluxPipeline
        default_size, max_size = self.config.default_size, self.config.max_size or self.config.default_size
        height, width = fit_size(request.height, request.width, 2 * factor, default_size, max_size)
        return height // factor, width // factor

    def _start_tokens(self, request: Request, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Noise, or the given image and disparity noised up to their start sigma: (B, L, 4C) float32 each."""
        device = self._execution_device
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = (2, self.vae.config.latent_channels, h, w)
        # Drawn pair by pair and both branches in any task, so that neither batch nor task changes a seed's noise.
        noise = torch.stack([torch.randn(shape, generator=g) for g in request.generators]).to(device)  # (B, 2, C, h, w)
        rgb, depth = noise.unbind(1)
        if request.start_rgb < 1:
            pictures = images_to_tensor(request.images, h * factor, w * factor)  # (B, 3, H, W)
            rgb = add_noise(encode_images(self.vae, pictures.to(device)).float(), rgb, request.start_rgb)
        if request.start_depth < 1:
            maps = resize_disparity(request.disparities, h * factor, w * factor)  # (B, H, W)
            pictures = disparity_to_image(maps, self._is_inverse)
            depth = add_noise(encode_images(self.vae, pictures.to(device)).float(), depth, request.start_depth)
        return pack_latents(rgb), pack_latents(depth)

    @torch.no_grad()
    def _decode(self, request: Request, tokens_rgb: Tensor, tokens_depth: Tensor, h: int, w: int) -> tuple:
        """Images and disparity maps in the caller's form; a clean branch's are the given ones."""
        size = (request.height, request.width)
        images, maps = request.images, request.disparities
        if request.start_rgb > 0:
            images = to_pil(decode_latents(self.vae, unpack_latents(tokens_rgb, h, w)), *size)
        if request.start_depth > 0:
            pictures = decode_latents(self.vae, unpack_latents(tokens_depth, h, w))
            maps = to_disparity(pictures, *size, self._is_inverse)
        return request.outward(images), request.outward(list(maps))

    @property
    def _is_inverse(self) -> bool:
        return self.config.depth_transform == "inverse"
