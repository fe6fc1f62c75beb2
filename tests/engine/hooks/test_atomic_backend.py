import multiprocessing
import time

import pytest
from mmengine.fileio import get_file_backend

from flsl_mm.engine.hooks.atomic_checkpoint_hook import AtomicLocalBackend


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


def write_forever(path: str) -> None:
    backend = AtomicLocalBackend()
    while True:
        for letter in (b'a', b'b'):
            backend.put(letter * 4_000_000, path)


@pytest.mark.parametrize('delay', [0.02, 0.05, 0.11])
def test_killing_the_writer_leaves_a_whole_file(tmp_path, delay):
    path = tmp_path / 'file'
    AtomicLocalBackend().put(b'a' * 4_000_000, path)
    process = multiprocessing.get_context('fork').Process(target=write_forever, args=(str(path),))
    process.start()
    time.sleep(delay)
    process.kill()
    process.join()
    content = path.read_bytes()
    assert len(content) == 4_000_000 and len(set(content)) == 1
