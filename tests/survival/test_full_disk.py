"""What is left when a file cannot be written."""

import errno
import logging
import os
import resource
import shutil
import subprocess

import pytest
from mmengine.logging import MMLogger

from flsl_mm.engine.hooks.atomic_checkpoint_hook import AtomicLocalBackend
from flsl_mm.engine.runners.log_failures import mend_logger


def until(epochs: int) -> dict:
    """Settings of a run that saves every epoch."""
    checkpoint = dict(interval=1, max_keep_ckpts=2)
    return {'default_hooks.checkpoint': checkpoint, 'train_cfg.max_epochs': epochs}


def left(work_dir) -> list[str]:
    """Files, without the config."""
    return sorted(p.name for p in work_dir.iterdir() if p.is_file() and p.suffix != '.py')


@pytest.fixture
def fails(monkeypatch):
    """Lets the file of a name fail, as on a full disk."""
    put = AtomicLocalBackend.put

    def start(name: str) -> None:
        def attempt(self, obj, filepath):
            if str(filepath).endswith(name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(filepath))
            put(self, obj, filepath)

        monkeypatch.setattr(AtomicLocalBackend, 'put', attempt)

    return start


@pytest.mark.parametrize('name', ['epoch_3.pth', 'last_checkpoint'])
def test_a_save_that_fails_leaves_what_was_there(name, make_runner, tiny_config, tmp_path, fails):
    make_runner(tiny_config, **until(2)).train()
    before = left(tmp_path / 'run')
    fails(name)
    runner = make_runner(tiny_config, **until(4), resume=True)
    with pytest.raises(OSError, match=f'No space left on device: .*{name}'):
        runner.train()
    assert left(tmp_path / 'run') == before
    assert runner.message_hub.get_info('last_ckpt').endswith('epoch_2.pth')


def test_a_checkpoint_that_vanished_or_has_to_stay_does_not_end_training(
    make_runner, tiny_config, tmp_path, monkeypatch
):
    work_dir = tmp_path / 'run'
    make_runner(tiny_config, **until(2)).train()
    os.unlink(work_dir / 'epoch_1.pth')
    make_runner(tiny_config, **until(4), resume=True).train()
    assert left(work_dir) == ['epoch_3.pth', 'epoch_4.pth', 'last_checkpoint']
    shutil.rmtree(work_dir)
    make_runner(tiny_config, **until(2)).train()
    (work_dir / 'epoch_1.pth').unlink()
    (work_dir / 'epoch_1.pth').mkdir()
    make_runner(tiny_config, **until(4), resume=True).train()
    assert (work_dir / 'epoch_4.pth').exists()


def test_what_a_kill_left_behind_is_removed_on_resume(make_runner, tiny_config, tmp_path):
    """Between the pointer and the removal of the oldest checkpoint, and during each write."""
    work_dir = tmp_path / 'run'
    make_runner(tiny_config, **until(3)).train()
    shutil.copy(work_dir / 'epoch_2.pth', work_dir / 'epoch_1.pth')
    for name in ('.epoch_4.pth.0a.tmp', '.last_checkpoint.0a.tmp', '.best_frozen.pth.0a.tmp'):
        (work_dir / name).write_text('half')
    (work_dir / 'epoch_0.pth').write_text('mine')
    make_runner(tiny_config, **until(4), resume=True).train()
    assert left(work_dir) == ['epoch_0.pth', 'epoch_3.pth', 'epoch_4.pth', 'last_checkpoint']


def test_a_log_that_cannot_be_written_is_named_once(tmp_path, capfd):
    logger = MMLogger('full', log_file=str(tmp_path / 'x.log'))
    [handler] = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    handler.stream.close()
    handler.stream = open('/dev/full', 'w')
    mend_logger(logger)
    for i in range(3):
        logger.info(f'line {i}')
    error = capfd.readouterr().err
    assert error.count('\n') == 1 and f'{tmp_path}/x.log: the log cannot be written' in error


def train_with_small_files(make_runner, config, limit) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    make_runner(config, **until(4)).train()


def test_a_file_that_grows_too_large_leaves_no_half_of_it(
    make_runner, tiny_config, tmp_path, in_child, capfd
):
    child = in_child(train_with_small_files, make_runner, tiny_config, 100_000)
    child.join()
    assert child.exitcode == 1 and 'File too large' in capfd.readouterr().err
    assert not left(tmp_path / 'run')


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_a_run_to_resume(train_command, tmp_path, project_root):
    """A real small file system; then it is made larger, and the same command goes on."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    command = train_command(disk / 'run', **until(6))
    script = f"""
mount -t tmpfs -o size=2m tmpfs {disk} || exit 77
"$@"; echo "full: exit code $?"; ls -a {disk}/run
mount -o remount,size=50m {disk}
"$@"; echo "larger: exit code $?"; ls -a {disk}/run
"""
    environment = dict(os.environ, PYTHONPATH=str(project_root), OMP_NUM_THREADS='1')
    done = subprocess.run(
        ['unshare', '-rm', 'sh', '-c', script, 'sh', *command],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or 'unshare' in done.stderr:
        pytest.skip('no file system can be mounted here')
    full, larger = done.stdout.split('full: exit code ')[1].split('larger: exit code ')
    print(done.stderr.strip().splitlines()[-1])
    assert full.startswith('2') and '.tmp' not in full and 'No space left' in done.stderr
    assert larger.startswith('0') and 'epoch_6.pth' in larger and '.tmp' not in larger
