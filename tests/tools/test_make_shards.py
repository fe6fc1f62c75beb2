"""The tool that puts images into tar files."""

import subprocess
import tarfile

import pytest
import torch

from flsl_mm.datasets import SampleKey, UnlabeledImages

PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=16),
    dict(type='PackTeacherCrop'),
]


@pytest.fixture
def tool(load_tool):
    return load_tool('dataset_converters/make_shards')


def test_the_tar_files_are_the_folder_in_the_same_order(tool, image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'READ_AHEAD', 5)
    images = tool.ImageFiles.in_folder(str(image_folder), ('.png',))
    tool.write_shards(images, tmp_path / 'shards', shard_bytes=30_000)
    assert tool.main(['--index', str(tmp_path / 'shards')]) == 0
    assert len(list((tmp_path / 'shards').glob('*.tar'))) > 2
    files = UnlabeledImages(str(image_folder), pipeline=PIPELINE)
    inside = UnlabeledImages(str(tmp_path / 'shards'), pipeline=PIPELINE)
    assert list(inside.source.names) == list(files.source.names)
    for i in range(12):
        ours, theirs = inside[SampleKey(i, i)], files[SampleKey(i, i)]
        assert torch.equal(ours['inputs'], theirs['inputs'])


def test_tar_can_unpack_what_it_makes(tool, image_folder, tmp_path, capsys):
    target = tmp_path / 'shards'
    assert tool.main([str(image_folder), str(target)]) == 0
    assert f'12 images; their index is {target}/shards.npz' in capsys.readouterr().out
    (tmp_path / 'out').mkdir()
    subprocess.run(['tar', 'xf', target / '000000.tar', '-C', tmp_path / 'out'], check=True)
    for path in image_folder.rglob('*.png'):
        assert (tmp_path / 'out' / path.relative_to(image_folder)).read_bytes() == path.read_bytes()


def test_a_list_chooses_and_orders(tool, image_folder, tmp_path):
    (tmp_path / 'list.txt').write_text('class1/3.png 1\nclass0/0.png 0\n')
    arguments = [str(image_folder), str(tmp_path / 'shards')]
    assert tool.main([*arguments, f'--ann-file={tmp_path}/list.txt']) == 0
    with tarfile.open(tmp_path / 'shards/000000.tar') as tar:
        assert tar.getnames() == ['class1/3.png', 'class0/0.png']


def test_every_file_of_a_list_is_taken_whatever_its_name(tool, image_folder, tmp_path, capsys):
    names = ['a.png', 'b.image', 'no-ending', '.hidden.png']
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(
            (image_folder / f'class{number % 2}/{number}.png').read_bytes()
        )
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    assert tool.main([str(tmp_path), str(tmp_path / 'shards'), '--ann-file=list.txt']) == 0
    assert '4 images; their index is' in capsys.readouterr().out
    inside = UnlabeledImages(str(tmp_path / 'shards'), pipeline=PIPELINE)
    assert list(inside.source.names) == names


def test_images_that_were_lost_are_noticed(tool, image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'index_shards', lambda folder, extensions: 11)
    assert tool.main([str(image_folder), str(tmp_path / 'shards')]) == 2
    assert '11 of 12 images are in' in capsys.readouterr().err


def test_mistakes_are_one_clear_line(tool, image_folder, tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/file').touch()
    assert tool.main([str(image_folder), str(tmp_path / 'full')]) == 2
    assert 'full is not empty' in capsys.readouterr().err
    assert tool.main([str(tmp_path / 'full'), str(tmp_path / 'new')]) == 2
    assert 'no images found under' in capsys.readouterr().err
    (tmp_path / 'list.txt').write_text('gone.png\n')
    arguments = [str(tmp_path), str(tmp_path / 'new'), '--ann-file=list.txt']
    assert tool.main(arguments) == 2
    assert 'No such file' in (error := capsys.readouterr().err) and 'gone.png' in error
    assert not list((tmp_path / 'new').iterdir())  # nothing half-written


@pytest.mark.parametrize(
    'arguments', [[], ['src'], ['src', 'dst', '--index=x'], ['src', '--index=x']]
)
def test_it_takes_a_source_and_a_target_or_an_index(tool, arguments):
    with pytest.raises(SystemExit):
        tool.main(arguments)
