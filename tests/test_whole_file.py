import pytest

from flsl_mm.whole_file import check_writable


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
