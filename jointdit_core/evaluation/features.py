"""What the blocks of both branches attend to: the first three principal components of their features (Fig. 6).

Letters: B pairs, L image tokens, D width, h x w tokens of a picture.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..denoise import add_noise, velocity
from ..encode import (
    PromptEmbeds,
    disparity_to_image,
    encode_images,
    encode_prompt,
    image_ids,
    images_to_tensor,
    pack_latents,
    resize_disparity,
    text_ids,
)
from ..geometry.disparity import colorize
from ..model.joint_attention import split_branches
from ..pipeline import JointDiTPipeline

COMPONENTS = 3
CLIP = 0.01  # share of a component's values that are cut at either end
TITLE = 16  # pixels


def blocks_of(pipe: JointDiTPipeline) -> list[torch.nn.Module]:
    """The transformer's blocks in the order they run: double, then single."""
    return [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks]


@torch.no_grad()
def block_features(
    pipe: JointDiTPipeline,
    images: list[Image.Image],
    disparities: list[np.ndarray],
    prompts: list[str],
    blocks: list[int],
    sigma: float,
    seed: int = 0,
) -> tuple[dict[int, tuple[torch.Tensor, torch.Tensor]], tuple[int, int]]:
    """Noise pairs, run the transformer once and keep what comes out of some blocks.

    Args:
        pipe: The model.
        images: B pictures.
        disparities: Their B maps (H, W) float32 in [0, 1].
        prompts: Their B prompts.
        blocks: Which, counted from 1 through all of them.
        sigma: Noise level of both branches.
        seed: Of the noise.

    Returns:
        Block -> features of the image tokens (B, L, D) float32 of rgb and of depth; and (h, w).

    Raises:
        ValueError: There is no such block.
    """
    every = blocks_of(pipe)
    if wrong := [block for block in blocks if not 1 <= block <= len(every)]:
        raise ValueError(f"there is no block {wrong[0]}; this model has blocks 1 to {len(every)}")
    device, side = pipe.device, pipe.config.default_size
    shown = disparity_to_image(
        torch.cat([resize_disparity(one[None], side, side) for one in disparities]),
        pipe.config.depth_transform == "inverse",
    )
    latents = [encode_images(pipe.vae, x.to(device)) for x in (images_to_tensor(images, side, side), shown)]
    clean = [pack_latents(x.float()) for x in latents]
    generator = torch.Generator().manual_seed(seed)
    noised = [add_noise(x, torch.randn(x.shape, generator=generator).to(device), sigma) for x in clean]
    encoders = (pipe.tokenizer, pipe.tokenizer_2, pipe.text_encoder, pipe.text_encoder_2)
    embeds: PromptEmbeds = encode_prompt(*encoders, prompts)[0]
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    hooks = [
        every[block - 1].register_forward_hook(
            lambda module, args, output, block=block: kept.update({block: split_branches(output[1].float().cpu())})
        )
        for block in blocks
    ]
    h, w = latents[0].shape[-2:]
    try:
        places = image_ids(h, w).to(device), text_ids(embeds.tokens.shape[1]).to(device)
        velocity(pipe.transformer, *noised, sigma, sigma, *places, [embeds], 1.0, frozen=None)
    finally:
        for hook in hooks:
            hook.remove()
    return {block: kept[block] for block in blocks}, (h // 2, w // 2)


def principal_colors(features: torch.Tensor) -> np.ndarray:
    """Show features by their first three principal components as red, green and blue.

    Args:
        features: (B, L, D) float32; the components are common to the B.

    Returns:
        (B, L, 3) uint8; each component is stretched over its range, but for the outermost percent.
    """
    rows = features.flatten(0, 1).double()
    rows = rows - rows.mean(0)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    directions = directions[:COMPONENTS]
    # A component's sign is arbitrary: its largest loading is made positive.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    scores = rows @ (directions * largest.sign()).T  # (B * L, 3)
    low, high = scores.quantile(CLIP, 0), scores.quantile(1 - CLIP, 0)
    unit = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (unit * 255).round().byte().numpy().reshape(*features.shape[:2], COMPONENTS)


def feature_sheet(
    images: list[Image.Image],
    disparities: list[np.ndarray],
    features: dict[int, tuple[torch.Tensor, torch.Tensor]],
    grid: tuple[int, int],
    side: int = 160,
) -> Image.Image:
    """Lay the pictures of features out as the paper's Fig. 6: two lines a pair, rgb above depth, a column a block.

    Args:
        images: B pictures.
        disparities: Their B maps.
        features: Of `block_features`.
        grid: (h, w).
        side: Of a cell in pixels.

    Returns:
        The sheet.
    """
    colors = {block: [principal_colors(branch) for branch in branches] for block, branches in features.items()}
    sheet = Image.new("RGB", (side * (1 + len(features)), TITLE + 2 * side * len(images)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(["input", *(f"block {block}" for block in features)]):
        draw.text((column * side + 4, 2), title, fill="black")
    for i, (image, disparity) in enumerate(zip(images, disparities, strict=True)):
        for branch, given in enumerate((image, Image.fromarray(colorize(disparity)))):
            cells = [given.resize((side, side))]
            for of_block in colors.values():
                cell = Image.fromarray(of_block[branch][i].reshape(*grid, COMPONENTS))
                cells.append(cell.resize((side, side), Image.Resampling.NEAREST))
            for column, cell in enumerate(cells):
                sheet.paste(cell, (column * side, TITLE + side * (2 * i + branch)))
    return sheet
