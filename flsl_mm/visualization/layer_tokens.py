"""What happens inside a frozen ViT: tokens and attention of chosen blocks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models import FLSLVisionTransformer
from ..utils.errors import ConfigError
from ..utils.images import normalize


def resolve_layers(vit: FLSLVisionTransformer, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of blocks, from 1.

    Args:
        vit: The network.
        layers: Numbers from 1, or from -1 for the last block backwards; None for four blocks, a
            quarter of the depth apart (3, 6, 9, 12 of twelve).

    Raises:
        ConfigError: The network has no such block.
    """
    depth = len(vit.layers)
    if layers is None:
        layers = sorted({max(1, round(depth * quarter / 4)) for quarter in (1, 2, 3, 4)})
    for layer in layers:
        if layer == 0 or abs(layer) > depth:
            raise ConfigError(f'no block {layer}: the network has {depth}, counted from 1')
    return tuple(layer if layer > 0 else depth + 1 + layer for layer in layers)


@torch.no_grad()
def layer_tokens(
    vit: FLSLVisionTransformer, image: np.ndarray, layers: Sequence[int]
) -> list[Tensor]:
    """Tokens of an image after chosen blocks.

    Args:
        vit: In evaluation mode.
        image: uint8 (H, W, 3), of any size; padded with zeros to whole patches.
        layers: Block numbers from 1.

    Returns:
        list[Tensor]: (N, D) for each of ``layers``; those of the last block after the final
        LayerNorm, as everywhere, the others as they leave their block.
    """
    x = _embed(vit, image)
    found = {}
    for number, layer in enumerate(vit.layers, start=1):
        x = layer(x)
        if number in layers:
            last = number == len(vit.layers) and vit.final_norm
            found[number] = (vit.ln1(x) if last else x)[0]
    return [found[number] for number in layers]


@torch.no_grad()
def probe_attention(
    vit: FLSLVisionTransformer, image: np.ndarray, queries: Sequence[int], layers: Sequence[int]
) -> Tensor:
    """Self-attention of query tokens inside chosen blocks, the mean over the heads.

    ``softmax(q K^T / sqrt(d))`` with the block's own projections (paper, Eq. 1).

    Args:
        vit: In evaluation mode.
        image: uint8 (H, W, 3).
        queries: Token indices, row-major.
        layers: Block numbers from 1.

    Returns:
        Tensor: (L, Q, N), rows summing to 1.
    """
    x = _embed(vit, image)
    found = {}
    for number, layer in enumerate(vit.layers, start=1):
        if number in layers:
            attn = layer.attn
            shape = (-1, 3, attn.num_heads, attn.head_dims)
            q, k, _ = attn.qkv(layer.ln1(x))[0].view(shape).permute(1, 2, 0, 3)  # (heads, N, d)
            logits = q[:, list(queries)] @ k.transpose(-2, -1) * attn.head_dims**-0.5
            found[number] = logits.softmax(dim=-1).mean(dim=0)
        x = layer(x)
    return torch.stack([found[number] for number in layers])


def _embed(vit: FLSLVisionTransformer, image: np.ndarray) -> Tensor:
    """What enters the first block (1, N, D), of an image (H, W, 3)."""
    pixels = normalize(torch.tensor(image).permute(2, 0, 1)[None])
    return vit.embed(pixels.to(vit.pos_embed.device))
