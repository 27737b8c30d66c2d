"""The embedded model before training: FLUX's architecture with small numbers and a word-level vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from ..model.autoencoder import AutoencoderPatchPCA
from ..model.transformer import JointDiTTransformer2DModel
from ..pipeline import JointDiTPipeline

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"


@dataclass(frozen=True)
class MiniConfig:
    """Numbers of the embedded model.

    Attributes:
        size: Side of its pictures in pixels.
        width: D, a multiple of `head_width`.
        head_width: Channels of an attention head.
        num_layers: Double blocks.
        num_single_layers: Single blocks.
        lora_rank: Rank of every LoRA on the depth half.
        adaptive_weights: Form of Eq. 6: "released", "paper" or "off".
        prediction_type: What the last layer gives: "velocity" or "preconditioned".
        position_grid: Places along each side that have a learned token of their own; 0 for none.
        guidance_embeds: Whether the model takes a guidance scale, so that guidance can be distilled into it.
        text_width: Width of both text encoders.
        text_layers: Blocks of each text encoder.
        text_length: Tokens of a prompt.
    """

    size: int = 256
    width: int = 320
    head_width: int = 64
    num_layers: int = 2
    num_single_layers: int = 6
    lora_rank: int = 32
    adaptive_weights: str = "released"
    prediction_type: str = "preconditioned"
    position_grid: int = 8
    guidance_embeds: bool = True
    text_width: int = 256
    text_layers: int = 2
    text_length: int = 24


def build_tokenizer(words: tuple[str, ...], length: int) -> PreTrainedTokenizerFast:
    """Make a word-level tokenizer: lower case, split at spaces and punctuation, one end token.

    Args:
        words: The vocabulary, in the order of its ids; append-only, since trained embeddings depend on it.
        length: Tokens of a prompt, the end token included.

    Returns:
        The tokenizer, for both the CLIP and the T5 slot.
    """
    vocabulary = {word: i for i, word in enumerate((PAD, EOS, UNK, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, vocabulary[EOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNK, model_max_length=length
    )


def build_text_encoders(config: MiniConfig, vocabulary_size: int) -> tuple[CLIPTextModel, T5EncoderModel]:
    """Make both text encoders, untrained.

    Args:
        config: The numbers.
        vocabulary_size: Tokens, special ones included.

    Returns:
        The CLIP slot's and the T5 slot's encoder.
    """
    heads = config.text_width // config.head_width
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=config.text_width,
            intermediate_size=2 * config.text_width,
            projection_dim=config.text_width,
            num_hidden_layers=1,
            num_attention_heads=heads,
            max_position_embeddings=config.text_length,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=1,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=vocabulary_size,
            d_model=config.text_width,
            d_kv=config.head_width,
            d_ff=2 * config.text_width,
            num_layers=config.text_layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    return clip, t5


def build_transformer(config: MiniConfig, vae: AutoencoderPatchPCA) -> JointDiTTransformer2DModel:
    """Make the transformer, untrained, with zero-initialised modulation and output so that training starts calm.

    Args:
        config: The numbers.
        vae: The autoencoder it works on.

    Returns:
        The transformer.
    """
    spatial = 2 * (config.head_width * 7 // 32)  # FLUX's split of a head, (16, 56, 56) of 128, in even numbers
    transformer = JointDiTTransformer2DModel(
        in_channels=4 * vae.config.latent_channels,
        num_layers=config.num_layers,
        num_single_layers=config.num_single_layers,
        attention_head_dim=config.head_width,
        num_attention_heads=config.width // config.head_width,
        joint_attention_dim=config.text_width,
        pooled_projection_dim=config.text_width,
        guidance_embeds=config.guidance_embeds,
        axes_dims_rope=(config.head_width - 2 * spatial, spatial, spatial),
        lora_rank=config.lora_rank,
        lora_rank_overrides={},
        adaptive_weights=config.adaptive_weights,
        prediction_type=config.prediction_type,
        position_grid=config.position_grid,
    )
    names = ("norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear")
    for name, module in transformer.named_modules():
        base = name.removesuffix(".base_layer")
        if isinstance(module, nn.Linear) and (base.endswith(names) or base == "proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return transformer


def build_mini(
    config: MiniConfig,
    vae: AutoencoderPatchPCA,
    words: tuple[str, ...],
    seed: int = 0,
    token_std: torch.Tensor | None = None,
) -> JointDiTPipeline:
    """Put the untrained embedded model together.

    Args:
        config: The numbers.
        vae: The fitted autoencoder.
        words: The vocabulary of the worlds' captions.
        seed: Seed of the initial weights; the global random state is left as it was.
        token_std: (2, 4C) standard deviation of the packed tokens' channels, as `LatentPairs.token_std` gives it, which
            "preconditioned" prediction divides by; None for 1.

    Returns:
        A pipeline that runs and knows nothing yet.
    """
    tokenizer = build_tokenizer(words, config.text_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder, text_encoder_2 = build_text_encoders(config, len(tokenizer))
        transformer = build_transformer(config, vae)
    if token_std is not None:
        transformer.token_std.copy_(token_std)
    return JointDiTPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer,
        transformer=transformer,
        default_size=config.size,
    )


def forget_origin(*parts: ConfigMixin) -> None:
    """Take the folder they were loaded from out of models' and pipelines' configurations, else saving writes it."""
    for part in parts:
        part.register_to_config(_name_or_path="")
