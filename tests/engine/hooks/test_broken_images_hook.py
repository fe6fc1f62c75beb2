from types import SimpleNamespace

import pytest
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from PIL import Image

from flsl_mm.datasets import UnlabeledImages
from flsl_mm.engine.hooks import BrokenImagesHook, broken_images_hook
from flsl_mm.utils.errors import DataError


class Logger:
    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)

    warning = info


def make_runner(size):
    loader = SimpleNamespace(dataset=range(size))
    return SimpleNamespace(iter=0, logger=Logger(), train_dataloader=loader)


def train(hook, runner, batches):
    for broken in batches:
        samples = [DataSample(metainfo=dict(broken=list(broken))), DataSample()]
        hook.after_train_iter(runner, runner.iter, dict(inputs=None, data_samples=samples))
        runner.iter += 1


def messages(*numbers):
    return [(f'{i}.jpg', 'OSError: truncated') for i in numbers]


def test_it_is_registered_for_mmpretrain_configs():
    assert isinstance(HOOKS.build(dict(type='BrokenImagesHook')), BrokenImagesHook)


def test_up_to_one_percent_is_logged_with_reasons_and_goes_on():
    hook, runner = BrokenImagesHook(interval=2), make_runner(200)
    train(hook, runner, [messages(1), [], messages(2), messages(1, 2)])
    assert [line for line in runner.logger.lines if 'skipped' in line] == [
        'image skipped, cannot be read: 1.jpg: OSError: truncated',
        'image skipped, cannot be read: 2.jpg: OSError: truncated',
    ]
    hook.after_train(runner)
    assert runner.logger.lines[-1] == '2 of 200 images could not be read'


def test_more_than_one_percent_stops_the_run_and_names_five_examples():
    hook, runner = BrokenImagesHook(interval=1), make_runner(500)
    train(hook, runner, [messages(0, 1, 2, 3, 4)])
    with pytest.raises(DataError) as error:
        train(hook, runner, [messages(5, 6)])
    assert '7 of 500 images cannot be read' in str(error.value)
    assert 'max_ratio' in str(error.value) and str(error.value).count('truncated') == 5


def test_an_image_counts_once_however_often_it_comes():
    hook, runner = BrokenImagesHook(interval=1), make_runner(100)
    train(hook, runner, [messages(1)] * 50)
    assert len(hook.broken) == 1


def test_an_image_counts_once_for_whatever_reasons():
    hook, runner = BrokenImagesHook(interval=1), make_runner(100)
    train(hook, runner, [[('1.jpg', f'error {i}')] for i in range(10)])
    assert hook.broken == {'1.jpg': 'error 0'}


def test_an_image_that_is_read_again_counts_once(tmp_path):
    """Files of text, which PIL names by the address of a buffer, in a real data set."""
    for i in range(3):
        Image.new('RGB', (20, 20)).save(tmp_path / f'{i}.png')
    (tmp_path / 'text.png').write_text('<html>')
    pipeline = [
        dict(type='LoadRGBImage'),
        dict(type='RandomTeacherCrop', size=16),
        dict(type='PackTeacherCrop'),
    ]
    dataset = UnlabeledImages(str(tmp_path), pipeline=pipeline)
    hook, runner = BrokenImagesHook(interval=1, max_ratio=0.25), make_runner(4)
    samples = [dataset[3]['data_samples'] for _ in range(5)]  # all alive: no address comes twice
    train(hook, runner, [sample.broken for sample in samples])
    assert list(hook.broken) == [str(tmp_path / 'text.png')]


def test_findings_wait_for_the_interval_and_the_end_of_the_epoch():
    hook, runner = BrokenImagesHook(), make_runner(100)
    train(hook, runner, [messages(1, 2)] * 10)
    with pytest.raises(DataError, match='2 of 100'):
        hook.after_train_epoch(runner)


def test_later_ones_are_only_counted():
    hook, runner = BrokenImagesHook(interval=1), make_runner(10000)
    train(hook, runner, [messages(*range(15)), messages(*range(15, 30)), messages(40)])
    assert sum('skipped' in line for line in runner.logger.lines) == 20
    assert runner.logger.lines[-1] == '31 of 10000 images could not be read so far'


def test_the_findings_of_all_processes_count_together(monkeypatch):
    others = messages(1, 7)
    monkeypatch.setattr(broken_images_hook, 'all_gather_object', lambda found: [found, others])
    hook, runner = BrokenImagesHook(interval=1), make_runner(300)
    train(hook, runner, [messages(1, 2)])
    assert list(hook.broken.items()) == messages(1, 2, 7)


def test_no_broken_images_leave_the_log_alone():
    hook, runner = BrokenImagesHook(interval=1, max_ratio=0.0), make_runner(3)
    train(hook, runner, [[], []])
    hook.after_train_epoch(runner)
    assert runner.logger.lines == []


def test_a_ratio_beyond_one_is_refused():
    with pytest.raises(ValueError, match='max_ratio'):
        BrokenImagesHook(max_ratio=1.5)
