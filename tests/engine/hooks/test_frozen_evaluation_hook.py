"""Runs of a tiny ViT that are evaluated on the way."""

import json
import os
import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from flsl_mm.datasets.scenes import write_ade20k
from flsl_mm.evaluation.tasks.frozen_task import FrozenTask
from flsl_mm.models import build_vit
from flsl_mm.registry import FROZEN_TASKS

STATE = ('state_dict', 'optimizer', 'param_schedulers')
KNN = dict(type='BoxKNN', ks=(3, 1), resize=72, crop=64, batch_size=5, num_workers=0)


class Restless(FrozenTask):
    """Draws from every generator, and says how large a weight is."""

    name, headline = 'restless', 'score'
    seen: list = []  # network's mode and score at each call
    scores: dict = {}  # overrides by call

    def __init__(self, data_root: str = '', fails: bool = False) -> None:
        if fails:
            raise FileNotFoundError(f'nothing in {data_root}')

    def __call__(self, vit):
        torch.rand(1), np.random.rand(), random.random()
        score = self.scores.get(len(self.seen), vit.ln1.weight.sum().item())
        assert not torch.is_grad_enabled()
        self.seen.append((vit.training, score))
        return dict(score=score, details=dict(number=1))


class Prototypes(FrozenTask):
    """Needs no data, but the projection head."""

    name, headline = 'prototypes', 'number'

    def __init__(self, data_root: str) -> None:
        pass

    def __call__(self, vit):
        assert not vit.head.training
        assert vit.head.self_scale == 0.06
        return dict(number=vit.head(torch.randn(2, 32)).shape[1])


@pytest.fixture
def restless():
    FROZEN_TASKS.register_module(module=Restless)
    FROZEN_TASKS.register_module(module=Prototypes)
    Restless.seen, Restless.scores = [], {}
    yield Restless
    del FROZEN_TASKS.module_dict['Restless'], FROZEN_TASKS.module_dict['Prototypes']


@pytest.fixture
def config(tiny_config):
    """Four epochs of two iterations, a checkpoint of each."""
    tiny_config.merge_from_dict(
        {
            'train_cfg.max_epochs': 4,
            'model.neck.self_scale': 0.06,
            'default_hooks.checkpoint': dict(interval=1, max_keep_ckpts=-1),
        }
    )
    del tiny_config.default_hooks['frozen_evaluation']
    return tiny_config


def hook(*tasks, **kwargs) -> dict:
    settings = dict(type='FrozenEvaluationHook', tasks=list(tasks), interval=2, **kwargs)
    return {'default_hooks.frozen_evaluation': settings}


def train(make_runner, cfg, work_dir, overrides, **kwargs):
    runner = make_runner(cfg, **overrides, work_dir=str(work_dir), **kwargs)
    runner.train()
    return runner


def read_record(work_dir) -> dict:
    return json.loads(Path(work_dir, 'frozen_evaluation.json').read_text())


def assert_same_state(left: Path, right: Path) -> None:
    left, right = (torch.load(path, weights_only=False) for path in (left, right))
    for name in STATE:
        left_leaves, left_tree = torch.utils._pytree.tree_flatten(left[name])
        right_leaves, right_tree = torch.utils._pytree.tree_flatten(right[name])
        assert left_tree == right_tree
        for a, b in zip(left_leaves, right_leaves):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_run_with_the_hook_equals_one_without(make_runner, config, restless, tmp_path):
    """Also resumed in the middle, and the random states after training."""
    task = dict(type='Restless')
    states = []
    for name, overrides in (('without', {}), ('with', hook(task))):
        random.seed(0)
        np.random.seed(0)
        train(make_runner, config, tmp_path / name, overrides)
        states.append((torch.rand(1), np.random.rand(), random.random()))
    assert len(restless.seen) == 6
    assert states[0] == states[1]
    train(
        make_runner,
        config,
        tmp_path / 'resumed',
        hook(task),
        resume=True,
        load_from=str(tmp_path / 'with/epoch_3.pth'),
    )
    for name in ('with', 'resumed'):
        assert_same_state(tmp_path / name / 'epoch_4.pth', tmp_path / 'without/epoch_4.pth')


