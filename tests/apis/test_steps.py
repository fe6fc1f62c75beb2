"""What is done, stale or refused, and how steps run."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.apis.command_line import OptionsAction
from flsl_mm.apis.steps import Step, StepRunner, option_arguments, training_line, training_step
from flsl_mm.utils.errors import ConfigError, DataError

APPEND = (
    'import sys, time; time.sleep(float(sys.argv[2]));'
    'f = open("order.txt", "a"); f.write(sys.argv[1]); f.close()'
)

OTHERS = {'optim_wrapper.scale': (0.2, 1.0)}  # options of a training run


@pytest.fixture
def step(tmp_path):
    """Builds a step that adds its name to a file, or does something else."""

    def build(name: str, *after: str, wait: float = 0.0, code: str = APPEND, **options) -> Step:
        options.setdefault('command', ('python', '-c', code, name, str(wait)))
        folder = tmp_path / 'logs'
        return Step(name, f'step {name}', folder, after=after, seconds=1.0, **options)

    return build


@pytest.fixture
def run(tmp_path):
    """Runs steps in the test's folder; returns what was said."""

    def run(*steps: Step, **options) -> list[str]:
        said = []
        StepRunner(root=tmp_path, say=said.append, **options).run(steps)
        return said

    return run


def order(tmp_path) -> str:
    return (tmp_path / 'order.txt').read_text()


def test_steps_wait_for_what_they_need(step, run, tmp_path):
    steps = [step('a', wait=0.3), step('b', 'a'), step('c')]
    run(*steps, lanes=2)
    assert order(tmp_path) == 'cab'
    assert steps[0].read()['seconds'] >= 0.3


def test_earlier_steps_go_first(step, run, tmp_path):
    run(step('a'), step('b'), step('c'))
    assert order(tmp_path) == 'abc'


def test_an_interrupted_run_goes_on(step, run, tmp_path):
    steps = [step('a'), step('b', 'a')]
    run(steps[0])
    assert '1 of 2 steps were done before' in run(*steps)[0]
    assert order(tmp_path) == 'ab'


@pytest.mark.parametrize(
    'change',
    [
        lambda step, _: replace(step, command=(*step.command, 'more')),
        lambda step, _: replace(step, settings=dict(size=3)),
        lambda step, file: (file.write_text('others'), step)[1],
        lambda step, _: (step.leaves.unlink(), step)[1],
    ],
    ids=['command', 'settings', 'file', 'result'],
)
def test_a_step_that_changed_is_run_again_with_what_needs_it(step, run, tmp_path, change):
    file = tmp_path / 'file'
    file.write_text('these')
    first = step('a', files=(str(file),), leaves=tmp_path / 'order.txt')
    run(first, step('b', 'a'))
    assert order(tmp_path) == 'ab'
    changed = change(first, file)
    run(changed, step('b', 'a'))
    assert order(tmp_path) in ('abab', 'ab')
    assert len(changed.log.read_text().splitlines()) == 2  # a command line for each run
    assert 'were done before' in run(changed, step('b', 'a'))[0]


def test_work_of_this_process_is_remembered_with_its_result(step, run):
    work = step('a', command=(), work=lambda: {'top1': 3.5}, settings=dict(k=(1, 2)))
    run(work)
    assert work.read()['result'] == {'top1': 3.5}
    run(replace(work, work=None))


def test_two_steps_never_share_a_mark(step, run, tmp_path):
    with pytest.raises(DataError, match='step a and step a would share .*logs: rename one'):
        run(step('a'), step('a'))
    assert not (tmp_path / 'order.txt').exists()


@pytest.mark.parametrize('full', [False, True], ids=['', 'full-disk'])
def test_a_failure_shows_its_last_line_and_ends_the_others(step, run, tmp_path, monkeypatch, full):
    def no_room(*_) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    if full:
        monkeypatch.setattr(Step, 'stop', no_room)
    fail = step('bad', code='print("no disk"); raise SystemExit(3)')
    start = time.monotonic()
    with pytest.raises(
        DataError, match=r'step bad failed: no disk \(all of it in .*bad_output.log'
    ):
        run(step('slow', wait=60), fail, lanes=2)
    assert time.monotonic() - start < 30
    assert not (tmp_path / 'order.txt').exists()
    assert not fail.is_done()


