"""Tokens of whole images of any shape."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...datasets.labeled_images import LabeledImages, shape_of
from ...models import FrozenViT
from ...utils.images import short_side_scale
from ...utils.progress import progress
from ...utils.token_grid import token_center


class DenseImage(NamedTuple):
    """An image and its tokens.

    Attributes:
        index: Place in the data set.
        tokens: Tokens (N, D) after the final LayerNorm, float32, on the network's device.
        grid: Their rows h and columns w, which cover the whole image evenly.
        labels: Class of each pixel of the image as stored, int16 (H, W), below 0 where ignored.
        boxes: x1, y1, x2, y2 of objects in such pixels, float64 (M, 4).
    """

    index: int
    tokens: Tensor
    grid: tuple[int, int]
    labels: Tensor
    boxes: np.ndarray

    def token_labels(self) -> Tensor:
        """Label (N,), int16, of the pixel at the center of each token."""
        x, y = token_center(torch.arange(len(self.tokens)), self.grid, self.labels.shape)
        return self.labels[y.long(), x.long()]


class _Prepared(Dataset):
    """Images of a network's size."""

    def __init__(self, images: LabeledImages, short_side: int, patch_size: int) -> None:
        self.images, self.short_side, self.patch_size = images, short_side, patch_size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor, np.ndarray]:
        sample = self.images[index]
        pixels = network_input(sample.image, self.short_side, self.patch_size)
        return index, pixels, torch.from_numpy(sample.labels), sample.boxes


def network_input(image: Image.Image | np.ndarray, short_side: int, patch_size: int) -> Tensor:
    """Resize an image to whole patches.

    Args:
        image: RGB, or an array (H, W, C), uint8.
        short_side: Pixels of the short side; the long side is at most four times as long.
        patch_size: Both sides become the nearest multiple of it, at least one.

    Returns:
        Tensor: (C, H, W), uint8.
    """
    width_and_height = shape_of(image)[::-1]
    scale = short_side_scale(width_and_height, short_side)
    size = [max(1, round(side * scale / patch_size)) * patch_size for side in width_and_height]
    if isinstance(image, np.ndarray):
        # Channel by channel: Pillow would take a fourth for transparency.
        planes = [Image.fromarray(np.ascontiguousarray(p)) for p in np.moveaxis(image, 2, 0)]
        return torch.from_numpy(np.stack([plane.resize(size, Image.BICUBIC) for plane in planes]))
    pixels = torch.from_numpy(np.array(image.resize(size, Image.BICUBIC)))  # (H, W, 3) uint8
    return pixels.permute(2, 0, 1).contiguous()


def encode_images(
    vit: FrozenViT,
    images: LabeledImages,
    short_side: int,
    num_workers: int,
    title: str,
) -> Iterator[DenseImage]:
    """Encode this process's share of the images, one by one.

    So an image's tokens do not depend on others, and images may have any shape.

    Args:
        vit: In evaluation mode, on the device to run on. The images must have its channels.
        images: The images; of P processes each takes every P-th.
        short_side: See :func:`network_input`.
        num_workers: Processes that read images.
        title: What the progress line calls them.
    """
    device = next(vit.parameters()).device
    loader = DataLoader(
        _Prepared(images.of_channels(vit.in_channels), short_side, vit.patch_size),
        batch_size=None,
        sampler=range(get_rank(), len(images), get_world_size()),
        collate_fn=_as_is,
        num_workers=num_workers,
        generator=torch.Generator(),  # otherwise a seed is drawn from the global one
    )
    for index, pixels, labels, boxes in progress(loader, len(loader), title, interval=5.0):
        pixels = vit.normalize(pixels[None].to(device))
        tokens = vit.forward_tokens([pixels])[0][0].float()
        yield DenseImage(index, tokens, vit.grid_of(pixels), labels, boxes)


def _as_is(sample: Any) -> Any:
    """In place of torch's conversion, which would make tensors of boxes."""
    return sample
