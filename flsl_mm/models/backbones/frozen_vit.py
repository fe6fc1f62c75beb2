"""Frozen ViTs: what evaluations and pictures ask of one, whoever trained it."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checkpoint.report import LoadReport
from ...utils.images import IMAGENET_MEAN, IMAGENET_STD, normalize
from ...utils.token_grid import grid_of_size

Block = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], tuple[Tensor, Tensor]]]
"""A block, and what gives the queries and keys (B, heads, P + N, d) of its attention."""


class FrozenViT:
    """A ViT with P prefix tokens (class token, then registers) before the N of its patches.

    Attributes:
        patch_size: Side of a patch in pixels.
        embed_dims: Width D.
        num_heads: Attention heads.
        depth: Number of blocks.
        num_prefix_tokens: P.
        has_class_token: Whether the first of them is a class token.
        in_channels: Of its images, C; R, G, B first where there are three or more.
        mean: Of the channels in 0-255 that the network expects.
        std: Their standard deviations.
        self_scale: Factor of the mean-shift's logits that it was trained with; None where its file
            does not record one.
        family: Of another project's network, as checkpoints record it; None for FLSL's own.
        position_window: Range of the side of random windows that training reads positions in.
        load_report: What became of every key of its file; None where it was not built from one.
    """

    patch_size: int
    embed_dims: int
    num_heads: int
    depth: int
    num_prefix_tokens: int = 0
    has_class_token: bool = False
    in_channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    self_scale: float | None = None
    family: str | None = None
    position_window: tuple[float, float] | None = None
    load_report: LoadReport | None = None

    @property
    def facts(self) -> dict[str, int | str]:
        """What the weights do not say and a checkpoint of training records beside them."""
        facts = dict(num_heads=self.num_heads)
        return facts if self.family is None else dict(facts, family=self.family)

    @property
    def identity(self) -> str:
        """Text that differs with what tokens depend on beside weights and pixels; for caches."""
        own = (self.mean, self.std)
        pixels = '' if own == (IMAGENET_MEAN, IMAGENET_STD) else f' {own}'
        return f'{self.patch_size} {self.num_heads}{pixels}'

    @property
    def sequence(self) -> str:
        """What its blocks see beside patch tokens, in words, for tables."""
        registers = self.num_prefix_tokens - self.has_class_token
        words = ['class token'] * self.has_class_token
        if registers:
            words.append(f'{registers} registers')
        return ' and '.join(['patches', *words])

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the tokens of ``images`` (B, 3, H, W), padded to whole patches."""
        # tensors while torch.jit traces
        return grid_of_size(*map(int, images.shape[-2:]), self.patch_size)

    def normalize(self, pixels: Tensor) -> Tensor:
        """The network's input of pixels (..., C, H, W) in 0-255.

        Raises:
            DataError: They have other channels.
        """
        return normalize(pixels, self.mean, self.std)

    @abstractmethod
    def forward_tokens(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Patch tokens (B, N, D) after the final norm, of each view (B, 3, H, W)."""

    @abstractmethod
    def blocks_for(self, images: Tensor) -> tuple[Tensor, Iterator[Block]]:
        """What enters the first block (B, P + N, D), and the blocks, for images (B, 3, H, W)."""

    @abstractmethod
    def final(self, tokens: Tensor) -> Tensor:
        """The final norm."""

    def forward_features(self, images: Tensor, *where: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode images of one size.

        Args:
            images: Normalized (B, 3, H, W); padded with zeros, right and below, to whole patches.
            where: What else the network's ``blocks_for`` takes.

        Returns:
            tuple: Patch tokens (B, N, D) and prefix tokens (B, P, D), after the final norm.
        """
        x, blocks = self.blocks_for(images, *where)
        for block, _ in blocks:
            x = block(x)
        x = self.final(x)
        return x[:, self.num_prefix_tokens :], x[:, : self.num_prefix_tokens]

    @torch.no_grad()
    def block_tokens(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Tokens (B, P + N, D) after blocks, numbered from 1.

        Those of the last block are after the final norm, the others as they leave their block.
        """
        x, blocks = self.blocks_for(images)
        found = {}
        for number, (block, _) in enumerate(blocks, start=1):
            x = block(x)
            if number in layers:
                found[number] = self.final(x) if number == self.depth else x
        return [found[number] for number in layers]

    @torch.no_grad()
    def block_attention(
        self, images: Tensor, queries: Sequence[int], layers: Sequence[int]
    ) -> Tensor:
        """Attention ``softmax(q K^T / sqrt(d))`` inside blocks.

        Args:
            images: (B, 3, H, W), normalized.
            queries: Indices among the P + N tokens.
            layers: Block numbers from 1.

        Returns:
            Tensor: (L, B, heads, Q, P + N), rows summing to 1.
        """
        x, blocks = self.blocks_for(images)
        found = {}
        for number, (block, queries_and_keys) in enumerate(blocks, start=1):
            if number in layers:
                q, k = queries_and_keys(x)
                logits = q[:, :, list(queries)] @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
                found[number] = logits.softmax(dim=-1)
            x = block(x)
        return torch.stack([found[number] for number in layers])


def pad_to_patches(images: Tensor, patch_size: int) -> Tensor:
    """Zeros right and below, up to whole patches."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % patch_size, 0, -height % patch_size))
