"""Features as files, of networks with random weights."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import flsl_mm.apis.features as features_module
from flsl_mm.apis import open_features
from flsl_mm.apis.features import embed_images
from flsl_mm.evaluation.tasks.dense_images import network_input
from flsl_mm.models import FLSLVisionTransformer, build_vit
from flsl_mm.utils.errors import DataError

OURS = 'random:deit-tiny/16'
WITH_CLASS_TOKEN = 'random:timm/vit_tiny_patch16_224'
SIDE = ['--short-side', '64', '--num-workers', '0']


@pytest.fixture(scope='module')
def embed(load_tool):
    """Runs the tool in this process; gives its exit code."""
    module = load_tool('embed')
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path) -> Path:
    """Seven images of three shapes, and one that is none."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'photos'
    for i, size in enumerate([(90, 70), (70, 90), (64, 64), (90, 70), (90, 70), (64, 64)]):
        path = folder / ('deep' if i % 2 else '') / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.BICUBIC).save(path)
    Image.open(folder / '0.png').save(folder / 'cat, big.jpg')
    (folder / '1.jpg').write_text('no image')
    return folder


def files_in(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize('source', [OURS, WITH_CLASS_TOKEN])
def test_tokens_and_vectors_are_those_of_the_network(source, embed, photos, tmp_path, capsys):
    assert embed(source, photos, tmp_path / 'out', *SIDE) == 0
    printed = capsys.readouterr()
    assert '7 images' in printed.out and '1 could not be read' in printed.out
    assert 'left out: 1.jpg' in printed.err
    features, vit = open_features(tmp_path / 'out'), build_vit(source)
    assert len(features) == 7 and '1.jpg' not in features and 'cat, big.jpg' in features
    for row, name in enumerate(features):
        image = Image.open(photos / name).convert('RGB')
        pixels = vit.normalize(network_input(image, 64, 16)[None])
        with torch.no_grad():
            tokens, prefix = vit.forward_features(pixels)
        assert features[name].shape == (*vit.grid_of(pixels), vit.embed_dims)
        found = torch.from_numpy(features[name].astype(np.float32)).flatten(0, 1)
        assert torch.allclose(found, tokens[0], atol=2e-3, rtol=1e-3)
        mean = tokens[0].mean(0)
        vector = prefix[0, 0] if source == WITH_CLASS_TOKEN else mean
        assert torch.allclose(torch.tensor(features.images[row]), vector, atol=1e-5)
        if source == WITH_CLASS_TOKEN:
            assert torch.allclose(torch.tensor(features.means[row]), mean, atol=1e-5)
        else:
            assert features.means is None


def test_a_checkpoint_is_reported_in_three_lines_and_whole_in_a_file(run_tool, photos, tmp_path):
    arch = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=256)
    vit = FLSLVisionTransformer(arch, img_size=64, patch_size=16)
    torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=1)), tmp_path / 'a.pth')
    done = run_tool('embed.py', tmp_path / 'a.pth', photos, tmp_path / 'out', *SIDE)
    assert done.returncode == 0, done.stderr
    lines, report = done.stdout.splitlines(), (tmp_path / 'out/embed.log').read_text()
    assert len(lines) == 5 and 'Loaded pretrained weights from' in lines[0]
    assert lines[2].endswith('/out/embed.log)')
    assert 'layers.{0-1}.attn.qkv.weight' in report


def test_the_arrays_are_as_promised(embed, photos, tmp_path):
    assert embed(OURS, photos, tmp_path / 'out', *SIDE) == 0
    tokens, images = (np.load(tmp_path / 'out' / f'{n}.npy') for n in ('tokens', 'images'))
    with open(tmp_path / 'out/index.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert tokens.dtype == np.float16 and images.dtype == np.float32
    assert images.shape == (7, 192)
    ends = [int(r['first_row']) + int(r['grid_rows']) * int(r['grid_columns']) for r in rows]
    assert [0, *ends] == [*(int(r['first_row']) for r in rows), len(tokens)]
    assert tokens.shape[1] == 192
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'tokens.npy', 'images.npy', 'index.csv', 'embed.json'
    }  # fmt: skip


def test_a_stopped_run_goes_on_and_gives_the_same_files(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, 'PART', 3)
    vit = build_vit(OURS)
    settings = dict(short_side=64, batch_size=2, num_workers=0)
    embed_images(vit, photos, tmp_path / 'whole', **settings)
    encode, calls = features_module._encode_batch, []

    def stop(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        yield from encode(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features_module, '_encode_batch', stop)
        embed_images(vit, photos, tmp_path / 'out', **settings)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['.parts']
    with pytest.raises(DataError, match='holds no whole features'):
        open_features(tmp_path / 'out')
    with pytest.raises(DataError, match='other short_side'):
        embed_images(vit, photos, tmp_path / 'out', **{**settings, 'short_side': 96})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features_module, '_write_index', stop_now)  # all tokens are merged by then
        embed_images(vit, photos, tmp_path / 'out', **settings)
    embed_images(vit, photos, tmp_path / 'out', **settings)
    assert files_in(tmp_path / 'out') == files_in(tmp_path / 'whole')


