"""The benchmark of the pretraining step."""

import copy
import json
import sys

import pytest
import torch


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


def test_every_variant_trains(tool, options, monkeypatch):
    monkeypatch.setattr(sys, 'argv', options)
    args = tool.parse_args()
    assert args.variants == ('flsl', 'plain', 'dino')
    models = []

    def build_model(*args):
        models.append(build(*args))
        return models[-1]

    build = tool.build_model
    monkeypatch.setattr(tool, 'build_model', build_model)
    for variant in args.variants:
        step = tool.build_step(args, variant)
        before = copy.deepcopy(models[-1].state_dict())
        step()
        after = models[-1].state_dict()
        for part in ('backbone.', 'head.', 'teacher.'):
            assert any(
                not torch.equal(after[name], value)
                for name, value in before.items()
                if name.startswith(part)
            ), (variant, part)


def test_the_whole_step_encodes_all_tokens_and_trains_all_blocks(tool, options, monkeypatch):
    monkeypatch.setattr(sys, 'argv', options)
    args = tool.parse_args()
    args.cfg_options = {'model.student_keep': 0.5, 'model.backbone.frozen_stages': 1}
    models, build = [], tool.build_model
    monkeypatch.setattr(tool, 'build_model', lambda *a: models.append(build(*a)) or models[-1])
    for variant in ('flsl', 'whole'):
        tool.build_step(args, variant)()
    weights = [model.backbone.patch_embed.projection.weight for model in models]
    assert [model.student_keep for model in models] == [0.5, 1.0]
    assert [weight.requires_grad for weight in weights] == [False, True]


@pytest.mark.parametrize(
    'name',
    [
        'pretrain/flsl_vit-tiny_demo',
        'pretrain/flsl_vits16_two-pairs_300e',
        'ablations/options/flsl_vits16_multi-stage_100e',
        'ablations/options/flsl_vits16_random-queries_100e',
    ],
)
def test_every_variant_steps_with_every_option_of_a_config(tool, project_root, monkeypatch, name):
    networks = ['backbone', 'previous_teacher'] if 'multi-stage' in name else ['backbone']
    overrides = {'model.head.in_channels': 192, 'model.data_preprocessor.student_view.size': 64}
    overrides |= {f'model.{network}.arch': 'deit-tiny' for network in networks}
    command = ['tool', str(project_root / f'configs/{name}.py'), '--device=cpu', '--batch-size=2']
    monkeypatch.setattr(sys, 'argv', command)
    args = tool.parse_args()
    args.cfg_options = overrides
    for variant in args.variants:
        tool.build_step(args, variant)()


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
