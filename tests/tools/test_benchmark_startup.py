"""The benchmark of a data set's start-up, with few names."""

import json
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='Linux tells memory')
def test_it_starts_from_files_lists_and_tar_files(load_tool, capsys):
    tool = load_tool('analysis_tools/benchmark_startup')
    assert tool.main(['--names=600', '--epochs=1']) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() == {'list', 'shards', 'folders'}
    for row in found.values():
        assert row['images'] == 600 and row['startup_seconds'] > 0
        assert len(row['worker_mib_after_epochs']) == 2
