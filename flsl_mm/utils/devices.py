"""Tensors on their way to a device."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device, without waiting for the device.

    By page-locked memory: a copy from any other is waited for, ``non_blocking`` or not.

    Args:
        tensor: On the CPU; one that is on the device already comes back as it is.
        device: Where to.
    """
    if device.type == 'cuda' and tensor.is_cpu and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
