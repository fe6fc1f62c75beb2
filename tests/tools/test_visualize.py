import json

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope='module')
def visualize(load_tool):
    """The tool's ``main``."""
    return load_tool('visualize').main


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A file with a small ViT of 3 blocks and patches of 8 pixels."""
    from flsl_mm.models import FLSLVisionTransformer

    arch = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
    vit = FLSLVisionTransformer(arch, img_size=48, patch_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'small.pth'
    torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=2)), path)
    return str(path)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two images of unlike proportions with a bright object, and its masks."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for name, (height, width) in dict(tall=(90, 50), wide=(60, 96)).items():
        labels = np.zeros((height, width), dtype=np.uint8)
        labels[30:, 20:] = 1
        pixels = rng.integers(0, 100, (height, width, 3), dtype=np.uint8) + 120 * labels[..., None]
        Image.fromarray(pixels).save(root / f'images/{name}.png')
        Image.fromarray(labels).save(root / f'masks/{name}.png')
    return root


@pytest.fixture
def run(visualize, photos, checkpoint, tmp_path):
    """Runs the tool on both photos and two networks; returns its exit code, PNG and NPZ."""

    def run(kind: str, *arguments: str, images: str | None = None):
        out = tmp_path / f'pictures/{kind}.png'
        code = visualize(
            [
                kind, images or str(photos / 'images'), '--checkpoints', f'ours={checkpoint}',
                f'random:{checkpoint}', '--num-heads=2', '--short-side=48', '--dpi=60',
                '--device=cpu', f'--out={out}', *arguments,
            ]
        )  # fmt: skip
        return code, out, out.with_suffix('.npz')

    return run


def test_every_kind_writes_a_picture_and_its_arrays(run, photos):
    shapes = dict(
        attention=(1, 2, 11, 6), ass=(3, 1, 11, 6), modes=(1, 2, 11, 6), pca=(1, 1, 11, 6, 3)
    )
    for kind, shape in shapes.items():
        code, picture, arrays = run(kind)
        assert code == 0
        assert min(Image.open(picture).size) > 100
        with np.load(arrays) as found:
            assert found['ours/0'].shape == shape
            assert found['ours/1'].shape == (*shape[:2], 6, 10, *shape[4:])
            assert found['images'].tolist() == [
                str(photos / 'images' / name) for name in ('tall.png', 'wide.png')
            ]
            networks = {key.split('/')[0] for key in found if key.endswith('layers')}
            assert networks == {'ours', 'random small'}
            record = json.loads(arrays.with_suffix('.json').read_text())
            assert record['images'] == found['images'].tolist()
            assert record['settings']['checkpoints'][0].startswith('ours=')
            assert set(record['networks']) == networks
            ours = record['networks']['ours']
            assert ours['layers'] == found['ours/layers'].tolist()
            assert ours['grids'] == [[11, 6], [6, 10]]
            if kind != 'pca':
                assert ours['max'][0] == found['ours/0'].max((2, 3)).tolist()
            if kind in ('attention', 'modes'):
                assert record['points'] == found['points'].tolist()


def test_places_are_drawn_below_the_images(run, photos):
    code, picture, arrays = run('places', '--max-images=1', '--mean-of=2')
    assert code == 0 and picture.exists()
    with np.load(arrays) as found:
        assert found['ours/0'].shape == (1, 1, 11, 6, 3)
        assert found['ours/1'].shape == (1, 1, 14, 14, 3)
        assert len(found['images']) == 2
    record = json.loads(arrays.with_suffix('.json').read_text())
    assert record['networks']['ours']['notes'][-1][0][0].startswith('place share ')


def test_the_class_token_s_attention_is_drawn(run, tmp_path):
    from flsl_mm.models import ClassTokenViT

    arch = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
    vit = ClassTokenViT(arch, img_size=48, patch_size=8)
    torch.save(dict(state_dict=vit.state_dict()), tmp_path / 'class.pth')
    code, picture, arrays = run('prefix', '--checkpoints', f'DINO={tmp_path / "class.pth"}')
    assert code == 0 and picture.exists()
    with np.load(arrays) as found:
        assert found['DINO/0'].shape == (1, 1, 11, 6)
        assert 0.9 < found['DINO/0'].sum() < 1  # the class token attends to itself, too


def test_tsne_is_colored_by_masks(run, photos):
    code, picture, arrays = run(
        'tsne', '--color-by=mask', f'--masks={photos / "masks"}', '--layers=-1'
    )
    assert code == 0 and picture.is_file()
    with np.load(arrays) as found:
        assert found['ours/points'].shape == (1, 66 + 60, 2)
        assert len(np.unique(found['ours/labels'])) > 1
    record = json.loads(arrays.with_suffix('.json').read_text())['networks']['ours']
    assert record['layers'] == [3] and sum(record['tokens_by_label'].values()) == 66 + 60


def test_images_may_have_unlike_numbers_of_points(run, tmp_path):
    (tmp_path / 'images').mkdir()
    for name, width in dict(square=48, wide=96).items():
        Image.new('RGB', (width, 48)).save(tmp_path / f'images/{name}.png')
    code, _, arrays = run('modes', '--num-points=40', images=str(tmp_path / 'images'))
    assert code == 0
    with np.load(arrays) as found:
        missing = np.isnan(found['points']).any(axis=2).sum(axis=1)
        shown = found['points'].shape[1] - missing
        assert missing.min() == 0 < missing.max()
        assert [len(found[f'ours/{i}'][0]) for i in range(2)] == shown.tolist()
    record = json.loads(arrays.with_suffix('.json').read_text())
    assert [len(points) for points in record['points']] == shown.tolist()


def test_names_with_dollars_are_shown_as_they_are(run, checkpoint, tmp_path):
    for name in ('$a$', r'$\b$'):
        Image.new('RGB', (80, 60)).save(tmp_path / f'{name}.png')
    for kind in ('ass', 'tsne'):
        networks = ['--checkpoints', f'$x_{{y$={checkpoint}']
        code, picture, _ = run(kind, *networks, images=str(tmp_path))
        assert code == 0 and picture.is_file()


def test_points_in_pixels_are_those_of_the_file(run):
    code, _, arrays = run('modes', '--points', '0,0', '49,59', '0.5,0.5', '--iterate')
    assert code == 0
    with np.load(arrays) as found:
        assert found['points'][0, 1] == pytest.approx([49.5 / 50, 59.5 / 90])
        assert found['points'][1, 2] == pytest.approx([0.5, 0.5])


def test_a_line_of_pixels_is_drawn_at_four_times_the_short_side(run, tmp_path, capsys):
    Image.new('RGB', (300, 1)).save(tmp_path / 'line.png')
    code, _, arrays = run('ass', images=str(tmp_path / 'line.png'))
    assert code == 0
    assert 'line.png is more than 4 times as long as wide: resized to 192 x 1 pixels' in (
        capsys.readouterr().out
    )
    with np.load(arrays) as found:
        assert found['ours/0'].shape == (3, 1, 1, 24)


def refused(capsys) -> str:
    [line] = capsys.readouterr().err.splitlines()
    return line.removeprefix('visualize.py: error: ')


@pytest.mark.parametrize(
    'kind, arguments, message',
    [
        ('attention', ['--points', '55,70'], 'tall.png: query point 55,70 is outside the image'),
        ('attention', ['--layers', '4'], 'no block 4: the network has 3, counted from 1'),
        ('prefix', [], 'ours has 0 prefix tokens, counted from 0: no token 0'),
        ('tsne', ['--color-by=mask', '--masks=absent'], 'there is no folder of masks absent'),
        ('ass', ['--checkpoints', 'absent.pth'], 'absent.pth'),
        ('ass', ['--checkpoints', 'a=random:deit-tiny/16', 'a=random:deit-tiny/8'], 'called a'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(run, capsys, kind, arguments, message):
    code, picture, _ = run(kind, *arguments)
    assert code == 2 and message in refused(capsys)
    assert not picture.exists()


def test_a_picture_that_cannot_be_written_shows_before_anything_is_drawn(run, capsys, tmp_path):
    (tmp_path / 'taken').touch()
    assert run('ass', f'--out={tmp_path / "taken/a.png"}')[0] == 2
    captured = capsys.readouterr()
    assert 'a.png' not in captured.out  # as where a picture was written
    assert 'taken/a.png cannot be written' in captured.err


def test_images_that_are_no_images_are_named(run, capsys, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert run('ass', images=str(tmp_path / 'empty'))[0] == 2
    assert 'no images found in' in refused(capsys)
    (tmp_path / 'empty/broken.jpg').write_bytes(b'?')
    assert run('ass', images=str(tmp_path / 'empty'))[0] == 2
    assert 'broken.jpg cannot be read as an image' in refused(capsys)


def test_a_missing_mask_and_one_that_does_not_fit_are_named(run, capsys, photos, tmp_path):
    (tmp_path / 'masks').mkdir()
    assert run('tsne', '--color-by=mask', f'--masks={tmp_path / "masks"}')[0] == 2
    assert 'no mask for' in refused(capsys)
    Image.new('L', (50, 60)).save(tmp_path / 'masks/tall.png')
    assert run('tsne', '--color-by=mask', f'--masks={tmp_path / "masks"}')[0] == 2
    assert 'tall.png has (60, 50) pixels, its image (90, 50)' in refused(capsys)


@pytest.mark.parametrize(
    'kind, argument, message',
    [
        ('tsne', '--color-by=mask', '--color-by mask and --masks DIR go together'),
        ('tsne', '--masks=masks', '--color-by mask and --masks DIR go together'),
        ('modes', '--scale=0', '--scale must be positive, got 0'),
        ('pca', '--out=picture.npz', '--out must end in .png'),
        ('ass', '--max-images=0', 'must be at least 1, got 0'),
    ],
)
def test_wrong_arguments_are_refused(run, capsys, kind, argument, message):
    with pytest.raises(SystemExit) as end:
        run(kind, argument)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'kind', ['', 'attention', 'prefix', 'ass', 'tsne', 'modes', 'places', 'pca']
)
def test_help_is_there_for_every_kind(visualize, capsys, kind):
    with pytest.raises(SystemExit) as end:
        visualize([*([kind] if kind else []), '--help'])
    assert end.value.code == 0
    assert 'usage' in capsys.readouterr().out


def test_modes_are_drawn_with_the_scale_that_a_file_records(run, checkpoint, tmp_path, capsys):
    file = torch.load(checkpoint)
    file['meta']['cfg'] = 'model = dict(neck=dict(self_scale=0.25))'
    torch.save(file, tmp_path / 'trained.pth')
    trained = ['--checkpoints', f'trained={tmp_path / "trained.pth"}', checkpoint]
    assert run('modes', *trained)[0] == 0
    text = capsys.readouterr().out
    assert 'trained: scale 0.25 (that of its training)' in text
    assert "small: scale 0.005103 (the release's: the file records none)" in text
    assert run('modes', *trained, '--scale=0.5')[0] == 0
    assert 'trained: scale 0.5 (as given)' in capsys.readouterr().out