def stop_now(*_):
    raise KeyboardInterrupt


def test_two_processes_give_the_same_files(photos, tmp_path, project_root, tool_environment):
    script = tmp_path / 'small_parts.py'  # so that each of them has some
    script.write_text(
        'import importlib.util, sys\nimport flsl_mm.apis.features as f\nf.PART = 2\n'
        f'spec = importlib.util.spec_from_file_location("e", "{project_root}/tools/embed.py")\n'
        'tool = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(tool)\n'
        'sys.exit(tool.main())\n'
    )
    for number in (1, 2):
        command = [sys.executable, '-m', 'torch.distributed.run', f'--nproc_per_node={number}',
                   '--master_port=29557', script, OURS, photos, tmp_path / f'out{number}', *SIDE,
                   '--launcher', 'pytorch', '--device', 'cpu']  # fmt: skip
        result = subprocess.run(command, env=tool_environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
        assert result.stdout.count('7 images') == 1
    assert files_in(tmp_path / 'out1') == files_in(tmp_path / 'out2')


@pytest.mark.parametrize('what', ['tokens', 'images'])
def test_only_what_is_asked_for_is_written(what, embed, photos, tmp_path):
    assert embed(OURS, photos, tmp_path / 'out', *SIDE, '--what', what) == 0
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {f'{what}.npy', 'index.csv', 'embed.json'}
    features = open_features(tmp_path / 'out')
    if what == 'images':
        with pytest.raises(DataError, match='--what images'):
            features['0.png']
    else:
        assert features['0.png'].shape[2] == 192 and features.images is None


@pytest.mark.parametrize(
    'wanted, says',
    [
        ('photos/cat, big.jpg', "'photos/cat, big.jpg': is it 'cat, big.jpg'?"),  # another folder
        ('cat, big.png', "is it 'cat, big.jpg'?"),
        ('cat,big.jpg', "is it 'cat, big.jpg'?"),
        (Path('0.png'), "is it '0.png'?"),
        ('dog.jpg', "no image is called 'dog.jpg': among 7 images, 0.png, "),
        (0, 'no image is called 0: among 7 images, 0.png, '),
    ],
)
def test_a_name_that_is_not_there_leads_to_one_that_is(embed, photos, tmp_path, wanted, says):
    assert embed(OURS, photos, tmp_path / 'out', *SIDE, '--what', 'images') == 0
    features = open_features(tmp_path / 'out')
    with pytest.raises(KeyError) as caught:
        features[wanted]
    assert says in str(caught.value) and '\n' not in str(caught.value)
    assert wanted not in features and features.get(wanted) is None


def test_finished_features_are_kept_and_others_are_refused(embed, photos, tmp_path, capsys):
    assert embed(OURS, photos, tmp_path / 'out', *SIDE) == 0
    before = files_in(tmp_path / 'out')
    assert embed(OURS, photos, tmp_path / 'out', *SIDE) == 0
    assert embed(OURS, photos, tmp_path / 'out', *SIDE, '--seed', 1) == 2
    assert 'holds features with other network' in capsys.readouterr().err
    assert files_in(tmp_path / 'out') == before
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/tokens.npy').touch()
    assert embed(OURS, photos, tmp_path / 'other', *SIDE) == 2
    assert 'holds tokens.npy already' in capsys.readouterr().err


def test_folders_without_images_are_one_line(embed, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for folder, message in [('empty', 'no images found in'), ('absent', 'is not a folder')]:
        assert embed(OURS, tmp_path / folder, tmp_path / 'out', *SIDE) == 2
        assert message in capsys.readouterr().err
    (tmp_path / 'empty/a.jpg').write_text('no image')
    assert embed(OURS, tmp_path / 'empty', tmp_path / 'out', *SIDE) == 2
    assert 'none of 1 image can be read' in capsys.readouterr().err
    assert not list((tmp_path / 'out').iterdir())


def test_the_record_says_what_was_done(embed, photos, tmp_path):
    assert embed(OURS, photos, tmp_path / 'out', *SIDE) == 0
    record = json.loads((tmp_path / 'out/embed.json').read_text())
    assert record['images'] == 7 and record['embed_dims'] == 192
    assert record['job']['short_side'] == 64 and list(record['unreadable']) == ['1.jpg']
