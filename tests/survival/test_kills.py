"""A training that is killed again and again ends as if it had not been."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

KILLS = 20
EPOCHS = 40
ITERATIONS = 6 * EPOCHS  # 12 images
SETTINGS = {
    'train_cfg.max_epochs': EPOCHS,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 2,
    'optim_wrapper.accumulative_counts': 2,
    'default_hooks.checkpoint': dict(interval=2, by_epoch=False, max_keep_ckpts=2),
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_change_nothing(tiny_config, make_runner, in_child, tmp_path):
    """Half at random times, half while a checkpoint is being written."""
    generator = random.Random(0)
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'

    def train(work_dir: Path) -> None:
        log = os.open(f'{work_dir}.log', os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
        os.setsid()
        make_runner(tiny_config, **SETTINGS, work_dir=str(work_dir), resume='auto').train()

    began = time.monotonic()
    finish(in_child(train, whole), whole)
    print(f'uninterrupted: {ITERATIONS} iterations, {time.monotonic() - began:.0f} s', flush=True)
    in_saves = 0
    for number in range(KILLS):
        before, process = pointed_at(killed), in_child(train, killed)
        while pointed_at(killed) == before:
            assert process.is_alive(), log_of(killed)[-2000:]
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.5))
        while number % 2 and process.is_alive() and not drafts(killed):
            pass
        process.kill()  # its data workers have to end by themselves
        process.join()
        assert process.exitcode == -signal.SIGKILL, 'it was done before it was killed'
        left = drafts(killed)
        in_saves += bool(left)
        found = sorted(path.name for path in killed.glob('*.pth'))
        print(f'kill {number + 1}: {found}, half written: {left or "none"}', flush=True)
        assert len(found) <= 3
    assert in_saves >= 5
    finish(in_child(train, killed), killed)
    log = log_of(killed)
    assert 'passed over' not in log and log.count('resumed epoch') == KILLS
    left = sorted(path.name for path in killed.iterdir() if path.is_file())
    names = [f'iter_{ITERATIONS - 2}.pth', f'iter_{ITERATIONS}.pth']
    assert [name for name in left if not name.endswith('.py')] == [*names, 'last_checkpoint']
    for name in names:
        assert_equal(*(torch.load(folder / name, weights_only=True) for folder in (whole, killed)))
    print(f'{KILLS} kills, {in_saves} of them during a save: weights, optimizer and schedules are')
    print(f'bit for bit those of the uninterrupted run; left in the folder: {left}')


def finish(process, work_dir: Path) -> None:
    process.join()
    assert process.exitcode == 0, log_of(work_dir)[-2000:]


def log_of(work_dir: Path) -> str:
    return Path(f'{work_dir}.log').read_text()


def pointed_at(work_dir: Path) -> str:
    pointer = work_dir / 'last_checkpoint'
    return pointer.read_text() if pointer.exists() else ''


def drafts(work_dir: Path) -> list[str]:
    return [path.name for path in work_dir.glob('.*.tmp')]


def assert_equal(left: dict, right: dict) -> None:
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        (a, first), (b, second) = (torch.utils._pytree.tree_flatten(c[part]) for c in (left, right))
        assert first == second
        for x, y in zip(a, b, strict=True):
            assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
