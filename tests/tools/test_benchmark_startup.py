"""The benchmark of a data set's start-up, with few names."""

import importlib.util
import json
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='Linux tells memory')
def test_it_starts_from_files_lists_and_tar_files(project_root, capsys):
    path = project_root / 'tools/analysis_tools/benchmark_startup.py'
    spec = importlib.util.spec_from_file_location('benchmark_startup', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(['--names=600', '--epochs=1']) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() == {'list', 'shards', 'folders'}
    for row in found.values():
        assert row['images'] == 600 and row['startup_seconds'] > 0
        assert len(row['worker_mib_after_epochs']) == 2
