"""The package as another project sees it: a built wheel, in a folder far from this checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(command: list, folder: Path, site: Path) -> str:
    """Output of a command in ``folder`` with the installed package, not the checkout's."""
    environment = dict(os.environ, PYTHONPATH=str(site), OMP_WAIT_POLICY='PASSIVE')
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def site(project_root, tmp_path_factory) -> Path:
    """A folder of packages with flsl_mm installed from a wheel."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'  # building leaves files beside the source
    ignored = shutil.ignore_patterns('.*', 'work_dirs', 'build', '*.egg-info', '__pycache__')
    shutil.copytree(project_root, source, ignore=ignored)
    pip = ['-m', 'pip', '--disable-pip-version-check', '-q']
    run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, source], folder, source)
    [wheel] = folder.glob('*.whl')
    run([*pip, 'install', '--no-deps', '--target', folder / 'site', wheel], folder, source)
    shutil.rmtree(source)
    return folder / 'site'


@pytest.fixture
def project(project_root, tmp_path) -> Path:
    """The example project, copied out of this checkout."""
    return shutil.copytree(project_root / 'docs/plugin_example', tmp_path / 'project')


def test_the_wheel_holds_every_config_and_tool(site, project_root):
    for part in ('configs', 'tools'):
        files = {p.relative_to(project_root) for p in (project_root / part).rglob('*.py')}
        assert files
        assert not [f for f in files if not (site / 'flsl_mm/.mim' / f).is_file()]


def test_the_installed_index_names_configs_that_are_there(site):
    import yaml

    mim = site / 'flsl_mm/.mim'
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    models = []
    for file in index['Import']:
        models += yaml.safe_load((mim / file).read_text())['Models']
    names = [model['Name'] for model in models]
    assert len(set(names)) == len(names) > 0
    assert not [model['Config'] for model in models if not (mim / model['Config']).is_file()]


def test_the_example_project_trains_with_the_tools_of_mmdet(site, project):
    mmdet = pytest.importorskip('mmdet')
    scenes = site / 'flsl_mm/.mim/tools/dataset_converters/make_scenes.py'
    arguments = ['data/scenes', '--layouts', 'coco', '--train', 2, '--val', 1]
    run([scenes, *arguments], project, site)
    train = Path(mmdet.__path__[0]) / '.mim/tools/train.py'
    output = run([train, 'faster-rcnn_vitfpn-tiny_scenes.py'], project, site)
    assert 'training from scratch' in output  # pretrained = None says so
    assert re.search(r'Epoch\(val\) +\[1\]\[1/1\]', output)
    assert (project / 'work_dirs/faster-rcnn_vitfpn-tiny_scenes/epoch_1.pth').is_file()


def test_installed_configs_pretrain_from_any_folder(site, tmp_path, image_folder):
    mim = site / 'flsl_mm/.mim'
    output = run(
        [
            mim / 'tools/train.py',
            mim / 'configs/pretrain/flsl_vit-tiny_demo.py',
            '--cfg-options',
            f'train_dataloader.dataset.data_root={image_folder}',
            'train_dataloader.batch_size=6',
            'train_dataloader.num_workers=0',
            'train_cfg.max_epochs=1',
            'default_hooks.logger.interval=1',
        ],
        tmp_path,
        site,
    )
    assert re.search(r'Epoch\(train\) +\[1\]\[2/2\]', output)
    assert (tmp_path / 'work_dirs/flsl_vit-tiny_demo/epoch_1.pth').is_file()


def test_a_config_of_another_project_inherits_by_the_place_of_ours(site, tmp_path, project_root):
    text = (project_root / 'docs/plugin_example/README.md').read_text()
    config = text.split('```python')[1].split('```')[0]
    assert "__import__('flsl_mm').home()" in config
    (tmp_path / 'own.py').write_text(config)
    show = (
        'from mmengine.config import Config; cfg = Config.fromfile("own.py");'
        'print(cfg.train_cfg.max_epochs, cfg.data_root, cfg.model.type, cfg.runner_type)'
    )
    for place in (site, project_root):  # a wheel, and a checkout as `make setup` installs it
        assert (
            run(['-c', show], tmp_path, place).splitlines()[-1] == '20 /my/images FLSL FLSLRunner'
        )


@pytest.mark.slow
def test_the_example_runs_as_written_in_the_environment_of_make_setup(
    project, project_root, tmp_path
):
    pytest.importorskip('mmdet')
    text = (project / 'README.md').read_text()
    block = text.split('from this folder:')[1].split('**Our tools')[0]
    script = re.sub(r'--train 64 --val 16', '--train 4 --val 2', block)  # shortened
    assert script != block and 'make_scenes.py' in script
    python = tmp_path / 'bin/python'
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    path = f'{python.parent}{os.pathsep}{os.environ["PATH"]}'
    environment = dict(os.environ, PATH=path, PYTHONPATH=str(project_root), OMP_NUM_THREADS='1')
    done = subprocess.run(
        ['bash', '-e', '-c', script],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (project / 'work_dirs/faster-rcnn_vitfpn-tiny_scenes/epoch_1.pth').is_file()
