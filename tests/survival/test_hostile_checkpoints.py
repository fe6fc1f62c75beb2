"""Checkpoints that run code, take all memory, or are not what was written."""

import io
import os
import pickle
import zipfile

import pytest
import torch

from flsl_mm.checkpoint import CheckpointError, read_checkpoint
from flsl_mm.engine.runners.flsl_runner import latest_checkpoint

WEIGHTS = dict(state_dict=dict(weight=torch.arange(1000.0)))


def repack(path, edit=lambda name, content: content, compression=zipfile.ZIP_STORED, extra=()):
    """Write a file of torch anew: every record as ``edit`` gives it, and more of them."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(records)).partition('/')[0]
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in records.items():
            archive.writestr(name, edit(name, content))
        for name, content in extra:
            archive.writestr(f'{root}/{name}', content)


class Identity(torch.nn.Module):
    def forward(self, x):
        return x


def torchscript(path):
    torch.jit.save(torch.jit.trace(Identity(), torch.zeros(1)), path)


def disguised_torchscript(name):
    def write(path):
        torch.save(WEIGHTS, path)
        repack(path, extra=[(name, b'')])

    return write


@pytest.mark.parametrize('trust', [False, True])
@pytest.mark.parametrize(
    'write',
    [torchscript, *map(disguised_torchscript, ('constants.pkl', 'Constants.PKL', 'code/x.py'))],
)
def test_archives_of_code_are_refused_before_torch_loads_them(write, trust, tmp_path, monkeypatch):
    """torch < 2.6 ran them even where it was to read weights only."""
    write(tmp_path / 'x.pth')
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('torch.load was called'))
    with pytest.raises(CheckpointError, match=r'x\.pth: is a TorchScript archive.*state_dict\(\)'):
        read_checkpoint(tmp_path / 'x.pth', trust)


def zip_bomb(path):
    torch.save(WEIGHTS, path)
    repack(path, compression=zipfile.ZIP_DEFLATED, extra=[('data/1', bytes(1 << 27))])


def stride_0(path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1).expand(1 << 35))), path)


def one_storage_a_thousand_times(path):
    weight = torch.zeros(1 << 20)
    torch.save(dict(state_dict={str(i): weight.view(-1) for i in range(1000)}), path)


@pytest.mark.parametrize('write', [zip_bomb, stride_0, one_storage_a_thousand_times])
def test_what_would_take_far_more_memory_than_the_file_has_is_refused(write, tmp_path, memory_of):
    write(tmp_path / 'x.pth')
    taken, error = memory_of(read_checkpoint, tmp_path / 'x.pth')
    assert 'CheckpointError' in error and 'MiB of memory, and the file has' in error
    assert taken < 64, f'{taken} MiB'


def test_what_holds_itself_is_read_once(tmp_path):
    loop = [torch.zeros(3)]
    loop.append(loop)
    for _ in range(60):  # 2 ** 60 of them
        loop = [loop, loop]
    torch.save(dict(WEIGHTS, loop=loop), tmp_path / 'x.pth')
    assert 'loop' in read_checkpoint(tmp_path / 'x.pth')


@pytest.mark.parametrize('special', ['fifo', '/dev/zero'])
def test_only_regular_files_are_read(special, tmp_path):
    path = tmp_path / 'x.pth'
    os.mkfifo(path) if special == 'fifo' else path.symlink_to(special)
    with pytest.raises(CheckpointError, match='is no regular file'):
        read_checkpoint(path)


def run(path, epoch):
    """A checkpoint of a run, older ones first."""
    torch.save(dict(WEIGHTS, meta=dict(epoch=epoch, iter=2 * epoch), message_hub={}), path)
    os.utime(path, (epoch, epoch))


def overwrite(path, edit):
    content = bytearray(path.read_bytes())
    path.write_bytes(edit(content))


def zeros_inside(path):
    def blank(content):
        start = content.index(torch.tensor([500.0, 501.0]).numpy().tobytes())
        content[start : start + 256] = bytes(256)
        return content

    overwrite(path, blank)


def damaged_pickle(path):
    with zipfile.ZipFile(path) as archive:
        name = archive.namelist()[0]
    repack(path, lambda n, content: content[:20] + b'\xff' * 30 if n == name else content)


def pickled_code(path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(path) + '.ran',)

    torch.save(dict(WEIGHTS, meta=dict(epoch=1, iter=1), message_hub=Runs()), path)


DAMAGES = dict(
    empty=lambda path: path.write_bytes(b''),
    cut_off=lambda path: overwrite(path, lambda content: content[:-500]),
    zeros_inside=zeros_inside,
    zeros_only=lambda path: overwrite(path, lambda content: bytes(len(content))),
    damaged_pickle=damaged_pickle,
    code=pickled_code,
    weights_only=lambda path: torch.save(WEIGHTS, path),
    odd_meta=lambda path: torch.save(dict(WEIGHTS, meta=3, message_hub={}), path),
    odd_epoch=lambda path: torch.save(
        dict(WEIGHTS, meta=dict(epoch='1', iter=1), message_hub={}), path
    ),
    list=lambda path: torch.save([1], path),
    bomb=zip_bomb,
    torchscript=torchscript,
    folder=lambda path: (path.unlink(), path.mkdir()),
    fifo=lambda path: (path.unlink(), os.mkfifo(path)),
    dangling_link=lambda path: (path.unlink(), path.symlink_to('nowhere')),
)


@pytest.mark.parametrize('pointed', [True, False])
@pytest.mark.parametrize('damage', DAMAGES)
def test_resuming_passes_over_what_is_damaged_and_names_it(damage, pointed, tmp_path, capsys):
    for epoch in (1, 2, 3):
        run(tmp_path / f'epoch_{epoch}.pth', epoch)
    if pointed:
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    DAMAGES[damage](tmp_path / 'epoch_3.pth')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')
    printed = capsys.readouterr()
    warnings = [s for s in (printed.out + printed.err).splitlines() if 'passed over' in s]
    assert 'epoch_3.pth: ' in warnings[-1]
    assert len(warnings) == 1 + (pointed and damage == 'dangling_link')
    assert not (tmp_path / 'epoch_3.pth.ran').exists()


POINTERS = dict(
    not_utf8=b'\xff\xfe\x80',
    too_long=b'x' * 100_000,
    too_long_a_name=b'/' + b'x' * 3000,
    empty=b'',
    zeros=bytes(40),
    root=b'/',
    binary=io.BytesIO(pickle.dumps(WEIGHTS)).getvalue(),
    gone=b'epoch_9.pth',
)


@pytest.mark.parametrize('pointer', POINTERS)
def test_resuming_passes_over_a_damaged_pointer_and_names_it(pointer, tmp_path, capsys):
    run(tmp_path / 'epoch_1.pth', 1)
    (tmp_path / 'last_checkpoint').write_bytes(POINTERS[pointer])
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')
    printed = capsys.readouterr()
    [warning] = [s for s in (printed.out + printed.err).splitlines() if 'passed over' in s]
    assert 'last_checkpoint leads to no checkpoint' in warning and len(warning) < 500


def test_a_named_checkpoint_that_is_damaged_is_refused(tiny_config, make_runner, tmp_path):
    run(tmp_path / 'x.pth', 1)
    zeros_inside(tmp_path / 'x.pth')
    runner = make_runner(tiny_config, resume=True, load_from=str(tmp_path / 'x.pth'))
    with pytest.raises(CheckpointError, match=r'x\.pth: is damaged, the checksum of .* is wrong'):
        runner.train()
