"""Ways to fit the released model into a card's memory, and what each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from .model import nf4
from .model.fp8 import OLDEST_CARD, quantize_float8
from .model.fused import fuse_projections
from .model.transformer import JointDiTTransformer2DModel
from .pipeline import JointDiTPipeline

GIB = 2**30
BYTES = 2  # of a bfloat16
# FLUX.1-dev's text encoders and autoencoder, for their sizes only; from the configs in its repository.
T5_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
FLUX_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
TEXT_TOKENS, PIXELS_PER_TOKEN = 512, 16
# Channels per token alive at once in a single block: its input and normed copy, q, k, v and MLP, the doubled queries,
# the answers, and the input of its output projection. In units of D.
LIVE_WIDTHS = 24
SMALLER_SIZES = (896, 768, 640, 512)  # suggested where the largest does not fit, in pixels
# Left free for the CUDA context, the libraries' work space, and the autoencoder's tiles.
RESERVE_GIB = 1.5


@dataclass(frozen=True)
class Card:
    """What a plan must fit.

    Attributes:
        free_gib: Free memory in GiB.
        capability: Compute capability of an NVIDIA card; None for main memory and a CPU.
        host_gib: Free main memory beside a card, in GiB.
    """

    free_gib: float
    capability: tuple[int, int] | None
    host_gib: float = float("inf")

    @classmethod
    def of(cls, device: torch.device) -> Card:
        """Look at a device as it is now."""
        if device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(device)
            return cls(free_bytes / GIB, torch.cuda.get_device_capability(device), _free_host_gib())
        return cls(_free_host_gib(), None)


@dataclass(frozen=True)
class MemoryPlan:
    """One way to fit the model.

    Attributes:
        title: What is done, as `--help` shows it.
        weights_gib: Weights on the card at the worst moment, in GiB.
        apply: Puts a pipeline in this form, on a device.
        oldest_card: Least compute capability that it needs.
        package: What must be installed for it, or None.
        host_gib: Weights in main memory, in GiB, that cannot be left to their files, as all can that stay on the card.
        streams: Whether blocks get their weights only when they run.
    """

    title: str
    weights_gib: Callable[[], float]
    apply: Callable[[JointDiTPipeline, torch.device], None]
    oldest_card: tuple[int, int] = (0, 0)
    package: str | None = None
    host_gib: Callable[[], float] = lambda: 0.0
    streams: bool = False

    def need_gib(self, size: int) -> float:
        """Memory needed for one picture and its depth.

        Args:
            size: Side of the picture in pixels.

        Returns:
            GiB: weights, what a step computes with, and a reserve.
        """
        tokens = 2 * (TEXT_TOKENS + (size // PIXELS_PER_TOKEN) ** 2)
        width = _transformer(False).inner_dim
        return self.weights_gib() + LIVE_WIDTHS * width * tokens * BYTES / GIB + RESERVE_GIB

    def obstacle(self, card: Card) -> str | None:
        """Tell what but the card's memory is in the way of this plan, in one clause; None where nothing is."""
        if card.capability is not None and card.capability < self.oldest_card:
            have, need = (".".join(map(str, version)) for version in (card.capability, self.oldest_card))
            return f"it needs an NVIDIA card of compute capability {need}, this one has {have}"
        if self.package is not None and find_spec(self.package) is None:
            return f"it needs {self.package}: pip install {self.package}"
        if self.host_gib() > card.host_gib:
            return f"it needs {self.host_gib():.1f} GiB of main memory, {card.host_gib:.1f} are free"
        return None


def weights_gib(model: nn.Module) -> float:
    """Add up a model's weights.

    Args:
        model: On any device, the meta device too.

    Returns:
        GiB.
    """
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) / GIB


@cache
def _transformer(float8: bool, fused: bool = True) -> JointDiTTransformer2DModel:
    """The full-size transformer without values, in the form it runs in."""
    with init_empty_weights():
        model = JointDiTTransformer2DModel(guidance_embeds=True)
    nn.Module.to(model, torch.bfloat16)
    if fused:
        fuse_projections(model)
    if float8:
        quantize_float8(model)
    return model


