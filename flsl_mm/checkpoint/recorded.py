"""Settings that a checkpoint records beside its weights; nothing of it is executed."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from mmpretrain.models import VisionTransformer

# Width and heads by the usual names; MoCo v3's 'vit_small' has 12 heads (its Section 4.2).
_HEADS = {
    'tiny': (192, 3),
    'small': (384, 6),
    'base': (768, 12),
    'large': (1024, 16),
    'huge': (1280, 16),
}


def recorded_heads(other: Mapping[str, Any], layout: str, width: int) -> int | None:
    """Number of attention heads that a checkpoint records.

    Looked for in ``meta['num_heads']`` (files written here), the config text of mmengine
    checkpoints and the arch name of the others; a name counts only where its width fits.

    Args:
        other: Entries of the file that are no weights.
        layout: Name of the layout.
        width: Embedding dimensions D of the weights.

    Returns:
        int: Heads, or None where the file does not tell.
    """
    meta = other.get('meta')
    if isinstance(meta, Mapping):
        if str(meta.get('num_heads', '')).isdigit():
            return int(meta['num_heads'])
        return _heads_of_config(meta.get('cfg'))
    args = other.get('args')
    settings = dict(vars(args)) if hasattr(args, '__dict__') else {}
    for name in (settings.get('arch'), settings.get('model'), other.get('arch')):
        size = re.search(r'(?:vit|deit)_(tiny|small|base|large|huge)', str(name))
        if size and _HEADS[size[1]][0] == width:
            return 12 if (layout, size[1]) == ('MoCo v3', 'small') else _HEADS[size[1]][1]
    return None


def recorded_network(other: Mapping[str, Any]) -> str | None:
    """Which network of pretraining a file of one backbone holds, where it was written here.

    Args:
        other: Entries of the file that are no weights.

    Returns:
        str: ``'teacher'`` or ``'student'``, or None where the file does not tell.
    """
    meta = other.get('meta')
    network = meta.get('network') if isinstance(meta, Mapping) else None
    return network if network in ('teacher', 'student') else None


def config_value(text: Any, name: str) -> Any:
    """The literal assigned to a top-level name in the text of a config; None where there is none.

    ``dict(...)`` calls count as literals; anything else inside becomes None.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == name:
            return _literal(statement.value)
    return None


def _heads_of_config(text: Any) -> int | None:
    model = config_value(text, 'model')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    if not isinstance(backbone, dict):
        return None
    arch = backbone.get('arch', backbone)
    if isinstance(arch, str):
        if arch.lower() in ('mocov3-s', 'mocov3-small'):  # in the zoo once one has been built
            return 12
        arch = VisionTransformer.arch_zoo.get(arch.lower(), {})
    heads = arch.get('num_heads') if isinstance(arch, dict) else None
    return heads if isinstance(heads, int) else None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict':
        return {k.arg: _literal(k.value) for k in node.keywords if k.arg is not None}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values)
        return {k.value: _literal(v) for k, v in pairs if isinstance(k, ast.Constant)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(element) for element in node.elts]
    return node.value if isinstance(node, ast.Constant) else None
