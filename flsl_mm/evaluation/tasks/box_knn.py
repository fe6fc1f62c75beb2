"""Box-aligned k-NN on ImageNet."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.logging import print_log

from ...datasets import ImageNetBoxes
from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from ...utils.counts import counted
from ...utils.errors import ConfigError, DataError
from ..functional.box_aligned_knn import count_right
from .box_features import BoxFeatures, load_box_features
from .frozen_task import FrozenTask


@FROZEN_TASKS.register_module()
class BoxKNN(FrozenTask):
    """Classify ImageNet's validation images by the features of their boxes (paper, Table 7).

    The short side is resized and the middle cropped; a grid of 3 x 3 cells lies over the largest
    CLS-LOC box that is left; the tokens at the cells' centers, after the final LayerNorm, are an
    image's features. An image counts as right when any of them is (:func:`count_right`).

    Images without a usable box (none in the file, none inside the crop, an annotation for another
    shape), and validation images whose class has no training image, are left out and counted.

    Args:
        data_root: ImageNet with XML files, see :class:`ImageNetBoxes`.
        ks: Numbers of neighbors; the first is the headline.
        temperature: Of the votes' weights.
        resize: Short side in pixels before cropping.
        crop: Side of the crop in pixels.
        cells: Cells of a side of the grid.
        train_per_class: At most that many training images of each class, evenly spaced.
        max_train_images: At most that many training images, as many of each class, one at least.
        max_test_images: At most that many validation images, evenly spaced.
        num_shuffles: Times that the training images' labels are shuffled, to measure chance.
        batch_size: Images of a batch.
        num_workers: Data workers of each process.
        max_memory: Bound of the k-NN's working memory in bytes, beside the features.
        cache_dir: Folder where features are kept for the next time; None for nowhere.

    Raises:
        FileNotFoundError: ``data_root`` has no such images or boxes.
        ConfigError: A ``k`` is larger than the number of training features.
        ConfigError: A setting is out of its range.
    """

    name = 'knn'
    image_limits = ('max_train_images', 'max_test_images')

    def __init__(
        self,
        data_root: str = 'data/imagenet',
        ks: int | Sequence[int] = (20, 10, 100, 200),
        temperature: float = 0.07,
        resize: int = 256,
        crop: int = 224,
        cells: int = 3,
        train_per_class: int | None = None,
        max_train_images: int | None = None,
        max_test_images: int | None = None,
        num_shuffles: int = 5,
        batch_size: int = 64,
        num_workers: int = 4,
        max_memory: int = 2**30,
        cache_dir: str | None = None,
    ) -> None:
        ks = (ks,) if isinstance(ks, int) else ks
        if not ks or min(ks) < 1:
            raise ConfigError(f'BoxKNN: ks must be numbers of at least 1, got {ks}')
        if not temperature > 0:
            raise ConfigError(f'BoxKNN: temperature must be above 0, got {temperature}')
        if crop > resize:
            raise ConfigError(f'BoxKNN: crop ({crop}) must not be larger than resize ({resize})')
        if batch_size < 1 or num_shuffles < 1:
            raise ConfigError('BoxKNN: batch_size and num_shuffles must be at least 1')
        if num_workers < 0:
            raise ConfigError(f'BoxKNN: num_workers must be at least 0, got {num_workers}')
        self.ks = tuple(ks)
        self.headline = _column_name(ks[0])
        self.temperature = temperature
        self.num_shuffles = num_shuffles
        self.max_memory = max_memory
        self.loading = dict(
            num_points=cells**2,
            batch_size=batch_size,
            num_workers=num_workers,
            cache_dir=cache_dir,
        )
        pipeline = [
            dict(type='LoadRGBImage'),
            dict(type='LoadImageNetBoxes'),
            dict(type='ResizeShortSide', size=resize),
            dict(type='CenterCropBoxes', size=crop),
            dict(type='LargestBoxGrid', cells=cells),
            dict(type='PackBoxPoints'),
        ]
        self.train = ImageNetBoxes(
            data_root,
            'train',
            pipeline=pipeline,
            per_class=train_per_class,
            max_images=max_train_images,
        )
        self.test = ImageNetBoxes(
            data_root, 'val', self.train.classes, pipeline=pipeline, max_images=max_test_images
        )
        self._check_k(len(self.train) * cells**2)

    def __call__(self, vit: FrozenViT) -> dict[str, Any]:
        """Evaluate.

        Args:
            vit: The frozen network.

        Returns:
            dict: ``top1_k20`` and so on in percent; ``chance``, the top-1 at the first k with
            shuffled training labels, its mean; in ``details`` that for every k with the standard
            deviation of one shuffling, and the numbers of images used and left out.

        Raises:
            DataError: Too many files are damaged, or too few images are left.
        """
        train = load_box_features(vit, self.train, **self.loading)
        self._check_k(train.labels.numel() * train.features.shape[1])
        test = _of_known_classes(load_box_features(vit, self.test, **self.loading), train)
        device = next(vit.parameters()).device
        right = self._count(train, test, device)
        percent = 100 * right.double() / len(test.labels)
        chance = percent[1:]
        return {
            **{_column_name(k): percent[0, i].item() for i, k in enumerate(self.ks)},
            'chance': chance[:, 0].mean().item(),
            'details': dict(
                chance={
                    _column_name(k): dict(mean=c.mean().item(), std=c.std(correction=0).item())
                    for k, c in zip(self.ks, chance.T)
                },
                train=_counts(train),
                test=_counts(test),
            ),
        }

    def describe_data(self, numbers: Mapping[str, Any]) -> str:
        """The images that are in the numbers, and those that were learned from."""
        test, train = (
            f'{counted(found["images"], "image")} of {counted(found["classes"], "class")}'
            for found in (numbers['details'][part] for part in ('test', 'train'))
        )
        return f'{test}, learned from {train}'

    def _count(self, train: BoxFeatures, test: BoxFeatures, device: torch.device) -> torch.Tensor:
        """Rightly classified images (1 + shuffles, number of k), all processes together."""
        generator = torch.Generator().manual_seed(0)
        shuffles = [
            train.labels[torch.randperm(len(train.labels), generator=generator)]
            for _ in range(self.num_shuffles)
        ]
        right = count_right(
            train.features,
            torch.stack([train.labels, *shuffles]),
            test.features,
            test.labels,
            self.ks,
            temperature=self.temperature,
            max_memory=self.max_memory,
            device=device,
            share=get_dist_info(),
        )
        all_reduce(right)
        return right

    def _check_k(self, num_features: int) -> None:
        if max(self.ks) > num_features:
            raise ConfigError(
                f'k = {max(self.ks)} neighbors asked for, but there are only {num_features} '
                'training features; give smaller ks'
            )


def _column_name(k: int) -> str:
    return f'top1_k{k}'


def _counts(found: BoxFeatures) -> dict[str, Any]:
    """How many images of how many classes there are, and how many were left out."""
    return dict(images=len(found.labels), classes=len(found.labels.unique()), left_out=found.counts)


def _of_known_classes(test: BoxFeatures, train: BoxFeatures) -> BoxFeatures:
    """Test images whose class has training images; the others are counted as ``unseen_class``.

    Raises:
        DataError: All have none.
    """
    known = torch.isin(test.labels, train.labels)
    unseen = int((~known).sum())
    if unseen == len(known):
        raise DataError(f'none of the {unseen} val images is of a class with training images')
    test = test._replace(counts=dict(test.counts, unseen_class=unseen))
    if not unseen:
        return test
    print_log(
        f'{unseen} of {len(known)} val images left out: their class has no training image',
        logger='current',
    )
    return test._replace(features=test.features[known], labels=test.labels[known])
