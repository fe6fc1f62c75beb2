"""Numbers of a run that must be in their range before anything is built."""

from mmengine.config import Config

from ..utils.errors import ConfigError

# Dotted path: whether it is a whole number, and its least value.
NUMBERS = {
    'train_cfg.max_epochs': (True, 1),
    'train_cfg.max_iters': (True, 1),
    'optim_wrapper.accumulative_counts': (True, 1),
    'default_hooks.logger.interval': (True, 1),
    'optim_wrapper.optimizer.lr': (False, 0),
    'optim_wrapper.optimizer.weight_decay': (False, 0),
    **{f'{split}_dataloader.batch_size': (True, 1) for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.num_workers': (True, 0) for split in ('train', 'val', 'test')},
}


def check_numbers(cfg: Config) -> None:
    """Refuse numbers of a run that are none, or too small.

    Args:
        cfg: Config of a run; what it leaves out is not checked.

    Raises:
        ConfigError: Names the entry, its value and what it must be.
    """
    for path, (whole, least) in NUMBERS.items():
        value = cfg
        for key in path.split('.'):
            value = value.get(key) if isinstance(value, dict | Config) else None
        if value is None:
            continue
        kind = int if whole else int | float
        if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
            what = 'must be a whole number' if whole else 'must be a number'
            raise ConfigError(f'{path} {what}, at least {least}, got {value!r}')
