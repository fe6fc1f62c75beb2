"""Every UAVDT config against the settings of the paper."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, METRICS, MODELS, TASK_UTILS, init_default_scope
from mmengine.structures import InstanceData

import flsl_mm  # noqa: F401
from flsl_mm.datasets.scenes import write_uavdt

pytest.importorskip('mmdet')
FOLDER = Path(__file__).parents[2] / 'configs/uavdt'
ARCHS = dict(vits16=(16, 384, 6), vits8=(8, 384, 6), vitb16=(16, 768, 12))
NAMES = [f'faster-rcnn_{m}-{a}_fpn_1x_uavdt' for m in ('flsl', 'dino') for a in ARCHS]
TRUNKS = [f'faster-rcnn_{m}_fpn_1x_uavdt' for m in ('dinov2-vits14-reg', 'dinov3-vits16')]


@pytest.fixture(autouse=True)
def scope():
    import mmdet.datasets.transforms  # noqa: F401
    import mmdet.models  # noqa: F401

    init_default_scope('mmdet')


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / f'{name}.py')


def test_there_are_no_other_configs():
    assert sorted(path.stem for path in FOLDER.glob('*.py')) == sorted(NAMES + TRUNKS)


@pytest.mark.parametrize('name', NAMES + TRUNKS)
def test_networks_and_schedule_are_those_of_the_paper(name):
    cfg = load(name)
    backbone = cfg.model.backbone
    arch = ARCHS['vits16' if name in TRUNKS else name.split('_')[1].split('-')[1]]
    assert (backbone.patch_size, backbone.embed_dims, backbone.num_heads) == arch
    assert (backbone.type, cfg.model.type, cfg.model.neck.type) == ('ViTFPN', 'FasterRCNN', 'FPN')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.end, warmup.by_epoch) == ('LinearLR', 300, False)
    assert steps.milestones == [8] and cfg.train_cfg.max_epochs == 12
    for pipeline in (cfg.train_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline):
        [resize] = [step for step in pipeline if step.type == 'Resize']
        assert resize.scale == (1072, 528) and resize.keep_ratio
        assert all(side % 16 == 0 for side in resize.scale)
    assert (cfg.default_scope, cfg.runner_type) == ('mmdet', 'FLSLRunner')
    assert cfg.default_hooks.checkpoint.type == 'mmpretrain.AtomicCheckpointHook'


@pytest.mark.parametrize('arch', ARCHS)
def test_the_dino_twin_differs_in_its_weights_only(arch):
    ours, theirs = (load(f'faster-rcnn_{m}-{arch}_fpn_1x_uavdt') for m in ('flsl', 'dino'))
    assert ours.pop('pretrained') != theirs.pop('pretrained')
    assert ours.to_dict() == theirs.to_dict()


@pytest.mark.parametrize('name', NAMES[:3] + TRUNKS)
def test_models_build_and_pad_to_whole_patches(name):
    cfg = load(name)
    cfg.model.backbone.update(depth=1, out_indices=(0, 0, 0, 0), init_cfg=None)
    model = MODELS.build(cfg.model)
    assert not model.with_mask and model.roi_head.bbox_head.num_classes == 3
    data = dict(inputs=[torch.zeros(3, 528, 1001, dtype=torch.uint8)], data_samples=None)
    assert model.data_preprocessor(data)['inputs'].shape[-2:] == (528, 1008)


def test_one_vehicle_of_two_classes_is_detected_once():
    from mmdet.models.layers import multiclass_nms

    cfg = load(NAMES[0]).model.test_cfg.rcnn
    boxes, scores = torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[0.5, 0.4, 0.0, 0.1]])
    found, labels = multiclass_nms(boxes, scores, cfg.score_thr, cfg.nms, cfg.max_per_img)
    assert labels.tolist() == [0] and found[0, 4] == 0.5


@pytest.mark.parametrize('stage', ['rpn', 'rcnn'])
def test_boxes_mostly_inside_an_ignored_region_are_no_negatives(stage, tmp_path):
    write_uavdt(tmp_path, ['M0101'], num_frames=1, size=(1024, 540))
    cfg = load(NAMES[0])
    dataset = DATASETS.build(
        dict(cfg.train_dataloader.dataset, data_root=str(tmp_path), sequences=['M0101'])
    )
    sample = dataset[0]['data_samples']
    ignored = sample.ignored_instances
    ignored.bboxes, gt = ignored.bboxes.tensor, sample.gt_instances
    gt.bboxes = gt.bboxes.tensor
    [[left, top, right, bottom]] = ignored.bboxes.tolist()
    middle = (left + right) / 2
    boxes = [
        [left, top, left + 40, top + 40],  # inside: the region is a corner of the image
        [middle, bottom - 25, middle + 40, bottom + 15],  # 25 of 40 rows inside
        [middle, bottom - 15, middle + 40, bottom + 25],  # 15 of 40
        [middle, bottom + 1, middle + 40, bottom + 41],  # outside
    ]
    priors = InstanceData(priors=torch.tensor(boxes))
    assigner = TASK_UTILS.build(cfg.model.train_cfg[stage].assigner)
    far = InstanceData(bboxes=gt.bboxes[-1:], labels=gt.labels[-1:])  # in the lowest lane
    assert assigner.assign(priors, far, ignored).gt_inds.tolist() == [-1, -1, 0, 0]


def test_pipelines_run_on_the_official_layout(tmp_path):
    write_uavdt(tmp_path, ['M0101', 'M0203'], num_frames=1, size=(1024, 540))
    cfg = load(NAMES[0])
    for loader, sequence in ((cfg.train_dataloader, 'M0101'), (cfg.test_dataloader, 'M0203')):
        dataset = DATASETS.build(
            dict(loader.dataset, data_root=str(tmp_path), sequences=[sequence])
        )
        assert isinstance(dataset.pipeline, Compose)
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 528, 1001)
        assert len(sample['data_samples'].gt_instances) == 3
        assert len(sample['data_samples'].ignored_instances) == 1
        assert sample['data_samples'].img_id == f'{sequence}/img000001'
    METRICS.build(cfg.test_evaluator)
