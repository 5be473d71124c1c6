"""A small vision transformer: patches of an image are the tokens.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021, arXiv 2010.11929), section 3.1, equations 1 to 4: patches are
embedded by a linear map, a class token is put before them, and learned positions are added. Blocks of self-attention
and an MLP with GELU follow, each with a layer normalisation in front and a shortcut around it. The class token's output
is classified. There is no dropout.

The paper's smallest net, ViT-Base, has width 768, depth 12 and 86 million parameters; this one has width 64, depth 4
and 4 heads. Patches are 4x4 pixels, and 16x16 where images have 64x64 or more, as in ViT-B/16. Images that patches
don't cover exactly are padded with zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from celeriac.workloads.nets.net import ImageShape, as_images, is_large

PATCH, LARGE_PATCH = 4, 16
MLP_RATIO = 4
"""Hidden units of a block's MLP, as a multiple of the width."""
POSITION_STD = 0.02


class VisionTransformer(nn.Module):
    """Puts a class token before an image's patches, and classifies what becomes of it.

    Args:
        image_shape: Channels, height and width; each side a multiple of ``patch``.
        patch: Pixels of a patch's side.
        blocks: From tokens ``(n, tokens, dim)`` to tokens.
        head: From the class token ``(n, dim)`` to logits.
        dim: Length of a token.
    """

    def __init__(self, image_shape: ImageShape, patch: int, blocks: nn.Module, head: nn.Module, dim: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        num_patches = (height // patch) * (width // patch)
        self.embed = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, num_patches + 1, dim))
        nn.init.trunc_normal_(self.positions, std=POSITION_STD)
        self.blocks = blocks
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)``."""
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        logits: Tensor = self.head(self.blocks(tokens + self.positions)[:, 0])
        return logits


def vit(image_shape: ImageShape, num_classes: int, dim: int = 64, depth: int = 4, num_heads: int = 4) -> nn.Module:
    """Return the model: 205,066 parameters on MNIST, 202,186 on digits.

    A user's net can call it with another size; ``dim`` is a multiple of ``num_heads``.
    """
    patch = LARGE_PATCH if is_large(image_shape) else PATCH
    channels, height, width = image_shape
    below, right = -height % patch, -width % patch
    blocks = nn.Sequential(*(_block(dim, num_heads) for _ in range(depth)))
    head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))
    return nn.Sequential(
        as_images(image_shape),
        nn.ZeroPad2d((0, right, 0, below)),
        VisionTransformer((channels, height + below, width + right), patch, blocks, head, dim),
    )


def _block(dim: int, num_heads: int) -> nn.Module:
    return nn.TransformerEncoderLayer(
        dim, num_heads, MLP_RATIO * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
