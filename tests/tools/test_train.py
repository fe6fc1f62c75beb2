"""The command line, as a user runs it."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch


@pytest.fixture
def arguments(image_folder, tmp_path, project_root) -> list[str]:
    """Config and options of a run of two iterations per epoch on the CPU."""
    return [
        str(project_root / 'configs/pretrain/flsl_vit-tiny_demo.py'),
        f'--work-dir={tmp_path / "run"}',
        '--cfg-options',
        f'train_dataloader.dataset.data_root={image_folder}',
        'train_dataloader.num_workers=0',
        'train_dataloader.batch_size=6',
        'model.head.num_prototypes=16',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1',
    ]


@pytest.fixture
def error_of(load_tool, monkeypatch, capsys):
    """Runs the tool in this process, to an error; returns its line."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
        assert load_tool('train').main() == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith('train.py: error: ')
        return line

    return run


def last_losses(work_dir: Path) -> dict:
    path = max(work_dir.glob('*/vis_data/scalars.json'), key=lambda p: p.stat().st_mtime)
    return json.loads(path.read_text().splitlines()[-1])


def test_two_processes_train_on_the_cpu(run_tool, arguments, tmp_path):
    result = run_tool('dist_train.sh', arguments[0], '2', *arguments[1:], 'train_cfg.max_epochs=1')
    assert result.returncode == 0, result.stderr[-3000:]
    assert last_losses(tmp_path / 'run')['iter'] == 1  # 12 images, 2 processes, batches of 6
    assert (tmp_path / 'run/epoch_1.pth').is_file()


def test_a_killed_run_resumes_to_the_same_weights(
    project_root, tool_environment, run_tool, arguments, tmp_path
):
    epochs = 'train_cfg.max_epochs=8'
    process = subprocess.Popen(
        [sys.executable, project_root / 'tools/train.py', *arguments, epochs],
        env=tool_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 240
    while not (tmp_path / 'run/epoch_1.pth').exists() and time.time() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'run/epoch_8.pth').exists()

    resumed = run_tool('train.py', arguments[0], '--resume', *arguments[1:], epochs)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert re.search(r'resumed epoch: [1-7],', resumed.stdout + resumed.stderr)
    arguments[1] = f'--work-dir={tmp_path / "whole"}'
    whole = run_tool('train.py', *arguments, epochs)
    assert whole.returncode == 0, whole.stderr[-3000:]
    left, right = (
        torch.load(tmp_path / name / 'epoch_8.pth', weights_only=False) for name in ('run', 'whole')
    )
    for name, value in left['state_dict'].items():
        assert torch.equal(value, right['state_dict'][name]), name
    for index, state in left['optimizer']['state'].items():
        for name, value in state.items():
            assert torch.equal(value, right['optimizer']['state'][index][name])
    assert len(list((tmp_path / 'run').glob('*.pth'))) == 2  # older ones were pruned


def test_mixed_precision_and_a_fresh_start_with_resume(run_tool, arguments, tmp_path):
    result = run_tool(
        'train.py', arguments[0], '--amp', '--resume', *arguments[1:], 'train_cfg.max_epochs=1'
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'No checkpoint to resume from' in result.stdout + result.stderr
    assert "precision='bfloat16'" in (tmp_path / 'run/flsl_vit-tiny_demo.py').read_text()


@pytest.mark.parametrize(
    'folder, message', [('none', 'data_root is not a folder: '), ('', 'no images found under ')]
)
def test_missing_data_end_in_one_line(run_tool, arguments, tmp_path, folder, message):
    root = tmp_path / folder
    arguments = [
        f'train_dataloader.dataset.data_root={root}' if 'data_root' in a else a for a in arguments
    ]
    result = run_tool('train.py', *arguments)
    assert result.returncode == 2 and 'Traceback' not in result.stderr
    assert f'{message}{root}' in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['missing.py'], 'there is no config file missing.py'),
        (['CONFIG', '--resume', 'missing.pth'], 'there is no checkpoint missing.pth'),
    ],
)
def test_missing_files_are_named_in_one_line(project_root, run_tool, arguments, message):
    config = str(project_root / 'configs/pretrain/flsl_vit-tiny_demo.py')
    arguments = [config if a == 'CONFIG' else a for a in arguments]
    result = run_tool('train.py', *arguments)
    assert result.returncode == 2
    assert message in result.stderr and 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_dataloader.batch_size=13', '12 images cannot fill a batch of 13'),
        ('train_dataloader.batch_size.x=1', '--cfg-options do not fit .*demo.py: '),
        ('work_dir=FILE', 'File exists: .*file'),
    ],
)
def test_options_that_cannot_work_are_one_line(error_of, arguments, tmp_path, option, message):
    (tmp_path / 'file').touch()
    option = option.replace('FILE', str(tmp_path / 'file'))
    arguments = [a for a in arguments if not a.startswith('--work-dir')]
    default = f'work_dir={tmp_path / "run"}'
    assert re.search(message, error_of(*arguments, default, option))


def test_a_config_that_inherits_from_no_file_is_one_line(error_of, tmp_path):
    (tmp_path / 'config.py').write_text("_base_ = 'absent.py'")
    assert f'No such file or directory: {str(tmp_path / "absent.py")!r}' in error_of(
        str(tmp_path / 'config.py')
    )


def test_mixed_precision_of_a_detector_needs_a_gpu(error_of, project_root, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = project_root / 'configs/coco/mask-rcnn_flsl-vits16_fpn_1x_coco.py'
    assert '--amp needs a GPU in fine-tuning' in error_of(str(config), '--amp')


def test_resume_without_a_file_leaves_what_to_start_from(
    load_tool, arguments, tmp_path, monkeypatch
):
    tool = load_tool('train')
    command = ['train.py', *arguments, 'load_from=pretrained.pth', '--resume']

    def merged():
        monkeypatch.setattr(sys, 'argv', command)
        args = tool.parse_args()
        cfg = tool.add_training_settings(tool.read_config(args), args)
        return cfg.resume, cfg.load_from

    assert merged() == ('auto', 'pretrained.pth')
    (tmp_path / 'run').mkdir()
    torch.save({}, tmp_path / 'run/epoch_1.pth')
    command.append(str(tmp_path / 'run/epoch_1.pth'))
    assert merged() == (True, str(tmp_path / 'run/epoch_1.pth'))


def test_a_resumed_file_with_other_objects_needs_trust(error_of, arguments, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={}, author=argparse.ArgumentParser), path)
    arguments = [arguments[0], f'--resume={path}', *arguments[1:]]
    assert 'needs more than weights' in error_of(*arguments)
    assert 'holds weights only' in error_of(arguments[0], '--trust', *arguments[1:])


@pytest.mark.parametrize(
    'capability, given, dtype',
    [((9, 0), {}, 'bfloat16'), ((7, 5), {}, None), ((9, 0), {'dtype': 'float16'}, 'float16')],
)
def test_amp_in_fine_tuning_is_bfloat16_where_the_gpu_has_it(
    load_tool, monkeypatch, capability, given, dtype
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    wrapper = dict(type='OptimWrapper', **given)
    load_tool('train').use_mixed_precision(wrapper)
    assert wrapper['type'] == 'AmpOptimWrapper' and wrapper.get('dtype') == dtype
