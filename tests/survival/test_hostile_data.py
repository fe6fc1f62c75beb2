"""Images, tar files and records that hang, take all memory, or are not what they should be."""

import io
import json
import os
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flsl_mm.apis.command_line import run_command
from flsl_mm.apis.steps import Step, StepRunner
from flsl_mm.checkpoint.files import write_checkpoint
from flsl_mm.config.numbers import check_numbers
from flsl_mm.datasets import SampleKey, UnlabeledImages
from flsl_mm.datasets.labeled_images import read_image
from flsl_mm.datasets.mask_files import read_mask
from flsl_mm.datasets.tar_shards import TarShards, index_shards
from flsl_mm.datasets.transforms import LoadRGBImage
from flsl_mm.evaluation.tasks.box_features import BoxFeatures, _read_features, _write_features
from flsl_mm.utils.errors import ConfigError, DataError
from flsl_mm.utils.files import check_writable, whole_file
from flsl_mm.visualization.map_figure import fit

PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=16),
    dict(type='PackTeacherCrop'),
]


@pytest.fixture
def folder(tmp_path):
    """Two images in a folder."""
    root = tmp_path / 'images'
    root.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{i}.png')
    return root


SPECIAL = dict(
    fifo=os.mkfifo,
    link_to_a_fifo=lambda path: (os.mkfifo(f'{path}.pipe'), os.symlink(f'{path}.pipe', path)),
    device=lambda path: os.symlink('/dev/zero', path),
    folder=os.mkdir,
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('kind', SPECIAL)
def test_only_regular_files_are_images(kind, folder, tmp_path, make_shards, capsys):
    special = folder / '00.png'
    SPECIAL[kind](special)
    (folder / 'list.txt').write_text('00.png\n0.png\n')
    images = UnlabeledImages(str(folder), ann_file='list.txt', pipeline=PIPELINE)
    [(path, reason)] = images[SampleKey(0, 0)]['data_samples'].broken
    assert path.endswith('00.png') and ('no regular file' in reason or 'directory' in reason)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match='00.png cannot be read'):
            read(str(special))
    make_shards.main([str(folder), str(tmp_path / 'shards'), '--ann-file=list.txt'])
    assert '00.png' in capsys.readouterr().err
    with tarfile.open(tmp_path / 'shards/000000.tar') as tar:
        assert tar.getnames() == ['0.png']


def test_a_small_file_of_very_many_pixels_is_not_decoded(tmp_path, memory_of):
    path = tmp_path / 'bomb.png'
    Image.new('1', (13_300, 13_300)).save(path)
    assert path.stat().st_size < 30_000
    taken, error = memory_of(LoadRGBImage().transform, dict(img_path=str(path)))
    assert '13300 x 13300 pixels in a file of' in error and 'OSError' in error
    assert taken < 64, f'{taken} MiB'


def test_tar_files_may_have_odd_members(tmp_path, folder):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name in ('photos/', '', '.', '/', '..', '.hidden.png', 'a/.png', 'ok.png'):
            member = tarfile.TarInfo(name)
            content = (folder / '0.png').read_bytes()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert index_shards(str(tmp_path), ('.png',), report=lambda line: None) == 1
    assert list(TarShards(str(tmp_path)).names) == ['ok.png']


def tamper(**changes):
    def edit(path):
        with np.load(path) as found:
            arrays = dict(found)
        for name, change in changes.items():
            arrays[name] = change(arrays[name])
        np.savez(path, **arrays)

    return edit


INDEX = dict(
    outside_of_the_tar_file=tamper(start=lambda a: a + 10**9),
    a_sum_that_overflows=tamper(start=lambda a: a * 0 + (2**63 - 1)),
    negative=tamper(size=lambda a: -a),
    another_number_of_images=tamper(size=lambda a: a[:-1]),
    no_such_tar_file=tamper(shard=lambda a: a + 7),
    numbers_with_a_point=tamper(start=lambda a: a.astype(float)),
    texts=tamper(size=lambda a: a.astype(str)),
    two_dimensions=tamper(shard=lambda a: a[None]),
    names_that_overlap=tamper(name_ends=lambda a: a[::-1].copy()),
    names_beyond_the_end=tamper(name_ends=lambda a: a + 3),
    another_folder=tamper(shard_data=lambda a: np.frombuffer(b'../.t', np.uint8)),
    objects=lambda path: np.savez(path, start=np.array([{}], dtype=object)),
    no_zip=lambda path: path.write_bytes(b'PK\3\4' + bytes(50)),
    a_bomb=lambda path: np.savez_compressed(path, start=np.zeros(1 << 24)),
    a_pipe=lambda path: (path.unlink(), os.mkfifo(path)),
)


