"""Fitting the tensors of one network to the parameters of a backbone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

from ..utils.counts import counted
from ..utils.errors import CheckpointError, first_names
from .layouts import Entry
from .report import LoadReport

Grid = tuple[int, int]


def find_grid(rows: int, num_tokens: int, target: Grid | None) -> tuple[int, Grid | None]:
    """Tell the patch grid of a position table from its number of rows.

    Tables may start with rows of a class token and register tokens, whether or not the tokens
    themselves are in the file.

    Args:
        rows: Rows of the table.
        num_tokens: Class, distillation and register tokens in the file.
        target: Grid that is wanted; None where any will do.

    Returns:
        tuple: Number of prefix rows, and the grid; None for a grid that is unknown and not needed.

    Raises:
        CheckpointError: No reading or more than one fits.
    """
    if num_tokens == 0 and target is not None and rows == target[0] * target[1]:
        if target[0] == target[1] or isqrt(rows) ** 2 != rows:
            return 0, target
    readings = []
    for prefix in sorted({0, 1, num_tokens}):
        side = isqrt(max(rows - prefix, 0))
        grids = {(side, side)} if side else set()
        grids |= {target} if target is not None else set()
        readings += [(prefix, grid) for grid in grids if grid[0] * grid[1] == rows - prefix]
    if not readings and target is None and num_tokens == 0:
        return 0, None
    if len(readings) != 1:
        found = ' or '.join(f'{p} prefix rows and {g[0]} x {g[1]}' for p, g in readings)
        raise CheckpointError(
            f'pos_embed has {rows} rows: '
            + (f'ambiguous, {found} patches' if found else 'no square patch grid')
        )
    return readings[0]


def resize_position_embedding(table: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Resample a position table (1, rows * columns, D) to the grid ``target``, bicubic."""
    maps = _wide(table).unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    maps = F.interpolate(maps, size=target, mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2)


def resize_patch_embedding(kernel: Tensor, size: Grid) -> Tensor:
    """Resize a patch kernel (D, C, h, w) to ``size`` so that resized images keep their tokens.

    With ``R`` the (linear) bicubic resizing of a patch, the new kernel is the least-squares
    solution of ``<R x, new> = <x, kernel>`` (FlexiViT, Beyer et al. 2023, Section 3.4; timm does
    the same). Merely interpolating the kernel would change the tokens' magnitude with the number
    of pixels.
    """
    h, w = kernel.shape[-2:]
    basis = torch.eye(h * w, dtype=torch.float64).view(h * w, 1, h, w)
    resizing = F.interpolate(basis, size=size, mode='bicubic', antialias=True).flatten(1)
    new = kernel.double().flatten(2) @ torch.linalg.pinv(resizing).T  # (D, C, H * W)
    return new.unflatten(2, size).to(kernel.dtype)


def resize_relative_positions(table: Tensor, length: int) -> Tensor:
    """Resample relative positions (2 * window - 1, D) to ``length`` rows, linear."""
    rows = _wide(table).T.unsqueeze(0)  # (1, D, L)
    return F.interpolate(rows, size=length, mode='linear', align_corners=False)[0].T


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least, to interpolate."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


_FC1 = 'layers.0.ffn.layers.0.0.weight'
# `ln2` follows mmpretrain's averaging output and starts as the identity.
_OPTIONAL = re.compile(r'ln2\.|fpn\d\.|simfp_\d\.|layers\.\d+\.attn\.rel_pos_[hw]$')
_NOT_NEEDED = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r'(cls|dist|dist_cls)_token', 'the backbone has no class token'),
        (r'(reg|storage)_tokens?$|register_tokens', 'the backbone has no register tokens'),
        (r'mask_token|masked_embed|decoder', 'belongs to masked-image modelling'),
        (r'ln1\.|fc_norm\.|ln2\.', 'the backbone has no such final LayerNorm'),
        (r'fpn\d\.|simfp_\d\.', 'the backbone has no such pyramid'),
        (r'layers\.\d+\.attn\.rel_pos_[hw]', 'the backbone has no relative positions'),
        (r'pre_logits|pooler', 'a head'),
    )
)


