import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch

import flsl_mm  # noqa: F401  # lets mmcv take the stand-in
from flsl_mm import mmcv_operators

mmcv_ops = pytest.importorskip('mmcv.ops')
GOLDEN = Path(__file__).resolve().parents[2] / 'shared' / 'golden'
golden = pytest.mark.skipif(
    not (GOLDEN / 'mmcv_ops.npz').is_file(), reason='no golden values beside the checkout'
)
in_place = pytest.mark.skipif(
    importlib.util.find_spec('mmdet') is None or not list(Path(mmcv.__file__).parent.glob('_ext*')),
    reason='not the environment of make setup',
)
CALLS = ['nms0', 'nms1', 'nms2', 'nms3', 'nms4', 'batched0', 'batched1']
ROIS = ['roi0', 'roi1', 'roi2', 'roi3']
DETECTOR = 'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py'


@pytest.fixture(scope='module')
def stand_in():
    """The stand-in, also where a compiled extension is in use."""
    return mmcv_operators


def load(name):
    settings = {call['name']: call for call in json.loads((GOLDEN / 'mmcv_ops.json').read_text())}
    with np.load(GOLDEN / 'mmcv_ops.npz') as arrays:
        found = {
            key.partition('.')[2]: torch.from_numpy(arrays[key])
            for key in arrays.files
            if key.startswith(name + '.')
        }
    return dict(settings[name]), found


@golden
@pytest.mark.parametrize('name', CALLS)
def test_boxes_are_kept_as_by_the_compiled_operator(name):
    call, arrays = load(name)
    call.pop('name')
    if name.startswith('batched'):
        agnostic = call.pop('class_agnostic')
        dets, keep = mmcv_ops.batched_nms(
            arrays['boxes'], arrays['scores'], arrays['labels'], dict(type='nms', **call), agnostic
        )
    else:
        dets, keep = mmcv_ops.nms(arrays['boxes'], arrays['scores'], **call)
    assert torch.equal(dets, arrays['dets'])
    assert torch.equal(keep, arrays['keep'])


# One box twice: their overlap is 1; a third one covers half of them (overlap 1/2).
@pytest.mark.parametrize(
    ('method', 'kept', 'scores'),
    [
        ('naive', [0, 3], [0.9, 0.6]),
        ('linear', [0, 3, 2], [0.9, 0.6, 0.35]),
        ('gaussian', [0, 3, 2, 1], [0.9, 0.6, 0.7 * np.exp(-0.5), 0.8 * np.exp(-2.5)]),
    ],
)
def test_soft_nms_lowers_the_scores_of_what_overlaps(method, kept, scores):
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 2], [9, 9, 10, 10]])
    dets, indices = mmcv_ops.soft_nms(
        boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.3, 0.5, 1e-3, method
    )
    assert indices.tolist() == kept
    torch.testing.assert_close(dets[:, 4], torch.tensor(scores, dtype=torch.float32))
    assert torch.equal(dets[:, :4], boxes[indices])


@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_without_a_slope_is_nms(offset):
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=random) * 20
    boxes = torch.cat([corners, corners + 1 + torch.rand(60, 2, generator=random) * 10], 1)
    scores = torch.rand(60, generator=random)
    soft, _ = mmcv_ops.soft_nms(boxes, scores, 0.4, method='naive', offset=offset)
    assert torch.equal(soft, mmcv_ops.nms(boxes, scores, 0.4, offset=offset)[0])


def test_soft_nms_of_nothing_is_nothing():
    assert mmcv_ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))[0].shape == (0, 5)


@golden
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 0.0), (torch.float32, 1e-4)])
@pytest.mark.parametrize('name', ROIS)
def test_regions_and_gradients_are_those_of_the_compiled_operator(name, dtype, tolerance):
    call, arrays = load(name)
    call.pop('name')
    image = arrays['input'].to(dtype).requires_grad_()
    pooled = mmcv_ops.roi_align(
        image,
        arrays['rois'].to(dtype),
        tuple(call['output_size']),
        call['spatial_scale'],
        call['sampling_ratio'],
        'avg',
        call['aligned'],
    )
    (pooled * arrays['weight'].to(dtype)).sum().backward()
    for found, wanted in ((pooled, arrays['out']), (image.grad, arrays['grad'])):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)


# On a CPU, autocast hands both operators bfloat16: mmdet converts the regions to the type of the
# maps, and boxes and scores come from layers in bfloat16. The compiled ones refuse that type.
@pytest.fixture
def autocast():
    with torch.autocast('cpu', torch.bfloat16):
        yield