def test_a_step_that_leaves_nothing_has_failed(step, run, tmp_path):
    with pytest.raises(DataError, match='step a failed: it left no .*result.json'):
        run(step('a', leaves=tmp_path / 'result.json'))


def test_failures_stop_only_what_needs_them_if_asked(step, run, tmp_path):
    steps = [step('a', code='raise SystemExit(3)'), step('b', 'a'), step('c')]
    with pytest.raises(DataError, match='1 of 3 steps failed: step a failed: '):
        run(*steps, keep_going=True)
    assert order(tmp_path) == 'c'


@pytest.mark.parametrize(('resumes', 'least'), [(True, 1.0), (False, 0.5)])
def test_what_goes_on_counts_the_seconds_of_all_its_runs(step, run, tmp_path, resumes, least):
    leaves = tmp_path / 'left.json'
    code = (
        'import pathlib, sys, time; time.sleep(0.5); left = pathlib.Path("left.json");'
        'left.write_text("{\\"a\\": 1}" if pathlib.Path("again").exists() else "{}")'
    )
    training = step('a', code=code, leaves=leaves, resumes=resumes)
    with pytest.raises(DataError, match='it left no'):
        run(training)
    (tmp_path / 'again').touch()
    begun = time.monotonic()
    run(training)
    took = time.monotonic() - begun
    assert training.read()['seconds'] >= least
    assert resumes or training.read()['seconds'] <= took + 0.1  # as it is rounded

    leaves.unlink()  # what was finished is made again
    begun = time.monotonic()
    run(training)
    took = time.monotonic() - begun
    assert training.read()['seconds'] >= (1.5 if resumes else 0.5)
    assert resumes or training.read()['seconds'] <= took + 0.1


def test_a_process_that_is_asked_to_end_takes_its_steps_along(tmp_path, project_root):
    code = (
        'from pathlib import Path; from flsl_mm.apis.steps import Step, StepRunner;'
        "sleep = \"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)\";"
        'how = dict(command=("python", "-c", sleep), leaves=Path("left"), resumes=True);'
        'StepRunner().run([Step("a", "a", Path("logs"), **how)])'
    )
    environment = dict(os.environ, PYTHONPATH=str(project_root))
    with subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path, env=environment) as runner:
        pid = int(wait_for(lambda: (tmp_path / 'pid').read_text()))
        time.sleep(0.2)
        runner.terminate()
        assert runner.wait(30) == 128 + signal.SIGTERM
    wait_for(lambda: not is_running(pid))
    assert json.loads((tmp_path / 'logs/a_state.json').read_text())['spent'] > 0


