"""Real runs of a tiny ViT: what a user's training does, and what it survives."""

import json
import math
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from flsl_mm.checkpoint import CheckpointError
from flsl_mm.datasets.tar_shards import index_shards
from flsl_mm.engine.hooks import NonFiniteLossHook
from flsl_mm.utils.errors import TrainingStopped

STATE = ('state_dict', 'optimizer', 'param_schedulers')


class Spy(Hook):
    """Records what happens in a run."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        model = runner.model
        self.rows.append(
            dict(
                student=model.backbone.ln1.weight.detach().clone(),
                teacher=model.teacher.backbone.ln1.weight.detach().clone(),
                prototypes=model.head.prototypes.weight.detach().clone(),
                momentum=model.momentum,
                teacher_temp=model.head.teacher_temp,
                lr=runner.optim_wrapper.get_lr()['lr'][0],
                decay=[group['weight_decay'] for group in runner.optim_wrapper.param_groups],
                images=data_batch['inputs'].clone(),
                random_state=torch.get_rng_state(),
            )
        )


def train(make_runner, cfg, **overrides) -> list[dict]:
    runner, spy = make_runner(cfg, **overrides), Spy()
    runner.register_hook(spy)
    runner.train()
    return spy.rows


def read_log(work_dir: str) -> list[dict]:
    [path] = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_state(left: dict, right: dict) -> None:
    for name in STATE:
        left_leaves, left_tree = torch.utils._pytree.tree_flatten(left[name])
        right_leaves, right_tree = torch.utils._pytree.tree_flatten(right[name])
        assert left_tree == right_tree
        for a, b in zip(left_leaves, right_leaves):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_the_log_has_what_a_user_needs(make_runner, tiny_config):
    train(make_runner, tiny_config)
    rows = read_log(tiny_config.work_dir)
    assert len(rows) == 4
    expected = (
        'loss loss_intra loss_inter loss_volume lr weight_decay momentum teacher_temp '
        'images_per_second data_time time memory prototypes_used entropy_p_bar max_p_t '
        'attended_tokens cos_token_mode place_share matching_accuracy epoch iter'
    )
    assert set(expected.split()) <= set(rows[-1])
    assert rows[-1]['loss'] == pytest.approx(
        sum(rows[-1][f'loss_{n}'] for n in ('intra', 'inter', 'volume')), rel=1e-4
    )


def test_schedules_reach_the_model_and_the_optimizer(make_runner, tiny_config):
    overrides = {'default_hooks.schedule.teacher_temp.epochs': 1, 'train_cfg.max_epochs': 4}
    rows = train(make_runner, tiny_config, **overrides)
    cosine = [0.5 * (1 - torch.tensor(torch.pi * i / 8).cos().item()) for i in range(8)]
    assert [r['momentum'] for r in rows] == pytest.approx([0.98 + 0.02 * c for c in cosine])
    assert [r['teacher_temp'] for r in rows] == pytest.approx([0.04, 0.055] + [0.07] * 6)
    assert [r['decay'][0] for r in rows] == pytest.approx([0.04 + 0.36 * c for c in cosine])
    assert all(r['decay'][1] == 0 for r in rows)


@pytest.mark.parametrize(
    'schedule, attribute, values',
    [
        (
            dict(target='head.loss_weights.intra', type='linear', start=0.0, end=0.1, epochs=1),
            lambda model: model.head.loss_weights['intra'],
            [0.0, 0.05, 0.1, 0.1],
        ),
        (
            dict(target='neck.self_scale', type='linear', start=0.06, end=0.02),
            lambda model: model.neck.self_scale,
            [0.06, 0.05, 0.04, 0.03],
        ),
        (
            dict(target='neck.positional_positives', type='step', start=True, end=False, epochs=1),
            lambda model: model.neck.positional_positives,
            [True, True, False, False],
        ),
    ],
)
def test_other_values_can_be_scheduled(make_runner, tiny_config, schedule, attribute, values):
    runner, seen = make_runner(tiny_config, **{'default_hooks.schedule.extra': schedule}), []
    hook = Spy()
    hook.after_train_iter = lambda runner, *_, **__: seen.append(attribute(runner.model))
    runner.register_hook(hook)
    runner.train()
    assert seen == pytest.approx(values)


def test_a_value_that_its_schedule_overwrites_is_named(make_runner, tiny_config, capsys):
    overrides = {'model.head.teacher_temp': 0.05}
    train(make_runner, tiny_config, **overrides)
    printed = capsys.readouterr()
    [warning] = [s for s in (printed.out + printed.err).splitlines() if 'does not count' in s]
    assert 'model.head.teacher_temp=0.05 does not count: its schedule starts at 0.04' in warning


def test_a_schedule_of_the_weight_decay_needs_its_groups(make_runner, tiny_config):
    overrides = {
        'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
        'optim_wrapper.optimizer.fused': False,  # which torch 2.1 has not on a CPU
    }
    rows = train(
        make_runner, tiny_config, **overrides, **{'default_hooks.schedule.weight_decay': None}
    )
    assert {row['decay'][0] for row in rows} == {0.04}
    with pytest.raises(ValueError, match="constructor='TwoGroupConstructor'"):
        train(make_runner, tiny_config, **overrides)


def test_training_goes_on_without_any_one_of_the_default_hooks(make_runner, tiny_config):
    for name in tiny_config.default_hooks:
        overrides = {f'default_hooks.{name}': None, 'train_cfg.max_epochs': 1}
        assert len(train(make_runner, tiny_config, **overrides)) == 2


def test_a_schedule_of_nothing_is_refused(make_runner, tiny_config):
    wrong = dict(target='head.temperature', type='linear', start=0, end=1)
    with pytest.raises(ValueError, match="FLSL has nothing at 'head.temperature'"):
        train(make_runner, tiny_config, **{'default_hooks.schedule.extra': wrong})


def test_the_teacher_moves_once_per_optimizer_step(make_runner, tiny_config):
    overrides = {'optim_wrapper.accumulative_counts': 2}
    rows = train(make_runner, tiny_config, **overrides)
    first, second, third, fourth = (row['teacher'] for row in rows)
    assert torch.equal(second, third)
    assert not torch.equal(first, second) and not torch.equal(third, fourth)
    for before, after in ((rows[0], rows[1]), (rows[2], rows[3])):
        expected = torch.lerp(before['teacher'], after['student'], 1 - after['momentum'])
        torch.testing.assert_close(after['teacher'], expected)


def test_accumulation_counts_in_the_learning_rate(make_runner, tiny_config):
    overrides = {'auto_scale_lr.enable': True, 'param_scheduler.warmup': 0}
    rates = []
    for accumulated in (1, 2):
        runner = make_runner(
            tiny_config, **overrides, **{'optim_wrapper.accumulative_counts': accumulated}
        )
        runner.train()
        rates.append(runner.optim_wrapper.param_groups[0]['initial_lr'])
    assert rates == pytest.approx([1e-3 * 6 / 256, 1e-3 * 12 / 256])


def test_prototypes_rest_during_the_first_epoch_but_not_the_whole_of_a_short_run(
    make_runner, tiny_config
):
    short = train(make_runner, tiny_config)  # two epochs of two iterations: a tenth is below one
    assert not torch.equal(short[1]['prototypes'], short[2]['prototypes'])
    rows = train(make_runner, tiny_config, **{'default_hooks.freeze_prototypes.share': 1.0})
    assert torch.equal(rows[0]['prototypes'], rows[1]['prototypes'])
    assert not torch.equal(rows[1]['prototypes'], rows[2]['prototypes'])
    assert not torch.equal(rows[0]['student'], rows[1]['student'])


def test_data_do_not_depend_on_the_number_of_workers(make_runner, tiny_config):
    runs = [train(make_runner, tiny_config, **{'train_dataloader.num_workers': n}) for n in (0, 2)]
    for left, right in zip(*runs):
        assert torch.equal(left['images'], right['images'])
        assert torch.equal(left['student'], right['student'])
    assert not torch.equal(runs[0][0]['images'], runs[0][2]['images'])


def test_training_from_tar_files_equals_training_from_the_folder(
    make_runner, tiny_config, image_folder, tmp_path
):
    with tarfile.open(tmp_path / 'all.tar', 'w') as tar:
        for path in sorted(
            str(path.relative_to(image_folder)) for path in image_folder.glob('*/*')
        ):
            tar.add(image_folder / path, arcname=path)
    index_shards(str(tmp_path), ('.png',))
    roots = {'train_dataloader.dataset.data_root': str(tmp_path)}
    saving = {'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.by_epoch': False}
    files = train(make_runner, tiny_config)
    inside = train(make_runner, tiny_config, **roots, **saving, work_dir=str(tmp_path / 'shards'))
    resumed = train(
        make_runner,
        tiny_config,
        **roots,
        work_dir=str(tmp_path / 'resumed'),
        resume=True,
        load_from=str(tmp_path / 'shards/iter_3.pth'),
    )
    for left, right in zip(files, inside, strict=True):
        assert torch.equal(left['images'], right['images'])
        assert torch.equal(left['student'], right['student'])
    assert len(resumed) == 1 and torch.equal(files[3]['images'], resumed[0]['images'])
    assert torch.equal(files[3]['student'], resumed[0]['student'])


PLACES = {
    'model.student_keep': 0.5,
    'model.backbone.position_window': (0.25, 1.0),
    'model.neck': dict(_delete_=True, type='MeanShiftNeck', self_scale='auto', place_width=2.0),
    'default_hooks.schedule.attended': dict(
        target='neck.attended_tokens', type='step', start=4.0, end=3.0, epochs=2
    ),
}


@pytest.mark.parametrize(
    'by_epoch, accumulated, options',
    [(True, 1, {}), (True, 2, {}), (False, 1, {}), (False, 2, {}), (False, 1, PLACES)],
)
def test_resuming_is_exact(make_runner, tiny_config, by_epoch, accumulated, options):
    """Three epochs of three iterations, stopped after an epoch or in the middle of the second."""
    saving = {
        **options,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.by_epoch': by_epoch,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'optim_wrapper.accumulative_counts': accumulated,
        'train_dataloader.batch_size': 4,
        'train_cfg.max_epochs': 3,
    }
    whole = train(make_runner, tiny_config, **saving)
    work_dir = Path(tiny_config.work_dir)
    names = ('epoch_1.pth', 'epoch_3.pth') if by_epoch else ('iter_5.pth', 'iter_9.pth')
    expected = torch.load(work_dir / names[1], weights_only=False)
    resumed = train(
        make_runner,
        tiny_config,
        **saving,
        work_dir=str(work_dir / 'resumed'),
        resume=True,
        load_from=str(work_dir / names[0]),
    )
    assert len(resumed) == (6 if by_epoch else 4)
    for left, right in zip(whole[-len(resumed) :], resumed):
        assert torch.equal(left['images'], right['images'])
        assert torch.equal(left['random_state'], right['random_state'])
    assert_same_state(torch.load(work_dir / 'resumed' / names[1], weights_only=False), expected)


def test_checkpoints_by_iteration_wait_for_the_optimizer_step(make_runner, tiny_config):
    overrides = {
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'optim_wrapper.accumulative_counts': 2,
        'train_dataloader.batch_size': 4,
    }
    train(make_runner, tiny_config, **overrides)
    saved = sorted(p.name for p in Path(tiny_config.work_dir).glob('*.pth'))
    # Three iterations an epoch: the second step of each comes early, at its end.
    assert saved == ['iter_2.pth', 'iter_3.pth', 'iter_5.pth', 'iter_6.pth']


@pytest.mark.parametrize('batch_size, per_epoch', [(4, 3), (3, 4), (12, 1)])
def test_resuming_with_another_batch_size_starts_at_an_epoch(
    make_runner, tiny_config, batch_size, per_epoch
):
    scaled = {'auto_scale_lr.enable': True, 'param_scheduler.warmup': 0}
    train(make_runner, tiny_config, **scaled, **{'default_hooks.checkpoint.interval': 1})
    overrides = {'train_dataloader.batch_size': batch_size, 'train_cfg.max_epochs': 4}
    checkpoint = str(Path(tiny_config.work_dir) / 'epoch_1.pth')
    runner = make_runner(tiny_config, resume=True, load_from=checkpoint, **scaled, **overrides)
    spy = Spy()
    runner.register_hook(spy)
    runner.train()
    assert len(spy.rows) == 3 * per_epoch and runner.iter == 4 * per_epoch
    base = 1e-3 * batch_size / 256
    expected = [
        1e-6 + 0.5 * (base - 1e-6) * (1 + math.cos(math.pi * i / (4 * per_epoch)))
        for i in range(per_epoch, 4 * per_epoch)
    ]
    assert [row['lr'] for row in spy.rows] == pytest.approx(expected)


def test_a_finished_run_can_be_resumed_to_more_epochs(make_runner, tiny_config):
    train(make_runner, tiny_config)
    checkpoint = str(Path(tiny_config.work_dir) / 'epoch_2.pth')
    overrides = {'train_cfg.max_epochs': 4, 'param_scheduler.warmup': 0}
    rows = train(make_runner, tiny_config, resume=True, load_from=checkpoint, **overrides)
    expected = [1e-6 + 0.5 * (1e-3 - 1e-6) * (1 + math.cos(math.pi * i / 8)) for i in range(4, 8)]
    assert [row['lr'] for row in rows] == pytest.approx(expected)


def test_files_that_do_not_fit_the_model_are_refused(make_runner, tiny_config, tmp_path):
    torch.save(dict(state_dict={'foo.weight': torch.ones(1)}), tmp_path / 'other.pth')
    runner = make_runner(tiny_config, load_from=str(tmp_path / 'other.pth'))
    with pytest.raises(CheckpointError, match='1 unexpected: foo.weight'):
        runner.train()


@pytest.mark.parametrize('resume', [True, False])
def test_checkpoints_never_execute_code(make_runner, tiny_config, tmp_path, resume):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'executed',)

    torch.save(dict(state_dict={}, meta=Payload()), tmp_path / 'evil.pth')
    runner = make_runner(tiny_config, load_from=str(tmp_path / 'evil.pth'), resume=resume)
    with pytest.raises(CheckpointError, match='evil.pth'):
        runner.train()
    assert not (tmp_path / 'executed').exists()


def test_a_config_in_a_checkpoint_is_not_run(make_runner, tiny_config, tmp_path):
    train(make_runner, tiny_config, **{'train_cfg.max_epochs': 1})
    checkpoint = torch.load(f'{tiny_config.work_dir}/epoch_1.pth', weights_only=True)
    checkpoint['meta']['config'] = f'open({str(tmp_path / "executed")!r}, "w")'
    torch.save(checkpoint, tmp_path / 'evil.pth')
    train(make_runner, tiny_config, load_from=str(tmp_path / 'evil.pth'), resume=True)
    assert not (tmp_path / 'executed').exists()


def test_other_objects_are_read_from_files_that_are_trusted(make_runner, tiny_config, tmp_path):
    train(make_runner, tiny_config, **{'train_cfg.max_epochs': 1})
    checkpoint = torch.load(f'{tiny_config.work_dir}/epoch_1.pth', weights_only=True)
    torch.save(dict(checkpoint, author=SimpleNamespace()), tmp_path / 'other.pth')
    named = dict(load_from=str(tmp_path / 'other.pth'), resume=True)
    with pytest.raises(CheckpointError, match='needs more than weights .*--trust'):
        train(make_runner, tiny_config, **named)
    assert len(train(make_runner, tiny_config, **named, trust=True)) == 2


def test_weights_alone_cannot_be_resumed(make_runner, tiny_config, tmp_path):
    torch.save(dict(state_dict=make_runner(tiny_config).model.state_dict()), tmp_path / 'w.pth')
    named = dict(load_from=str(tmp_path / 'w.pth'))
    with pytest.raises(CheckpointError, match='w.pth: holds weights only, .*load_from=.*w.pth'):
        train(make_runner, tiny_config, **named, resume=True)
    assert len(train(make_runner, tiny_config, **named)) == 4


def test_a_first_start_takes_what_to_load_and_a_later_one_its_own_checkpoint(
    make_runner, tiny_config, tmp_path
):
    student = make_runner(tiny_config).model
    torch.nn.init.constant_(student.backbone.ln1.bias, 0.5)
    torch.save(dict(state_dict=student.state_dict()), tmp_path / 'w.pth')
    overrides = dict(resume='auto', load_from=str(tmp_path / 'w.pth'))
    overrides.update({'default_hooks.checkpoint.interval': 1, 'optim_wrapper.optimizer.lr': 0.0})
    overrides['param_scheduler.eta_min'] = 0.0
    runner = make_runner(tiny_config, **overrides)
    runner.train()
    assert runner.model.backbone.ln1.bias[0] == 0.5
    (tmp_path / 'w.pth').unlink()
    resumed = make_runner(tiny_config, **overrides, **{'train_cfg.max_epochs': 3})
    resumed.train()
    assert resumed.iter == 6


def test_a_resumed_run_needs_no_other_files(make_runner, tiny_config, tmp_path):
    """Neither the weights it started from nor those of an earlier stage."""
    vit = make_runner(tiny_config).model.backbone
    torch.nn.init.constant_(vit.ln1.bias, 0.5)
    torch.save(vit.state_dict(), tmp_path / 'vit.pth')
    init_cfg = dict(type='PretrainedViT', checkpoint=str(tmp_path / 'vit.pth'))
    previous = dict(tiny_config.model.backbone, out_type='raw', init_cfg=init_cfg)
    overrides = {
        'default_hooks.checkpoint.interval': 1,
        'model.backbone.init_cfg': init_cfg,
        'model.previous_teacher': previous,
        'model.data_preprocessor.clean_views': True,
    }
    train(make_runner, tiny_config, **overrides)
    (tmp_path / 'vit.pth').unlink()
    with pytest.raises(CheckpointError, match='vit.pth: no such file'):
        train(make_runner, tiny_config, **overrides)
    longer = {**overrides, 'train_cfg.max_epochs': 3}
    runner = make_runner(tiny_config, **longer, resume=True)
    runner.train()
    assert runner.iter == 6
    assert torch.equal(runner.model.previous_teacher.ln1.bias, vit.ln1.bias)


def test_checkpoints_need_no_allow_list_to_be_read(make_runner, tiny_config):
    make_runner(tiny_config, **{'train_cfg.max_epochs': 1}).train()
    checkpoint = torch.load(f'{tiny_config.work_dir}/epoch_1.pth', weights_only=True)
    assert checkpoint['message_hub']['runtime_info']['epoch'] == 0
    assert checkpoint['optimizer'] and checkpoint['param_schedulers']


def test_a_student_alone_starts_training(make_runner, tiny_config, tmp_path):
    student = make_runner(tiny_config).model
    with torch.no_grad():
        student.backbone.ln1.bias.fill_(0.5)
    weights = {k: v for k, v in student.state_dict().items() if not k.startswith('teacher.')}
    torch.save(dict(state_dict=weights), tmp_path / 'student.pth')
    runner = make_runner(tiny_config, load_from=str(tmp_path / 'student.pth'))
    runner.train()
    assert runner.model.teacher.backbone.ln1.bias.mean() == pytest.approx(0.5, abs=0.01)


def test_a_sampler_that_cannot_skip_is_refused(make_runner, tiny_config):
    with pytest.raises(ValueError, match='ResumableSampler'):
        make_runner(tiny_config, **{'train_dataloader.sampler.type': 'DefaultSampler'}).train()


def test_schedules_in_epochs_are_refused_by_a_loop_of_iterations(make_runner, tiny_config):
    tiny_config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)
    with pytest.raises(ValueError, match='give it in iterations'):
        make_runner(tiny_config).train()


def test_a_loop_of_iterations_trains_too(make_runner, tiny_config):
    tiny_config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
    scheduler = dict(by_epoch=False, convert_to_iter_based=False, warmup=0)
    tiny_config.param_scheduler.update(scheduler)
    tiny_config.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    tiny_config.log_processor.by_epoch = False
    tiny_config.default_hooks.freeze_prototypes.share = 1.0
    rows = train(make_runner, tiny_config)
    assert rows[0]['lr'] == pytest.approx(1e-3) and rows[3]['lr'] < 2e-4
    assert torch.equal(rows[0]['prototypes'], rows[1]['prototypes'])
    assert not torch.equal(rows[1]['prototypes'], rows[2]['prototypes'])


def test_an_error_stands_at_the_end_of_the_log_file(make_runner, tiny_config):
    with pytest.raises(ValueError, match='has nothing at'):
        wrong = dict(target='head.temperature', type='linear', start=0, end=1)
        train(make_runner, tiny_config, **{'default_hooks.schedule.extra': wrong})
    [log] = Path(tiny_config.work_dir).glob('*/*.log')
    last = log.read_text().splitlines()[-1]
    assert last.endswith("FLSL has nothing at 'head.temperature' to schedule")


def test_an_interrupted_run_says_how_to_go_on(make_runner, tiny_config, capsys):
    runner = make_runner(tiny_config, **{'default_hooks.checkpoint.interval': 1})
    hook = Spy()

    def interrupt(runner, *_, **__):
        if runner.iter == 3:
            raise KeyboardInterrupt

    hook.after_train_iter = interrupt
    runner.register_hook(hook)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    checkpoint = Path(tiny_config.work_dir, 'epoch_1.pth')
    assert f'interrupted; --resume goes on from {checkpoint}' in capsys.readouterr().out


def test_a_config_that_takes_the_place_of_our_imports_still_finds_our_data_sets():
    """In a process of its own: other tests import them."""
    code = """
