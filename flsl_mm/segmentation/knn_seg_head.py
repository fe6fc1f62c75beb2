"""Segmentation by the nearest tokens of training images; needs mmseg."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..evaluation.functional.neighbors import knn_votes
from ..utils.errors import DataError


@MODELS.register_module()
class KNNSegHead(BaseDecodeHead):
    """Weighted k-NN over a bank of labelled tokens: judges frozen features without training.

    One pass of training over the data fills the bank, which is saved with the model. A token's
    label is that of the pixel at the center of its patch. In testing each token's ``num_neighbors``
    nearest of the bank (cosine) vote with weight ``exp(similarity / temperature)``.

    Args:
        in_channels: Width D of the tokens.
        bank_size: Tokens in the bank; when it is full the oldest are replaced.
        tokens_per_image: Tokens drawn at random from each training image, labelled ones first.
        num_neighbors: Neighbors k that vote.
        temperature: Temperature of the votes.
        kwargs: ``num_classes``, ``in_index``, ``ignore_index`` and ``align_corners`` of mmseg's
            ``BaseDecodeHead``.
    """

    def __init__(
        self,
        in_channels: int,
        bank_size: int,
        tokens_per_image: int = 16,
        num_neighbors: int = 20,
        temperature: float = 0.07,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, in_channels, dropout_ratio=0.0, init_cfg=None, **kwargs)
        self.tokens_per_image = tokens_per_image
        self.num_neighbors = num_neighbors
        self.temperature = temperature
        # A training loop needs something to optimize; this is used nowhere.
        self.conv_seg = nn.Linear(1, 1, bias=False)
        self.register_buffer('bank', torch.zeros(bank_size, in_channels, dtype=torch.float16))
        self.register_buffer(
            'bank_labels', torch.full((bank_size,), self.ignore_index, dtype=torch.uint8)
        )
        self.register_buffer('written', torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def _store(self, tokens: Tensor, labels: Tensor) -> None:
        """Put some tokens (B, D, h, w) with labels (B, 1, H, W) of all processes into the bank."""
        labels = F.interpolate(labels.float(), tokens.shape[-2:], mode='nearest-exact').flatten(1)
        tokens = F.normalize(tokens, dim=1).flatten(2).transpose(1, 2)  # (B, N, D)
        order = torch.rand_like(labels) + 2 * (labels == self.ignore_index)
        chosen = order.argsort(1)[:, : self.tokens_per_image]  # (B, n)
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        tokens = torch.cat(all_gather(tokens[rows, chosen].contiguous())).flatten(0, 1)
        labels = torch.cat(all_gather(labels[rows, chosen].contiguous())).flatten()
        self.written += len(tokens)
        # No place twice: which of two tokens it would get, and whose label, is not defined.
        tokens, labels = tokens[-len(self.bank) :], labels[-len(self.bank) :]
        places = torch.arange(-len(tokens), 0, device=tokens.device) + self.written
        places %= len(self.bank)
        self.bank[places] = tokens.to(self.bank.dtype)
        self.bank_labels[places] = labels.to(self.bank_labels.dtype)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg) -> dict:
        """Fill the bank; the loss is 0."""
        self._store(self._transform_inputs(inputs), self._stack_batch_gt(batch_data_samples))
        return dict(loss_none=0 * self.conv_seg.weight.sum())

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Votes of the neighbors.

        Args:
            inputs: Feature maps, of which ``in_index`` is (B, D, h, w).

        Returns:
            Tensor: Votes (B, num_classes, h, w), in [0, 1] and summing up to 1.

        Raises:
            DataError: The bank has no labelled token.
        """
        tokens = self._transform_inputs(inputs)
        labelled = self.bank_labels != self.ignore_index
        if not labelled.any():
            raise DataError('KNNSegHead: the bank has no labelled token: run tools/train.py first')
        bank, labels = self.bank[labelled], self.bank_labels[labelled].long()
        queries = F.normalize(tokens, dim=1).flatten(2).transpose(1, 2).flatten(0, 1)
        votes = knn_votes(
            queries, bank, labels, self.num_neighbors, self.temperature, self.num_classes
        )
        batch, _, height, width = tokens.shape
        return votes.view(batch, height, width, -1).permute(0, 3, 1, 2)
