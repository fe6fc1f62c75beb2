import json

import pytest
from PIL import Image


@pytest.fixture(scope='module')
def plot_curves(load_tool):
    """The tool's ``main``."""
    return load_tool('analysis_tools/plot_curves').main


@pytest.fixture
def runs(tmp_path):
    """Two work dirs with logs."""
    for name in ('first', 'second'):
        path = tmp_path / name / '20240101_000000/vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        rows = [dict(loss=1 / i, lr=1e-3, iter=i, step=i) for i in range(1, 30)]
        path.write_text('\n'.join(map(json.dumps, rows)) + '\n')
    return tmp_path


def test_logs_become_a_picture(plot_curves, runs, capsys):
    log = runs / 'second/20240101_000000/vis_data/scalars.json'
    out = runs / 'pictures/curves.png'
    assert plot_curves([str(runs / 'first'), str(log), '--window=5', f'--out={out}']) == 0
    assert min(Image.open(out).size) > 200
    text = capsys.readouterr().out
    assert 'first: 29 rows, to iteration 29' in text and 'second: 29 rows' in text
    assert 'too few' not in text  # no pretraining


@pytest.mark.parametrize('last, warned', [(29, True), (99, True), (100, False)])
def test_of_a_short_pretraining_it_says_that_the_curves_tell_nothing(
    plot_curves, tmp_path, capsys, last, warned
):
    rows = [dict(loss=1.0, prototypes_used=9.0, iter=i, step=i) for i in (1, last)]
    (tmp_path / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n')
    assert plot_curves([f'A={tmp_path / "scalars.json"}', f'--out={tmp_path / "a.png"}']) == 0
    said = f'A: {last} iterations: too few for losses and health signs' in capsys.readouterr().out
    assert said == warned


@pytest.mark.parametrize(
    'argument, message',
    [('--window=0', '--window: must be at least 1'), ('--out=a.jpg', '--out must end in .png')],
)
def test_wrong_arguments_are_refused(plot_curves, capsys, argument, message):
    with pytest.raises(SystemExit) as end:
        plot_curves(['run', argument])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['first', '--keys', 'accuracy'], 'not in the log: accuracy; there is: loss, lr'),
        (['absent'], 'no training log in'),
        (['a=first', 'a=second'], 'two runs are called a'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    plot_curves, runs, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(runs)
    assert plot_curves([*arguments, '--out=curves.png']) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (runs / 'curves.png').exists()
