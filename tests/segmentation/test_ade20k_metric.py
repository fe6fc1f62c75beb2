"""IoU on ADE20K against numbers found by hand."""

import pytest
import torch

pytest.importorskip('mmseg')
from flsl_mm.segmentation.ade20k_metric import ADE20KMetric  # noqa: E402


def evaluate(labels: list, predictions: list, **kwargs) -> dict:
    metric = ADE20KMetric(**kwargs)
    metric.dataset_meta = dict(classes=('wall', 'bed ', 'sky', 'car'))
    sample = dict(
        gt_sem_seg=dict(data=torch.tensor([[labels]])),
        pred_sem_seg=dict(data=torch.tensor([[predictions]])),
    )
    metric.process({}, [sample])
    return metric.evaluate(1)


def test_classes_are_pooled_and_absent_ones_left_out():
    # wall: 1 of 3 (two labelled, two predicted), bed: 1 of 2, sky: 0 of 1; no car
    metrics = evaluate([0, 0, 1, 1, 255], [0, 2, 0, 1, 3], per_class=True)
    assert metrics == dict(
        {'aAcc': 50.0, 'mIoU': 27.78, 'mAcc': 50.0},
        **{'IoU.wall': 33.33, 'IoU.bed': 50.0, 'IoU.sky': 0.0},
    )


def test_the_classes_are_not_listed_unless_asked_for():
    assert set(evaluate([0, 1], [0, 1])) == {'aAcc', 'mIoU', 'mAcc'}


def test_masks_without_any_label_are_an_error():
    with pytest.raises(ValueError, match='no pixel of the 1 masks is labelled'):
        evaluate([255, 255], [0, 1])
