"""Importing with missing, old or doubled OpenMMLab packages, in a Python that has only stubs."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = 'import runpy; runpy.run_path({!r})["check_dependencies"]()'
TORCH = {'torch': '2.11.0'}
NEW_ENOUGH = {**TORCH, 'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmpretrain': '1.2.0'}
ONEDL = {
    **TORCH,
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmpretrain': '1.3.6',
}


def install(site: Path, distributions: dict[str, str]) -> None:
    """Installs stubs that fail when they are imported: the check must not do that."""
    for name, version in distributions.items():
        metadata = site / f'{name.replace("-", "_")}-{version}.dist-info' / 'METADATA'
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        package = site / name.removeprefix('onedl-').removesuffix('-full')
        package.mkdir(exist_ok=True)
        (package / '__init__.py').write_text('raise RuntimeError("imported")\n')


def run(code: str, *paths: Path) -> subprocess.CompletedProcess:
    """Runs code in a Python without its site-packages."""
    return subprocess.run(
        [sys.executable, '-S', '-c', code],
        env={'PYTHONPATH': ':'.join(map(str, paths))},
        cwd=paths[0],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def check(project_root, tmp_path):
    """Runs the check on stubs; gives the last line of what it said."""

    def run_check(distributions: dict[str, str]) -> str:
        install(tmp_path, distributions)
        code = CHECK.format(str(project_root / 'flsl_mm' / 'dependencies.py'))
        return (run(code, tmp_path).stderr.splitlines() or [''])[-1]

    return run_check


@pytest.mark.parametrize('stack', [NEW_ENOUGH, ONEDL], ids=['upstream', 'onedl'])
def test_either_stack_passes_without_being_imported(check, stack):
    assert check(stack) == ''


def test_the_installed_stack_passes():
    from flsl_mm.dependencies import check_dependencies

    check_dependencies()


def test_import_names_every_missing_package_and_both_remedies(project_root, tmp_path):
    line = run('import flsl_mm', tmp_path, project_root).stderr.splitlines()[-1]
    assert line.startswith('ImportError: flsl_mm needs torch>=2.1 (not installed), mmengine>=')
    for text in ('mmcv>=2.0.0 (not installed)', 'mmpretrain>=', '.[onedl]', 'mim install'):
        assert text in line


def test_too_old_a_package_is_named_with_the_version_found(check):
    line = check({**NEW_ENOUGH, 'mmpretrain': '1.0.0rc8'})
    assert 'mmpretrain>=1.2.0 (found 1.0.0rc8)' in line
    assert 'mmcv>=2.0.0 (' not in line


def test_mmcv_full_counts_as_an_old_mmcv(check):
    line = check({**TORCH, 'mmengine': '0.10.7', 'mmcv-full': '1.7.2', 'mmpretrain': '1.2.0'})
    assert 'mmcv>=2.0.0 (found 1.7.2)' in line


@pytest.mark.parametrize(
    ('upstream', 'onedl'), [('mmcv', 'onedl-mmcv'), ('mmdet', 'onedl-mmdetection')]
)
def test_two_builds_of_one_package_are_named_with_the_way_out(check, upstream, onedl):
    line = check({**NEW_ENOUGH, upstream: '2.1.0', onedl: '3.5.1'})
    assert f'{upstream} 2.1.0 and {onedl} 3.5.1 are both installed' in line
    assert f'pip uninstall -y {upstream} {onedl}' in line


def test_a_source_tree_without_metadata_is_asked_itself(check, tmp_path):
    source = tmp_path / 'mmcv' / '__init__.py'
    source.parent.mkdir()
    source.write_text('__version__ = "1.9.0+local"\n')
    line = check({name: NEW_ENOUGH[name] for name in ('torch', 'mmengine', 'mmpretrain')})
    assert 'mmcv>=2.0.0 (found 1.9.0+local)' in line


@pytest.mark.parametrize(
    ('number', 'expected'),
    [('2.1.0rc1+cu118', (2, 1, 0)), ('0.10.12', (0, 10, 12)), ('3', (3,)), ('1.2.dev3', (1, 2))],
)
def test_a_release_is_the_leading_numbers_of_a_version(number, expected):
    from flsl_mm.dependencies import release

    assert release(number) == expected
