"""Sweeps of small networks on drawn scenes."""

import json

import pytest

from flsl_mm.datasets.scenes import write_imagenet

LEAF = """_base_ = [{base!r}]
model = dict(head=dict(num_prototypes={number}))
"""
TABLES = """
prototypes:
  title: Number of prototypes
  axis: K
  cells:
    - {label: '8', config: prototypes/k8.py, reported: 12.5}
    - {label: '16', config: prototypes/k16.py}
"""
# A network that is trained in a moment.
OPTIONS = (
    *('model.backbone.arch.embed_dims=16', 'model.backbone.arch.num_layers=1'),
    *('model.backbone.arch.num_heads=2', 'model.backbone.img_size=32', 'model.head.in_channels=16'),
    *('model.data_preprocessor.student_view.size=32', 'train_dataloader.num_workers=0'),
    *('train_dataloader.dataset.pipeline.1.size=32', 'train_dataloader.batch_size=6'),
    *('train_cfg.max_epochs=1', 'default_hooks.frozen_evaluation.tasks=[]'),
)
KNN = ('ks=[3]', 'resize=48', 'crop=48', 'num_workers=0', 'num_shuffles=1')


@pytest.fixture(scope='module')
def sweep_tool(load_tool):
    return load_tool('analysis_tools/sweep')


@pytest.fixture
def arguments(project_root, tmp_path) -> list[str]:
    """A table of two networks on twelve scenes."""
    base = str(project_root / 'configs/pretrain/flsl_vit-tiny_demo.py')
    folder = tmp_path / 'ablations/prototypes'
    folder.mkdir(parents=True)
    for number in (8, 16):
        (folder / f'k{number}.py').write_text(LEAF.format(base=base, number=number))
    (tmp_path / 'ablations/tables.yml').write_text(TABLES)
    write_imagenet(tmp_path / 'imagenet', num_train=12, num_val=6, side=48)
    return [
        *(str(folder), f'--data-root={tmp_path / "imagenet"}', f'--work-dir={tmp_path / "runs"}'),
        *('--device=cpu', '--knn-options', *KNN, '--cfg-options', *OPTIONS),
    ]


def test_a_sweep_trains_evaluates_and_is_repeated_without_work(
    sweep_tool, arguments, tmp_path, capsys, monkeypatch
):
    assert sweep_tool.main(arguments) == 0
    first = capsys.readouterr().out
    assert '2 networks, 2 of them to be trained' in first and 'done in ' in first
    table = [line.split() for line in first.splitlines() if line[:8] in ('K       ', 'reported')]
    assert table == [['K', '8', '16'], ['reported', '12.5', '-']]
    content = json.loads((tmp_path / 'runs/sweep.json').read_text())
    cells = content['tables']['prototypes']['cells']
    assert [cell['reported'] for cell in cells] == [12.5, None]
    for cell in cells:
        [run] = cell['runs']
        top1 = run['numbers']['knn']['top1_k3']
        shown = next(line for line in first.splitlines() if line.startswith('measured'))
        assert 0 <= top1 <= 100 and f'{top1:.1f}' in shown

    page = (tmp_path / 'runs/sweep.html').read_text()
    assert 'reported (paper)' in page and '12.5' in page and page.count('<figure>') == 1

    monkeypatch.setattr(sweep_tool.Step, 'begin', None)  # nothing is trained again, nor evaluated
    assert sweep_tool.main(arguments) == 0
    again = capsys.readouterr().out
    assert '2 networks, 0 of them to be trained' in again
    start = '\nNumber of prototypes'
    assert again[again.index(start) :] == first[first.index(start) :]

    assert sweep_tool.main([*arguments, 'optim_wrapper.optimizer.lr=1']) == 2
    assert 'holds a run with other options' in capsys.readouterr().err


