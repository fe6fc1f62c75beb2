"""Own classes from training to pictures, as a user runs it, and with the libraries alone."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
from flsl_mm.datasets import scenes  # noqa: E402

DETECTOR = """
_base_ = ['{root}/configs/coco/mask-rcnn_flsl-vits8_fpn_1x_coco.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(img_size=96, embed_dims=48, depth=2, num_heads=3, out_indices=(0, 0, 1, 1)),
    neck=dict(in_channels=[48] * 4, out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        mask_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=32),
        mask_head=dict(num_convs=1, in_channels=32, conv_out_channels=32),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)),
)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
pack = [dict(type='PackDetInputs', meta_keys=keys)]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=load + pack))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=load + pack))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""
SEGMENTOR = """
_base_ = ['{root}/configs/ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512.py']
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(img_size=64, embed_dims=48, depth=2, num_heads=3, out_indices=(0, 0, 1, 1)),
    neck=dict(in_channels=[48] * 4, out_channels=32),
    decode_head=dict(in_channels=[32] * 4, channels=32),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
pack = [dict(type='PackSegInputs')]
resize = [dict(type='Resize', scale=(256, 64), keep_ratio=True)]
test_pipeline = load[:1] + resize + load[1:] + pack  # the name that inference_model looks for
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=load + resize + pack))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
# In the test file they stand the other way round.
CLASSES = dict(detector=['apple', 'box'], segmentor=['ground', 'thing'])


def draw_instances(folder: Path) -> None:
    """Two of the six classes of drawn scenes, under other names."""
    scenes.write_coco(folder, num_train=4, num_val=2, size=(128, 96))
    for split, order in (('train', 1), ('val', -1)):
        path = folder / f'annotations/instances_{split}2017.json'
        content = json.loads(path.read_text())
        for annotation in content['annotations']:
            annotation['category_id'] = 1 + annotation['category_id'] % 2
        names = enumerate(CLASSES['detector'], 1)
        content['categories'] = [dict(id=i, name=name) for i, name in names][::order]
        path.write_text(json.dumps(content))


def draw_masks(folder: Path) -> None:
    """The masks of drawn scenes with two classes: ground and what lies on it."""
    scenes.write_ade20k(folder, num_train=4, num_val=2, size=(64, 64))
    for path in folder.glob('annotations/*/*.png'):
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask == 0, 255, mask <= 6).astype(np.uint8)).save(path)


@pytest.fixture(scope='module', params=['detector', 'segmentor'])
def trained(request, project_root, run_tool, tmp_path_factory) -> Namespace:
    """A network of two own classes: its kind, config, checkpoint, data, and options."""
    folder = tmp_path_factory.mktemp(request.param)
    detects = request.param == 'detector'
    text = (DETECTOR if detects else SEGMENTOR).format(root=project_root)
    (folder / 'small.py').write_text(text)
    (draw_instances if detects else draw_masks)(folder / 'data')
    options = ['--cfg-options', f'data_root={folder / "data"}']
    classes = [] if detects else ['classes=[ground,thing]']
    result = run_tool(
        'train.py',
        folder / 'small.py',
        f'--work-dir={folder / "run"}',
        *options,
        'pretrained=None',
        *classes,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = folder / 'run' / ('epoch_1.pth' if detects else 'iter_2.pth')
    return Namespace(
        kind=request.param,
        config=folder / 'small.py',
        checkpoint=checkpoint,
        options=options,
        images=folder / 'data' / ('val2017' if detects else 'images/validation'),
    )


@pytest.mark.slow
def test_the_checkpoint_knows_its_classes(trained):
    meta = torch.load(trained.checkpoint, weights_only=False)['meta']['dataset_meta']
    assert list(meta['classes']) == CLASSES[trained.kind]
    assert len(set(map(tuple, meta['palette']))) == 2


@pytest.mark.slow
def test_it_is_evaluated_without_naming_them_again(trained, run_tool, tmp_path):
    arguments = trained.config, trained.checkpoint, f'--work-dir={tmp_path}', *trained.options
    result = run_tool('test.py', *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    metrics = json.loads((tmp_path / 'test_metrics.json').read_text())['metrics']
    if trained.kind == 'detector':
        assert 0 <= metrics['coco/bbox_mAP_50'] <= 1
    else:
        assert {'IoU.ground', 'IoU.thing'} <= set(metrics)


@pytest.mark.slow
def test_predictions_have_their_names(trained, run_tool, tmp_path):
    arguments = trained.config, trained.checkpoint, trained.images, tmp_path, '--score=0'
    result = run_tool('predict.py', *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads((tmp_path / 'summary.json').read_text())['classes'] == CLASSES[trained.kind]
    found = json.loads((tmp_path / 'predictions.json').read_text())
    names = {item.get('category_name') for item in found}
    names |= {name for item in found for name in item.get('shares', ())}
    assert names & set(CLASSES[trained.kind])


LIBRARIES = dict(
    detector="""
import flsl_mm
from mmdet.apis import DetInferencer
inferencer = DetInferencer(weights='model.pth')
print(len(inferencer('a.jpg', out_dir='out')['predictions'][0]['scores']))
print(*inferencer.visualizer.dataset_meta['classes'])
""",
    segmentor="""
from flsl_mm.checkpoint import read_checkpoint
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model
meta = read_checkpoint('model.pth')['meta']
cfg = Config.fromstring(meta['cfg'], '.py')
classes, palette = (meta['dataset_meta'][key] for key in ('classes', 'palette'))
inferencer = MMSegInferencer(cfg, 'model.pth', classes, palette, device='cpu')
labels = inferencer('a.jpg', out_dir='out')['predictions']
model = init_model(cfg, 'model.pth', device='cpu')
assert (inference_model(model, 'a.jpg').pred_sem_seg.data[0].numpy() == labels).all()
assert inferencer.visualizer.dataset_meta['classes'] == model.dataset_meta['classes']
print(*model.dataset_meta['classes'])
""",
)


@pytest.mark.slow
def test_the_library_alone_takes_the_config_in_the_checkpoint(trained, tool_environment, tmp_path):
    (tmp_path / 'model.pth').write_bytes(trained.checkpoint.read_bytes())
    image = sorted(trained.images.iterdir())[0]
    (tmp_path / 'a.jpg').write_bytes(image.read_bytes())
    result = subprocess.run(
        [sys.executable, '-c', LIBRARIES[trained.kind]],
        env=tool_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'out/vis/a.jpg').is_file()
    assert result.stdout.splitlines()[-1] == ' '.join(CLASSES[trained.kind])
