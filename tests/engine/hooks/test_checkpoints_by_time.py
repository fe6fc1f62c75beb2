"""Checkpoints within long epochs, in real runs."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

NAME = 'between_epochs.pth'


class Stop(Hook):
    """Ends a run after so many iterations, as a kill would."""

    priority = 'LOWEST'

    def __init__(self, after: int) -> None:
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def build(make_runner, tiny_config):
    def build(minutes: float | None, **overrides):
        return make_runner(
            tiny_config,
            **{
                'default_hooks.checkpoint': dict(minutes=minutes, interval=1),
                'train_dataloader.batch_size': 4,  # three iterations an epoch
                **overrides,
            },
        )

    return build


def test_a_run_stopped_within_an_epoch_goes_on_from_there_to_the_same_weights(build, tmp_path):
    whole = build(None, work_dir=str(tmp_path / 'whole')).train()
    folder = str(tmp_path / 'stopped')
    runner = build(0.0, work_dir=folder)
    runner.register_hook(Stop(after=5))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert Path(folder, 'last_checkpoint').read_text().endswith(NAME)
    resumed = build(None, work_dir=folder, resume=True)
    model = resumed.train()
    [log] = sorted(Path(folder).glob('*/*.log'))[-1:]
    assert 'resumed epoch: 1, iteration: 5' in log.read_text()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert not Path(folder, NAME).exists()  # the epoch's own took its place


def test_short_epochs_are_saved_by_epoch_only(build, tmp_path):
    build(60.0, work_dir=str(tmp_path / 'run')).train()
    assert sorted(p.name for p in (tmp_path / 'run').glob('*.pth')) == [
        'epoch_1.pth',
        'epoch_2.pth',
    ]
