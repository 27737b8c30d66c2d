"""A real pipeline at tiny size: every class the released model uses, small numbers, seeded random weights."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from jointdit_core.model.transformer import JointDiTTransformer2DModel
from jointdit_core.pipeline import JointDiTPipeline

WORDS = (
    "a an and ball behind blue cube front green house in large left of on red right small sphere the tree with".split()
)
TOKENS = 12  # text tokens read
SIZE = 64  # native side in pixels: 8 x 8 tokens at a grid of 8
GRID = 8
LATENT_CHANNELS = 4


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over WORDS that lower-cases and drops punctuation."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\w]+"), "removed")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=TOKENS,
    )


def tiny_transformer(guidance_embeds: bool = False) -> JointDiTTransformer2DModel:
    """A seeded transformer whose joint parts and depth LoRA do something."""
    torch.manual_seed(0)
    transformer = JointDiTTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
        lora_rank=4,
        lora_rank_overrides={},
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.abs().max() == 0:  # zero-initialised joint parts and biases
                parameter.normal_(std=0.05)
    return transformer.eval()


def tiny_pipeline(guidance_embeds: bool = False, depth_transform: str = "none") -> JointDiTPipeline:
    """Build a pipeline of seeded random weights, 64 x 64 pixels, in milliseconds.

    Args:
        guidance_embeds: Embedded guidance as in FLUX.1-dev, else classifier-free guidance as in the mini.
        depth_transform: As in `JointDiTPipeline`.

    Returns:
        The pipeline, on the CPU in float32, without a progress bar.
    """
    with torch.random.fork_rng():
        transformer = tiny_transformer(guidance_embeds)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=4,
            sample_size=SIZE,
            scaling_factor=0.9,
            shift_factor=0.1,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval()
        words = len(WORDS) + 3
        clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=words,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
            )
        ).eval()
        t5 = T5EncoderModel(T5Config(vocab_size=words, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    pipe = JointDiTPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=clip,
        tokenizer=tiny_tokenizer(),
        text_encoder_2=t5,
        tokenizer_2=tiny_tokenizer(),
        transformer=transformer,
        default_size=SIZE,
        max_size=SIZE,
        depth_transform=depth_transform,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
