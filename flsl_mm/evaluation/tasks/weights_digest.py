"""What tells one frozen network from another."""

import hashlib

import torch

from flsl_mm.models import FLSLVisionTransformer


def weights_digest(vit: FLSLVisionTransformer) -> str:
    """A hash of all that a network's tokens depend on beside the image.

    The projection head (:func:`build_vit`) is no part of it: a checkpoint and the backbone that was
    published of it have the same tokens, and so the same digest.

    Returns:
        str: 64 hexadecimal digits, the same on every device.
    """
    digest = hashlib.sha256(f'{vit.patch_size} {vit.layers[0].attn.num_heads}'.encode())
    for name, value in vit.state_dict().items():
        if not name.startswith('head.'):
            digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
            digest.update(value.cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