from mmengine.config import Config
import flsl_mm
from flsl_mm.engine.runners import FLSLRunner
from mmengine.runner import Runner
Runner.from_cfg = classmethod(lambda cls, cfg: None)
FLSLRunner.from_cfg(Config(dict(default_scope='mmdet')))
from mmdet.registry import DATASETS
assert DATASETS.get('CheckedCocoDataset')
FLSLRunner.from_cfg(Config(dict(default_scope='mmseg')))
from mmseg.registry import DATASETS
assert DATASETS.get('CheckedADE20KDataset')
"""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_non_finite_loss_stops_the_run_and_names_the_last_checkpoint(make_runner, tiny_config):
    class Poison(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.epoch == 1:
                runner.model.head.loss_weights['inter'] = float('nan')

    runner = make_runner(tiny_config, **{'default_hooks.checkpoint.interval': 1})
    runner.register_hook(Poison())
    with pytest.raises(TrainingStopped, match=r'epoch 2, iteration 3 .*: .*epoch_1\.pth'):
        runner.train()
    assert [p.name for p in Path(tiny_config.work_dir).glob('*.pth')] == ['epoch_1.pth']


def test_resuming_a_finished_run_says_that_it_is_finished(make_runner, tiny_config, capsys):
    train(make_runner, tiny_config)
    capsys.readouterr()
    shorter = {'train_cfg.max_epochs': 1}
    assert train(make_runner, tiny_config, **shorter, resume=True) == []
    assert 'epochs, and max_epochs=1 asks for no more' in (out := capsys.readouterr().out)
    assert 'continuing at the beginning' not in out


def test_a_resumed_run_names_the_checkpoint_where_it_lies(make_runner, tiny_config, tmp_path):
    train(make_runner, tiny_config, **{'train_cfg.max_epochs': 1})
    moved = Path(tiny_config.work_dir, 'epoch_1.pth').rename(tmp_path / 'moved.pth')
    diverges = {'model.head.loss_weights.inter': float('nan')}
    with pytest.raises(TrainingStopped, match=f'last good checkpoint: {moved}. Lower'):
        train(make_runner, tiny_config, **diverges, resume=True, load_from=str(moved))


@pytest.mark.parametrize('bad, seen_at', [(2, 4), (4, 5)])
def test_on_a_gpu_a_late_look_still_names_the_first_bad_iteration(bad, seen_at):
    """The hook looks after four iterations, or at the end of the epoch."""

    class OnGpu(torch.Tensor):
        is_cpu = False

    hook = NonFiniteLossHook(gpu_interval=4)
    runner = SimpleNamespace(epoch=0, iter=0, message_hub=SimpleNamespace(runtime_info={}))
    seen = 0
    with pytest.raises(TrainingStopped, match=f'iteration {bad + 1} .*loss=nan'):
        for runner.iter in range(5):
            value = torch.tensor(float('nan' if runner.iter >= bad else 1)).as_subclass(OnGpu)
            seen += 1
            hook.after_train_iter(runner, runner.iter, outputs=dict(loss=value))
        hook.after_train_epoch(runner)
    assert seen == seen_at


def test_too_few_images_for_a_batch_are_named(make_runner, tiny_config):
    with pytest.raises(ValueError, match='12 images.*batch of 13'):
        make_runner(tiny_config, **{'train_dataloader.batch_size': 13}).train()


def test_the_config_in_a_checkpoint_can_be_read_back(make_runner, tiny_config):
    from mmengine.config import Config

    tiny_config.model.neck.window_sizes = {'global': 4, 'local': 2}
    train(make_runner, tiny_config)
    checkpoint = torch.load(Path(tiny_config.work_dir) / 'epoch_2.pth', weights_only=False)
    cfg = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    assert cfg.model.neck.window_sizes == {'global': 4, 'local': 2}


def test_weights_that_are_not_finite_are_not_saved(make_runner, tiny_config):
    class Poison(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 3:  # the last one: no loss will tell
                runner.model.teacher.head.prototypes.weight[0, 0] = float('inf')

    runner = make_runner(tiny_config, **{'default_hooks.checkpoint.interval': 1})
    runner.register_hook(Poison())
    with pytest.raises(TrainingStopped, match=r'prototypes.weight is not finite .*epoch_1\.pth'):
        runner.train()
    assert [p.name for p in Path(tiny_config.work_dir).glob('*.pth')] == ['epoch_1.pth']
