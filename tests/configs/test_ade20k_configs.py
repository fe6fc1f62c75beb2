"""Every ADE20K config against the settings of the paper."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

pytest.importorskip('mmseg')
import flsl_mm.datasets.ade20k  # noqa: E402,F401

FOLDER = Path(__file__).parents[2] / 'configs/ade20k'
NORMS = (torch.nn.LayerNorm, torch.nn.modules.batchnorm._BatchNorm)
SEM_FPN = [f'sem-fpn_{m}-vits16_40k_ade20k-512x512' for m in ('flsl', 'dino', 'mae', 'random')]
TRUNKS = ('dinov2-vits14-reg', 'dinov3-vits16')  # other projects' networks
TRAINED = [f'sem-fpn_{m}_40k_ade20k-512x512' for m in TRUNKS]
TAKEN = [f'{h}_ade20k-512x512' for m in TRUNKS for h in (f'linear_{m}_10k', f'knn_{m}_1e')]
# tests/config/test_design.py
ANY = 'sem-fpn_flsl-small_40k_ade20k-512x512'
FROZEN = ['linear_flsl-vits16_10k_ade20k-512x512', 'knn_flsl-vits16_1e_ade20k-512x512']


@pytest.fixture(autouse=True)
def scope():
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmseg')


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / f'{name}.py')


def test_there_are_no_other_configs():
    assert sorted(path.stem for path in FOLDER.glob('*.py')) == sorted(
        [*SEM_FPN, *FROZEN, *TRAINED, *TAKEN, ANY]
    )


@pytest.mark.parametrize('name', SEM_FPN + TRAINED)
def test_network_and_schedule_are_those_of_the_paper(name):
    cfg = load(name)
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    assert (backbone.type, cfg.model.neck.type, head.type) == ('ViTFPN', 'FPN', 'FPNHead')
    assert (backbone.patch_size, backbone.embed_dims, backbone.num_heads) == (16, 384, 6)
    assert backbone.out_indices == (2, 5, 8, 11) and head.num_classes == 150
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 6e-5, 0.01)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    warmup, poly = cfg.param_scheduler
    assert (warmup.type, warmup.begin, warmup.end) == ('LinearLR', 0, 1500)
    assert (poly.type, poly.power, poly.eta_min) == ('PolyLR', 1.0, 0.0)
    assert (poly.begin, poly.end) == (1500, 40000)
    assert cfg.train_cfg.max_iters == 40000 and not (warmup.by_epoch or poly.by_epoch)
    assert cfg.model.test_cfg.mode == 'whole'
    [crop] = [s for s in cfg.train_dataloader.dataset.pipeline if s.type == 'RandomCrop']
    assert crop.crop_size == cfg.model.data_preprocessor.size == (512, 512)
    assert (cfg.default_scope, cfg.runner_type) == ('mmseg', 'FLSLRunner')
    assert cfg.default_hooks.checkpoint.type == 'mmpretrain.AtomicCheckpointHook'


@pytest.mark.parametrize('name', SEM_FPN[1:])
def test_twins_differ_in_their_weights_only(name):
    ours, theirs = load(SEM_FPN[0]), load(name)
    assert ours.pop('pretrained') != theirs.pop('pretrained')
    assert ours.to_dict() == theirs.to_dict()


@pytest.mark.parametrize('name', TRAINED + TAKEN)
def test_other_projects_networks_differ_in_preprocessing_and_backbone_only(name):
    network = name.split('_')[1]
    theirs, ours = load(name).to_dict(), load(name.replace(network, 'flsl-vits16')).to_dict()
    for cfg in (theirs, ours):
        del cfg['pretrained'], cfg['model']['backbone']
        if name in TAKEN and 'vits14' in name:  # 512 pixels are no whole patches of 14
            preprocessor = cfg['model'].pop('data_preprocessor')
            divisor = preprocessor['test_cfg']['size_divisor']
            assert preprocessor['size'][0] % divisor == 0 and preprocessor['size'][0] >= 512
    assert theirs == ours


def test_norms_and_positions_have_no_weight_decay():
    from mmengine.optim import build_optim_wrapper
    from mmseg.registry import MODELS

    cfg = load(SEM_FPN[0])
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    decay = {
        id(p): group['weight_decay']
        for group in build_optim_wrapper(model, cfg.optim_wrapper).param_groups
        for p in group['params']
    }
    for name, parameter in model.named_parameters():
        norm = isinstance(model.get_submodule(name.rpartition('.')[0]), NORMS)
        free = norm or name == 'backbone.pos_embed'
        assert decay[id(parameter)] == (0.0 if free else 0.01), name


@pytest.mark.parametrize('name', FROZEN + TAKEN)
def test_the_frozen_track_trains_no_backbone(name):
    from mmseg.registry import MODELS

    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    if 'bank_size' in cfg.model.decode_head:
        cfg.model.decode_head.bank_size = 10
    model = MODELS.build(cfg.model).train()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith('decode_head.') for name in trained)
    [tokens] = model.extract_feat(torch.zeros(1, 3, 64, 96))
    grid = (5, 7) if '14' in name.split('_')[1] else (4, 6)  # in whole patches
    assert tokens.shape == (1, 384, *grid) and not tokens.requires_grad


@pytest.mark.parametrize('name', [SEM_FPN[0], FROZEN[0]])
def test_the_backbone_starts_from_the_file_named_by_pretrained(name, tmp_path):
    from mmseg.registry import MODELS

    from flsl_mm.config import use_pretrained
    from flsl_mm.models import FLSLVisionTransformer

    source = FLSLVisionTransformer('deit-small', img_size=224, patch_size=16)
    source.init_weights()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'vit.pth')
    cfg = load(name)
    cfg.pretrained = str(tmp_path / 'vit.pth')
    use_pretrained(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    found = model.backbone.state_dict()
    assert all(found[k].equal(v) for k, v in source.state_dict().items() if k in found)
    assert 'layers.11.ffn.layers.1.weight' in found


def test_a_mask_without_labels_gives_a_finite_loss_and_leaves_the_weights():
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    cfg = load(SEM_FPN[0])
    cfg.model.backbone.update(embed_dims=24, depth=4, num_heads=3, out_indices=(0, 1, 2, 3))
    cfg.model.backbone.init_cfg = None
    cfg.model.neck.in_channels = [24] * 4
    model = MODELS.build(cfg.model).train()
    mask = PixelData(data=torch.full((1, 64, 64), 255))
    losses = model.loss(torch.rand(2, 3, 64, 64), [SegDataSample(gt_sem_seg=mask)] * 2)
    losses['decode.loss_ce'].backward()
    assert losses['decode.loss_ce'] == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_pipelines_run_on_images(shared_dir):
    from mmseg.registry import DATASETS

    cfg = load(SEM_FPN[0])
    prefix = dict(img_path='images', seg_map_path='annotations')
    for split, shape in (('train', (512, 512)), ('test', (512, 683))):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(data_root=str(shared_dir / 'data/ade'), data_prefix=prefix)
        sample = DATASETS.build(dataset)[0]
        assert all(n <= m for n, m in zip(sample['inputs'].shape[1:], shape))
        labels = np.unique(sample['data_samples'].gt_sem_seg.data)
        assert labels[labels != 255].max() < 150
    assert tuple(sample['inputs'].shape[1:]) == shape


@pytest.mark.parametrize('name', SEM_FPN + FROZEN + TRAINED + TAKEN)
def test_mmseg_s_own_inferencers_take_the_config(name, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    def config() -> Config:
        cfg = load(name)
        for pipeline in (cfg.test_pipeline, cfg.test_dataloader.dataset.pipeline):
            [resize] = [step for step in pipeline if step.type == 'Resize']
            resize.scale = (64, 48)
        if 'bank_size' in cfg.model.decode_head:
            cfg.model.decode_head.bank_size = 4
        return cfg

    model = init_model(config(), device='cpu')
    if hasattr(model.decode_head, 'bank_labels'):  # as training would
        model.decode_head.bank_labels.zero_()
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'image.png')
    for given in (str(tmp_path / 'image.png'), image):
        assert inference_model(model, given).pred_sem_seg.data.shape == (1, 60, 80)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    inferencer = MMSegInferencer(config(), weights=str(tmp_path / 'model.pth'), device='cpu')
    assert inferencer(image, show=False)['predictions'].shape == (60, 80)


@pytest.mark.parametrize('name', [*TRAINED, *(name for name in TAKEN if 'linear' in name)])
def test_other_projects_networks_segment_an_image(name):
    """Built as the config says, but narrow and shallow; mmseg's own function runs it."""
    pytest.importorskip('timm')
    from mmseg.apis import inference_model
    from mmseg.registry import MODELS

    cfg = load(name)
    cfg.model.backbone.update(embed_dims=48, depth=4, num_heads=3, init_cfg=None)
    cfg.model.backbone.img_size = 4 * cfg.model.backbone.get('patch_size', 16)
    if name in TRAINED:
        cfg.model.backbone.out_indices = (0, 1, 2, 3)
        cfg.model.neck.update(in_channels=[48] * 4, out_channels=16)
        cfg.model.decode_head.update(in_channels=[16] * 4, channels=16)
    else:
        cfg.model.decode_head.update(in_channels=48, channels=48)
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_pipeline[1].scale = (96, 64)
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    found = inference_model(model, image).pred_sem_seg.data
    assert found.shape == (1, 60, 90) and 0 <= found.min() and found.max() < 150
