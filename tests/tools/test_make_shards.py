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


def test_files_that_cannot_be_read_are_left_out_and_named(tool, image_folder, tmp_path, capsys):
    for number in (0, 1):
        content = (image_folder / f'class{number}/{number}.png').read_bytes()
        (tmp_path / f'{number}.png').write_bytes(content)
    for name in ('0-broken.png', 'z-broken.png'):  # the last one: no tar file of its own
        (tmp_path / name).symlink_to(tmp_path / 'gone')
    target = tmp_path / 'shards'
    images = tool.ImageFiles.in_folder(str(tmp_path), ('.png',))
    assert tool.write_shards(images, target, shard_bytes=1) == 2
    assert [path.name for path in sorted(target.iterdir())] == ['000000.tar', '000001.tar']
    for path in target.iterdir():
        path.unlink()
    capsys.readouterr()
    assert tool.main([str(tmp_path), str(target)]) == 2  # many: a mount that has gone?
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith('2 images; their index is')
    assert 'error: 2 of 4 images left out: they cannot be read; the tar files of the' in err
    assert all(
        f'cannot be read: [Errno 2] No such file or directory: {name!r}' in err
        for name in (f'{tmp_path}/0-broken.png', f'{tmp_path}/z-broken.png')
    )
    assert list(UnlabeledImages(str(target)).source.names) == ['0.png', '1.png']


def test_a_few_files_that_cannot_be_read_are_no_failure(tool, image_folder, tmp_path, capsys):
    content = (image_folder / 'class0/0.png').read_bytes()
    for number in range(100):
        (tmp_path / f'{number}.png').write_bytes(content)
    (tmp_path / 'broken.png').symlink_to(tmp_path / 'gone')
    assert tool.main([str(tmp_path), str(tmp_path / 'shards')]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == '1 of 101 images left out: they cannot be read'


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
    assert f'none of 1 image of {tmp_path} can be read' in error
    assert not list((tmp_path / 'new').iterdir())  # nothing half-written


@pytest.mark.parametrize(
    'arguments', [[], ['src'], ['src', 'dst', '--index=x'], ['src', '--index=x']]
)
def test_it_takes_a_source_and_a_target_or_an_index(tool, arguments):
    with pytest.raises(SystemExit):
        tool.main(arguments)