@pytest.mark.parametrize('damage', INDEX)
def test_a_tampered_index_of_tar_files_is_one_line(damage, tmp_path, folder):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    index_shards(str(tmp_path), ('.png',), report=lambda line: None)
    assert len(TarShards(str(tmp_path))) == 2
    INDEX[damage](tmp_path / 'shards.npz')
    with pytest.raises(DataError, match='is no index of tar files .*make_shards') as error:
        TarShards(str(tmp_path))
    assert '\n' not in str(error.value)


MARKS = [b'', b'{', b'\xff', b'[]', b'3', b'{"files": []}', b'{"seconds": "1"}', b'[' * 100_000]


@pytest.mark.parametrize('content', MARKS)
def test_a_step_with_a_damaged_record_is_done_again(content, tmp_path):
    calls = []
    step = Step('a', 'step a', tmp_path, work=lambda: calls.append(1) or dict(n=1.0))
    for damaged in (False, True):
        if damaged:
            step.mark.write_bytes(content)
        StepRunner(root=tmp_path, say=lambda _: None).run([step])
    assert len(calls) == 2 and step.read()['result'] == dict(n=1.0)


def test_a_step_whose_numbers_are_damaged_is_done_again(tmp_path):
    out = tmp_path / 'out.json'
    code = f'open({str(out)!r}, "w").write("{{\\"n\\": 1}}")'
    step = Step('a', 'step a', tmp_path, command=('python', '-c', code), leaves=out)
    StepRunner(root=tmp_path, say=lambda _: None).run([step])
    assert step.is_done()
    out.write_text('{"n": ')
    assert not step.is_done()


RECORDS = [
    b'{',
    b'[]',
    b'{"history": 3, "best": null}',
    b'{"history": [3], "best": null}',
    b'{"history": [{"epoch": "1", "iter": 2}], "best": null}',
    b'{"history": [], "best": {"epoch": 1, "iter": 2, "score": "high", "number": "n"}}',
]


@pytest.mark.parametrize('content', RECORDS)
def test_a_damaged_record_of_evaluations_is_named_and_begun_anew(content, tmp_path):
    from types import SimpleNamespace

    from flsl_mm.engine.hooks.frozen_evaluation_hook import RECORD, _read_record

    (tmp_path / RECORD).write_bytes(content)
    said = []
    runner = SimpleNamespace(work_dir=tmp_path, logger=SimpleNamespace(warning=said.append))
    assert _read_record(runner) == dict(best=None, history=[])
    assert len(said) == 1 and RECORD in said[0] and 'damaged' in said[0]


def cached(**changes):
    counts = dict(unreadable=1, no_box=0)
    features, labels = torch.zeros(3, 2, 8, dtype=torch.float16), torch.tensor([0, 1, -1])
    return BoxFeatures(**{**dict(features=features, labels=labels, counts=counts), **changes})


CACHES = dict(
    width=cached(features=torch.zeros(3, 2, 9, dtype=torch.float16)),
    points=cached(features=torch.zeros(3, 1, 8, dtype=torch.float16)),
    kind=cached(features=torch.zeros(3, 2, 8)),
    images=cached(features=torch.zeros(2, 2, 8, dtype=torch.float16)),
    counts=cached(counts=dict(unreadable=0)),
    negative_counts=cached(counts=dict(unreadable=2, no_box=-1)),
    odd_counts=cached(counts=dict(other=1)),
    text_counts=cached(counts=dict(unreadable='1')),
    no_counts=cached(counts=[1]),
    labels=cached(labels=torch.tensor([0, 1, 2])),
    float_labels=cached(labels=torch.tensor([0.0, 1.0, 1.0])),
    fewer_labels=cached(labels=torch.tensor([0, 1])),
)


