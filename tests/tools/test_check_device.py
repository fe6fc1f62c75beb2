"""The tool that is run first on a machine with GPUs, where there is none: on the CPU, shrunk."""

import json

import pytest


@pytest.fixture(scope='session')
def tool(load_tool):
    return load_tool('analysis_tools/check_device')


QUICK = ['precision', 'views', 'depth', 'frozen']


def test_a_machine_that_computes_right_passes(tool, tmp_path, capsys):
    out = tmp_path / 'device.json'
    assert tool.main(['--device=cpu', f'--out={out}', '--only', *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    assert report == json.loads(out.read_text())
    assert list(report['checks']) == QUICK and report['shrunk']
    assert {found['result'] for found in report['checks'].values()} == {'passed'}
    assert report['checks']['precision']['bfloat16_gradient'] > 0
    table = [line.split()[:2] for line in lines]
    assert all([name, 'passed'] in table for name in QUICK)


def test_one_that_computes_wrong_fails_by_name_and_the_other_checks_go_on(
    tool, monkeypatch, capsys
):
    right = tool.render_batched

    def brighter(*args):
        return [view + 0.01 for view in right(*args)]

    monkeypatch.setattr(tool, 'render_batched', brighter)
    assert tool.main(['--device=cpu', '--only', 'views', 'frozen']) == 2
    output = capsys.readouterr()
    checks = json.loads(output.out.splitlines()[-1])['checks']
    assert (checks['views']['result'], checks['frozen']['result']) == ('failed', 'passed')
    assert checks['views']['reason'] == 'colors differ by 0.01, more than 0.001'
    assert output.err.splitlines()[-1] == 'check_device.py: error: failed: views'


def test_an_error_of_the_device_is_a_failed_check(tool, monkeypatch):
    def no_compiler(model, **options):
        raise RuntimeError('no compiler\nwith more lines')

    monkeypatch.setattr(tool, 'compile_networks', no_compiler)
    found = tool.run_checks(tool.Machine(tool.torch.device('cpu'), True, None), ['compiled'])
    assert (found['compiled']['result'], found['compiled']['reason']) == ('failed', 'no compiler')


def test_an_unknown_check_is_one_line(tool, capsys):
    assert tool.main(['--device=cpu', '--only', 'spead']) == 2
    assert "no check ['spead']; known: precision, views" in capsys.readouterr().err


@pytest.mark.slow
def test_every_check_passes_on_a_cpu(run_tool):
    done = run_tool('analysis_tools/check_device.py', '--device', 'cpu')
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout.splitlines()[-1])['checks']
    assert {name: found['result'] for name, found in checks.items()} == dict.fromkeys(
        ['precision', 'views', 'compiled', 'depth', 'resume', 'distributed', 'detectors']
        + ['frozen', 'speed'],
        'passed',
    )
    step = checks['speed']['flsl_vits16_300e 2']
    assert step['images_per_second'] > 0 and 0 < step['share_of_peak'] < 1