@dataclass(frozen=True)
class Target:
    """What a backbone needs.

    Attributes:
        parameters: Parameters and buffers by name; their values are not read.
        grid: Rows and columns that its ``pos_embed`` covers; None: those of the file.
        num_heads: Its attention heads; None where that is not known.
    """

    parameters: Mapping[str, Tensor]
    grid: Grid | None = None
    num_heads: int | None = None

    @classmethod
    def own(cls, entries: Mapping[str, Entry]) -> 'Target':
        """The plain ViT, with final LayerNorm, that a network's own tensors describe.

        Raises:
            CheckpointError: An embedding or the first block is missing or malformed.
        """
        ranks = {'pos_embed': 3, 'patch_embed.projection.weight': 4, _FC1: 2}
        for name, rank in ranks.items():
            if name not in entries or entries[name].tensor.ndim != rank:
                raise CheckpointError(f'lacks a backbone parameter: {name} with {rank} dimensions')
        table, kernel, fc1 = (entries[name].tensor for name in ranks)
        width, hidden = table.shape[2], fc1.shape[0]
        block = {
            **dict.fromkeys(('ln1.weight', 'ln1.bias', 'ln2.weight', 'ln2.bias'), (width,)),
            'attn.qkv.weight': (3 * width, width),
            'attn.qkv.bias': (3 * width,),
            'attn.proj.weight': (width, width),
            'attn.proj.bias': (width,),
            'ffn.layers.0.0.weight': (hidden, width),
            'ffn.layers.0.0.bias': (hidden,),
            'ffn.layers.1.weight': (width, hidden),
            'ffn.layers.1.bias': (width,),
        }
        shapes = {
            'pos_embed': (1, _fit_positions(entries, None)[0].shape[1], width),
            'patch_embed.projection.weight': (width, *kernel.shape[1:]),
            'patch_embed.projection.bias': (width,),
            **{f'layers.{i}.{n}': s for i in range(num_layers(entries)) for n, s in block.items()},
            'ln1.weight': (width,),
            'ln1.bias': (width,),
        }
        return cls({name: torch.empty(shape, device='meta') for name, shape in shapes.items()})

    @classmethod
    def of(cls, module: nn.Module) -> 'Target':
        """The needs of ``module``.

        Raises:
            CheckpointError: It is no ViT backbone, or has a class token.
        """
        if not all(hasattr(module, name) for name in ('pos_embed', 'patch_resolution', 'layers')):
            raise CheckpointError(
                f'a {type(module).__name__} is no ViT backbone; for a whole model convert the file '
                'with tools/model_converters/convert_checkpoint.py and use load_from'
            )
        if getattr(module, 'cls_token', None) is not None:
            raise CheckpointError(
                f'the {type(module).__name__} has a class token; weights are loaded into backbones '
                'without (FLSLVisionTransformer, ViTFPN, ViTDet, or with_cls_token=False)'
            )
        grid = tuple(int(n) for n in module.patch_resolution)
        return cls(module.state_dict(), grid, module.layers[0].attn.num_heads)


def match(entries: Mapping[str, Entry], target: Target, report: LoadReport) -> dict[str, Tensor]:
    """Find a tensor for every parameter, resized where needed.

    Args:
        entries: Tensors of a network under our names.
        target: What is needed.
        report: Filled in; its ``num_heads`` is compared with the target's.

    Returns:
        dict[str, Tensor]: Tensor by parameter name, in the dtype of the file.

    Raises:
        CheckpointError: Another depth, width, head count or shape, an unknown part of a block, a
            tensor that is no weight, or a parameter left uncovered.
    """
    _check_architecture(entries, target, report.num_heads)
    matched = {}
    for name, parameter in target.parameters.items():
        if name in entries:
            matched[name] = _fit_parameter(name, entries, parameter, target.grid, report)
            report.used.update(dict.fromkeys(entries[name].keys, name))
        elif _OPTIONAL.match(name):
            report.new[name] = _how_it_starts(name)
    if uncovered := _uncovered(entries, target):
        raise CheckpointError(
            f'lacks {len(uncovered)} backbone parameters: {first_names(uncovered)}'
        )
    for name, entry in entries.items():
        if name not in matched:
            report.ignored.update(dict.fromkeys(entry.keys, _why_not_needed(name, entry)))
    return matched


def _how_it_starts(name: str) -> str:
    if name.startswith('ln2.'):
        return 'the averaging norm, which starts as the identity'
    part = 'relative positions' if 'rel_pos' in name else "the detector's pyramid"
    return f'{part}, which training starts'


def check_values(name: str, tensor: Tensor) -> None:
    """Refuse tensors that are no weights.

    Raises:
        CheckpointError: Not floating-point, or not finite.
    """
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise CheckpointError(f'{name} is {tensor.dtype}, not floating-point weights')
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(f'{name} has NaN or infinite values')


def num_layers(names: Mapping[str, object]) -> int:
    """Number of transformer blocks among parameter names."""
    found = (re.match(r'layers\.(\d+)\.', name) for name in names)
    return len({match[1] for match in found if match})


def check_heads(wanted: int | None, recorded: int | None) -> None:
    """Refuse weights of another number of attention heads, as far as both are known.

    Raises:
        CheckpointError: They differ.
    """
    if None not in (wanted, recorded) and wanted != recorded:
        raise CheckpointError(
            f'was trained with {recorded} attention heads, the backbone has {wanted}: '
            'the weights would fit but mean something else'
        )


def _uncovered(entries: Mapping[str, Entry], target: Target) -> list[str]:
    """Parameters that neither the file has nor can do without."""
    return [n for n in target.parameters if n not in entries and not _OPTIONAL.match(n)]


