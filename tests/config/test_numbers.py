import pytest
from mmengine.config import Config

from flsl_mm.config.numbers import check_numbers


def config(**entries) -> Config:
    return Config(
        {
            'train_cfg': dict(max_epochs=3),
            'train_dataloader': dict(batch_size=2, num_workers=0),
            'optim_wrapper': dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.0)),
            **entries,
        }
    )


def test_sound_and_absent_numbers_pass():
    check_numbers(config())
    check_numbers(Config())
    check_numbers(config(val_dataloader=None, optim_wrapper=dict(accumulative_counts=4)))


@pytest.mark.parametrize(
    'path, value, wanted',
    [
        ('train_cfg.max_epochs', -1, 'a whole number, at least 1'),
        ('train_cfg.max_epochs', 1.5, 'a whole number, at least 1'),
        ('train_dataloader.batch_size', 'abc', 'a whole number, at least 1'),
        ('train_dataloader.batch_size', 0, 'a whole number, at least 1'),
        ('train_dataloader.num_workers', -1, 'a whole number, at least 0'),
        ('optim_wrapper.accumulative_counts', True, 'a whole number, at least 1'),
        ('optim_wrapper.optimizer.lr', 'fast', 'a number, at least 0'),
        ('optim_wrapper.optimizer.weight_decay', float('nan'), 'a number, at least 0'),
    ],
)
def test_others_are_refused_by_name(path, value, wanted):
    cfg = config()
    cfg.merge_from_dict({path: value})
    with pytest.raises(ValueError) as caught:
        check_numbers(cfg)
    assert str(caught.value) == f'{path} must be {wanted}, got {value!r}'
