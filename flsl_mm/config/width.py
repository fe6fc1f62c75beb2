"""Necks and heads follow the width of their backbone, or are refused before anything is built."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from mmpretrain.models import VisionTransformer

from ..utils.errors import ConfigError
from .variables import file_value, follow_variables

AUTO = 'auto'  # what choose_settings fills in
VARIABLE = 'embed_dims'  # what our configs build widths and scales from


def backbone_width(backbone: Mapping[str, Any]) -> int | None:
    """The width D of a ViT's config: of its ``arch``, or its ``embed_dims``; None if unknown.

    Raises:
        ConfigError: There is no such arch.
    """
    arch = backbone.get('arch')
    if isinstance(arch, str) and arch != AUTO:
        if arch not in VisionTransformer.arch_zoo:
            known = ', '.join(sorted(VisionTransformer.arch_zoo))
            raise ConfigError(f'model.backbone.arch={arch} is none of {known}')
        arch = VisionTransformer.arch_zoo[arch]
    width = None if arch == AUTO else (backbone if arch is None else arch).get(VARIABLE)
    return width if isinstance(width, int) else None


def follow_backbone(cfg: Config) -> None:
    """Let what a config builds from ``embed_dims`` have the width of its backbone, in place.

    So ``model.backbone.arch=deit-tiny`` alone is enough in pretraining, and
    ``model.backbone.embed_dims=192`` in a detector. Entries that were overridden keep their value.

    Args:
        cfg: Config of a run, its variables followed.

    Raises:
        ConfigError: ``embed_dims`` was overridden and is not the width of the backbone, or a neck
            or head does not fit it.
    """
    model = cfg.get('model')
    if not isinstance(model, dict):
        return
    width = backbone_width(model.get('backbone') or {})
    if width is None:
        return
    given = cfg.get(VARIABLE)
    if isinstance(given, int) and given != width:
        if given != file_value(cfg, VARIABLE):
            raise ConfigError(
                f'{VARIABLE}={given}, but model.backbone is {width} wide: override the backbone '
                f'(model.backbone.arch, or model.backbone.{VARIABLE}), all else follows it'
            )
        cfg[VARIABLE] = width
        # Refused where the file itself has overridden all that is built from it.
        with suppress(ConfigError):
            follow_variables(cfg)
    _check_widths(model, width)


def _check_widths(model: Mapping[str, Any], width: int) -> None:
    """Compare a width with what the next part of the model takes.

    Raises:
        ConfigError: Names the entry.
    """
    if 'out_channels' in model['backbone']:  # its maps are of another width
        return
    for part in ('neck', 'head', 'decode_head'):
        settings = model.get(part)
        taken = [
            (name, settings[name])
            for name in ('in_channels', 'embed_dim')
            if isinstance(settings, Mapping) and name in settings
        ]
        for name, value in taken:
            values = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(v, int) and v != width for v in values):
                raise ConfigError(
                    f'model.{part}.{name} is {value}, but model.backbone is {width} wide'
                )
        if taken:
            return  # what comes later takes what this part gives