def _check_architecture(entries: Mapping[str, Entry], target: Target, recorded: int | None) -> None:
    wanted, width = target.num_heads, target.parameters['pos_embed'].shape[-1]
    depths = num_layers(entries), num_layers(target.parameters)
    if depths[0] != depths[1]:
        uncovered = first_names(_uncovered(entries, target))
        lacks = f'; lacks {uncovered}' if uncovered else ''
        raise CheckpointError(f'has {depths[0]} blocks, the backbone has {depths[1]}{lacks}')
    kernel = entries.get('patch_embed.projection.weight')
    if kernel is not None and kernel.tensor.ndim and kernel.tensor.shape[0] != width:
        raise CheckpointError(f'is {kernel.tensor.shape[0]} wide, the backbone is {width} wide')
    check_heads(wanted, recorded)
    heads = wanted or recorded
    if heads and width % heads:
        raise CheckpointError(f'{heads} attention heads do not divide the width {width}')


def _fit_parameter(
    name: str,
    entries: Mapping[str, Entry],
    parameter: Tensor,
    grid: Grid | None,
    report: LoadReport,
) -> Tensor:
    """The tensor for one parameter, resized where its kind allows."""
    tensor, keys = entries[name]
    if parameter.is_floating_point():
        check_values(keys[0], tensor)
    elif tensor.dtype != parameter.dtype:
        raise CheckpointError(f'{keys[0]} is {tensor.dtype}, expected {parameter.dtype}')
    fitted, how = tensor, ''
    if name == 'pos_embed' and tensor.ndim == 3 and tensor.shape[2] == parameter.shape[2]:
        fitted, how = _fit_positions(entries, grid)
    elif tensor.shape != parameter.shape and tensor.ndim == parameter.ndim:
        if name == 'patch_embed.projection.weight' and tensor.shape[0] == parameter.shape[0]:
            fitted, how = _fit_patches(tensor, parameter.shape)
        elif re.search(r'rel_pos_[hw]$', name) and tensor.shape[1] == parameter.shape[1]:
            fitted, how = resize_relative_positions(tensor, parameter.shape[0]), 'linear'
    if fitted.shape != parameter.shape:
        raise CheckpointError(
            f'{keys[0]} is {_shape(tensor.shape)}, the backbone needs {_shape(parameter.shape)}'
        )
    if how:
        report.resized[name] = f'{_shape(tensor.shape)} to {_shape(fitted.shape)}, {how}'
    return fitted


def _fit_patches(weight: Tensor, wanted: Size) -> tuple[Tensor, str]:
    """A patch embedding (D, C, P, P) for other channels or patches, and what was done to it."""
    done = []
    if weight.shape[1] != wanted[1]:
        weight = adapt_channels(weight, wanted[1])
        done.append(f'{"sum" if wanted[1] == 1 else "share"} of 3 channels')
    if weight.shape != wanted:
        weight = resize_patch_embedding(weight, tuple(wanted[2:]))
        done.append('pseudo-inverse of bicubic')
    return weight, ', '.join(done)


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A patch embedding of RGB for images of other channels.

    One channel gets the sum, so that a gray image gives the tokens of its three equal channels;
    others get R, G, B in turn, times 3 / channels, so that tokens keep their size.

    Args:
        weight: (D, 3, P, P).
        channels: How many are wanted.

    Returns:
        Tensor: (D, channels, P, P).

    Raises:
        CheckpointError: The weight is not of three channels.
    """
    if weight.shape[1] != 3:
        raise CheckpointError(
            f'the patch embedding has {weight.shape[1]} channels, the backbone {channels}: only '
            f'one of 3 channels (RGB) is adapted; in_channels={weight.shape[1]} takes it as it is'
        )
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(channels) % 3] * (3 / channels)


def _fit_positions(entries: Mapping[str, Entry], target: Grid | None) -> tuple[Tensor, str]:
    """The position table without prefix rows, on the target's grid, and what was done to it."""
    table = entries['pos_embed'].tensor
    tokens = (e.tensor for name, e in entries.items() if re.search(r'(cls|dist|reg)_token$', name))
    prefix, grid = find_grid(table.shape[1], sum(t.shape[1] for t in tokens if t.ndim == 3), target)
    done = [f'{counted(prefix, "prefix row")} dropped'] if prefix else []
    table = table[:, prefix:]
    if target is not None and grid != target:
        table = resize_position_embedding(table, grid, target)
        done.append(f'bicubic from {grid[0]} x {grid[1]} to {target[0]} x {target[1]} patches')
    return table, ', '.join(done)


def _why_not_needed(name: str, entry: Entry) -> str:
    for pattern, reason in _NOT_NEEDED:
        if pattern.match(name):
            return reason
    if re.match(r'layers\.|patch_embed\.|pre_norm\.', name):
        raise CheckpointError(
            f'has {entry.keys[0]}, which the backbone has not: another architecture'
        )
    return 'a head' if 'head' in name else 'not part of a ViT backbone'


def _shape(shape: Size) -> str:
    return ' x '.join(map(str, shape)) or 'a scalar'
