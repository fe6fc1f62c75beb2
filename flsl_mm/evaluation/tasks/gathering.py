"""Sums and lists over processes that do not depend on their number."""

from collections.abc import Mapping

import torch
from mmengine.dist import all_gather_object, all_reduce
from torch import Tensor


def gather_by_index(parts: Mapping[int, Tensor]) -> Tensor:
    """Concatenate what all processes have of each image, in the order of the images.

    Args:
        parts: (n, ...) by index of the image, on the CPU.

    Returns:
        Tensor: (sum of n, ...), the same in every process.
    """
    merged = {k: v for parts in all_gather_object(dict(parts)) for k, v in parts.items()}
    return torch.cat([merged[index] for index in sorted(merged)])


def sum_processes(value: Tensor) -> Tensor:
    """Sum of a tensor over the processes; exact for integers."""
    value = value.clone()
    all_reduce(value)
    return value