def test_regions_under_bfloat16_autocast_are_those_of_float32_but_for_rounding(autocast):
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 16, 16, generator=random).bfloat16()
    rois = torch.tensor([[0.0, 2, 2, 12, 12], [0, -3.25, 1, 40, 9], [0, 5, 5, 5, 5]])
    coarse, exact = image.clone().requires_grad_(), image.float().requires_grad_()
    pooled = mmcv_ops.RoIAlign(4, spatial_scale=0.5)(coarse, rois.bfloat16())
    wanted = mmcv_ops.RoIAlign(4, spatial_scale=0.5)(exact, rois)
    weight = torch.randn(pooled.shape, generator=random).bfloat16()
    pooled.backward(weight)
    wanted.backward(weight.float())
    assert pooled.dtype == coarse.grad.dtype == torch.bfloat16
    assert torch.equal(pooled, wanted.bfloat16())
    assert torch.equal(coarse.grad, exact.grad.bfloat16())


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('scores_too', [True, False])
def test_boxes_under_bfloat16_autocast_are_kept_as_in_float32(autocast, offset, scores_too):
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=random) * 200
    boxes = torch.cat([corners, corners + 9 + torch.rand(60, 2, generator=random) * 99], 1)
    boxes, scores = boxes.bfloat16(), torch.randperm(60, generator=random) / 64
    found, kept = mmcv_ops.nms(boxes, scores.bfloat16() if scores_too else scores, 0.4, offset)
    wanted = mmcv_ops.nms(boxes.float(), scores, 0.4, offset)[1]
    assert torch.equal(kept, wanted)
    assert torch.equal(found[:, :4], boxes[kept].to(found.dtype))


def test_a_detector_learns_and_predicts_under_bfloat16_autocast(project_root, autocast):
    detector, images, samples = small_detector(project_root)
    losses = detector.loss(images, samples)
    total = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)
    with torch.no_grad():
        [prediction] = detector.eval().predict(images, samples)
    assert len(prediction.pred_instances.bboxes)
    assert torch.isfinite(prediction.pred_instances.scores).all()


def small_detector(project_root):
    """The demo's Mask R-CNN, an image and one object in it."""
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.structures import InstanceData

    init_default_scope('mmdet')
    cfg = Config.fromfile(project_root / DETECTOR)
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    shapes = dict.fromkeys(['img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'], (96, 128))
    sample = DetDataSample(metainfo=dict(shapes, scale_factor=(1.0, 1.0)))
    mask = np.zeros((1, 96, 128), np.uint8)
    mask[:, 20:60, 30:70] = 1
    boxes, labels = torch.tensor([[30.0, 20, 70, 60]]), torch.tensor([1])
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=labels, masks=BitmapMasks(mask, 96, 128)
    )
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    return MODELS.build(cfg.model), torch.rand(1, 3, 96, 128), [sample]


def test_maximum_pooling_is_refused_in_one_line(stand_in):
    tensors = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), torch.zeros(1, 1, 2, 2), None, None]
    settings = dict(aligned_height=2, aligned_width=2, spatial_scale=1.0, sampling_ratio=0)
    with pytest.raises(NotImplementedError, match="roi_align with pool_mode='max'.*install.md"):
        stand_in.roi_align_forward(*tensors, pool_mode=0, aligned=True, **settings)


def test_any_other_operator_is_named_when_it_is_called(stand_in):
    assert callable(stand_in.deform_conv_forward)
    with pytest.raises(NotImplementedError, match='deform_conv_forward is not compiled here'):
        stand_in.deform_conv_forward(torch.zeros(1))


@in_place
def test_mmdet_is_imported_before_flsl_mm():
    code = 'import mmdet.models, mmcv._ext, sys; assert "flsl_mm" not in sys.modules'
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


# As a user of mmdet does in the environment of `make setup`; the config imports flsl_mm.
INFERENCE = """
from mmdet.apis import DetInferencer
import numpy, sys
assert 'flsl_mm' not in sys.modules
inferencer = DetInferencer({config!r}, device='cpu')
[found] = inferencer(numpy.zeros((96, 128, 3), numpy.uint8), no_save_vis=True)['predictions']
assert 'flsl_mm' in sys.modules and len(found['bboxes']) == len(found['scores']) > 0
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@in_place
def test_the_inferencer_of_mmdet_runs_our_config_before_flsl_mm_is_imported(project_root, tmp_path):
    code = INFERENCE.format(config=str(project_root / DETECTOR))
    environment = {**os.environ, 'PYTHONPATH': str(project_root)}
    command = [sys.executable, '-W', 'ignore', '-c', code]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)


def test_a_compiled_extension_is_left_in_place(tmp_path):
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '_ext.py').write_text('compiled = True')
    source = Path(mmcv_operators.__file__)
    code = (
        'import importlib.util, sys\n'
        f'spec = importlib.util.spec_from_file_location("stand_in", {str(source)!r})\n'
        'module = sys.modules["stand_in"] = importlib.util.module_from_spec(spec)\n'
        'spec.loader.exec_module(module)\n'
        'module.use_torchvision_operators()\n'
        'import mmcv._ext; assert mmcv._ext.compiled\n'
        'assert "torch" not in sys.modules\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, env={'PYTHONPATH': str(tmp_path)})
