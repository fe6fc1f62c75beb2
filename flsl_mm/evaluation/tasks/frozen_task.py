"""Frozen tasks: what every evaluation of a frozen network has."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from torch import Tensor

from ...models import FrozenViT
from ...models.layers.precision import warn_of_emulation
from ...utils.errors import ConfigError

PRECISIONS = 'float32', 'bfloat16'


class FrozenTask(ABC):
    """An evaluation of frozen features: built from a config, called with a network.

    Data are looked up when the task is built, so that a wrong path shows before anything runs:
    where they are not there, building raises ``FileNotFoundError``. Results do not depend on the
    number of processes, and torch's global generators are left alone (a ``DataLoader`` draws from
    them unless it is given a ``generator``).

    Attributes:
        name: Short name, unique within a table; prefix of the numbers in logs.
        headline: The key of the result that one would compare networks by; larger is better.
        image_limits: Dotted names of the settings that limit the number of its images.
    """

    name: str
    headline: str
    image_limits: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, vit: FrozenViT) -> Mapping[str, Any]:
        """Evaluate.

        Args:
            vit: In evaluation mode, on the device to run on.

        Returns:
            Mapping[str, Any]: Numbers by name, ready for JSON; they are the columns of tables and
            the curves of logs. Details, which only JSON files show, are in nested dicts. The same
            in every process of a distributed run.
        """

    def describe_data(self, numbers: Mapping[str, Any]) -> str:
        """What the numbers of a call are of, in words for tables, such as ``'500 images'``."""
        return ''


def check_precision(precision: str) -> str:
    """A number format that networks of a task may compute in.

    Raises:
        ConfigError: It is none.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f'precision={precision!r} is none of {", ".join(PRECISIONS)}')
    return precision


def computing_in(precision: str, device: torch.device) -> AbstractContextManager:
    """Where the network computes in a number format; its tokens are float32 in either."""
    if precision == 'float32':
        return nullcontext()
    warn_of_emulation(device.type)
    return torch.autocast(device.type, dtype=getattr(torch, precision))


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


def weights_digest(vit: FrozenViT) -> str:
    """A hash of all that a network's tokens depend on beside the image.

    The projection head (:func:`build_vit`) is no part of it: a checkpoint and the backbone that was
    published of it have the same tokens, and so the same digest.

    Returns:
        str: 64 hexadecimal digits, the same on every device.
    """
    digest = hashlib.sha256(vit.identity.encode())
    for name, value in vit.state_dict().items():
        if not name.startswith('head.'):
            digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
            digest.update(value.cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
