"""The log with losses fetched late, against mmengine's own."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer


@pytest.mark.parametrize('interval, window', [(2, 10), (3, 1)])
def test_the_log_is_mmengines(make_runner, tiny_config, interval, window):
    logs = []
    for hook in ('DeferredLogHook', 'RuntimeInfoHook'):
        runner = make_runner(
            tiny_config,
            work_dir=f'{tiny_config.work_dir}/{hook}',
            **{
                'default_hooks.runtime_info': dict(type=hook),
                'default_hooks.logger.interval': interval,
                'log_processor.window_size': window,
                'default_hooks.checkpoint.interval': -1,
                'train_dataloader.batch_size': 4,
            },
        )
        runner.train()
        [path] = Path(runner.work_dir).glob('*/vis_data/scalars.json')
        logs.append([json.loads(line) for line in path.read_text().splitlines()])
    deferred, direct = logs
    assert len(deferred) == len(direct) > 0
    machine = {'time', 'data_time', 'images_per_second', 'memory'}
    for left, right in zip(deferred, direct):
        assert left.keys() == right.keys()
        for name in left.keys() - machine:
            assert left[name] == pytest.approx(right[name], rel=1e-6), name


def test_losses_are_fetched_when_they_are_logged_and_not_before(make_runner, tiny_config):
    class Spy(Hook):
        priority = 'LOWEST'
        fetched: ClassVar[list[int]] = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            history = runner.message_hub.log_scalars.get('train/loss')
            self.fetched.append(0 if history is None else len(history.data[0]))

    overrides = {'default_hooks.logger.interval': 2, 'train_dataloader.batch_size': 4}
    runner = make_runner(tiny_config, **overrides, **{'train_cfg.max_epochs': 2})
    runner.register_hook(Spy())
    runner.train()
    assert Spy.fetched == [0, 2, 3, 3, 5, 6]  # two epochs of three iterations


WINDOWS = {  # settings of the log -> how many values are kept of 30 iterations, 3 an epoch
    'the window': (dict(window_size=4), 4),
    'an epoch': (dict(window_size=2, custom_cfg=[dict(data_src='loss', window_size='epoch')]), 3),
    'a longer one': (dict(window_size=2, custom_cfg=[dict(data_src='loss', window_size=7)]), 7),
    'all': (dict(window_size=2, custom_cfg=[dict(data_src='loss', window_size='global')]), 30),
}


@pytest.mark.parametrize('log_processor, kept', WINDOWS.values(), ids=WINDOWS)
def test_no_more_is_kept_than_the_log_looks_back_over(
    make_runner, tiny_config, log_processor, kept
):
    for setting in log_processor.get('custom_cfg', ()):
        setting.update(method_name='mean', log_name='loss_mean')
    runner = make_runner(
        tiny_config,
        log_processor=log_processor,
        **{
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': -1,
            'train_dataloader.batch_size': 4,
            'train_cfg.max_epochs': 10,
        },
    )
    runner.train()
    lengths = {
        name: len(history.data[0])
        for name, history in runner.message_hub.log_scalars.items()
        if name.startswith('train/')
    }
    assert {'train/loss', 'train/time', 'train/lr'} <= lengths.keys()
    assert set(lengths.values()) == {kept}, lengths


def test_after_a_million_iterations_one_copies_no_more_than_the_window(make_runner, tiny_config):
    """Each value that is logged copies what is kept of those before it."""
    runner = make_runner(tiny_config, **{'default_hooks.checkpoint.interval': -1})
    hub = runner.message_hub
    million = [float(i) for i in range(10**6)]
    for name in ('loss', 'loss_inter', 'lr', 'momentum'):
        hub.log_scalars[f'train/{name}'] = HistoryBuffer(million, [1] * 10**6)
    runner.train()
    lengths = {n: len(h.data[0]) for n, h in hub.log_scalars.items() if n.startswith('train/')}
    assert lengths['train/loss'] == runner.log_processor.window_size
    assert max(lengths.values()) <= runner.log_processor.window_size, lengths
