"""The embedded model's own parts at tiny size, and latents that can be learnt."""

import pytest
import torch

from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.cache import LatentPairs
from jointdit_core.training.mini import MiniConfig, build_mini, build_tokenizer
from jointdit_core.worlds import VOCABULARY

TINY = MiniConfig(
    size=64, width=32, head_width=16, num_layers=1, num_single_layers=1, lora_rank=4, text_width=32, text_layers=1
)


def tiny_vae():
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return AutoencoderPatchPCA.fit(images, latent_channels=4, patch_size=8, whitening=0.5)


def learnable_pairs():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randn(4, 4, 1, 1, generator=generator).expand(4, 4, 8, 8)
    captions = torch.randint(3, 50, (4, 2, TINY.text_length), generator=generator)
    labels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 2, 8, 8)
    return LatentPairs(rgb.half(), -rgb.half(), captions, labels)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer(VOCABULARY, TINY.text_length)


@pytest.fixture(scope="session")
def vae():
    return tiny_vae()


@pytest.fixture
def pipeline(vae):
    return build_mini(TINY, vae, VOCABULARY)


@pytest.fixture
def pairs():
    return learnable_pairs()
