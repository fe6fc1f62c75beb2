"""The command line of the demo; tests/demo runs its steps."""

import pytest


@pytest.fixture
def demo(load_tool):
    return load_tool('demo')


def test_an_interrupted_demo_says_so_in_one_line(demo, tmp_path, monkeypatch, capsys):
    def interrupt(runner, steps):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.StepRunner, 'run', interrupt)
    assert demo.main([f'--work-dir={tmp_path}']) == 130
    captured = capsys.readouterr()
    assert captured.err == 'demo.py: interrupted\n'
    assert 'the same command goes on from there' in captured.out


def test_a_quick_demo_has_files_of_its_own(demo, tmp_path, monkeypatch):
    commands = []

    def collect(runner, steps):
        commands.append({word for step in steps for word in step.command if str(tmp_path) in word})
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.StepRunner, 'run', collect)
    for options in ([], ['--quick']):
        demo.main([f'--work-dir={tmp_path}', *options])
    whole, quick = commands
    assert whole and quick and not whole & quick


def test_at_least_one_process_is_needed(demo, capsys):
    with pytest.raises(SystemExit):
        demo.main(['--lanes=0'])
    assert '--lanes: must be at least 1, got 0' in capsys.readouterr().err
