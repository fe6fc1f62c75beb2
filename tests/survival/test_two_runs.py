"""Two runs in one work dir, and processes that nobody waits for any more."""

import json
import os
import signal
import subprocess
import time

import pytest

from flsl_mm.engine.runners import work_dir_lock
from flsl_mm.engine.runners.work_dir_lock import WorkDirLock, alone_in
from flsl_mm.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(work_dir_lock, 'SILENCE', 0.5)
    monkeypatch.setattr(work_dir_lock, 'BEAT', 0.05)


@pytest.fixture
def lock(tmp_path):
    return WorkDirLock(tmp_path)


def hold(folder, seconds=60.0) -> None:
    with alone_in(folder, launched=False, say=print):
        time.sleep(seconds)


def edit(lock, **changes) -> None:
    """Let the lock in the folder say something else."""
    lock.path.write_text(json.dumps({**json.loads(lock.content), **changes}))


ANOTHER = dict(machine='another', host='node7', process=1, token='x')


def test_a_second_run_is_refused_and_told_which_process_is_first(lock, in_child, wait_for):
    first = in_child(hold, lock.path.parent)
    wait_for(lock.path.exists)
    with pytest.raises(ConfigError, match=f'process {first.pid} on .* trains in this folder: '):
        lock.acquire(print)
    assert json.loads(lock.path.read_text())['process'] == first.pid


def test_training_in_a_folder_that_is_taken_changes_nothing_there(
    tiny_config, make_runner, in_child, wait_for, tmp_path
):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / '.epoch_1.pth.0a.tmp').write_text('being written by the other')
    in_child(hold, work_dir)
    wait_for((work_dir / 'run.lock').exists)
    runner = make_runner(tiny_config)
    with pytest.raises(ConfigError, match='trains in this folder'):
        runner.train()
    assert (work_dir / '.epoch_1.pth.0a.tmp').exists() and (work_dir / 'run.lock').exists()
    assert not list(work_dir.glob('*.pth'))


def test_the_lock_goes_with_its_run(lock):
    hold(lock.path.parent, seconds=0)
    with pytest.raises(RuntimeError), alone_in(lock.path.parent, False, print):
        assert lock.path.exists()
        raise RuntimeError
    assert not lock.path.exists()


@pytest.mark.parametrize('reused', [False, True])
def test_the_lock_of_a_process_that_was_killed_is_taken_over_at_once(
    reused, lock, in_child, wait_for
):
    said = []
    if reused:  # another process has its number now
        edit(lock, process=os.getppid(), ticks=1, token='x')
    else:
        first = in_child(hold, lock.path.parent)
        wait_for(lock.path.exists)
        first.kill()
        first.join()
    lock.acquire(said.append)
    assert lock.path.read_bytes() == lock.content and not said


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'\xff\x00', json.dumps(ANOTHER).encode()])
def test_a_lock_without_signs_of_life_is_taken_over_after_a_while(content, lock):
    said = []
    lock.path.write_bytes(content)
    lock.acquire(said.append)
    assert 'waiting' in said[0] and lock.path.read_bytes() == lock.content
    assert os.listdir(lock.path.parent) == ['run.lock']


def beat_as_another(path) -> None:
    while True:
        os.utime(path)
        time.sleep(0.05)


def test_a_lock_of_another_machine_with_signs_of_life_is_respected(lock, in_child):
    edit(lock, **ANOTHER)
    in_child(beat_as_another, lock.path)
    with pytest.raises(ConfigError, match='process 1 on node7, since .* trains in this folder'):
        lock.acquire(print)


def test_an_owner_notices_that_its_lock_is_gone_or_taken(lock):
    lock.acquire(print)
    lock.path.unlink()
    assert lock.beat() and lock.path.read_bytes() == lock.content
    edit(lock, **ANOTHER)
    assert not lock.beat()
    lock.release()
    assert lock.path.exists()


def race(folder, winners) -> None:
    try:
        WorkDirLock(folder).acquire(print)
    except ConfigError:
        return
    winners.put(os.getpid())
    time.sleep(60)


def test_of_many_at_once_one_gets_the_lock_of_a_dead_process(lock, in_child, wait_for):
    from multiprocessing import get_context

    edit(lock, process=os.getppid(), ticks=1, token='x')
    winners = get_context('fork').Queue()
    racers = [in_child(race, lock.path.parent, winners) for _ in range(8)]
    winner = winners.get(timeout=30)
    wait_for(lambda: sum(racer.is_alive() for racer in racers) == 1)
    assert winners.empty() and json.loads(lock.path.read_text())['process'] == winner


def launch_and_die(folder) -> None:
    """A launcher that is killed as soon as its process trains."""
    if os.fork() == 0:
        with alone_in(folder, launched=True, say=print):
            time.sleep(60)
    while not (folder / 'run.lock').exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_ends_by_itself_when_its_launcher_is_dead(tmp_path, in_child, wait_for):
    in_child(launch_and_die, tmp_path).join()
    wait_for(lambda: not (tmp_path / 'run.lock').exists(), 10)


@pytest.mark.slow
def test_after_a_killed_torchrun_the_same_command_goes_on(
    train_command, tmp_path, wait_for, project_root
):
    """Its processes end within a minute, and leave a folder that is free."""
    work_dir = tmp_path / 'run'
    launcher = ['-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=29533']
    command = train_command(
        work_dir,
        launcher,
        **{
            'train_cfg.max_epochs': 100_000,
            'train_dataloader.batch_size': 3,
            'train_dataloader.num_workers': 2,
        },
    )
    environment = dict(os.environ, PYTHONPATH=str(project_root), OMP_NUM_THREADS='1')
    options = dict(env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    torchrun = subprocess.Popen([*command, '--launcher=pytorch'], **options)
    wait_for((work_dir / 'last_checkpoint').exists, 200)
    torchrun.kill()
    killed = time.monotonic()

    def are_gone():
        found = subprocess.run(['ps', 'axww'], capture_output=True, text=True).stdout
        return str(work_dir) not in found

    wait_for(are_gone, 60)
    print(f'the orphans ended {time.monotonic() - killed:.0f} s after their launcher was killed')
    pointer = work_dir / 'last_checkpoint'
    before = pointer.stat().st_mtime_ns
    options.update(stdout=subprocess.DEVNULL)
    again = subprocess.Popen([*command[:1], *command[5:]], **options)
    try:
        wait_for(lambda: pointer.stat().st_mtime_ns > before, 200)
    finally:
        again.kill()
