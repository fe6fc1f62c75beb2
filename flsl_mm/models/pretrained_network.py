"""The network of a file as a backbone that goes on training from it."""

from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from mmpretrain.registry import MODELS

from ..utils.errors import ConfigError
from .backbones.frozen_vit import FrozenViT
from .backbones.timm_vit import TimmViT
from .build_vit import build_vit
from .layers.positions import check_sides


@MODELS.register_module()
def PretrainedNetwork(  # noqa: N802  it stands in configs where classes do
    init_cfg: Mapping,
    num_heads: int | None = None,
    trained_blocks: int | None = None,
    position_window: Sequence[float] | None = None,
) -> FrozenViT:
    """The network of a file, whatever :func:`build_vit` reads, ready to be trained.

    Its design, the statistics of its pixels and its weights are those of the file; student and
    teacher of a method both start from them.

    Args:
        init_cfg: ``dict(type='PretrainedViT', checkpoint=..., key=...)``; a config's top-level
            ``pretrained`` names the file. Also ``timm:NAME``, and ``random:`` designs.
        num_heads: Attention heads, where the file does not record them and they are not 64 wide.
        trained_blocks: Train only the last blocks, this many, and the final norm: nothing is kept
            for a backward pass of what is before them. None trains all.
        position_window: ``(low, high)``: in training each view of each image reads the position
            table, or the coordinates of rotary positions, in a random square window whose side is
            such a share of the whole; None reads all, always.

    Raises:
        CheckpointError: The file cannot be used.
        ConfigError: There is no file, ``trained_blocks`` or ``position_window`` is out of range, or
            the network's positions have no windows.
    """
    source = init_cfg.get('checkpoint')
    if source is None:
        raise ConfigError(
            'PretrainedNetwork needs a network to go on from: --cfg-options pretrained=FILE'
        )
    vit = build_vit(source, init_cfg.get('key'), num_heads, init_cfg.get('trust', False))
    if trained_blocks is not None and not 1 <= trained_blocks <= vit.depth:
        raise ConfigError(f'trained_blocks={trained_blocks} is outside [1, {vit.depth}]')
    vit.requires_grad_(True)
    frozen = 0 if trained_blocks is None else vit.depth - trained_blocks
    if isinstance(vit, TimmViT):
        vit.read_in_windows(position_window)
        vit.keep_periods()
        for name, parameter in vit.named_parameters():
            parameter.requires_grad = not vit.is_unused(name)
        if frozen:
            vit.freeze(frozen)
    else:
        vit.position_window = check_sides('PretrainedNetwork', position_window)
        vit.pos_embed.requires_grad = False
        if frozen:
            vit.frozen_stages = frozen
            vit._freeze_stages()
    print_log(
        f'{source}: goes on training, {vit.depth - frozen} of {vit.depth} blocks'
        + ('' if frozen else ' and the embedding'),
        logger='current',
    )
    return vit.train()