def test_both_networks_are_evaluated_at_start_every_interval_and_end(
    make_runner, config, restless, tmp_path
):
    config.train_cfg.max_epochs = 3
    runner = train(make_runner, config, tmp_path / 'run', hook(dict(type='Restless')))
    history = read_record(tmp_path / 'run')['history']
    assert [(entry['epoch'], entry['iter']) for entry in history] == [(0, 0), (2, 4), (3, 6)]
    assert history[-1]['teacher']['restless']['details'] == dict(number=1)
    assert not any(training for training, _ in restless.seen)
    scores = [[e[n]['restless']['score'] for e in history] for n in ('teacher', 'student')]
    assert scores[0][0] == scores[1][0] and scores[0][-1] != scores[1][-1]
    model = runner.model
    assert scores[0][-1] == model.teacher.backbone.ln1.weight.sum().item()
    assert scores[1][-1] == model.backbone.ln1.weight.sum().item()
    assert model.backbone.training and not model.teacher.backbone.training


def test_tasks_see_the_projection_head(make_runner, config, restless, tmp_path):
    config.train_cfg.max_epochs = 1
    runner = train(make_runner, config, tmp_path / 'run', hook(dict(type='Prototypes')))
    entry = read_record(tmp_path / 'run')['history'][-1]
    assert entry['teacher'] == entry['student'] == dict(prototypes=dict(number=16))
    assert not hasattr(runner.model.backbone, 'head') and runner.model.head.training


def test_numbers_stand_with_the_losses(make_runner, config, restless, tmp_path):
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    overrides = {**hook(dict(type='Restless')), 'visualizer.vis_backends': backends}
    runner = train(make_runner, config, tmp_path / 'run', overrides)
    [path] = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(row['step'], row[key]) for row in rows if (key := 'teacher/restless/score') in row]
    history = read_record(tmp_path / 'run')['history']
    assert found == [(e['iter'], e['teacher']['restless']['score']) for e in history]
    assert {4, 8} < {row['step'] for row in rows if 'loss' in row}
    assert 'frozen/student/restless/score' in runner.message_hub.log_scalars

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [events] = (tmp_path / 'run').glob('*/vis_data/events*')
    accumulator = EventAccumulator(str(events)).Reload()
    curve = accumulator.Scalars('teacher/restless/score')
    assert [point.step for point in curve] == [0, 4, 8]


def test_the_best_checkpoint_is_kept_whole(make_runner, config, restless, tmp_path):
    restless.scores = {0: 9.0, 2: 3.0, 4: 2.0}  # of the teacher: at start, after 2 and 4 epochs
    train(make_runner, config, tmp_path / 'run', hook(dict(type='Restless')))
    expected = dict(epoch=2, iter=4, number='teacher/restless/score', score=3.0)
    assert read_record(tmp_path / 'run')['best'] == expected
    best = torch.load(tmp_path / 'run/best_frozen.pth', weights_only=False)
    assert (best['meta']['epoch'], best['meta']['iter']) == (2, 4)
    assert_same_state(tmp_path / 'run/best_frozen.pth', tmp_path / 'run/epoch_2.pth')


def test_the_best_survives_a_resume(make_runner, config, restless, tmp_path):
    run = tmp_path / 'run'
    overrides = hook(dict(type='Restless'), networks=['teacher'])
    restless.scores = {1: 3.0, 2: 2.0, 3: 2.5}
    train(make_runner, config, run, overrides)
    longer = {**overrides, 'train_cfg.max_epochs': 6}
    train(make_runner, config, run, longer, resume=True, load_from=str(run / 'epoch_4.pth'))
    record = read_record(run)
    assert record['best']['epoch'] == 2
    assert [entry['epoch'] for entry in record['history']] == [0, 2, 4, 6]
    assert torch.load(run / 'best_frozen.pth', weights_only=False)['meta']['epoch'] == 2