@cache
def _transformer_gib(float8: bool, fused: bool = True) -> float:
    return weights_gib(_transformer(float8, fused))


@cache
def _empty_others() -> dict[str, nn.Module]:
    """The other models in bfloat16, without values."""
    with init_empty_weights():
        models = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
            "text_encoder_2": T5EncoderModel(T5Config(**T5_XXL, feed_forward_proj="gated-gelu")),
            "vae": AutoencoderKL(**FLUX_VAE),
        }
    models["text_encoder_2"].tie_weights()  # lost on the meta device: its two embeddings are one
    return {name: nn.Module.to(model, torch.bfloat16) for name, model in models.items()}


@cache
def _other_gib() -> dict[str, float]:
    """The other models' weights, by component."""
    return {name: weights_gib(model) for name, model in _empty_others().items()}


def _free_host_gib() -> float:
    """Main memory that can be had without swapping."""
    try:
        return int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]) * 1024 / GIB
    except (OSError, IndexError):  # not Linux: nobody tells
        return float("inf")


@cache
def _streamed_gib() -> float:
    """With one block at a time on the card and the next on its way, the T5 encoder is the larger."""
    model = _transformer(False, fused=False)
    lists = (model.transformer_blocks, model.single_transformer_blocks)
    blocks = [weights_gib(block) for group in lists for block in group]
    return max(_other_gib()["text_encoder_2"], weights_gib(model) - sum(blocks) + 2 * max(blocks))


@cache
def _nf4_gib() -> float:
    others = _other_gib()
    rounded = nf4.nf4_bytes(_transformer(False, fused=False)) + nf4.nf4_bytes(_empty_others()["text_encoder_2"])
    return rounded / GIB + others["text_encoder"] + others["vae"]


def _keep_resident(pipe: JointDiTPipeline, device: torch.device) -> None:
    pipe.to(device)
    fuse_projections(pipe.transformer)


def _take_turns(pipe: JointDiTPipeline, device: torch.device) -> None:
    fuse_projections(pipe.transformer)
    pipe.vae.enable_tiling()
    pipe.enable_model_cpu_offload(device=device)


def _round(pipe: JointDiTPipeline, device: torch.device) -> None:
    fuse_projections(pipe.transformer)
    quantize_float8(pipe.transformer)
    pipe.to(device)


def _round_and_take_turns(pipe: JointDiTPipeline, device: torch.device) -> None:
    fuse_projections(pipe.transformer)
    quantize_float8(pipe.transformer)
    pipe.vae.enable_tiling()
    pipe.enable_model_cpu_offload(device=device)


def _round_to_four_bits(pipe: JointDiTPipeline, device: torch.device) -> None:
    for model in (pipe.transformer, pipe.text_encoder_2):
        nf4.quantize_nf4(model, device)
    pipe.vae.enable_tiling()
    pipe.to(device)


def _stream(pipe: JointDiTPipeline, device: torch.device) -> None:
    pipe.vae.enable_tiling()
    # Copies run beside the computation on a stream of their own, which only a card has.
    pipe.enable_group_offload(device, num_blocks_per_group=1, use_stream=device.type == "cuda")


