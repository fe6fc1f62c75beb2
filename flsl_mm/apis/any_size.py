"""Encoders of images of any size as one graph, for ONNX.

A graph cannot choose between the table of positions as it is and the table resampled, nor can ONNX
resample by torch's rules. Here resampling is one matrix for each axis, made of the number of rows
and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import FrozenViT
from ..models.backbones.flsl_vit import OFFSET
from ..models.backbones.timm_vit import TimmViT
from ..models.data_preprocessors.resized_crop import keys_cubic
from ..utils.errors import CheckpointError


class AnySizeEncoder(nn.Module):
    """A frozen network as one function of normalized images (B, 3, H, W) of whole patches.

    Patch tokens (B, N, D), and where there are any the prefix tokens (B, P, D), after the final
    norm: those of :meth:`FrozenViT.forward_features`.

    Args:
        vit: The network.

    Raises:
        CheckpointError: Its positions are rotary, or it attends in windows.
    """

    def __init__(self, vit: FrozenViT) -> None:
        super().__init__()
        self.vit = vit
        if isinstance(vit, TimmViT):
            if getattr(vit.model, 'rope', None) is not None or vit.windows:
                raise CheckpointError(
                    'rotary positions and windows cannot be exported for any size: give --size'
                )
            model = vit.model
            self.patches, self.blocks = model.patch_embed, model.blocks
            self.grid = tuple(map(int, model.patch_embed.grid_size))
            self.offset, self.antialias = vit.positions.offset or 0.0, vit.positions.antialias
        else:
            self.patches, self.blocks = vit.patch_embed, vit.layers
            self.grid = tuple(map(int, vit.patch_resolution))
            self.offset, self.antialias = OFFSET, False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        x = self._embed(images)
        for block in self.blocks:
            x = block(x)
        x, prefix = self.vit.final(x), self.vit.num_prefix_tokens
        return (x[:, prefix:], x[:, :prefix]) if prefix else (x,)

    def _embed(self, images: Tensor) -> Tensor:
        """What enters the first block, as :meth:`FrozenViT.blocks_for` gives it."""
        vit, timm = self.vit, isinstance(self.vit, TimmViT)
        maps = (self.patches.proj if timm else self.patches.projection)(images)  # (B, D, h, w)
        x = maps.flatten(2).transpose(1, 2)
        x = (self.patches.norm if timm else self.patches.norm or nn.Identity())(x)
        if not timm:
            return vit.pre_norm(x + self._positions(vit.pos_embed, maps))
        model, rows = vit.model, 0
        if model.pos_embed is not None:
            rows = 0 if model.no_embed_class else vit.num_prefix_tokens
            x = x + self._positions(model.pos_embed[:, rows:], maps)
        tokens = [t for t in (model.cls_token, model.reg_token) if t is not None]
        if tokens:
            prefix = torch.cat(tokens, dim=1)
            if rows:
                prefix = prefix + model.pos_embed[:, :rows]
            x = torch.cat([prefix.expand(x.shape[0], -1, -1), x], dim=1)
        return model.norm_pre(x)

    def _positions(self, table: Tensor, maps: Tensor) -> Tensor:
        """The table (1, N, D) for the tokens of maps (B, D, h, w): (h * w, D)."""
        ones = torch.ones_like(maps[0, 0])  # (h, w): sizes as tensors, not as numbers
        axes = ones[:, 0], ones[0]
        same = torch.stack([a.sum() == n for a, n in zip(axes, self.grid)]).all()
        rows, columns = (
            _axis_table(axis, n, same, self.offset, self.antialias)
            for axis, n in zip(axes, self.grid)
        )
        table = table[0].unflatten(0, self.grid)
        return torch.einsum('hy,wx,yxd->hwd', rows, columns, table).flatten(0, 1)


def _axis_table(ones: Tensor, size: int, same: Tensor, offset: float, antialias: bool) -> Tensor:
    """Bicubic weights of a table's entries along an axis, as ``F.interpolate`` has them.

    Args:
        ones: (n,), as many as are wanted.
        size: Entries of the table.
        same: Whether the table is wanted as it is.
        offset: Added to ``n`` in the scale factor.
        antialias: Of ``F.interpolate``.

    Returns:
        Tensor: (n, size).
    """
    scale = torch.where(same, 1.0, (ones.sum() + offset) / size)
    centers = (ones.cumsum(0) - 0.5) / scale  # entry j is at j + 0.5
    entries = torch.arange(size, device=ones.device)
    if antialias:
        support = scale.reciprocal().clamp(min=1)
        weights = keys_cubic(((entries + 0.5 - centers[:, None]) / support).abs())
        return weights / weights.sum(1, keepdim=True)
    first = (centers - 0.5).floor()
    taps = first[:, None] + torch.arange(-1, 3, device=ones.device)  # (n, 4)
    weights = keys_cubic((taps + 0.5 - centers[:, None]).abs(), -0.75)
    taps = taps.clamp(0, size - 1)  # the border's entry outside
    return (F.relu(1 - (taps[..., None] - entries).abs()) * weights[..., None]).sum(1)
