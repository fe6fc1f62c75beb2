"""The benchmark of the pretraining step."""

import copy
import json
import subprocess
import sys

import pytest
import torch

from flsl_mm.apis import benchmarking


@pytest.fixture
def tool(tools_find_each_other):
    import benchmark_pretrain  # by its name, by which the processes of the variants find it too

    return benchmark_pretrain


@pytest.fixture
def config(tiny_config, tmp_path):
    tiny_config.dump(str(tmp_path / 'tiny.py'))
    return tmp_path / 'tiny.py'


@pytest.fixture
def options(config):
    return f'tool {config} --device=cpu --batch-size=2 --steps=1 --warmup=0'.split()


def test_the_last_line_compares_the_variants(tool, options, monkeypatch, capsys):
    # Two of the three, as nearly all of the time goes to starting their processes.
    more = ['--dtype=bfloat16', '--variants', 'flsl', 'dino']
    monkeypatch.setattr(sys, 'argv', options + more)
    tool.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    keys = {'images_per_second', 'step_ms', 'cpu_ms', 'peak_memory_gib'}
    assert keys <= found.keys() and keys <= found['dino'].keys()
    assert found['speedup']['dino'] == pytest.approx(
        found['images_per_second'] / found['dino']['images_per_second']
    )
    assert found['images_per_second'] == pytest.approx(2e3 / found['step_ms'])


@pytest.fixture
def parse(tool, tmp_path, monkeypatch):
    """What a command line means to the variants, which work in a folder of the test."""

    def read(command):
        monkeypatch.setattr(sys, 'argv', command)
        args = tool.parse_args()
        args.folder = str(tmp_path / 'variants')
        return args

    return read


@pytest.fixture
def models(tool, monkeypatch):
    """The models that variants build, as they come."""
    found = []
    build_model, build_runner = tool.build_model, benchmarking.build_runner

    def build_and_keep(cfg):
        runner = build_runner(cfg)
        found.append(runner.model)
        return runner

    monkeypatch.setattr(tool, 'build_model', lambda *a: found.append(build_model(*a)) or found[-1])
    monkeypatch.setattr(benchmarking, 'build_runner', build_and_keep)
    return found


def test_every_variant_trains(tool, options, parse, models):
    args = parse(options)
    assert args.variants == ('flsl', 'plain', 'dino')

    def turn():
        before.update(copy.deepcopy(models[-1].state_dict()))
        yield

    for variant in args.variants:
        before = {}
        tool.build_variant(args, variant)(turn())
        after = models[-1].state_dict()
        for part in ('backbone.', 'head.', 'teacher.'):
            assert any(
                not torch.equal(after[name], value)
                for name, value in before.items()
                if name.startswith(part)
            ), (variant, part)


def test_the_step_is_that_of_a_run_with_its_schedules_and_its_log(
    tool, options, parse, models, tmp_path
):
    tool.build_variant(parse(options), 'flsl')(range(3))
    [scalars] = (tmp_path / 'variants/flsl').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [line['step'] for line in lines] == [1, 2, 3]
    assert {'loss', 'lr', 'momentum', 'weight_decay', 'images_per_second'} <= lines[-1].keys()
    assert not list((tmp_path / 'variants').rglob('*.pth'))


def test_the_whole_step_encodes_all_tokens_and_trains_all_blocks(tool, options, parse, models):
    args = parse(options)
    args.cfg_options = {'model.student_keep': 0.5, 'model.backbone.frozen_stages': 1}
    for variant in ('flsl', 'whole'):
        tool.build_variant(args, variant)(range(1))
    weights = [model.backbone.patch_embed.projection.weight for model in models]
    assert [model.student_keep for model in models] == [0.5, 1.0]
    assert [weight.requires_grad for weight in weights] == [False, True]


@pytest.mark.slow  # four times the start of a process
def test_several_processes_train_together(options, project_root):
    tool = project_root / 'tools/analysis_tools/benchmark_pretrain.py'
    ways = dict(capture_output=True, text=True, check=True, cwd=project_root)
    launch = [sys.executable, *'-m torch.distributed.run --standalone --nproc_per_node=2'.split()]
    done = subprocess.run([*launch, tool, *options[1:], '--launcher=pytorch'], **ways)
    [line] = [line for line in done.stdout.splitlines() if line.startswith('{')]
    found = json.loads(line)
    assert found['processes'] == 2
    assert found['images_per_second'] == pytest.approx(2 * 2e3 / found['step_ms'])


@pytest.mark.parametrize('more', ['--variants=plain', '--variants flsl dino', '--profile=x.json'])
def test_what_has_no_runner_is_refused_under_a_launcher(tool, options, parse, more, capsys):
    with pytest.raises(SystemExit):
        parse([*options, '--launcher=pytorch', *more.split()])
    assert '--launcher measures one variant' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name',
    [
        'pretrain/flsl_vit-tiny_demo',
        'pretrain/flsl_vits16_two-pairs_300e',
        'ablations/options/flsl_vits16_multi-stage_100e',
        'ablations/options/flsl_vits16_random-queries_100e',
    ],
)
def test_every_variant_steps_with_every_option_of_a_config(tool, project_root, parse, name):
    networks = ['backbone', 'previous_teacher'] if 'multi-stage' in name else ['backbone']
    overrides = {'model.head.in_channels': 192, 'model.data_preprocessor.student_view.size': 64}
    overrides |= {f'model.{network}.arch': 'deit-tiny' for network in networks}
    command = ['tool', str(project_root / f'configs/{name}.py'), '--device=cpu', '--batch-size=2']
    args = parse(command)
    args.cfg_options = overrides
    for variant in args.variants:
        tool.build_variant(args, variant)(range(1))


def test_a_profile_divides_the_step_and_writes_a_trace(
    tool, options, tmp_path, monkeypatch, capsys
):
    trace = tmp_path / 'trace.json'
    monkeypatch.setattr(sys, 'argv', [*options, f'--profile={trace}'])
    tool.main()
    output = capsys.readouterr().out
    found = json.loads(output.splitlines()[-1])
    parts = found['parts_ms']
    assert sum(parts.values()) == pytest.approx(found['step_ms'])
    assert all(parts[name] > 0 for name in parts)
    names = {event.get('name') for event in json.loads(trace.read_text())['traceEvents']}
    assert {'data wait', 'views', 'backbone', 'neck', 'head', 'losses', 'EMA'} <= names
    assert 'data wait' in output


def test_other_models_are_refused(tool, project_root, monkeypatch, capsys):
    config = str(project_root / 'configs/pretrain/dino_vits16_300e.py')
    monkeypatch.setattr(sys, 'argv', ['tool', config])
    assert tool.main() == 2
    assert 'is not a pretraining with FLSL' in capsys.readouterr().err


def test_an_override_that_does_not_fit_is_one_line(tool, config, monkeypatch, capsys):
    command = [
        'tool',
        str(config),
        '--device=cpu',
        '--cfg-options',
        'model.backbone.patch_size.x=1',
    ]
    monkeypatch.setattr(sys, 'argv', command)
    assert tool.main() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f'benchmark_pretrain.py: error: --cfg-options do not fit {config}')
