"""What happens inside a frozen ViT: tokens and attention of chosen blocks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models import FrozenViT
from ..utils.errors import ConfigError


def resolve_layers(vit: FrozenViT, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of blocks, from 1.

    Args:
        vit: The network.
        layers: Numbers from 1, or from -1 for the last block backwards; None for four blocks, a
            quarter of the depth apart (3, 6, 9, 12 of twelve).

    Raises:
        ConfigError: The network has no such block.
    """
    depth = vit.depth
    if layers is None:
        layers = sorted({max(1, round(depth * quarter / 4)) for quarter in (1, 2, 3, 4)})
    for layer in layers:
        if layer == 0 or abs(layer) > depth:
            raise ConfigError(f'no block {layer}: the network has {depth}, counted from 1')
    return tuple(layer if layer > 0 else depth + 1 + layer for layer in layers)


def layer_tokens(vit: FrozenViT, image: np.ndarray, layers: Sequence[int]) -> list[Tensor]:
    """Tokens of an image after chosen blocks.

    Args:
        vit: In evaluation mode.
        image: uint8 (H, W, 3), of any size; padded with zeros to whole patches.
        layers: Block numbers from 1.

    Returns:
        list[Tensor]: (N, D) for each of ``layers``; those of the last block after the final
        LayerNorm, as everywhere, the others as they leave their block.
    """
    found = vit.block_tokens(_network_input(vit, image), layers)
    return [tokens[0, vit.num_prefix_tokens :] for tokens in found]


def probe_attention(
    vit: FrozenViT, image: np.ndarray, queries: Sequence[int], layers: Sequence[int]
) -> Tensor:
    """Self-attention of query tokens inside chosen blocks, the mean over the heads.

    ``softmax(q K^T / sqrt(d))`` with the block's own projections (paper, Eq. 1).

    Args:
        vit: In evaluation mode.
        image: uint8 (H, W, 3).
        queries: Token indices, row-major; those of prefix tokens follow from -1 backwards, so that
            -P is the class token.
        layers: Block numbers from 1.

    Returns:
        Tensor: (L, Q, N), what of the attention is on patches: rows sum to 1 where there are no
        prefix tokens, else to less.
    """
    prefix = vit.num_prefix_tokens
    found = vit.block_attention(_network_input(vit, image), [prefix + q for q in queries], layers)
    return found[:, 0, ..., prefix:].mean(dim=1)


def _network_input(vit: FrozenViT, image: np.ndarray) -> Tensor:
    """The network's input (1, 3, H, W) of an image (H, W, 3)."""
    pixels = torch.tensor(image).permute(2, 0, 1)[None]
    return vit.normalize(pixels.to(next(vit.parameters()).device))
