"""What an ablation compares, and the two models it is run on: the mini on drawn worlds, FLUX's add-ons on pictures."""

from __future__ import annotations

import argparse
import gc
import math
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm.auto import tqdm

from ..geometry.disparity import disparity_to_depth
from ..hub import fetch
from ..model.autoencoder import AutoencoderPatchPCA
from ..model.joint_attention import WeightForm
from ..pipeline import JointDiTPipeline
from ..training.cache import LatentPairs
from ..training.full import train_addons
from ..training.loop import TrainConfig, Trainer
from ..training.mini import MiniConfig, build_mini, build_tokenizer
from ..training.shards import PreparedPairs
from ..training.sigmas import MINI_SAMPLING
from ..training.validate import GUIDANCE, decode_pairs
from ..worlds import VOCABULARY
from .mini import SKY, Worlds, draw_worlds

COMPILE = True  # the mini's blocks, for training


@dataclass(frozen=True)
class Variant:
    """One form of the model and of its training.

    Attributes:
        name: Its name in the table.
        adaptive_weights: Form of Eq. 6: "released", "paper" or "off".
        unbalanced: Whether noise levels are drawn as in Fig. 3c; else both from f, each on its own.
    """

    name: str
    adaptive_weights: WeightForm
    unbalanced: bool


VARIANTS = (
    Variant("neither", "off", False),
    Variant("adaptive weights", "released", False),
    Variant("unbalanced levels", "off", True),
    Variant("both, as released", "released", True),
    Variant("both, as in the paper", "paper", True),
)


class Subject(Protocol):
    """A model whose forms are compared.

    Attributes:
        guidance: Guidance scale of the generating tasks.
        worlds: What no form was trained on.
    """

    guidance: float
    worlds: Worlds

    def train(self, variant: Variant, seed: int) -> JointDiTPipeline:
        """Train one form.

        Args:
            variant: The form.
            seed: Seed of its weights, batches and noise.

        Returns:
            The trained model, without a progress bar.
        """


class Mini:
    """The mini, every form trained from nothing."""

    guidance = 1.0

    def __init__(self, args: argparse.Namespace):
        """Read the options; data is read once it is needed.

        Args:
            args: Options of the ablation's command.
        """
        self.args, self.mini = args, replace(MiniConfig(), width=args.width)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.vae = AutoencoderPatchPCA.from_pretrained(args.autoencoder)
        self.config = TrainConfig(
            minutes=0,
            batch_size=args.batch_size,
            lr_matrix=4e-3,
            lr_other=1.5e-3,
            warmup_steps=20,
            cooldown=0.4,
            ema_decay=0.98,
            compile=COMPILE,
        )

    @cached_property
    def pairs(self) -> LatentPairs:
        """The data."""
        vocabulary = len(build_tokenizer(VOCABULARY, self.mini.text_length))
        return LatentPairs.load(self.args.cache, self.vae, vocabulary, self.device)

    @cached_property
    def worlds(self) -> Worlds:
        """Unseen drawn worlds."""
        return draw_worlds(self.args.scenes, self.mini.size, self.device)

    def train(self, variant: Variant, seed: int) -> JointDiTPipeline:
        """Train one form, see `Subject.train`; the rates fall to 0 over the last `config.cooldown` of the steps."""
        sampling = replace(MINI_SAMPLING, unbalanced=variant.unbalanced)
        form = replace(self.mini, adaptive_weights=variant.adaptive_weights)
        pipeline = build_mini(form, self.vae, VOCABULARY, seed, self.pairs.token_std())
        config, steps = replace(self.config, sampling=sampling, seed=seed), self.args.steps
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(pipeline, config, Path(folder) / "state", Path(folder) / "export")
            for step in tqdm(range(steps), desc=f"{variant.name}, seed {seed}", unit="step"):
                trainer.step(self.pairs, step / steps)
            trainer.save()
            trained = JointDiTPipeline.from_pretrained(Path(folder) / "export", dtype=torch.float32)
        trained.set_progress_bar_config(disable=True)
        return trained.to(self.device)


class Addons:
    """What JointDiT adds to FLUX, every form trained as `train-flux` does, resumed after a kill."""

    guidance = GUIDANCE

    def __init__(self, args: argparse.Namespace):
        """Read the options.

        Args:
            args: Options of the ablation's command, and of `train-flux`.
        """
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @cached_property
    def worlds(self) -> Worlds:
        """The pairs at the end of the data, which no form is trained on; their depth is that of the labels."""
        folder = fetch(self.args.model, ["vae/*"], None)
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=self.dtype).to(self.device)
        pairs = PreparedPairs.load(self.args.data, vae, self.device, self.args.scenes)
        batch = pairs.validation()
        decoded = [decode_pairs(vae, *one) for one in zip(batch.rgb.split(1), batch.depth.split(1), strict=True)]
        images, disparities = (list(chain(*column)) for column in zip(*decoded, strict=True))
        depths = [np.where(near > SKY, disparity_to_depth(near), np.inf) for near in disparities]
        return Worlds(images, depths, disparities, pairs.held_out_captions(), [])

    def train(self, variant: Variant, seed: int) -> JointDiTPipeline:
        """Train one form, see `Subject.train`; its add-ons stay, for other benchmarks."""
        folder = self.args.out / f"{variant.name.replace(',', '').replace(' ', '-')}-{seed}"
        options = vars(self.args) | {
            "out": folder / "addons",
            "state": folder / "state",
            "addons": None,
            "minutes": math.inf,
            "validate": self.args.scenes,
            "adaptive_weights": variant.adaptive_weights,
            "balanced": not variant.unbalanced,
            "seed": seed,
        }
        trackers = train_addons(argparse.Namespace(**options)).accelerator.trackers
        for tracker in trackers:
            tracker.finish()
        gc.collect()  # the trained model makes room for the same as it loads
        trained = JointDiTPipeline.from_flux(self.args.model, str(folder / "addons"), self.dtype)
        trained.register_to_config(default_size=self.worlds.images[0].width)
        trained.set_progress_bar_config(disable=True)
        return trained.to(self.device)
