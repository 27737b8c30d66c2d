"""What a middle block should know of the worlds: the object and the colour in each patch, a loss beside Eq. 4.

Teaching a middle block to tell what clean patches show speeds up diffusion training (Yu et al. 2024, REPA,
arXiv 2410.06940); drawn worlds have exact labels, so no pretrained network is needed for it.

Letters: B pairs, L image tokens, D width, h x w the latent map, of which a token packs 2 x 2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..encode import pack_latents
from ..model.joint_attention import merge_branches
from ..model.transformer import JointDiTTransformer2DModel
from ..worlds import COLOR_CLASSES, OBJECT_CLASSES

CLASSES = len(OBJECT_CLASSES) + len(COLOR_CLASSES)
DEPTH_SHARE = 0.5  # of the blocks, after which the tokens are read


class SemanticHead(nn.Module):
    """Reads the labels off the image tokens inside a transformer; used in training only, never exported."""

    def __init__(self, transformer: JointDiTTransformer2DModel):
        """Listen to the transformer's middle block.

        Args:
            transformer: The model; it gets a hook on one of its single blocks.
        """
        super().__init__()
        self.norm = nn.LayerNorm(transformer.inner_dim, elementwise_affine=False)
        self.read = nn.Linear(transformer.inner_dim, 4 * CLASSES)
        self.tokens: torch.Tensor | None = None
        singles = transformer.single_transformer_blocks
        blocks = len(transformer.transformer_blocks) + len(singles)
        middle = max(round(DEPTH_SHARE * blocks) - len(transformer.transformer_blocks) - 1, 0)
        singles[middle].register_forward_hook(self._listen)

    def _listen(self, block: nn.Module, args: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.tokens = output[1]  # (2B, L, D)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """Compare what the last forward of the transformer knew with the truth.

        Args:
            labels: (B, 2, h, w) uint8 indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.

        Returns:
            Mean cross-entropy of both branches in nats, objects and colours added; a scalar.
        """
        tokens, self.tokens = self.tokens, None
        logits = self.read(self.norm(tokens)).unflatten(-1, (4, CLASSES)).float()  # (2B, L, 4, classes)
        return label_loss(logits, merge_branches(labels, labels))


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compare guessed labels with the truth.

    Args:
        logits: (B, L, 4, classes), of the objects first, then of the colours.
        labels: (B, 2, h, w) uint8 indices into `OBJECT_CLASSES` and `COLOR_CLASSES`.

    Returns:
        Mean cross-entropy in nats, objects and colours added; a scalar.
    """
    objects, colors = pack_latents(labels).unflatten(-1, (2, 4)).long().unbind(2)  # (B, L, 4) each
    of_object, of_color = logits.split((len(OBJECT_CLASSES), len(COLOR_CLASSES)), dim=-1)
    return F.cross_entropy(of_object.flatten(0, 2), objects.flatten()) + F.cross_entropy(
        of_color.flatten(0, 2), colors.flatten()
    )
