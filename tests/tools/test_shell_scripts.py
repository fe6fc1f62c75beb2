"""The launch scripts, with a stand-in for the launcher that prints what it was asked to run."""

import os
import subprocess
from pathlib import Path

import pytest

VARIABLES = ('GPUS', 'GPUS_PER_NODE', 'NNODES', 'PORT', 'MASTER_PORT')


@pytest.fixture
def launch(project_root, tmp_path):
    """Runs a script; gives its result. `srun` and the Python only print their arguments."""
    for name in ('srun', 'python'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / name).chmod(0o755)

    def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
        environment |= dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python', **variables)
        return subprocess.run(
            ['bash', str(project_root / 'tools' / script), *arguments],
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize('tool, files', [('train', ['config.py']), ('test', ['c.py', 'w.pth'])])
def test_several_machines_are_named_by_variables(launch, project_root, tool, files):
    result = launch(
        f'dist_{tool}.sh', *files, '4', '--cfg-options', 'a=1', NNODES='2', NODE_RANK='1'
    )
    asked = result.stdout.split()
    assert {'--nnodes=2', '--node_rank=1', '--nproc_per_node=4'} <= set(asked)
    command = [str(project_root / f'tools/{tool}.py'), *files, '--cfg-options', 'a=1']
    assert asked[-len(command) - 2 :] == [*command, '--launcher', 'pytorch']


@pytest.mark.parametrize('tool, files', [('train', ['config.py']), ('test', ['c.py', 'w.pth'])])
def test_slurm_jobs_get_their_sizes_and_options(launch, project_root, tool, files):
    options = dict(GPUS='16', SRUN_ARGS='--time=1:00 --mem=4G')
    asked = launch(f'slurm_{tool}.sh', 'partition', 'job', *files, **options).stdout.split()
    assert {'--partition=partition', '--ntasks=16', '--time=1:00', '--mem=4G'} <= set(asked)
    command = ['python', '-u', str(project_root / f'tools/{tool}.py'), *files]
    assert asked[-len(command) - 2 :] == [*command, '--launcher', 'slurm']


@pytest.mark.parametrize('variables, port', [({}, ''), ({'PORT': '29600'}, '29600')])
def test_the_port_reaches_the_processes_of_a_slurm_job(launch, tmp_path, variables, port):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "port=${MASTER_PORT:-}"\n')
    assert launch('slurm_train.sh', 'p', 'job', 'c.py', **variables).stdout == f'port={port}\n'


@pytest.mark.parametrize('gpus, per_node', [('1', 1), ('4', 4), ('8', 8), ('16', 8)])
def test_slurm_jobs_take_no_more_of_a_machine_than_they_use(launch, gpus, per_node):
    asked = launch('slurm_train.sh', 'partition', 'job', 'c.py', GPUS=gpus).stdout.split()
    expected = {f'--gres=gpu:{per_node}', f'--ntasks={gpus}', f'--ntasks-per-node={per_node}'}
    assert expected <= set(asked)


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_without_arguments_the_usage_is_shown(launch, script):
    result = launch(f'{script}.sh')
    assert result.returncode == 2 and result.stderr.startswith('usage: ')


def test_the_projects_own_environment_is_used_unless_another_is_active(project_root, tmp_path):
    tools, python = tmp_path / 'tools', tmp_path / '.venv/bin/python'
    tools.mkdir()
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n')
    python.chmod(0o755)
    script = Path(project_root / 'tools/environment.sh').read_text()
    (tools / 'environment.sh').write_text(script)
    code = f'source {tools}/environment.sh; echo $PYTHON'
    for variables, expected in (({}, str(python)), ({'VIRTUAL_ENV': '/other'}, 'python')):
        result = subprocess.run(
            ['bash', '-c', code], env=dict(PATH=os.environ['PATH'], **variables),
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.stdout.strip() == expected
