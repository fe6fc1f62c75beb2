import hashlib
import json

import pytest
import torch

from flsl_mm.checkpoint import load_pretrained
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.version import __version__

ARCH = dict(embed_dims=24, num_layers=1, num_heads=3, feedforward_channels=8)
CONFIG = f"""model = dict(type='FLSL', backbone=dict(arch={ARCH}))
train_dataloader = dict(batch_size=8, dataset=dict(type='ImageNet', data_root='data/imagenet'))
"""


@pytest.fixture(scope='module')
def publish(load_tool):
    module = load_tool('model_converters/publish_model')
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint of ours, and its teacher's weights."""
    student = FLSLVisionTransformer(ARCH, 16, 8).state_dict()
    teacher = {name: tensor + 1 for name, tensor in student.items()}
    state = {f'backbone.{n}': t for n, t in student.items()}
    state.update({f'teacher.backbone.{n}': t for n, t in teacher.items()})
    meta = dict(cfg=CONFIG, epoch=300, iter=9000, experiment_name='run_1')
    path = tmp_path / 'epoch_300.pth'
    torch.save(dict(meta=meta, state_dict=state, optimizer=dict(state=torch.zeros(9999))), path)
    return path, teacher


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_the_teacher_is_published_under_its_hash_with_its_origin(
    suffix, publish, checkpoint, tmp_path
):
    path, teacher = checkpoint
    (tmp_path / 'out').mkdir()
    assert publish(path, tmp_path / 'out' / f'flsl_vits16{suffix}') == 0
    origin, weights = sorted((tmp_path / 'out').iterdir(), key=lambda p: p.suffix != '.json')
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.name == f'flsl_vits16-{digest[:8]}{suffix}'
    assert origin.name == f'flsl_vits16-{digest[:8]}.json'
    assert weights.stat().st_size < path.stat().st_size / 2

    values = json.loads(origin.read_text())
    expected = dict(
        config=CONFIG,
        epoch=300,
        iter=9000,
        data_root='data/imagenet',
        experiment='run_1',
        network='teacher',
        num_heads=3,
        patch_size=8,
        flsl_mm_version=__version__,
        source_layout='FLSL',
        sha256=digest,
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    assert {name: values[name] for name in expected} == expected

    vit = FLSLVisionTransformer(ARCH, 16, 8)
    assert load_pretrained(vit, weights, key='teacher').num_heads == 3
    assert torch.equal(vit.ln1.bias, teacher['ln1.bias'])


def test_a_file_that_cannot_be_published_leaves_nothing(publish, checkpoint, tmp_path, capsys):
    path, _ = checkpoint
    path.write_bytes(path.read_bytes()[:-99])
    (tmp_path / 'out').mkdir()
    assert publish(path, tmp_path / 'out' / 'x.pth') == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert not list((tmp_path / 'out').iterdir())


def test_publishing_twice_needs_force(publish, checkpoint, tmp_path, capsys):
    path, _ = checkpoint
    assert publish(path, tmp_path / 'x.pth', '--key', 'student') == 0
    files = sorted(tmp_path.iterdir())
    assert publish(path, tmp_path / 'x.pth', '--key', 'student') == 2
    assert 'pass --force' in capsys.readouterr().err
    assert publish(path, tmp_path / 'x.pth', '--key', 'student', '--force') == 0
    assert sorted(tmp_path.iterdir()) == files
