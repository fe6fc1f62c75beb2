import argparse
import json
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.apis.command_line import OptionsAction
from flsl_mm.apis.run_tool import run_tool, train_command
from flsl_mm.apis.training_run import TrainingRun, option_argument
from flsl_mm.utils.errors import DataError


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict(max_epochs=3)\nscale = (0.5, 1.0)\n')
    return path


def finish(run: TrainingRun) -> list[str]:
    """A command that leaves a checkpoint, as training does."""
    code = f'import zipfile; zipfile.ZipFile({str(run.checkpoint)!r}, "w").writestr("a", "b")'
    return [sys.executable, '-c', code]


def test_a_run_is_finished_when_its_last_epoch_is_on_disk(config, tmp_path):
    run = TrainingRun(config, tmp_path / 'run', {'train_cfg.max_epochs': 2})
    assert not run.finished
    run.train(finish(run), 'a title')
    assert run.finished and run.checkpoint.name == 'epoch_2.pth'
    assert TrainingRun(config, run.work_dir, run.cfg_options).state['train_seconds'] > 0


def test_a_half_written_checkpoint_does_not_count(config, tmp_path):
    run = TrainingRun(config, tmp_path / 'run', {})
    run.work_dir.mkdir()
    run.checkpoint.write_bytes(b'PK')
    assert not run.finished
    with zipfile.ZipFile(run.checkpoint, 'w') as file:
        file.writestr('a', 'b')
    assert run.finished


def test_a_folder_is_used_for_one_set_of_options(config, tmp_path):
    options = {'scale': (0.2, 1.0)}
    run = TrainingRun(config, tmp_path / 'run', options)
    run.train(finish(run), 'a title')
    TrainingRun(config, tmp_path / 'run', options)
    with pytest.raises(DataError, match='holds a run with other options .*another --work-dir'):
        TrainingRun(config, tmp_path / 'run', {})


def test_a_folder_is_used_for_one_config(config, tmp_path):
    run = TrainingRun(config, tmp_path / 'run', {})
    run.train(finish(run), 'a title')
    config.write_text('# The same\n' + config.read_text())
    assert TrainingRun(config, run.work_dir, {}).finished
    config.write_text(config.read_text() + 'lr = 1\n')
    with pytest.raises(DataError, match='run holds a run with other entries of the config: give'):
        TrainingRun(config, run.work_dir, {})


def test_a_folder_is_used_for_one_set_of_weights(config, tmp_path):
    weights = tmp_path / 'vit.pth'
    weights.write_text('these')
    options = dict(pretrained=str(weights))
    run = TrainingRun(config, tmp_path / 'run', options)
    run.train(finish(run), 'a title')
    assert TrainingRun(config, run.work_dir, options).finished
    weights.write_text('others')
    with pytest.raises(DataError, match='other weights to start from .*vit.pth has changed'):
        TrainingRun(config, run.work_dir, options)
    weights.unlink()  # not needed any more
    assert TrainingRun(config, run.work_dir, options).finished


def test_weights_inside_the_model_count_from_when_training_begins(config, tmp_path):
    weights = tmp_path / 'teacher.pth'
    init_cfg = dict(type='PretrainedViT', checkpoint=str(weights))
    model = dict(previous_teacher=dict(init_cfg=init_cfg))
    config.write_text(f'{config.read_text()}model = {model}\n')
    run = TrainingRun(config, tmp_path / 'run', {})
    weights.write_text('made by an earlier run')
    run.train(finish(run), 'a title')
    assert TrainingRun(config, run.work_dir, {}).finished
    weights.write_text('others')
    with pytest.raises(DataError, match='teacher.pth has changed'):
        TrainingRun(config, run.work_dir, {})


def test_the_state_of_an_older_version_is_taken(config, tmp_path):
    run = TrainingRun(config, tmp_path / 'run', {})
    run.train(finish(run), 'a title')
    for name in ('weights', 'config_digest'):
        run.state.pop(name)
    (run.work_dir / 'run_state.json').write_text(json.dumps(run.state))
    assert TrainingRun(config, run.work_dir, {}).state['config_digest']


def read_by_a_tool(arguments: list[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(arguments).cfg_options


def test_options_reach_the_tool_as_they_were_given(config, tmp_path):
    options = dict(a=1, b=0.5, c='/data/x=1/y.pth', d=[1, 2], e=((1, 2), (3, 4)), f=None, g=True)
    options |= dict(h=[], i=(2.0,), j=[['a'], 'b'], k='', m=1e-5, n='007', o='/my data/a,b')
    options = {f'model.{name}': value for name, value in options.items()}
    assert read_by_a_tool(TrainingRun(config, tmp_path, options).option_arguments()) == options


def test_a_value_that_no_option_can_have_is_refused_in_one_line(config, tmp_path):
    with pytest.raises(DataError, match='cannot be given to a tool by --cfg-options'):
        TrainingRun(config, tmp_path, {'train_cfg.x': [float('nan'), 'a,b']}).arguments()


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(leaves, lambda part: st.lists(part) | st.lists(part).map(tuple))


@given(values)
def test_whatever_is_not_refused_reaches_the_tool(value):
    try:
        argument = option_argument('key', value)
    except DataError:
        assert 'inf' in repr(value)  # Python has no literal of it
        return
    assert read_by_a_tool(['--cfg-options', argument]) == dict(key=value)


def test_options_that_do_not_fit_are_named(config, tmp_path):
    with pytest.raises(DataError, match='--cfg-options do not fit .*config.py'):
        TrainingRun(config, tmp_path, {'train_cfg.max_epochs.deeper': 1})


def test_a_tool_that_fails_is_named_with_its_last_line(config, tmp_path):
    run = TrainingRun(config, tmp_path / 'run', {})
    code = "print('INFO - Epoch(train) [1]'); raise SystemExit('no such folder')"
    with pytest.raises(DataError, match=r'the title failed: no such folder \(all of it in .*log\)'):
        run.train([sys.executable, '-c', code], 'the title')
    with pytest.raises(DataError, match='left no .*epoch_3.pth'):
        run.train([sys.executable, '-c', ''], 'the title')


def test_lines_of_training_are_shown_with_the_title(tmp_path, capsys):
    code = "print('date - INFO - Epoch(train) [1]'); print('other')"
    run_tool([sys.executable, '-c', code], tmp_path / 'log', '[1/2] name')
    assert capsys.readouterr().out == '[1/2] name: Epoch(train) [1]\n'
    assert 'other' in (tmp_path / 'log').read_text()


def test_several_processes_take_the_launch_script():
    tools = Path('tools')
    assert train_command(tools, ['a.py', '--resume'])[1:] == ['tools/train.py', 'a.py', '--resume']
    several = ['bash', 'tools/dist_train.sh', 'a.py', '4', '--resume']
    assert train_command(tools, ['a.py', '--resume'], 4) == several
