"""Photo, cartoon, pixel art and pencil: a last pass over rendered pictures; depth and ids are never touched."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .scene import STYLES


def soften(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Blurs (B, size * size) values over 3 x 3 pixels, so that hard shadows get a soft rim."""
    image = mask.reshape(-1, 1, size, size)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return ((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9.0).reshape(mask.shape)


def outlines(depth: torch.Tensor, parts: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Ink where depth, part or facing changes between neighbours.

    Args:
        depth: (B, H, W) float32 in metres.
        parts: (B, H, W) int64 index of the solid.
        normals: (B, 3, H, W) unit.

    Returns:
        (B, H, W) float32 in [0, 1], about two pixels wide.
    """
    ink = torch.zeros_like(depth)
    for shift in ((0, 1), (1, 0)):
        other = torch.roll(depth, shift, dims=(1, 2))
        step = (depth - other).abs() / torch.minimum(depth, other) > 0.06
        turn = (normals * torch.roll(normals, shift, dims=(2, 3))).sum(dim=1) < 0.75
        part = parts != torch.roll(parts, shift, dims=(1, 2))
        line = part & (step | turn) | turn
        rim = torch.zeros_like(line)
        rim[:, shift[0] :, shift[1] :] = True  # the roll wraps round at the border
        ink = torch.maximum(ink, (line & rim).float())
    ink = F.pad(ink[:, None], (0, 1, 0, 1))
    return torch.maximum(
        torch.maximum(ink[:, 0, :-1, :-1], ink[:, 0, 1:, :-1]), torch.maximum(ink[:, 0, :-1, 1:], ink[:, 0, 1:, 1:])
    )


def cartoon(rgb: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    """Stronger colours under dark outlines; the light was banded when the scene was lit."""
    gray = rgb.mean(dim=1, keepdim=True)
    vivid = (gray + (rgb - gray) * 1.35).clamp(0.0, 1.0)
    return vivid * (1.0 - 0.88 * ink[:, None])


def pixel_art(rgb: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Square blocks of a coarse palette.

    Args:
        rgb: (B, 3, H, W) in [0, 1].
        block: (B,) int64 blocks across the picture, 32 or 64.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    size = rgb.shape[-1]
    looks = []
    for count in (32, 64):
        small = rgb.reshape(*rgb.shape[:2], count, size // count, count, size // count).mean(dim=(3, 5))
        small = ((small - 0.5) * 1.15 + 0.5).clamp(0.0, 1.0)
        small = (small * 7.0).round() / 7.0
        looks.append(small.repeat_interleave(size // count, dim=2).repeat_interleave(size // count, dim=3))
    return torch.where((block == 32)[:, None, None, None], looks[0], looks[1])


def sketch(rgb: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    """Pencil on paper: outlines over soft gray shading, without hatching, which a small autoencoder cannot hold."""
    gray = (rgb * rgb.new_tensor((0.3, 0.59, 0.11))[:, None, None]).sum(dim=1)
    tone = (0.45 + 0.53 * gray.sqrt()) * (1.0 - 0.8 * ink)
    return tone[:, None] * rgb.new_tensor((1.0, 0.985, 0.95))[:, None, None]


def apply(scenes, rgb: torch.Tensor, depth: torch.Tensor, parts: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Gives each picture its scene's style.

    Args:
        scenes: a `SceneBatch`.
        rgb: (B, 3, H, W) sRGB in [0, 1].
        depth: (B, H, W) metres, finite.
        parts: (B, H, W) int64 index of the solid seen.
        normals: (B, 3, H, W) unit.

    Returns:
        (B, 3, H, W) sRGB in [0, 1].
    """
    ink = outlines(depth, parts, normals)
    style = scenes.style[:, None, None, None]
    rgb = torch.where(style == STYLES.index("cartoon"), cartoon(rgb, ink), rgb)
    drawn = torch.where(style == STYLES.index("pixel"), pixel_art(rgb, scenes.block), rgb)
    return torch.where(style == STYLES.index("sketch"), sketch(rgb, ink), drawn)
