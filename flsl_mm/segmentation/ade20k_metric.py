"""IoU and accuracy of semantic segmentation, as on ADE20K; needs mmseg."""

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from ..utils.errors import DataError


@METRICS.register_module()
class ADE20KMetric(IoUMetric):
    """mmseg's ``IoUMetric`` with the classes among the numbers; all in percent.

    All pixels of all images are pooled. A class that is neither predicted nor labelled has no IoU
    and is left out of the mean; ignored pixels count nowhere.

    Args:
        per_class: Also report ``IoU.<class>`` of every class that has an IoU.
        kwargs: Arguments of :class:`mmseg.evaluation.IoUMetric`.
    """

    def __init__(self, per_class: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.per_class = per_class

    def compute_metrics(self, results: list) -> dict[str, float]:
        """``aAcc``, ``mIoU``, ``mAcc`` and perhaps the classes.

        Args:
            results: For each image the pixels (classes,) of intersection, union, prediction and
                label.

        Raises:
            DataError: No pixel of any mask is labelled.
        """
        if self.format_only:
            return super().compute_metrics(results)
        intersection, union, _, label = (torch.stack(part).sum(0) for part in zip(*results))
        if not label.sum():
            raise DataError(
                f'no pixel of the {len(results)} masks is labelled, nothing to evaluate'
            )
        metrics = super().compute_metrics(results)
        if self.per_class:
            for name, i, u in zip(self.dataset_meta['classes'], intersection, union):
                if u:
                    metrics[f'IoU.{name.strip()}'] = round(100 * (i / u).item(), 2)
        return metrics