def test_damaged_features_of_the_knn_are_not_believed(tmp_path):
    def read():
        return _read_features(tmp_path / 'x.safetensors', total=4, shape=(2, 8), classes=2)

    assert read() is None
    _write_features(tmp_path / 'x.safetensors', cached())
    assert torch.equal(read().labels, cached().labels)
    for damage, found in CACHES.items():
        _write_features(tmp_path / 'x.safetensors', found)
        assert read() is None, damage
    save_file(dict(labels=torch.zeros(3)), tmp_path / 'x.safetensors')
    assert read() is None


NOT_UTF8 = os.fsdecode(b'caf\xe9.png')


def test_names_that_are_not_utf8_are_logged_escaped(tiny_config, make_runner, folder, capfd):
    (folder / NOT_UTF8).write_bytes(b'no image')
    runner = make_runner(
        tiny_config,
        **{
            'train_dataloader.dataset.data_root': str(folder),
            'train_dataloader.batch_size': 3,
            'default_hooks.broken_images.max_ratio': 1.0,
            'train_cfg.max_epochs': 1,
        },
    )
    runner.train()
    [log] = [path for path in (folder.parent / 'run').glob('*/*.log')]
    assert r'image skipped, cannot be read: ' in log.read_text()
    assert r'caf\udce9.png' in log.read_text()
    assert 'Logging error' not in capfd.readouterr().err


def test_names_that_are_not_utf8_are_drawn_and_printed(capfd, monkeypatch):
    assert fit(NOT_UTF8, 10, 8) == r'caf\udce9.png'
    monkeypatch.setattr(sys, 'stdout', open(1, 'w', encoding='utf-8', closefd=False))
    assert run_command('x', lambda: print(NOT_UTF8, flush=True)) == 0
    assert r'caf\udce9.png' in capfd.readouterr().out


def test_drafts_follow_no_links_and_open_no_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr('secrets.token_hex', lambda _: 'known')
    precious = tmp_path / 'precious'
    precious.write_text('precious')
    (tmp_path / '.out.json.known.tmp').symlink_to(precious)
    with pytest.raises(FileExistsError), whole_file(tmp_path / 'out.json') as draft:
        draft.write_text('replaced')
    with pytest.raises(OSError, match=r'out\.json cannot be written'):
        check_writable(tmp_path / 'out.json')
    assert precious.read_text() == 'precious'
    assert (tmp_path / '.out.json.known.tmp').is_symlink()  # it is not ours


@pytest.mark.parametrize('umask, mode', [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_files_for_others_have_the_mode_that_the_umask_says(suffix, umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_checkpoint(tmp_path / f'x{suffix}', dict(a=torch.zeros(3)), {}, flat=False)
    finally:
        os.umask(before)
    assert (tmp_path / f'x{suffix}').stat().st_mode & 0o777 == mode
    if suffix == '.safetensors':
        assert load_file(tmp_path / f'x{suffix}').keys() == {'a'}


class DiesInAWorker(torch.utils.data.Dataset):
    """As where the system's memory guard kills a worker."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), 9)


def test_a_data_worker_that_is_killed_is_one_line(capsys):
    loader = torch.utils.data.DataLoader(DiesInAWorker(), num_workers=1)
    assert run_command('train.py', lambda: list(loader)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and 'a data worker ended' in lines[0] and 'num_workers' in lines[0]


def test_a_logger_without_interval_is_one_line():
    with pytest.raises(ConfigError, match='default_hooks.logger.interval must be a whole number'):
        check_numbers(dict(default_hooks=dict(logger=dict(interval=0))))


def test_results_are_still_json(tmp_path):
    from flsl_mm.utils.files import read_json, write_json

    write_json(tmp_path / 'x.json', {NOT_UTF8: 1})
    assert read_json(tmp_path / 'x.json') == {NOT_UTF8: 1}
    assert json.loads((tmp_path / 'x.json').read_text()) == {NOT_UTF8: 1}
