"""Nearest neighbors by cosine similarity, and how they vote."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import DataError

BANK_BLOCK = 2**14
"""Most rows of the bank in a block."""


def nearest_neighbors(
    queries: Tensor,
    bank: Tensor,
    num_neighbors: int,
    max_similarities: int = 2**26,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """The rows of a bank with the largest dot products with each query, exactly.

    Similarities are made block by block, so that ImageNet's 544,546 x 9 box features or ADE20K's
    tokens need no matrix of all pairs. On a CPU a block is one matrix product too.

    Args:
        queries: (Q, D); unit vectors, where cosines are meant.
        bank: (M, D), M >= 1, on any device and in any floating dtype: blocks of it are brought to
            the queries' device and dtype one at a time.
        num_neighbors: Neighbors k; all M where there are fewer.
        max_similarities: Most entries of a block of similarities: bounds the memory beyond inputs
            and outputs to about twice as many numbers, and that of a block of the bank, which has
            :data:`BANK_BLOCK` rows (or k, where that is more).
        normalize: Whether to bring the rows of the bank to unit length, block by block, so that no
            copy of a large bank is needed.

    Returns:
        tuple: Similarities (Q, k) in descending order, and rows of the bank (Q, k), int64. Which of
        equally similar rows come first is not said.

    Raises:
        DataError: The bank is empty.
    """
    if not len(bank):
        raise DataError('nearest_neighbors: the bank is empty')
    k = min(num_neighbors, len(bank))
    rows = max(1, min(len(queries), 1024))
    columns = max(k, min(max_similarities // rows, BANK_BLOCK))
    rows = max(1, min(rows, max_similarities // columns))
    values = queries.new_empty(len(queries), k)
    indices = torch.empty(len(queries), k, dtype=torch.long, device=queries.device)
    # The bank outside, so that each of its rows is brought over once.
    for start in range(0, len(bank), columns):
        # Over first, then to another type: the other way round the CPU would convert it, and
        # twice as many bytes would go over.
        block = bank[start : start + columns].to(queries.device).to(queries.dtype)
        if normalize:
            block = F.normalize(block, dim=1)
        for first in range(0, len(queries), rows):
            part = slice(first, first + rows)
            found, place = (queries[part] @ block.T).topk(min(k, len(block)), dim=1)
            place = place + start
            if start:
                found = torch.cat([values[part], found], dim=1)
                place = torch.cat([indices[part], place], dim=1)
                found, order = found.topk(k, dim=1)
                place = place.gather(1, order)
            values[part], indices[part] = found, place
    return values, indices


def knn_votes(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    num_neighbors: int,
    temperature: float,
    num_classes: int,
) -> Tensor:
    """Share of each class in the weighted votes of the nearest neighbors, in bounded memory.

    Args:
        queries: Unit vectors (Q, D).
        bank: Unit vectors (M, D), M >= 1.
        labels: Class of each of them (M,), in [0, num_classes), on the device of the queries.
        num_neighbors: Neighbors k; all M where there are fewer.
        temperature: Temperature of the weights.
        num_classes: Number of classes C.

    Returns:
        Tensor: Share of the weights ``exp(similarity / temperature)`` by class (Q, C).
    """
    similarity, nearest = nearest_neighbors(queries, bank, num_neighbors)
    weights = (similarity / temperature).softmax(dim=1)
    votes = queries.new_zeros(len(queries), num_classes)
    return votes.scatter_add_(1, labels[nearest], weights)