@pytest.mark.parametrize('again, kept', [(2.9, 4), (3.0, 6), (3.1, 6)])
def test_the_best_of_an_abandoned_branch_gives_way(
    make_runner, config, restless, tmp_path, again, kept
):
    """Evaluated after 2, 4 and, resumed from before 4, after 4 and 6 epochs."""
    run = tmp_path / 'run'
    overrides = hook(dict(type='Restless'), networks=['teacher'])
    restless.scores = {1: 3.0, 2: 9.0, 3: 1.0, 4: again}
    train(make_runner, config, run, overrides)
    assert read_record(run)['best']['epoch'] == 4
    cut = dict(resume=True, load_from=str(run / 'epoch_3.pth'))
    train(make_runner, config, run, overrides, **cut)
    best = dict(epoch=2, iter=4, number='teacher/restless/score', score=3.0, saved=False)
    assert read_record(run)['best'] == best
    cut['load_from'] = str(run / 'epoch_4.pth')
    train(make_runner, config, run, {**overrides, 'train_cfg.max_epochs': 6}, **cut)
    assert [e['epoch'] for e in read_record(run)['history']] == [0, 2, 4, 6]
    if kept == 6:
        best = dict(epoch=6, iter=12, number='teacher/restless/score', score=again)
    assert read_record(run)['best'] == best
    assert torch.load(run / 'best_frozen.pth', weights_only=False)['meta']['epoch'] == kept


def test_a_resume_by_mistake_that_trains_nothing_changes_no_record(
    make_runner, config, restless, tmp_path, monkeypatch
):
    run = tmp_path / 'run'
    overrides = hook(dict(type='Restless'), networks=['teacher'])
    restless.scores = {1: 3.0, 2: 9.0}
    train(make_runner, config, run, overrides)
    record = read_record(run)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmengine.model.BaseModel.train_step', stop)
    with pytest.raises(KeyboardInterrupt):
        cut = dict(resume=True, load_from=str(run / 'epoch_3.pth'))
        train(make_runner, config, run, overrides, **cut)
    assert read_record(run) == record


def test_a_resumed_run_with_another_task_has_no_best_yet(make_runner, config, restless, tmp_path):
    run = tmp_path / 'run'
    train(make_runner, config, run, hook(dict(type='Restless')))
    other = {**hook(dict(type='Prototypes')), 'train_cfg.max_epochs': 6}
    train(make_runner, config, run, other, resume=True, load_from=str(run / 'epoch_4.pth'))
    best = dict(epoch=6, iter=12, number='teacher/prototypes/number', score=16)
    assert read_record(run)['best'] == best


def test_an_evaluation_that_was_cut_off_is_made_up_for(make_runner, config, restless, tmp_path):
    """Killed while evaluating after epoch 2: its checkpoint is there, its numbers are not."""
    run = tmp_path / 'run'
    overrides = hook(dict(type='Restless'))
    train(make_runner, config, run, overrides)
    record = read_record(run)
    expected = record['history'][:3]
    record.update(history=record['history'][:1], best=None)
    (run / 'frozen_evaluation.json').write_text(json.dumps(record))
    (run / 'best_frozen.pth').unlink()
    train(make_runner, config, run, overrides, resume=True, load_from=str(run / 'epoch_2.pth'))
    assert read_record(run)['history'] == expected
    best = read_record(run)['best']['epoch']
    assert_same_state(run / 'best_frozen.pth', run / f'epoch_{best}.pth')


def test_a_new_run_in_an_old_folder_does_not_take_its_record(
    make_runner, config, restless, tmp_path
):
    run, overrides = tmp_path / 'run', hook(dict(type='Restless'))
    restless.scores = {2: 1e9}
    train(make_runner, config, run, overrides)
    train(make_runner, config, run, overrides)
    record = read_record(run)
    assert [entry['epoch'] for entry in record['history']] == [0, 2, 4]
    assert record['best']['score'] < 1e9


