"""All dense tasks in one pass over the images."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...datasets.labeled_images import LabeledImages
from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from .dense_task import build_images, run_pass
from .frozen_task import FrozenTask

TASKS = ('SegmentationRetrieval', 'TokenClustering', 'ObjectDiscovery', 'CollapseMonitors')


@FROZEN_TASKS.register_module()
class DenseSuite(FrozenTask):
    """Several :class:`DenseTask` that share images, whose tokens are made once.

    Args:
        val: Images to evaluate.
        train: Labelled images to retrieve from.
        data_root, images: See :class:`DenseTask`.
        tasks: Configs of the tasks, without images; by default all four with their own defaults.
        kwargs: Other arguments of :class:`DenseTask`, for all of them.
    """

    name = 'dense'
    image_limits = ('images.max_images',)

    def __init__(
        self,
        val: LabeledImages | dict | None = None,
        train: LabeledImages | dict | None = None,
        data_root: str | None = None,
        images: Mapping[str, Any] | None = None,
        tasks: Sequence[dict] = tuple(dict(type=name) for name in TASKS),
        **kwargs,
    ) -> None:
        needs_labels = any(
            getattr(FROZEN_TASKS.get(task['type']), 'needs_labels', True) for task in tasks
        )
        val, train = build_images(val, train, data_root, images, needs_labels)
        shared = dict(kwargs, val=val, train=train)
        self.tasks = [FROZEN_TASKS.build(dict(task, **shared)) for task in tasks]
        self.headline = f'{self.tasks[0].name}/{self.tasks[0].headline}'

    def describe_data(self, numbers: Mapping[str, Any]) -> str:
        """The images, which all tasks share."""
        return self.tasks[0].describe_data(numbers)

    def __call__(self, vit: FrozenViT) -> dict[str, Any]:
        """All numbers, such as ``retrieval/mIoU``."""
        found = run_pass(self.tasks, vit)
        return {
            f'{task}/{name}': value
            for task, numbers in found.items()
            for name, value in numbers.items()
        }
