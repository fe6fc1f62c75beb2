from flsl_mm.evaluation import metrics_table


def test_boxes_and_masks_stand_side_by_side():
    table = metrics_table(
        {'coco/bbox_mAP': 0.449, 'coco/bbox_AR@1': 0.5, 'coco/segm_mAP': 0.4084, 'coco/segm_x': -1}
    )
    assert table.splitlines() == [
        'metric   bbox    segm',
        'mAP     0.449   0.408',
        'AR@1    0.500',
        'x              -1.000',
    ]


def test_other_metrics_have_one_value_each():
    assert metrics_table({'uavdt/AP': 53.1, 'mIoU': 7}).splitlines() == [
        'metric     value',
        'uavdt/AP  53.100',
        'mIoU       7.000',
    ]
