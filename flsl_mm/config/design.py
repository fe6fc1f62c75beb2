"""A detector or segmentor whose backbone has the design of the file it starts from."""

from mmengine.config import Config

from ..models.build_vit import read_design
from ..utils.errors import CheckpointError, ConfigError
from .pretrained import check_start
from .width import AUTO


def take_design(cfg: Config) -> list[str]:
    """Fill in what ``model.backbone`` leaves ``'auto'`` from the file ``pretrained``, in place.

    That may be ``patch_size``, ``embed_dims``, ``depth``, ``num_heads``, ``img_size`` (of
    pretraining), ``in_channels`` and ``out_indices``: the last blocks of the four quarters.

    Args:
        cfg: Config of a run. Without any ``'auto'`` in its backbone it is left as it is.

    Returns:
        list[str]: What was filled in, as a line; empty where nothing was.

    Raises:
        CheckpointError: The file is missing, or is of another design than FLSL's.
        ConfigError: No file is named.
    """
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    wanted = [name for name, value in backbone.items() if value == AUTO and name != 'arch']
    if not wanted or 'pretrained' not in cfg:
        return []
    if cfg.pretrained is None:
        raise ConfigError(
            f'model.backbone.{wanted[0]} is read off a file: name it with pretrained=FILE'
        )
    check_start(cfg, cfg.pretrained)
    init_cfg = backbone.get('init_cfg') or {}
    design = read_design(cfg.pretrained, init_cfg.get('key'), cfg.get('trust', False))
    depth = design.arch['num_layers']
    found = dict(
        patch_size=design.patch_size,
        embed_dims=design.arch['embed_dims'],
        depth=depth,
        num_heads=design.arch['num_heads'],
        img_size=design.img_size,
        in_channels=design.in_channels,
        out_indices=[max(0, depth * quarter // 4 - 1) for quarter in (1, 2, 3, 4)],
    )
    if strange := [name for name in wanted if name not in found]:
        raise ConfigError(f"model.backbone.{strange[0]}='auto': only {', '.join(found)} can be")
    if design.arch['feedforward_channels'] != 4 * design.arch['embed_dims']:
        raise CheckpointError(
            f'{cfg.pretrained}: its layers are {design.arch["feedforward_channels"]} wide, a '
            f"detector's must be 4 x {design.arch['embed_dims']}"
        )
    backbone.update({name: found[name] for name in wanted})
    shown = ', '.join(f'{name}={found[name]}' for name in wanted)
    return [f'the backbone of {cfg.pretrained}: {shown}']
