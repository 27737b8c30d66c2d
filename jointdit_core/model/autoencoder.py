"""Patch autoencoder whose latents are principal components: no training, exact in milliseconds on a CPU.

Each `patch_size` x `patch_size` block of an image is projected on the leading principal components of such blocks.
A strided convolution encodes and a transposed one decodes; a small residual network, trained afterwards, removes the
patch borders and what generated latents have of noise. The latents do not depend on that network, so it can be improved
without retraining what works on them.

Letters: B images, C latent channels, f patch size, K = 3 * f * f numbers in a patch.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional as F

FINE_BLOCKS = 2


class RefineBlock(nn.Module):
    """Residual block of two 3 x 3 convolutions, the second zero-initialised."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the block's correction to `x` (B, channels, h, w)."""
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class AutoencoderPatchPCA(ModelMixin, AutoencoderMixin, ConfigMixin):
    """Autoencoder of image patches on their principal components, behind diffusers' autoencoder interface.

    Args:
        latent_channels: Principal components kept per patch.
        block_out_channels: Read by pipelines only for its length: the patch size is `2 ** (len - 1)`.
        refine_channels: Width of the residual network that corrects the linear decoding at latent resolution; it is
            half as wide in its two blocks at a quarter of the picture's.
        refine_blocks: Its number of residual blocks at latent resolution; 0 leaves the linear decoding alone.
        scaling_factor: Factor that brings shifted latents to unit variance, as in `AutoencoderKL`.
        shift_factor: Mean of the latents, as in `AutoencoderKL`; components are centred, so 0.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (3, 3, 3, 3),
        refine_channels: int = 64,
        refine_blocks: int = 0,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ):
        super().__init__()
        f = 2 ** (len(block_out_channels) - 1)
        self.encoder = nn.Conv2d(3, latent_channels, f, stride=f)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, f, stride=f)
        self.refiner = None
        if refine_blocks:
            up = max(f // 4, 1)  # to a quarter of the picture's resolution
            fine = refine_channels // 2
            out = nn.Conv2d(fine, 3 * (f // up) ** 2, 3, padding=1)
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
            self.refiner = nn.Sequential(
                nn.Conv2d(latent_channels, refine_channels, 3, padding=1),
                *(RefineBlock(refine_channels) for _ in range(refine_blocks)),
                nn.SiLU(),
                nn.Conv2d(refine_channels, fine * up**2, 3, padding=1),
                nn.PixelShuffle(up),
                *(RefineBlock(fine) for _ in range(FINE_BLOCKS)),
                nn.SiLU(),
                out,
                nn.PixelShuffle(f // up),
            )

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """Encode images.

        Args:
            x: (B, 3, H, W) in [-1, 1], H and W multiples of the patch size.
            return_dict: Return the output class rather than a tuple.

        Returns:
            An output whose `latent_dist` is deterministic, (B, C, H / f, W / f), unscaled.
        """
        posterior = IdentityDistribution(self.encoder(x))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """Decode unscaled latents (B, C, h, w) to images (B, 3, h * f, w * f), about [-1, 1]."""
        sample = self.decoder(z)
        if self.refiner is not None:
            sample = sample + self.refiner(z * self.config.scaling_factor)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, x: torch.Tensor) -> DecoderOutput:
        """Encode and decode images (B, 3, H, W) in [-1, 1]."""
        return self.decode(self.encode(x).latent_dist.mode())

    @classmethod
    @torch.no_grad()
    def fit(
        cls, images: torch.Tensor, latent_channels: int, patch_size: int, whitening: float, **refine: int
    ) -> AutoencoderPatchPCA:
        """Fit the components to images; closed form, float64.

        Args:
            images: (B, 3, H, W) float32 in [-1, 1], H and W multiples of `patch_size`.
            latent_channels: Components kept.
            patch_size: f, a power of two.
            whitening: Exponent w in [0, 1]: component i is divided by its standard deviation to the power w,
                so 0 keeps the image's own spectrum and 1 gives every component unit variance.
            **refine: `refine_channels` and `refine_blocks` of the constructor.

        Returns:
            The fitted autoencoder; its scaled latents have mean 0 and, over all channels, unit variance.

        Raises:
            ValueError: If `latent_channels` exceeds the numbers in a patch or `patch_size` is no power of two.
        """
        f = patch_size
        if f < 1 or f & (f - 1):
            raise ValueError(f"patch_size is {f}; it must be a power of two")
        if not 0 < latent_channels <= 3 * f * f:
            raise ValueError(f"latent_channels is {latent_channels}; it must lie in 1..{3 * f * f}")
        mean = images.double().mean((0, 2, 3))  # (3,): per channel, since a convolution's bias is
        patches = F.unfold(images.double() - mean[:, None, None], f, stride=f).transpose(1, 2).flatten(0, 1)  # (N, K)
        variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
        std = variances.flip(0)[:latent_channels].clamp_min(1e-12).sqrt()  # (C,)
        basis = vectors.flip(1)[:, :latent_channels].T  # (C, K)
        gain = std**-whitening
        latent_std = (gain * std).square().mean().sqrt()
        halvings = f.bit_length() - 1
        vae = cls(
            latent_channels=latent_channels,
            block_out_channels=(3,) * (halvings + 1),
            scaling_factor=float(1 / latent_std),
            **refine,
        )
        encode = gain[:, None] * basis  # z = gain * basis (x - mean)
        vae.encoder.weight.copy_(encode.reshape(-1, 3, f, f))
        vae.encoder.bias.copy_(-encode @ mean.repeat_interleave(f * f))
        vae.decoder.weight.copy_((basis / gain[:, None]).reshape(-1, 3, f, f))
        vae.decoder.bias.copy_(mean)
        return vae.eval()
