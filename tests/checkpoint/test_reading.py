import argparse
import os
import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from safetensors.torch import save_file

from flsl_mm.checkpoint import CheckpointError, read_checkpoint

WEIGHTS = dict(state_dict=dict(weight=torch.arange(3.0)))


class Executes:
    """Pickles to a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Harmless:
    """An object that the allow-list does not know."""


def test_a_training_checkpoint_with_log_history_is_read_safely(tmp_path):
    hub = MessageHub.get_instance('test_reading')
    for value in (1.0, 0.5):
        hub.update_scalar('train/loss', value)
    hub.log_scalars['val/loss'] = HistoryBuffer()  # nothing yet
    hub.update_info('iter', 3)
    torch.save(dict(WEIGHTS, message_hub=hub.state_dict()), tmp_path / 'x.pth')
    assert torch.equal(
        read_checkpoint(tmp_path / 'x.pth')['state_dict']['weight'], torch.arange(3.0)
    )


def test_a_namespace_is_read_safely(tmp_path):
    torch.save(dict(WEIGHTS, args=argparse.Namespace(arch='vit_small')), tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth')['args'].arch == 'vit_small'


def test_the_old_torch_format_is_read(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'x.pth', _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / 'x.pth').keys() == WEIGHTS.keys()


@pytest.mark.parametrize('new_format', [True, False])
def test_a_file_that_executes_code_is_refused_and_does_not(tmp_path, new_format):
    file = dict(WEIGHTS, extra=Executes(tmp_path / 'executed'))
    torch.save(file, tmp_path / 'x.pth', _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=r'Python object (posix|nt)\.mkdir.*--trust'):
        read_checkpoint(tmp_path / 'x.pth')
    assert not (tmp_path / 'executed').exists()


def test_an_attribute_look_up_in_a_file_reaches_nothing(tmp_path):
    class Reaches:
        def __reduce__(self):
            return getattr, (argparse.Namespace, '__init__')

    torch.save(dict(WEIGHTS, extra=Reaches()), tmp_path / 'x.pth')
    assert not callable(read_checkpoint(tmp_path / 'x.pth')['extra'])


def test_trust_permits_what_the_allow_list_does_not(tmp_path):
    torch.save(dict(WEIGHTS, extra=Harmless()), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'Harmless.*trust=True'):
        read_checkpoint(tmp_path / 'x.pth')
    assert isinstance(read_checkpoint(tmp_path / 'x.pth', trust=True)['extra'], Harmless)


def test_pickle_instructions_beyond_weights_need_trust(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'x.pth', pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r'needs more than weights .*trust=True'):
        read_checkpoint(tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth', trust=True).keys() == WEIGHTS.keys()


def written(path, **kwargs):
    torch.save(WEIGHTS, path, **kwargs)
    return path.read_bytes()


def safetensors(path):
    save_file(WEIGHTS['state_dict'], path)
    return path.read_bytes()


BROKEN = {
    'empty.pth': (lambda p: b'', 'empty'),
    'text.pth': (lambda p: b'<html>404 not found</html>', 'neither a torch checkpoint nor'),
    'photo.pth': (lambda p: b'\xff\xd8\xff\xe0\x00\x10JFIF', 'neither a torch checkpoint nor'),
    'truncated.pth': (lambda p: written(p)[:-200], 'truncated, damaged or foreign'),
    'truncated_old.pth': (
        lambda p: written(p, _use_new_zipfile_serialization=False)[:-9],
        'truncated, damaged or foreign',
    ),
    'bare.pkl': (lambda p: pickle.dumps(dict(model={})), 'bare Python pickle'),
    'bare.pth': (lambda p: pickle.dumps(dict(model={})), 'bare Python pickle'),
    'truncated.safetensors': (lambda p: safetensors(p)[:-3], 'truncated, damaged or foreign'),
    'text.safetensors': (lambda p: b'version https://git-lfs', 'truncated, damaged or foreign'),
}


@pytest.mark.parametrize('name', BROKEN)
@pytest.mark.parametrize('trust', [False, True])
def test_a_broken_file_is_refused_in_one_line_that_names_it(name, trust, tmp_path):
    make, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(make(path))
    with pytest.raises(CheckpointError, match=f'{name}: .*{message}') as error:
        read_checkpoint(path, trust)
    assert '\n' not in str(error.value)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='no such file'):
        read_checkpoint(tmp_path / 'typo.pth')
    with pytest.raises(CheckpointError, match='is a folder'):
        read_checkpoint(tmp_path)
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, not a dict'):
        read_checkpoint(tmp_path / 'tensor.pth')
