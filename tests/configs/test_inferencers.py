"""mmdet's own inferencers take the configs of this project, as they are but for their size."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmdet')
SMALL = dict(embed_dims=24, num_heads=3)
FPN = dict(backbone=dict(SMALL, depth=4, out_indices=(0, 1, 2, 3)), neck=dict(in_channels=[24] * 4))
VITDET = dict(
    backbone=dict(SMALL, depth=2, global_indices=(1,), window_size=2, out_channels=256),
    data_preprocessor=dict(pad_size_divisor=64),
)


# Those of the other methods differ in their weights only, see test_coco_configs.py.
@pytest.mark.parametrize(
    'config, shrunk',
    [
        ('coco/mask-rcnn_flsl-vits16_fpn_1x_coco', FPN),
        ('coco/mask-rcnn_flsl-vits8_fpn_1x_coco', FPN),
        ('coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco', VITDET),
        ('uavdt/faster-rcnn_flsl-vits16_fpn_1x_uavdt', FPN),
        ('uavdt/faster-rcnn_flsl-vits8_fpn_1x_uavdt', FPN),
    ],
)
def test_detectors_find_boxes_in_files_and_arrays(config, shrunk, project_root, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    def small() -> Config:
        cfg = Config.fromfile(project_root / f'configs/{config}.py')
        cfg.merge_from_dict(dict(model=shrunk))
        for pipeline in (cfg.get('test_pipeline', []), cfg.test_dataloader.dataset.pipeline):
            for step in pipeline:
                if 'Resize' in step.type:
                    step.scale = (64, 64)
        return cfg

    model = init_detector(small(), device='cpu', palette='random')
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'image.png')
    for given in (str(tmp_path / 'image.png'), image):
        found = inference_detector(model, given).pred_instances
        assert found.bboxes.shape == (len(found.scores), 4)
    meta = dict(dataset_meta=model.dataset_meta)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth')
    inferencer = DetInferencer(small(), str(tmp_path / 'model.pth'), device='cpu', palette='random')
    [prediction] = inferencer(image, show=False)['predictions']
    assert len(prediction['bboxes']) == len(prediction['scores'])