def test_a_study_compares_seeds_and_random_weights_on_the_tasks_of_a_config(
    sweep_tool, arguments, tmp_path, capsys
):
    file = tmp_path / 'ablations/tables.yml'
    random = '    - {label: random, config: prototypes/k8.py, untrained: true}\n'
    other = (
        'other:\n  title: Other\n  axis: K\n  cells:\n    - {label: e, config: prototypes/k8.py}\n'
    )
    file.write_text(TABLES.rsplit('    - ', 1)[0] + random + other)
    settings = dict(type='BoxKNN', ks=(3,), cells=1, resize=48, crop=48, num_workers=0)
    (tmp_path / 'tasks.py').write_text(f'knn = {settings}\nknn2 = dict(knn, ks=(2,), cells=2)')
    study = [
        *(str(tmp_path / 'ablations'), *arguments[1:4], '--seeds', '1', '2'),
        *(f'--tasks={tmp_path / "tasks.py"}', '--task-options'),
        *(f'{name}.data_root={tmp_path / "imagenet"}' for name in ('knn', 'knn2')),
        *('--cfg-options', *OPTIONS, '--images', str(tmp_path / 'imagenet')),
    ]
    assert sweep_tool.main(study) == 0
    out = capsys.readouterr().out
    assert '2 networks, 2 of them to be trained' in out  # the config of two tables counts once
    for name in ('knn top1_k3', 'knn chance', 'knn2 top1_k2', 'knn2 chance'):  # two of one kind
        [line] = [line for line in out.splitlines() if line.startswith(f'{name} ')][:1]
        assert line.count('±') == 2
    page = (tmp_path / 'runs/sweep.html').read_text()
    assert page.count('<figure>') == 2 * 3 and '<td>knn2 top1_k2</td>' in page
    assert page.count('class="best"') >= 2 * 2  # of each measure in each table
    assert '2 networks of 2 trained' in page and 'randomness.seed=2' in page

    first, second = json.loads((tmp_path / 'runs/sweep.json').read_text())['tables'].values()
    trained, untrained = first['cells']
    assert [run['seed'] for run in trained['runs']] == [1, 2]
    assert {'loss', 'place_share', 'attended_tokens'} <= set(trained['runs'][0]['signs'])
    assert untrained['untrained'] and not untrained['runs'][0]['signs']
    assert second['cells'][0]['runs'] == trained['runs']

    assert sweep_tool.main([*study, str(tmp_path / 'nowhere')]) == 2
    assert 'there is no image or folder' in capsys.readouterr().err
    assert sweep_tool.main([*study, '--out', 'page.html']) == 2
    assert '--out must end in .json' in capsys.readouterr().err
    assert sweep_tool.main([*study, '--knn-options', 'ks=[3]']) == 2
    assert '--tasks has --task-options' in capsys.readouterr().err


def test_a_network_starts_from_that_of_another_cell_with_its_seed(
    sweep_tool, arguments, tmp_path, capsys
):
    folder = tmp_path / 'ablations/prototypes'
    (folder / 'on8.py').write_text(
        "_base_ = ['./k8.py']\npretrained = 'nowhere.pth'\n"
        "model = dict(backbone=dict(init_cfg=dict(type='PretrainedViT')))\n"
    )
    cell = '    - {label: on 8, config: prototypes/on8.py, after: prototypes/k8.py}\n'
    (tmp_path / 'ablations/tables.yml').write_text(TABLES.split('    - ')[0] + cell)
    arguments = [*arguments, '--seeds', '3']

    assert sweep_tool.main([*arguments, '--slurm', 'gpu']) == 0
    out = capsys.readouterr().out
    assert out.count('slurm_train.sh') == 1 and ' k8_seed3 ' in out
    assert '1 network more when those are trained: repeat this' in out

    assert sweep_tool.main(arguments) == 0
    out = capsys.readouterr().out
    assert '2 networks, 2 of them to be trained' in out and 'done in ' in out
    start = tmp_path / 'runs/k8_seed3/epoch_1.pth'
    assert f'pretrained={start}' in out
    log = (tmp_path / 'runs/on8_seed3/run_output.log').read_text()
    assert str(start) in log and 'random' not in log.split('pretrained weights')[-1][:200]

    start.unlink()  # the other is trained, so it is not missed
    assert sweep_tool.main(arguments) == 0
    assert '1 network, 0 of them to be trained' in capsys.readouterr().out


