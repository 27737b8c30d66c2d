"""What a pipeline loads and saves beyond diffusers' own: FLUX with add-ons, add-ons alone, FLUX's LoRAs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import torch
from diffusers.loaders import FluxLoraLoaderMixin

from .flux import flux_parts, write_addons
from .tasks import GUIDANCE_SCALE


class LoadersMixin(FluxLoraLoaderMixin):
    """A pipeline that joins FLUX with JointDiT's add-ons.

    FLUX's LoRAs load as in diffusers (`load_lora_weights`, `set_adapters`, `fuse_lora`, `unload_lora_weights`). They
    change FLUX's own weights, as another base model would: the rgb half computes what FLUX with that LoRA computes, and
    the depth half sees the same weights under its own LoRA, which stays. A style thus reaches the depth map, too, where
    it changes shapes; the depth half was never trained with it.
    """

    @classmethod
    def from_flux(
        cls,
        flux: str,
        addons: str,
        dtype: torch.dtype = torch.bfloat16,
        revision: str | None = None,
        addons_revision: str | None = None,
    ) -> Self:
        """Join FLUX.1-dev, or another model of its shape, with JointDiT's add-ons.

        Args:
            flux: Local folder or hub id in diffusers' layout; a local folder may hold an original single file,
                such as `flux1-dev.safetensors`, instead of the transformer's own weights.
            addons: Local folder or hub id of the add-ons, released or saved by `save_addons`: one safetensors file
                and its JSON.
            dtype: Number format of all weights.
            revision: Commit, tag or branch of `flux` on the hub.
            addons_revision: The same of `addons`.

        Returns:
            The pipeline, on the CPU.

        Raises:
            OSError: A folder or file is missing or damaged, the hub cannot be reached, or refuses access.
            ValueError: The weights or flags do not fit; the message names them.
        """
        parts = flux_parts(flux, addons, dtype, revision, addons_revision)
        return cls(**parts, depth_guidance_scale=GUIDANCE_SCALE)

    def save_addons(self, folder: str | os.PathLike) -> None:
        """Save what JointDiT adds to FLUX, without FLUX; `from_flux` loads it as its `addons`.

        Args:
            folder: Where to write the safetensors file and its JSON; made if need be.

        Raises:
            ValueError: The transformer's projections are fused.
        """
        write_addons(self.transformer, self.config.depth_transform, Path(folder))
