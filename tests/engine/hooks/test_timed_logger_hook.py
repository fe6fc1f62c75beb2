"""Lines of the log by iterations and by time, in real runs with a clock of the test's own."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from flsl_mm.engine.hooks import timed_logger_hook


@pytest.fixture
def lines_of(make_runner, tiny_config, monkeypatch):
    """Trains with three iterations an epoch; iterations that have a line, and the log's text."""

    class Clock(Hook):
        priority = 'HIGHEST'
        now, step = 0.0, 1.0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.now += self.step

    def run(step: float, epochs: int, before=0.0, **logger) -> tuple[list[int], str]:
        clock = Clock()
        clock.step = step
        evaluation = Hook()
        evaluation.before_train = lambda _: setattr(clock, 'now', clock.now + before)
        monkeypatch.setattr(timed_logger_hook.time, 'monotonic', lambda: clock.now)
        runner = make_runner(
            tiny_config,
            **{f'default_hooks.logger.{name}': value for name, value in logger.items()},
            **{
                'default_hooks.checkpoint.interval': -1,
                'train_dataloader.batch_size': 4,
                'train_cfg.max_epochs': epochs,
            },
        )
        runner.register_hook(clock)
        runner.register_hook(evaluation, 'LOWEST')
        runner.train()
        [path] = Path(runner.work_dir).glob('*/vis_data/scalars.json')
        [log] = Path(runner.work_dir).glob('*/*.log')
        found = [json.loads(line)['step'] for line in path.read_text().splitlines()]
        return found, log.read_text()

    return run


CASES = {  # seconds of an iteration, epochs of 3 iterations, settings -> lines at iterations
    'short epochs share a line': (0.01, 5, dict(interval=7, seconds=60), [9, 15]),
    'slow iterations have one each': (70, 1, dict(interval=50, seconds=60), [1, 2, 3]),
    'by time between': (30, 2, dict(interval=50, seconds=60), [2, 4, 6]),
    'by iterations as mmengine has it': (0.01, 2, dict(interval=2, seconds=60), [2, 5, 6]),
}


@pytest.mark.parametrize('step, epochs, settings, expected', CASES.values(), ids=CASES)
def test_lines_come_by_iterations_and_by_time(lines_of, step, epochs, settings, expected):
    found, _ = lines_of(step, epochs, **settings)
    assert found == expected


@pytest.mark.parametrize('before', [0.0, 100.0], ids=['', 'after an evaluation'])
def test_the_cost_of_a_step_is_told_once_and_soon(lines_of, before):
    _, text = lines_of(2.0, 4, before, interval=50, seconds=60)
    told = [line for line in text.splitlines() if 'an iteration takes' in line]
    assert len(told) == 1
    assert 'about 2 s, an epoch of 3 about 6 s, the 10 iterations left about 20 s' in told[0]
    assert 'a line about every 60 s' in told[0]


def test_on_a_cpu_the_cost_is_estimated_before_the_first_iteration(lines_of, monkeypatch):
    monkeypatch.setattr(timed_logger_hook, 'LONG', 0.0)
    _, text = lines_of(2.0, 1, interval=50, seconds=60)
    assert 0 < text.index('an iteration will take about') < text.index('Epoch(train)')


def test_the_estimate_draws_nothing_at_random_and_changes_nothing(make_runner, tiny_config):
    runner = make_runner(tiny_config)
    before, state = copy.deepcopy(runner.model.state_dict()), torch.get_rng_state()
    assert timed_logger_hook.estimate_step(runner) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in runner.model.state_dict().items())
