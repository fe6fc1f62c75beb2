"""Processes of srun on machines without a GPU."""

import os
import socket
import subprocess
import sys

import pytest

from flsl_mm.config.keywords import KeywordSafeConfig


@pytest.fixture
def start(tiny_config, tmp_path, project_root):
    """Starts the training of a tiny config as srun would, with its variables."""
    tiny_config.train_cfg.max_epochs = 1
    tiny_config.train_dataloader.batch_size = 3
    path = tmp_path / 'config.py'
    KeywordSafeConfig.wrap(tiny_config).dump(path)

    def start(**variables: str) -> subprocess.Popen:
        kept = {k: v for k, v in os.environ.items() if k not in ('MASTER_ADDR', 'MASTER_PORT')}
        command = [sys.executable, str(project_root / 'tools/train.py'), str(path)]
        return subprocess.Popen(
            [*command, '--launcher', 'slurm', f'--work-dir={tmp_path / "run"}'],
            env={**kept, 'CUDA_VISIBLE_DEVICES': '', **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def test_two_processes_of_srun_train_together(start, tmp_path):
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    shared = dict(SLURM_NTASKS='2', MASTER_ADDR='localhost', MASTER_PORT=str(port))
    processes = [start(SLURM_PROCID=r, SLURM_LOCALID=r, **shared) for r in '01']
    outputs = [process.communicate(timeout=250)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], '\n'.join(outputs)
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    assert 'Epoch(train) [1][2/2]' in outputs[0]  # 12 images in two batches of 2 x 3


def test_without_srun_it_is_one_line_that_says_so(start):
    process = start()
    output = process.communicate(timeout=250)[0]
    [line] = [line for line in output.splitlines() if 'error' in line]
    assert process.returncode == 2 and 'Traceback' not in output
    assert 'SLURM_PROCID is not set; start it with srun' in line
