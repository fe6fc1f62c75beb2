"""The weights that a run starts from: ``pretrained`` and every ``init_cfg`` that reads a file."""

import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from torch import nn

from ..checkpoint import CheckpointError, PretrainedViT
from ..checkpoint.files import check_file
from ..checkpoint.foreign import TIMM
from ..checkpoint.pretrained_vit import loads_a_file
from ..models.build_vit import RANDOM
from ..models.pretrained_network import PretrainedNetwork
from ..utils.errors import ConfigError
from .parts import parts_of_type, type_name
from .variables import file_value
from .width import AUTO


def use_pretrained(cfg: Config) -> None:
    """Hand a config's top-level ``pretrained`` to its backbone, in place.

    mmengine evaluates the variables of a config before the command line is read, so a variable
    that the model merely refers to could not be overridden with ``--cfg-options pretrained=FILE``
    or by a config that inherits it. :class:`FLSLRunner` calls this, so it holds for every
    ``train.py``; code that builds a model by itself calls it first.

    ``pretrained=None`` is random initialization, which the log then says. A config without the
    variable is left as it is.

    Args:
        cfg: Config with ``pretrained`` and ``model.backbone.init_cfg``.

    Raises:
        ConfigError: ``model.backbone.init_cfg`` names another file already, or none is read there.
    """
    if 'pretrained' not in cfg:
        return
    found = list(pretrained_vits(_backbone(cfg).get('init_cfg')))
    if cfg.pretrained is not None and not found and not list(pretrained_vits(cfg.get('model'))):
        raise ConfigError(
            f'pretrained={cfg.pretrained} is read by nothing: model.backbone.init_cfg must be '
            "dict(type='PretrainedViT')"
        )
    for init_cfg in found:
        file = init_cfg.get('checkpoint', cfg.pretrained)
        if file != cfg.pretrained:
            raise ConfigError(
                f'pretrained={cfg.pretrained} and model.backbone.init_cfg.checkpoint={file} are '
                'both set: the file to start from is named by pretrained=FILE alone'
            )
        init_cfg['checkpoint'] = cfg.pretrained


def lacks_its_network(cfg: Config) -> bool:
    """Whether the file that says what a run's network is like is gone.

    Args:
        cfg: Config of a run; a ``PretrainedNetwork`` needs one to be built at all.
    """
    backbone = _backbone(cfg)
    file = (backbone.get('init_cfg') or {}).get('checkpoint')
    named = type_name(backbone) == PretrainedNetwork.__name__
    return named and (file is None or not (_is_no_file(file) or os.path.exists(file)))


def take_network_from(cfg: Config, checkpoint: str) -> None:
    """Let a checkpoint of the run say what its network is like, in place.

    Args:
        cfg: Config of a run with a ``PretrainedNetwork``.
        checkpoint: Which the run then loads.
    """
    cfg.model.backbone.init_cfg = dict(type='PretrainedViT', checkpoint=checkpoint)


def _is_no_file(source: Any) -> bool:
    return str(source).startswith((TIMM, RANDOM))


def trust_files(cfg: Config) -> None:
    """Let every ``PretrainedViT`` of a model read files that may execute code, in place.

    Args:
        cfg: Config with ``model``: a backbone, also one inside another part, with its ``init_cfg``.
    """
    for init_cfg in pretrained_vits(cfg.get('model')):
        init_cfg['trust'] = True


def forget_pretrained(model: nn.Module) -> None:
    """Let the initialization of a model read no file, in place: a checkpoint has all weights.

    The rest of it is left as it is, for it may do more than to set weights, such as to freeze them.

    Args:
        model: Its modules' ``init_cfg`` lose what names a file.
    """
    for module in model.modules():
        entries = getattr(module, 'init_cfg', None) or []
        entries = [entries] if isinstance(entries, dict) else entries
        kept = [e for e in entries if not loads_a_file(e)]
        if len(kept) < len(entries):
            module.init_cfg = kept or None


def check_pretrained(cfg: Config) -> None:
    """Stop before any data is read when the weights to start from are not there.

    Raises:
        CheckpointError: ``pretrained`` names no file.
    """
    for init_cfg in pretrained_vits(cfg.get('model')):
        file = init_cfg.get('checkpoint')
        if file is not None and not _is_no_file(file):
            check_start(cfg, file)


def check_start(cfg: Config, file: str) -> None:
    """Stop where a file to start from is not there, and say where such files come from.

    Args:
        cfg: Config of a run; a file that it names by itself, nobody may have asked for.
        file: Of weights.

    Raises:
        CheckpointError: There is no such file, or it is no checkpoint.
    """
    try:
        check_file(file)
    except CheckpointError as error:
        if file == file_value(cfg, 'pretrained'):
            name = os.path.basename(cfg.filename)
            error = f'{name} needs --cfg-options pretrained=FILE; by default it takes {error}'
        else:
            error = f'{error}; name one with --cfg-options pretrained=FILE'
        random = '' if AUTO in _backbone(cfg).values() else ' (pretrained=None: random weights)'
        raise CheckpointError(
            f'pretrained weights: {error}; such files come from configs/pretrain '
            f'or from other projects, see docs/checkpoints.md{random}'
        ) from None


def refuse_unsafe(model: nn.Module) -> None:
    """Stop where a part of a model would be initialized by mmengine's own ``Pretrained``.

    That executes what is in a file, warns where weights are missing, and goes on.

    Args:
        model: As it was built, with what its classes put into ``init_cfg`` by themselves.

    Raises:
        ConfigError: Names the part, and what to use.
    """
    for name, module in model.named_modules():
        entries = getattr(module, 'init_cfg', None) or []
        for entry in [entries] if isinstance(entries, dict) else entries:
            if loads_a_file(entry) and type_name(entry) != PretrainedViT.__name__:
                raise ConfigError(
                    f'{".".join(filter(None, ("model", name)))}.init_cfg: Pretrained of mmengine '
                    'executes code of files and starts from random weights where keys are missing; '
                    "use type='PretrainedViT' for a ViT, load_from=FILE for a whole model"
                )


def _backbone(cfg: Config) -> dict:
    return (cfg.get('model') or {}).get('backbone') or {}


def pretrained_vits(part: Any) -> Iterator[dict]:
    """Every config of a ``PretrainedViT`` in a part of a config."""
    return parts_of_type(part, PretrainedViT.__name__)
