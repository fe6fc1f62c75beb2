"""Frozen tasks on the tokens of labelled images."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.registry import DATASETS

from ...datasets.find_labeled_images import find_labeled_images
from ...datasets.labeled_images import LabeledImages
from ...models import FrozenViT
from ...utils.counts import counted
from ...utils.errors import ConfigError
from .dense_images import DenseImage, encode_images
from .frozen_task import FrozenTask


class DenseTask(FrozenTask):
    """A frozen task that is shown the tokens of images one by one, so that several share a pass.

    Args:
        val: Images to evaluate: :class:`LabeledImages` or a config of them.
        train: Labelled images to learn from, for tasks that do; the same.
        data_root: Where ``val`` is not given, a folder to find both in, see
            :func:`find_labeled_images`. Where no labels are needed any folder of images will do.
        images: More arguments of both, where they are no objects: ``max_images``, or of masks
            ``reduce_zero_label`` and so on.
        short_side: Pixels that the short side of the images is resized to; the whole image is
            encoded.
        num_workers: Processes that read images.

    Raises:
        FileNotFoundError: The data are not there.
        DataError: They cannot be used.
        ConfigError: ``short_side`` or ``num_workers`` is out of range, or not one of ``val`` and
            ``data_root`` is given.
    """

    image_limits = ('images.max_images',)
    needs_labels = True

    def __init__(
        self,
        val: LabeledImages | dict | None = None,
        train: LabeledImages | dict | None = None,
        data_root: str | None = None,
        images: Mapping[str, Any] | None = None,
        short_side: int = 448,
        num_workers: int = 0,
    ) -> None:
        name = type(self).__name__
        if short_side < 1:
            raise ConfigError(f'{name}: short_side must be at least 1, got {short_side}')
        if num_workers < 0:
            raise ConfigError(f'{name}: num_workers must be at least 0, got {num_workers}')
        self.val, self.train = build_images(val, train, data_root, images, self.needs_labels)
        self.short_side = short_side
        self.num_workers = num_workers

    def __call__(self, vit: FrozenViT) -> dict[str, Any]:
        """Evaluate; see :class:`FrozenTask`."""
        return run_pass([self], vit)[self.name]

    def describe_data(self, numbers: Mapping[str, Any]) -> str:
        """The images, and those that retrieval learns from."""
        learned = '' if self.train is None else f', learned from {len(self.train)}'
        return f'{counted(len(self.val), "image")}{learned}'

    @abstractmethod
    def start(self, vit: FrozenViT) -> None:
        """Forget earlier images; called before the images of a network."""

    @abstractmethod
    def update(self, image: DenseImage) -> None:
        """Take in one of this process's images."""

    @abstractmethod
    def finish(self) -> dict[str, Any]:
        """The numbers, over the images of all processes.

        Raises:
            DataError: The images do not allow them.
        """


def build_images(
    val: LabeledImages | dict | None,
    train: LabeledImages | dict | None,
    data_root: str | None,
    images: Mapping[str, Any] | None,
    needs_labels: bool = True,
) -> tuple[LabeledImages, LabeledImages | None]:
    """The images to evaluate and those to learn from; arguments as of :class:`DenseTask`.

    Without ``needs_labels`` a folder in no known layout is taken as one of images.

    Raises:
        FileNotFoundError: The data are not there.
        DataError: They cannot be used.
        ConfigError: Not one of ``val`` and ``data_root`` is given.
    """
    if (val is None) == (data_root is None):
        raise ConfigError('a dense task needs either val or data_root')
    if val is None:
        train, val = find_labeled_images(data_root, plain=not needs_labels)
    val, train = (
        DATASETS.build(dict(i, **(images or {}))) if isinstance(i, dict) else i
        for i in (val, train)
    )
    return val, train


@torch.no_grad()
def run_pass(tasks: Sequence[DenseTask], vit: FrozenViT) -> Mapping[str, dict[str, Any]]:
    """Evaluate a network on tasks that share images and sizes, encoding the images once.

    Args:
        tasks: Their ``val``, ``short_side`` and ``num_workers`` are those of the first.
        vit: In evaluation mode, on the device to run on.

    Returns:
        Mapping: The numbers by the tasks' names.
    """
    for task in tasks:
        task.start(vit)
    first = tasks[0]
    for image in encode_images(vit, first.val, first.short_side, first.num_workers, 'images'):
        for task in tasks:
            task.update(image)
    return {task.name: task.finish() for task in tasks}
