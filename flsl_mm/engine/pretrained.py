"""One variable for the weights that a detector or segmentor starts from."""

from mmengine.config import Config

from ..checkpoint import CheckpointError, PretrainedViT
from ..checkpoint.reading import check_file


def use_pretrained(cfg: Config) -> None:
    """Hand a config's top-level ``pretrained`` to its backbone, in place.

    mmengine evaluates the variables of a config before the command line is read, so a variable
    that the model merely refers to could not be overridden with ``--cfg-options pretrained=FILE``
    or by a config that inherits it. :class:`FLSLRunner` calls this, so it holds for every
    ``train.py``; code that builds a model by itself calls it first.

    ``pretrained=None`` is random initialisation, which the log then says. A config without the
    variable, or whose backbone is not initialised by ``PretrainedViT``, is left as it is.

    Args:
        cfg: Config with ``pretrained`` and ``model.backbone.init_cfg``.
    """
    init_cfg = _init_cfg(cfg)
    if 'pretrained' in cfg and init_cfg is not None:
        init_cfg['checkpoint'] = cfg.pretrained


def check_pretrained(cfg: Config) -> None:
    """Stop before any data is read when the weights to start from are not there.

    Raises:
        CheckpointError: ``pretrained`` names no file.
    """
    init_cfg = _init_cfg(cfg)
    if init_cfg is None or init_cfg.get('checkpoint') is None:
        return
    try:
        check_file(init_cfg['checkpoint'])
    except CheckpointError as error:
        raise CheckpointError(
            f'pretrained weights: {error}; name a file with --cfg-options pretrained=FILE '
            '(pretrained=None trains from random weights)'
        ) from None


def _init_cfg(cfg: Config) -> dict | None:
    """The backbone's ``init_cfg`` where it is a ``PretrainedViT``."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    init_cfg = backbone.get('init_cfg')
    is_ours = isinstance(init_cfg, dict) and init_cfg.get('type') in (
        'PretrainedViT',
        PretrainedViT,
    )
    return init_cfg if is_ours else None
