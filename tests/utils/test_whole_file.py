import errno
import os

import pytest

from flsl_mm.utils.files import check_writable, whole_file


def test_a_file_appears_in_a_new_folder_when_it_is_whole(tmp_path):
    path = tmp_path / 'new' / 'file'
    with whole_file(path) as draft:
        draft.write_text('whole')
        assert not path.exists()
    assert path.read_text() == 'whole'
    assert list(path.parent.iterdir()) == [path]


def test_a_destination_that_can_be_written_is_left_as_it_is(tmp_path):
    check_writable(tmp_path / 'new/out.json')
    assert list((tmp_path / 'new').iterdir()) == []
    (tmp_path / 'new/out.json').write_text('precious')
    check_writable(tmp_path / 'new/out.json')
    assert (tmp_path / 'new/out.json').read_text() == 'precious'


@pytest.mark.parametrize('name', ['folder', 'file/out.json'])
def test_one_that_cannot_is_named(tmp_path, name):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=f'{name} cannot be written: '):
        check_writable(tmp_path / name)


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    with pytest.raises(OSError, match=r'No space left on device: .*epoch_1\.pth'):
        with whole_file(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())
