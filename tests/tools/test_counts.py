"""Counts on the command lines, of which nothing can be made where they are zero or less."""

import sys

import pytest


@pytest.mark.parametrize(
    'tool, argument, least',
    [
        ('analysis_tools/benchmark_backbone', '--steps=0', 1),
        ('analysis_tools/benchmark_backbone', '--warmup=-1', 0),
        ('analysis_tools/benchmark_dataloader', '--repeats=0', 1),
        ('analysis_tools/benchmark_dataloader', '--workers=-1', 0),
        ('analysis_tools/benchmark_davis', '--topk=0', 1),
        ('analysis_tools/benchmark_davis', '--radius=-1', 0),
        ('analysis_tools/benchmark_pretrain', '--batch-size=0', 1),
        ('analysis_tools/benchmark_pretrain', '--warmup=-1', 0),
        ('analysis_tools/benchmark_startup', '--names=0', 1),
        ('analysis_tools/plain_step', '--steps=0', 1),
        ('analysis_tools/plot_curves', '--dpi=0', 1),
        ('dataset_converters/make_shards', '--shard-mib=0', 1),
    ],
)
def test_a_count_that_is_too_small_is_one_clear_line(
    load_tool, monkeypatch, capsys, tool, argument, least
):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # benchmark_dataloader sets it
    module = load_tool(tool)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', argument])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 2
    name, value = argument.split('=')
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f'error: argument {name}: must be at least {least}, got {value}')