# In the order in which they are chosen: exact before approximate, then by speed; streaming is the last resort.
PLANS = {
    "bf16": MemoryPlan(
        "all weights in bfloat16 stay on the card",
        lambda: _transformer_gib(False) + sum(_other_gib().values()),
        _keep_resident,
    ),
    "bf16-offload": MemoryPlan(
        "bfloat16; T5 leaves the card when it has read the prompt, the transformer before the autoencoder, in tiles",
        lambda: max(_transformer_gib(False), *_other_gib().values()),
        _take_turns,
        host_gib=lambda: _transformer_gib(False) + sum(_other_gib().values()),
    ),
    "float8": MemoryPlan(
        "the transformer's linears in float8 (approximate); all stays on the card",
        lambda: _transformer_gib(True) + sum(_other_gib().values()),
        _round,
        oldest_card=OLDEST_CARD,
    ),
    "float8-offload": MemoryPlan(
        "float8 (approximate); the models take turns as in bf16-offload",
        lambda: max(_transformer_gib(True), *_other_gib().values()),
        _round_and_take_turns,
        oldest_card=OLDEST_CARD,
        host_gib=lambda: _transformer_gib(True) + sum(_other_gib().values()),
    ),
    "nf4": MemoryPlan(
        "the linears of transformer and T5 in four bits (approximate); all stays on the card; needs bitsandbytes",
        _nf4_gib,
        _round_to_four_bits,
        package=nf4.PACKAGE,
    ),
    "group-offload": MemoryPlan(
        "bfloat16; the transformer's blocks are streamed from main memory at every step (slow)",
        _streamed_gib,
        _stream,
        host_gib=lambda: _transformer_gib(False, fused=False) + sum(_other_gib().values()),
        streams=True,
    ),
}
ON_CPU = "bf16"  # the only plan that makes sense in main memory


def choose_plan(card: Card, size: int, asked: str | None = None) -> str:
    """Choose the first plan that fits, or check the one asked for, before anything is loaded.

    Args:
        card: What it must fit.
        size: Side of the largest picture to be made, in pixels.
        asked: Name of a plan, or None to choose.

    Returns:
        A name in `PLANS`.

    Raises:
        ValueError: It does not fit, or none does; the message tells what is needed and what would fit.
    """
    known = PLANS if card.capability is not None else {ON_CPU: PLANS[ON_CPU]}
    if asked is not None and asked not in known:
        raise ValueError(f"The memory plan {asked} is for a card; on the CPU there is {ON_CPU}.")
    if asked is not None and (obstacle := known[asked].obstacle(card)):
        raise ValueError(f"The memory plan {asked} cannot be used: {obstacle}.")
    needs = {name: plan.need_gib(size) for name, plan in known.items()}
    fitting = [name for name, need in needs.items() if need <= card.free_gib]
    usable = [name for name in fitting if known[name].obstacle(card) is None]
    chosen = asked or next(iter(usable), None)
    if chosen in usable:
        return chosen
    wanted = asked or min(needs, key=lambda name: (known[name].obstacle(card) is not None, needs[name]))
    where = "in main memory" if card.capability is None else "on the card"
    raise ValueError(
        f"{size}x{size} pixels with the memory plan {wanted} need {needs[wanted]:.1f} GiB {where}, "
        f"{card.free_gib:.1f} are free{_way_out(size, needs, fitting, card)}."
    )


def _way_out(size: int, needs: dict[str, float], fitting: list[str], card: Card) -> str:
    """Tell which plan would fit, and what is in its way, or at which size one would, or what a GPU would need."""
    for name in sorted(fitting, key=lambda name: PLANS[name].obstacle(card) is not None):
        obstacle = PLANS[name].obstacle(card)
        return f"; {name} would fit with {needs[name]:.1f}" + (f", but {obstacle}" if obstacle else "")
    for side in SMALLER_SIZES:
        for name in needs:
            if PLANS[name].need_gib(side) <= card.free_gib and PLANS[name].obstacle(card) is None:
                return f"; --largest {side} would fit"
    if card.capability is None:
        return f"; on an NVIDIA GPU {min(plan.need_gib(size) for plan in PLANS.values()):.1f} would do"
    return ""


def describe_plans(size: int) -> str:
    """List the plans with their needs, for `--help`.

    Args:
        size: Side of the picture in pixels.

    Returns:
        One clause a plan.
    """
    return "; ".join(f"{name} ({plan.need_gib(size):.1f} GiB): {plan.title}" for name, plan in PLANS.items())
