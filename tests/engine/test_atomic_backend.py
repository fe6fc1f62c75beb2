import pytest
from mmengine.fileio import get_file_backend

from flsl_mm.engine.atomic_backend import AtomicLocalBackend


def test_files_are_replaced_whole(tmp_path):
    backend = get_file_backend(backend_args=dict(backend='atomic'))
    assert isinstance(backend, AtomicLocalBackend)
    path = tmp_path / 'new folder' / 'file'
    backend.put(b'one', path)
    backend.put_text('two', path)
    assert path.read_bytes() == b'two'
    assert [p.name for p in path.parent.iterdir()] == ['file']


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    backend, path = AtomicLocalBackend(), tmp_path / 'file'
    backend.put(b'old', path)

    def full_disk(_):
        raise OSError('no space left on device')

    monkeypatch.setattr('os.fsync', full_disk)
    with pytest.raises(OSError, match='no space'):
        backend.put(b'new', path)
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['file']