def wait_for(look, seconds: float = 60.0):
    """What ``look`` finds, as soon as it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError('nothing happened')


def is_running(pid: int) -> bool:
    """Whether a process is there, and is more than an entry that nobody has collected."""
    try:
        return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False


def test_the_time_left_follows_the_pace(step):
    steps = [step('a'), step('b'), step('c')]
    runner = StepRunner(lanes=2, say=lambda _: None)
    assert runner.time_left(steps) == pytest.approx(1.5)
    steps[0].begin()
    steps[0].finish(4.0)
    runner.run(steps[:1])
    assert runner.time_left(steps) == pytest.approx(4.0)


def test_the_last_line_of_training_is_shown(step):
    training = step('a')
    training.folder.mkdir()
    training.log.write_text('date - INFO - Epoch(train) [1]\ndate - INFO - Epoch(train) [2]\nend')
    assert training_line(training) == ': Epoch(train) [2]'


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'config.py'
    path.write_text('train_cfg = dict(max_epochs=3)\noptim_wrapper = dict(scale=(0.5, 1.0))\n')
    return path


@pytest.fixture
def training(config, tmp_path):
    """Builds the step of a run whose ``train.py`` only leaves a checkpoint."""
    tools = tmp_path / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text(
        'import os, sys, zipfile; folder = sys.argv[2].partition("=")[2]\n'
        'with zipfile.ZipFile(folder + "/epoch_3.pth", "w") as f: f.writestr("a", "b")\n'
    )
    return lambda **options: training_step(tools, config, tmp_path / 'run', options)


def test_a_run_is_done_when_its_last_epoch_is_on_disk(training, run):
    step = training()
    assert not step.is_done()
    run(step)
    assert step.is_done() and step.leaves.name == 'epoch_3.pth'
    assert training().read()['seconds'] > 0
    step.leaves.write_bytes(b'PK')  # half written
    assert not step.is_done()


def test_a_run_that_was_begun_may_be_finished_by_others(training):
    step = training()
    step.begin()
    with zipfile.ZipFile(step.leaves, 'w') as file:
        file.writestr('a', 'b')
    assert step.is_done()
    with pytest.raises(DataError, match='holds a run with other options .*another --work-dir'):
        training(**OTHERS).is_done()


def test_a_folder_is_used_for_one_set_of_options(training, run):
    run(training(**OTHERS))
    assert training(**OTHERS).is_done()
    with pytest.raises(DataError, match='holds a run with other options .*another --work-dir'):
        run(training())


def test_a_folder_is_used_for_one_config(training, config, run):
    run(training())
    config.write_text('# The same\n' + config.read_text())
    assert training().is_done()
    config.write_text(config.read_text() + 'lr = 1\n')
    with pytest.raises(DataError, match='run holds a run with other entries of the config '):
        training().is_done()


@pytest.mark.parametrize('inside', [False, True], ids=['load_from', 'in the model'])
def test_a_folder_is_used_for_one_set_of_weights(training, config, tmp_path, run, inside):
    weights = tmp_path / 'vit.pth'
    init_cfg = dict(type='PretrainedViT', checkpoint=str(weights))
    entry = (
        dict(model=dict(part=dict(init_cfg=init_cfg))) if inside else dict(load_from=str(weights))
    )
    [(name, value)] = entry.items()
    config.write_text(f'{config.read_text()}{name} = {value!r}\n')
    step = training()
    weights.write_text('made by an earlier run')  # counts from when training begins
    run(step)
    assert training().is_done()
    weights.write_text('others')
    with pytest.raises(DataError, match='other files to start from .*vit.pth has changed'):
        training().is_done()
    weights.unlink()  # not needed any more
    assert training().is_done()


def test_the_mark_of_an_older_version_is_taken(training, run):
    step = training()
    run(step)
    step.mark.write_text(json.dumps(dict(cfg_options={})))
    assert training().is_done()


def read_by_a_tool(arguments: list[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(arguments).cfg_options


def test_options_reach_the_tool_as_they_were_given():
    options = dict(a=1, b=0.5, c='/data/x=1/y.pth', d=[1, 2], e=((1, 2), (3, 4)), f=None, g=True)
    options |= dict(h=[], i=(2.0,), j=[['a'], 'b'], k='', m=1e-5, n='007', o='/my data/a,b')
    assert read_by_a_tool(option_arguments(options)) == options


def test_a_value_that_no_option_can_have_is_refused_in_one_line():
    with pytest.raises(DataError, match='cannot be given to a tool by --cfg-options'):
        option_arguments({'train_cfg.x': [float('nan'), 'a,b']})


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(leaves, lambda part: st.lists(part) | st.lists(part).map(tuple))


@given(values)
def test_whatever_is_not_refused_reaches_the_tool(value):
    try:
        arguments = option_arguments(dict(key=value))
    except DataError:
        assert 'inf' in repr(value)  # Python has no literal of it
        return
    assert read_by_a_tool(arguments) == dict(key=value)


def test_options_that_do_not_fit_are_named(training):
    with pytest.raises(ConfigError, match='--cfg-options do not fit .*config.py'):
        training(**{'train_cfg.max_epochs.deeper': 1})


def test_several_processes_take_the_launch_script(config):
    step = training_step(Path('tools'), config, Path('run'), {}, processes=4)
    assert step.text == f'bash tools/dist_train.sh {config} 4 --work-dir=run --resume'
