import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flsl_mm.demo import Step, StepFailed, StepRunner

APPEND = (
    'import sys, time, pathlib; time.sleep(float(sys.argv[2]));'
    'f = open("order.txt", "a"); f.write(sys.argv[1]); f.close()'
)


def step(name: str, *after: str, seconds: float = 0.0, code: str = APPEND) -> Step:
    return Step(name, f'step {name}', ('-c', code, name, str(seconds)), after, 1.0)


def order(tmp_path) -> str:
    return (tmp_path / 'order.txt').read_text()


@pytest.fixture
def build(tmp_path):
    """Builds a runner in the test's folder whose lines are kept."""

    def build(lanes: int = 1, said: list | None = None) -> StepRunner:
        said = [] if said is None else said
        return StepRunner(tmp_path, tmp_path / 'logs', lanes, said.append)

    return build


def test_steps_wait_for_what_they_need(build, tmp_path):
    took = build(lanes=2).run([step('a', seconds=0.3), step('b', 'a'), step('c')])
    assert order(tmp_path) == 'cab'
    assert list(took) == ['c', 'a', 'b'] and took['a'] > 0.3


def test_earlier_steps_go_first(build, tmp_path):
    build().run([step('a'), step('b'), step('c')])
    assert order(tmp_path) == 'abc'


def test_an_interrupted_run_goes_on(build, tmp_path):
    steps = [step('a'), step('b', 'a')]
    build().run(steps[:1])
    said = []
    took = build(said=said).run(steps)
    assert order(tmp_path) == 'ab' and set(took) == {'a', 'b'}
    assert '1 of 2 steps were done before' in said[0]


def test_what_depends_on_a_changed_step_is_done_again(build, tmp_path):
    build().run([step('a'), step('b', 'a')])
    build().run([step('a', seconds=0.01), step('b', 'a')])
    assert order(tmp_path) == 'abab'


def test_a_failure_shows_the_log_and_ends_the_others(build, tmp_path):
    fail = step('bad', code='print("no disk"); raise SystemExit(3)')
    start = time.monotonic()
    with pytest.raises(StepFailed, match='no disk') as error:
        build(lanes=2).run([step('slow', seconds=60), fail])
    assert 'step bad: failed' in str(error.value) and 'bad.log' in str(error.value)
    assert time.monotonic() - start < 30
    assert not (tmp_path / 'order.txt').exists()
    assert not (tmp_path / 'logs/bad.done.json').exists()


def test_a_process_that_is_asked_to_end_takes_its_steps_along(tmp_path, project_root):
    code = (
        'from pathlib import Path; from flsl_mm.demo import Step, StepRunner;'
        "sleep = \"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)\";"
        'StepRunner(Path(), Path("logs"), 1).run([Step("a", "a", ("-c", sleep))])'
    )
    environment = dict(os.environ, PYTHONPATH=str(project_root))
    with subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path, env=environment) as runner:
        pid = int(wait_for(lambda: (tmp_path / 'pid').read_text()))
        runner.terminate()
        assert runner.wait(30) == 128 + signal.SIGTERM
    wait_for(lambda: not is_running(pid))


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


def test_the_time_left_follows_the_pace(build, tmp_path):
    steps = [step('a'), step('b'), step('c')]
    runner = build(lanes=2)
    assert runner.time_left(steps) == pytest.approx(1.5)
    logs = tmp_path / 'logs'
    logs.mkdir()
    (logs / 'a.done.json').write_text(json.dumps(dict(command=steps[0].text, seconds=4.0)))
    runner.run(steps[:1])
    assert runner.time_left(steps) == pytest.approx(4.0)