def test_data_that_are_not_there_are_one_line_in_the_log(make_runner, config, tmp_path, caplog):
    train(make_runner, config, tmp_path / 'run', hook(KNN))
    [log] = (tmp_path / 'run').glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'no frozen evaluation' in line]
    assert len(lines) == 1 and 'BoxKNN: ImageNet: no train images; looked for' in lines[0]
    assert not (tmp_path / 'run/frozen_evaluation.json').exists()
    assert (tmp_path / 'run/epoch_4.pth').exists()


def test_data_that_were_named_and_are_not_there_are_an_error(make_runner, config, restless):
    task = dict(type='Restless', data_root='/nowhere', fails=True)
    with pytest.raises(FileNotFoundError, match='nothing in /nowhere'):
        make_runner(config, **hook(task)).train()


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(interval=0), 'interval must be at least 1'),
        (dict(networks=[]), 'networks are'),
        (dict(networks=['teachers']), 'networks are'),
    ],
)
def test_wrong_settings_are_refused(make_runner, config, change, message):
    overrides = hook(KNN)
    overrides['default_hooks.frozen_evaluation'].update(change)
    with pytest.raises(ValueError, match=message):
        make_runner(config, **overrides)


def test_pretraining_on_imagenet_with_boxes_is_evaluated_by_default(
    make_runner, tiny_config, imagenet_boxes, tmp_path
):
    """The config of the recipe, with fewer neighbors for its 12 images."""
    assert tiny_config.default_hooks.frozen_evaluation.tasks[0].type == 'BoxKNN'
    overrides = {
        'train_dataloader.dataset.data_root': str(imagenet_boxes),
        'default_hooks.frozen_evaluation.tasks': [KNN],
        'train_cfg.max_epochs': 1,
    }
    train(make_runner, tiny_config, tmp_path / 'run', overrides)
    history = read_record(tmp_path / 'run')['history']
    assert [entry['epoch'] for entry in history] == [0, 1]
    for entry in history:
        for network in ('teacher', 'student'):
            assert 0 < entry[network]['knn']['top1_k3'] <= 100


def work(rank: int, port: int, make_runner, cfg) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR='localhost',
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
    )
    make_runner(cfg, launcher='pytorch').train()


def test_two_processes_evaluate_together(make_runner, config, imagenet_boxes, tmp_path):
    """Real training in two processes, against the evaluation of its checkpoint in one."""
    config.merge_from_dict(
        {
            **hook(KNN, networks=['teacher']),
            'train_cfg.max_epochs': 2,
            'train_dataloader.dataset.data_root': str(imagenet_boxes),
            'train_dataloader.batch_size': 3,
            'work_dir': str(tmp_path / 'run'),
        }
    )
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (port, make_runner, config), nprocs=2, start_method='fork')
    last = read_record(tmp_path / 'run')['history'][-1]
    assert last['epoch'] == 2

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    task = FROZEN_TASKS.build(KNN, data_root=str(imagenet_boxes))
    expected = task(build_vit(str(tmp_path / 'run/epoch_2.pth')))
    torch.set_num_threads(threads)
    assert last['teacher']['knn'] == json.loads(json.dumps(expected))


def test_dense_tasks_say_where_their_images_are(make_runner, config, tmp_path):
    write_ade20k(tmp_path / 'scenes', num_train=2, num_val=2, size=(64, 64))
    task = dict(type='DenseSuite', data_root=str(tmp_path / 'scenes'), short_side=64)
    settings = {**hook(task), 'train_cfg.max_epochs': 1}
    train(make_runner, config, tmp_path / 'run', settings)
    record = read_record(tmp_path / 'run')
    assert [entry['epoch'] for entry in record['history']] == [0, 1]
    assert record['best']['number'] == 'teacher/dense/retrieval/mIoU'
    missing = dict(type='CollapseMonitors', val=dict(type='MaskFolder', images='a', masks='b'))
    with pytest.raises(FileNotFoundError, match='no folder of images a'):
        train(make_runner, config, tmp_path / 'other', hook(missing))