@pytest.mark.parametrize(
    'cells, options, message',
    [
        (('k16.py, after: k8.py', 'k16.py, after: on8.py'), (), 'would start from '),
        (('k16.py, after: k8.py',), ('pretrained=a.pth',), 'leave it out of the options'),
        (('k16.py', '../k16.py'), (), 'two networks would be trained in'),
        (('k16.py, after: k4.py',), (), 'there is no config'),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    sweep_tool, arguments, tmp_path, capsys, cells, options, message
):
    folder = tmp_path / 'ablations/prototypes'
    for path in (folder / 'on8.py', folder.parent / 'k16.py'):
        path.write_text(f'_base_ = [{str(folder / "k8.py")!r}]')
    cells = [cell.replace('after: ', 'after: prototypes/') for cell in cells]
    lines = [f'    - {{label: c{i}, config: prototypes/{cell}}}\n' for i, cell in enumerate(cells)]
    (folder.parent / 'tables.yml').write_text(TABLES.split('    - ')[0] + ''.join(lines))
    assert sweep_tool.main([*arguments, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_network_whose_start_fails_is_not_tried(
    sweep_tool, arguments, tmp_path, capsys, monkeypatch
):
    cell = '    - {label: on 8, config: prototypes/k16.py, after: prototypes/k8.py}\n'
    (tmp_path / 'ablations/tables.yml').write_text(TABLES.split('    - ')[0] + cell)
    (tmp_path / 'train.py').write_text('raise SystemExit("out of memory")')
    monkeypatch.setattr(sweep_tool, 'TOOLS', tmp_path)
    assert sweep_tool.main(arguments) == 2
    captured = capsys.readouterr()
    assert '1 of 3 steps failed: train k8 failed: out of memory' in captured.err
    assert 'Not finished, and in no number: on 8.' in (tmp_path / 'runs/sweep.html').read_text()


def test_a_network_that_fails_does_not_stop_the_others(
    sweep_tool, arguments, tmp_path, capsys, monkeypatch
):
    (tmp_path / 'train.py').write_text('raise SystemExit("out of memory")')
    monkeypatch.setattr(sweep_tool, 'TOOLS', tmp_path)
    assert sweep_tool.main(arguments) == 2
    captured = capsys.readouterr()
    assert '2 of 4 steps failed: train k8 failed: out of memory (all of it in ' in captured.err
    assert 'train k16 failed: out of memory' in captured.err
    assert 'reported  12.5' in captured.out


def test_a_dry_run_prints_commands_and_the_reported_figures(
    sweep_tool, arguments, tmp_path, capsys
):
    assert sweep_tool.main([arguments[0], '--dry-run', '--gpus=4', *arguments[1:]]) == 0
    out = capsys.readouterr().out
    commands = [line for line in out.splitlines() if line.startswith('bash ')]
    assert len(commands) == 2
    assert 'dist_train.sh' in commands[0] and f'{arguments[0]}/k8.py 4 --work-dir=' in commands[0]
    assert 'train_cfg.max_epochs=1' in commands[0] and '12.5' in out
    assert not (tmp_path / 'runs').exists()


def test_the_knn_may_be_on_other_data(sweep_tool, arguments, capsys):
    others = ['--slurm=gpu', *arguments[1:3], '--knn-options', *KNN, 'data_root=elsewhere']
    assert sweep_tool.main([arguments[0], *others]) == 2
    assert 'data_root is not a folder: elsewhere' in capsys.readouterr().err


def test_slurm_lines_start_the_same_runs(sweep_tool, arguments, tmp_path, capsys):
    slurm = ['--slurm', 'gpu', '--gpus=8', *arguments[1:]]
    assert sweep_tool.main([arguments[0], *slurm]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('env ')]
    assert len(lines) == 2
    assert lines[1].startswith('env GPUS=8 ') and 'slurm_train.sh gpu k16 ' in lines[1]
    assert [path.name for path in (tmp_path / 'runs/k8').iterdir()] == ['run_state.json']
    # What a job leaves there is that of these options.
    assert sweep_tool.main([arguments[0], *slurm, 'optim_wrapper.optimizer.lr=1']) == 2
    assert 'holds a run with other options' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda a: ['nowhere', *a[1:]], 'nowhere is no folder of ablations'),
        (lambda a: [a[0], '--data-root=nowhere', *a[2:]], 'nowhere'),
        (lambda a: [*a[: a.index('--knn-options') + 1], 'kk=3', *a[-12:]], 'kk'),
    ],
)
def test_what_is_wrong_is_one_line_before_any_training(
    sweep_tool, arguments, capsys, change, message
):
    assert sweep_tool.main(change(arguments)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in error and message in error
