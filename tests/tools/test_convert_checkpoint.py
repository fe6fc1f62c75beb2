import argparse
import json

import pytest
import torch

from flsl_mm.models import FLSLVisionTransformer

ARCH = dict(embed_dims=24, num_layers=1, num_heads=3, feedforward_channels=8)


@pytest.fixture(scope='module')
def convert(load_tool):
    module = load_tool('model_converters/convert_checkpoint')
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def source(tmp_path):
    state = FLSLVisionTransformer(ARCH, 16, 8).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'source.pth')
    return tmp_path / 'source.pth'


class Unknown:
    """An object that the allow-list does not know."""


def save(content):
    return lambda path: torch.save(content, path)


def changed(**tensors):
    state = FLSLVisionTransformer(ARCH, 16, 8).state_dict()
    return {**state, **tensors}


FILES = {
    'missing.pth': (lambda path: None, 'no such file'),
    'folder.pth': (lambda path: path.mkdir(), 'is a folder'),
    'empty.pth': (lambda path: path.touch(), 'the file is empty'),
    'photo.pth': (lambda path: path.write_bytes(b'\xff\xd8\xff\xe0JFIF'), 'neither a torch'),
    'notes.pth': (lambda path: path.write_text('to do'), 'neither a torch'),
    'model.pkl': (lambda path: path.write_bytes(b'\x80\x04}.'), 'bare Python pickle'),
    'unknown.pth': (save(dict(model=Unknown())), 'pass --trust'),
    'optimizer.pth': (save(dict(optimizer={}, epoch=3)), 'holds no weights'),
    'resnet.pth': (save({'conv1.weight': torch.zeros(3)}), 'no ViT of a known layout'),
    'nan.pth': (save(changed(pos_embed=torch.full((1, 4, 24), float('nan')))), 'NaN'),
    'int.pth': (save(changed(pos_embed=torch.zeros(1, 4, 24).int())), 'torch.int32'),
    'half.pth': (
        save({k: v for k, v in changed().items() if 'ffn.layers.1' not in k}),
        'lacks 2 backbone parameters',
    ),
}


@pytest.mark.parametrize('name', FILES)
def test_an_unusable_file_ends_in_one_line_and_leaves_nothing(name, convert, tmp_path, capsys):
    make, message = FILES[name]
    make(tmp_path / name)
    before = set(tmp_path.iterdir())
    assert convert(tmp_path / name, tmp_path / 'out.pth', '--to', 'timm') == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith('convert_checkpoint.py: error: ') and message in err and name in err
    assert err.count('\n') == 1 and 'Traceback' not in err
    assert set(tmp_path.iterdir()) == before


def test_the_process_fails_with_one_line_and_an_exit_code(run_tool, source, tmp_path):
    source.write_bytes(source.read_bytes()[:-99])
    process = run_tool(
        'model_converters/convert_checkpoint.py', source, tmp_path / 'out.pth', '--to', 'timm'
    )
    assert process.returncode == 2
    assert process.stdout == ''
    start, error = process.stderr.splitlines()
    assert start.endswith('loading torch and OpenMMLab ...')
    assert 'truncated, damaged or foreign' in error
    assert [path.name for path in tmp_path.iterdir()] == ['source.pth']


def test_a_conversion_prints_its_report_and_writes_it_beside(convert, source, tmp_path, capsys):
    assert convert(source, tmp_path / 'out.safetensors', '--to', 'timm') == 0
    text = capsys.readouterr().out
    assert 'layout mmpretrain' in text and 'strict=True' in text
    assert 'layers.0.ln1.weight -> layers.0.ln1.weight' in text
    record = json.loads((tmp_path / 'out.json').read_text())
    assert record['used']['layers.0.ln1.weight'] == 'layers.0.ln1.weight'


def test_a_trusted_file_is_converted(convert, tmp_path):
    torch.save(dict(state_dict=changed(), extra=Unknown()), tmp_path / 'x.pth')
    assert convert(tmp_path / 'x.pth', tmp_path / 'y.pth', '--to', 'mmpretrain', '--trust') == 0
    content = torch.load(tmp_path / 'y.pth', weights_only=True)
    assert content.keys() == {'meta', 'state_dict'}


def test_an_existing_or_impossible_destination_is_left_alone(convert, source, tmp_path, capsys):
    (tmp_path / 'out.pth').write_text('precious')
    refused = {
        'out.pth': 'pass --force',
        'out.onnx': 'must end in .pth or .safetensors',
        'nowhere/out.pth': 'there is no folder',
    }
    for name, message in refused.items():
        assert convert(source, tmp_path / name, '--to', 'timm') == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / 'out.pth').read_text() == 'precious'
    (tmp_path / 'notes.json').write_text('precious')
    assert convert(source, tmp_path / 'notes.pth', '--to', 'timm') == 2
    assert 'notes.json: exists; pass --force' in capsys.readouterr().err
    assert (tmp_path / 'notes.json').read_text() == 'precious'
    assert not (tmp_path / 'notes.pth').exists()
    assert convert(source, tmp_path / 'out.pth', '--to', 'timm', '--force') == 0
    assert 'blocks.0.norm1.weight' in torch.load(tmp_path / 'out.pth', weights_only=True)


def test_a_checkpoint_is_never_replaced_by_its_conversion(convert, source, tmp_path, capsys):
    content = source.read_bytes()
    (tmp_path / 'link.pth').symlink_to(source)
    for destination in ('source.pth', 'link.pth'):
        for force in ([], ['--force']):
            assert convert(source, tmp_path / destination, '--to', 'timm', *force) == 2
            assert f'{destination}: is the file to read' in capsys.readouterr().err
    assert source.read_bytes() == content and not (tmp_path / 'source.json').exists()


def test_the_key_chooses_the_network(convert, tmp_path, capsys):
    student, teacher = changed(), {n: t + 1 for n, t in changed().items()}
    state = {f'backbone.{n}': t for n, t in student.items()}
    state.update({f'teacher.backbone.{n}': t for n, t in teacher.items()})
    torch.save(dict(state_dict=state, args=argparse.Namespace()), tmp_path / 'x.pth')
    for key, weights in (('student', student), ('teacher', teacher)):
        path = tmp_path / f'{key}.pth'
        assert convert(tmp_path / 'x.pth', path, '--to', 'mmpretrain', '--key', key) == 0
        assert torch.equal(torch.load(path)['state_dict']['ln1.bias'], weights['ln1.bias'])
    assert convert(tmp_path / 'x.pth', tmp_path / 'whole.pth', '--to', 'mmpretrain') == 2
    assert 'lacks the head of the student; use --key' in capsys.readouterr().err


def test_a_folder_for_timm_has_its_facts_beside_it(convert, source, tmp_path, capsys):
    timm = pytest.importorskip('timm')
    folder = tmp_path / 'folder'
    assert convert(source, folder, '--to', 'timm') == 2
    assert '--num-heads' in capsys.readouterr().err and not folder.exists()
    assert convert(source, folder, '--to', 'timm', '--num-heads', 3) == 0
    assert f"timm.create_model('local-dir:{folder}', pretrained=True)" in capsys.readouterr().out
    assert timm.create_model(f'local-dir:{folder}', pretrained=True).embed_dim == 24
    facts = json.loads((tmp_path / 'folder.json').read_text())
    assert facts['num_heads'] == 3 and facts['class_token'] is False
    assert convert(source, folder, '--to', 'timm', '--num-heads', 3) == 2
    assert 'exists; pass --force' in capsys.readouterr().err
