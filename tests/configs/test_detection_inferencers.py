"""mmdet's own ways to use a detector, on every config of one: images in, objects out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmdet')
CONFIGS = Path(__file__).parents[2] / 'configs'
# Left to the slow tests: weights alone differ from another config's, or a large network.
SLOW = ('_dino-', '_mae-', '_mocov3-', '_sup-', '_random-', '_dinov2-vitb', '_dinov3-vitb')
NAMES = [
    pytest.param(
        path.relative_to(CONFIGS).as_posix(),
        marks=[pytest.mark.slow] * any(part in path.name for part in SLOW),
    )
    for folder in ('coco', 'uavdt', 'demo')
    for path in sorted((CONFIGS / folder).glob('*rcnn_*.py'))
]


def shrunk(name: str) -> Config:
    """A config with small images and, where it has a network of this package, a small one."""
    cfg = Config.fromfile(CONFIGS / name)
    for pipeline in (cfg.test_pipeline, cfg.test_dataloader.dataset.pipeline):
        for step in pipeline:
            if step.type == 'Resize':
                step.scale = (128, 96)
    backbone, is_vitdet = cfg.model.backbone, cfg.model.backbone.type == 'ViTDet'
    if 'demo' not in name and 'trunk' not in backbone:
        backbone.update(embed_dims=48, depth=4, num_heads=3, img_size=128)
        if backbone.get('patch_size') == 'auto':  # read off a checkpoint
            backbone.update(patch_size=16, in_channels=3)
        if is_vitdet:
            backbone.update(window_size=4, global_indices=(1, 3), pretrain_img_size=64)
        else:
            backbone.out_indices = (0, 1, 2, 3)
            cfg.model.neck.in_channels = [48] * 4
    cfg.model.data_preprocessor.pad_size_divisor = 64
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    cfg.model.test_cfg.rpn.update(nms_pre=100, max_per_img=50)
    return cfg


def check(boxes: torch.Tensor) -> None:
    """All boxes are in an image of 80 x 60 pixels."""
    assert len(boxes) == 5 and (boxes >= 0).all()
    assert (boxes[:, 0::2] <= 80).all() and (boxes[:, 1::2] <= 60).all()


@pytest.mark.parametrize('name', NAMES)
def test_mmdet_s_own_inferencers_take_the_config(name, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image[..., ::-1]).save(tmp_path / 'image.png')
    torch.manual_seed(0)
    model = init_detector(shrunk(name), device='cpu')
    for given in (str(tmp_path / 'image.png'), image):
        found = inference_detector(model, given).pred_instances
        check(found.bboxes)
        masks = getattr(found, 'masks', None)
        assert (masks is not None) == ('mask-rcnn' in name)
        assert masks is None or masks.shape == (5, 60, 80)
    classes = shrunk(name).get('classes') or ('a', 'b')
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes)))
    torch.save(checkpoint, tmp_path / 'model.pth')
    weights = str(tmp_path / 'model.pth')
    inferencer = DetInferencer(shrunk(name), weights, device='cpu', palette='random')
    for given in (str(tmp_path / 'image.png'), image):
        [result] = inferencer(given, no_save_vis=True)['predictions']
        assert np.allclose(result['bboxes'], found.bboxes.numpy(), atol=1e-3)
        assert np.allclose(result['scores'], found.scores.numpy(), atol=1e-5)
