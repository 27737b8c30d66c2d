"""The embedded model's own parts at tiny size, and latents that can be learnt."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from jointdit_core.model.autoencoder import AutoencoderPatchPCA
from jointdit_core.training.__main__ import main
from jointdit_core.training.cache import LatentPairs
from jointdit_core.training.mini import MiniConfig, build_mini, build_tokenizer
from jointdit_core.worlds import VOCABULARY
from tests.tiny import tiny_pipeline
from tests.training import full_scale
from tests.training.annotators import save_caption_model, save_depth_model
from tests.training.full_scale import prepare_options, save_flux, save_pairs

ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
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


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Eight pictures, two files that are none, tiny models of transformers, and what `prepare` makes of them."""
    folder = tmp_path_factory.mktemp("prepare")
    tiny_pipeline(guidance_embeds=True).save_pretrained(folder / "model")
    shutil.rmtree(folder / "model" / "transformer")  # preparing needs none
    save_depth_model(folder / "depth")
    save_caption_model(folder / "caption")
    (folder / "pictures" / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(8):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96 + i, 80)).save(folder / "pictures" / ("more" if i % 2 else "") / f"{i}.png")
    (folder / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Image.new("RGB", (20, 20)).save(folder / "pictures" / "small.png")
    (folder / "pictures" / "notes.txt").write_text("no picture by its name")
    main(prepare_options(folder, folder / "out"))
    return folder


@pytest.fixture(scope="session")
def flux(tmp_path_factory):
    """FLUX's layout and prepared pairs, to train add-ons with."""
    folder = tmp_path_factory.mktemp("full")
    save_flux(folder / "flux")
    save_pairs(folder / "pairs", full_scale.pipeline(folder).vae)
    return folder


@pytest.fixture(scope="session")
def two(flux, made, tmp_path_factory):
    """What two processes make together: the mini's state, prepared pairs, and `flux`'s run "two"."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.training.two_processes", str(folder), str(flux), *prepare_options(made, folder / "pairs")]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=300)
    return folder
