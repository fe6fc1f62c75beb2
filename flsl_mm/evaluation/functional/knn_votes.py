"""Weighted votes of nearest neighbours."""

from torch import Tensor

from .nearest_neighbors import nearest_neighbors


def knn_votes(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    num_neighbors: int,
    temperature: float,
    num_classes: int,
) -> Tensor:
    """Share of each class in the weighted votes of the nearest neighbours, in bounded memory.

    Args:
        queries: Unit vectors (Q, D).
        bank: Unit vectors (M, D), M >= 1.
        labels: Class of each of them (M,), in [0, num_classes), on the device of the queries.
        num_neighbors: Neighbours k; all M where there are fewer.
        temperature: Temperature of the weights.
        num_classes: Number of classes C.

    Returns:
        Tensor: Share of the weights ``exp(similarity / temperature)`` by class (Q, C).
    """
    similarity, nearest = nearest_neighbors(queries, bank, num_neighbors)
    weights = (similarity / temperature).softmax(dim=1)
    votes = queries.new_zeros(len(queries), num_classes)
    return votes.scatter_add_(1, labels[nearest], weights)
