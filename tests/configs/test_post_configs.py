"""Post-training: networks of files, shrunk, train, resume and show what they gained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

timm = pytest.importorskip('timm')

from flsl_mm.checkpoint import CheckpointError  # noqa: E402
from flsl_mm.models import build_vit  # noqa: E402

FOLDER = Path(__file__).parents[2] / 'configs/pretrain/post'
KINDS = {
    'flsl_dinov3-vits16_25e': ('vit_small_patch16_dinov3', 16, 5),
    'flsl_dinov2-vits14-reg_25e': ('vit_small_patch14_reg4_dinov2', 14, 5),
    'flsl_dino-vits16_25e': ('vit_small_patch16_224', 16, 1),
    'flsl_any_25e': ('vit_small_patch16_siglip_224', 16, 0),
}
KNN = dict(type='BoxKNN', ks=(3, 1), resize=72, crop=64, batch_size=5, num_workers=0)


def write_network(name: str, path: Path) -> str:
    """A small network of the kind that a config is for."""
    architecture, patch, _ = KINDS[name]
    torch.manual_seed(0)
    kwargs = dict(embed_dim=48, depth=3, num_heads=3, num_classes=0, img_size=4 * patch)
    if 'siglip' in architecture:
        architecture = 'vit_base_patch16_siglip_224'
    torch.save(timm.create_model(architecture, **kwargs).state_dict(), path)
    return str(path)


@pytest.fixture
def shrink(image_folder, imagenet_boxes, tmp_path):
    """A config with small views and two iterations per epoch."""

    def shrink_config(name: str) -> Config:
        cfg, (_, patch, _) = Config.fromfile(FOLDER / f'{name}.py'), KINDS[name]
        cfg.merge_from_dict(
            {
                'pretrained': write_network(name, tmp_path / f'{name}.pth'),
                'model.backbone.num_heads': 3,
                'model.head': dict(num_prototypes=16, hidden_channels=32, bottleneck_channels=8),
                'model.data_preprocessor.student_view.size': 4 * patch,
                'model.data_preprocessor.local_views.size': 2 * patch,
                'train_dataloader.batch_size': 6,
                'train_dataloader.num_workers': 0,
                'train_dataloader.dataset.data_root': str(image_folder),
                'train_dataloader.dataset.pipeline.1.size': 4 * patch,
                'train_cfg.max_epochs': 2,
                'auto_scale_lr.enable': False,
                'default_hooks.checkpoint.interval': 1,
                'default_hooks.logger.interval': 1,
                'default_hooks.frozen_evaluation.tasks': [dict(KNN, data_root=str(imagenet_boxes))],
                'visualizer.vis_backends': [dict(type='LocalVisBackend')],
            }
        )
        cfg.work_dir = str(tmp_path / name)
        return cfg

    return shrink_config


class Spy(Hook):
    """What of the student changed in each iteration."""

    def __init__(self) -> None:
        self.changed: list[set[str]] = []

    def before_train(self, runner) -> None:
        self.before = {n: p.detach().clone() for n, p in runner.model.named_parameters()}

    def after_train_iter(self, runner, *_, **__) -> None:
        now = {n: p.detach().clone() for n, p in runner.model.named_parameters()}
        self.changed.append({n for n in now if not now[n].equal(self.before[n])})
        self.before = now


def read_log(work_dir: str) -> list[dict]:
    [path] = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize('name', KINDS)
def test_a_config_trains_shows_its_gain_and_resumes_exactly(make_runner, shrink, name, tmp_path):
    cfg = shrink(name)
    if name == 'flsl_dinov3-vits16_25e':
        options = {'optim_wrapper.precision': 'bfloat16', 'optim_wrapper.accumulative_counts': 2}
        cfg.merge_from_dict(options)
    runner, spy = make_runner(cfg), Spy()
    runner.register_hook(spy)
    runner.train()
    losses = [row for row in read_log(cfg.work_dir) if 'loss' in row]
    assert len(losses) == 4 and all(row['self_scale'] > 0 for row in losses)
    record = json.loads(Path(cfg.work_dir, 'frozen_evaluation.json').read_text())
    assert [entry['epoch'] for entry in record['history']] == [0, 2]
    assert record['history'][0]['teacher'] == record['history'][0]['student']

    last = Path(cfg.work_dir) / 'epoch_2.pth'
    assert build_vit(str(last.with_name('best_frozen.pth'))).family is not None
    found, teacher = build_vit(str(last)), runner.model.teacher.backbone
    assert (found.num_heads, found.num_prefix_tokens) == (3, KINDS[name][2])
    images = torch.randn(1, 3, 70, 80)
    with torch.no_grad():
        assert found.forward_tokens([images])[0].equal(teacher.forward_tokens([images])[0])

    cfg.work_dir = str(tmp_path / 'resumed')
    Path(cfg.work_dir).mkdir()
    shutil.copy(last.with_name('epoch_1.pth'), cfg.work_dir)
    shutil.copy(last.with_name('frozen_evaluation.json'), cfg.work_dir)
    Path(cfg.pretrained).unlink()  # a run's checkpoints say what its network is like
    resumed = make_runner(cfg, resume=True)
    resumed.train()
    for parameter, value in runner.model.state_dict().items():
        assert value.equal(resumed.model.state_dict()[parameter]), parameter


def test_the_head_starts_alone_and_frozen_blocks_stay_as_they_are(make_runner, shrink):
    cfg = shrink('flsl_dinov3-vits16_25e')
    runner, spy = make_runner(cfg, **{'model.backbone.trained_blocks': 1}), Spy()
    runner.register_hook(spy)
    runner.train()
    students = [{n for n in names if not n.startswith('teacher.')} for names in spy.changed]
    first, *rest = students
    assert first and all(n.startswith('head.mlp.') for n in first)
    for names in rest:
        trained = {n for n in names if n.startswith('backbone.')}
        assert trained
        assert all(n.startswith(('backbone.model.blocks.2.', 'backbone.model.norm.'))
                   for n in trained)  # fmt: skip


def test_a_network_must_be_named(make_runner, shrink):
    cfg = shrink('flsl_any_25e')
    for pretrained, message in ((None, '--cfg-options pretrained=FILE'), ('no.pth', 'no such')):
        with pytest.raises(Exception, match=message):
            make_runner(cfg, pretrained=pretrained)


def test_where_to_get_a_file_is_said_in_one_line(make_runner, shrink):
    cfg = shrink('flsl_dinov3-vits16_25e')
    with pytest.raises(CheckpointError, match='^timm:no_such: timm cannot make it') as error:
        make_runner(cfg, pretrained='timm:no_such')
    assert '\n' not in str(error.value)
