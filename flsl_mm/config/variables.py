"""Variables of config files: what was built from one follows it when it is overridden.

mmengine evaluates a config file, and every one that it inherits from, before an override or the
inheriting file can change ``data_root`` or ``crop_size``: what was built from them keeps the value
of before. Here the files are evaluated again with the new values in their place, and what differs
is taken over.
"""

import ast
import inspect
import os.path as osp
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from ..utils.errors import ConfigError

# Top-level entries that are read by a run, beside the arguments of mmengine's Runner.
OPTIONAL_ENTRIES = (
    'activation_checkpointing compile custom_imports efficient_conv_bn_eval '
    'find_unused_parameters model_wrapper_cfg pretrained runner_type sync_bn tta_model '
    'tta_pipeline trust'
).split()


def run_entries() -> set[str]:
    """Top-level entries that a run reads; any other is a variable of the config's own."""
    return {*inspect.signature(Runner.__init__).parameters, *OPTIONAL_ENTRIES} - {'self', 'cfg'}


class _File(NamedTuple):
    path: Path
    tree: ast.Module  # without its `_base_`
    bases: tuple[int, ...]  # their places in the list of all files


def follow_variables(cfg: Config, known: Set[str] | None = None) -> None:
    """Let everything that a config's files build from a variable have its present value, in place.

    A variable is a top-level name that nothing reads by itself, such as ``data_root``. It changes
    by an override, or by a file that inherits another one and assigns the same name. Entries that
    were overridden themselves keep what they were given. Doing it twice changes nothing. A config
    that comes from no file, or from one that is gone, is left as it is.

    Args:
        cfg: What ``Config.fromfile`` gave, overrides merged.
        known: Top-level entries that are read; those of a run by default.

    Raises:
        ConfigError: A variable was overridden, and nothing of the config is built from it.
    """
    if not cfg.filename or not osp.isfile(cfg.filename):
        return
    present = _plain(cfg)
    known = run_entries() if known is None else known
    variables = {name: value for name, value in present.items() if name not in known}
    if cfg.__dict__.get('_followed') == variables:
        return  # by the tool that read the file; evaluating it takes up to half a second
    cfg.__dict__['_followed'] = variables
    files = read_files(cfg.filename)
    before = _evaluate(files, {}) if files else _plain(Config.fromfile(cfg.filename))
    changes = {
        name: _changed(before[name], present[name])
        for name in before
        if name not in known and name in present and before[name] != present[name]
    }
    changes = {name: value for name, value in changes.items() if _is_literal(value)}
    inherited = {name: before[name] for name in _assigned_twice(files) - known if name in before}
    if not changes and not inherited:
        return
    together = _evaluate(files, changes) if files else before
    for name in changes:  # which may need another to have an effect
        others = {other: value for other, value in changes.items() if other != name}
        without = _evaluate(files, others) if files else before
        if not any(path[0] != name for path, _ in _differences(without, together)):
            raise ConfigError(_unread(cfg, name, before[name], present, known))
    inherited = {name: value for name, value in inherited.items() if _is_literal(value)}
    for path, value in _differences(before, _evaluate(files, changes, inherited)):
        there = entry_at(present, path[:-1]) is not NONE  # not so in a list that was made shorter
        if path[0] in known and there and entry_at(present, path) == entry_at(before, path):
            set_entry(cfg, path, value)


def file_value(cfg: Config, name: str) -> Any:
    """What a config's file says of a top-level entry; None where there is no file or no entry."""
    if not cfg.filename or not osp.isfile(cfg.filename):
        return None
    return Config.fromfile(cfg.filename, import_custom_modules=False).get(name)


def read_files(path: str | None) -> list[_File]:
    """A config file and those that it inherits from, it first; empty where they are not plain."""
    if not path or not osp.isfile(path) or not path.endswith('.py') or Config._is_lazy_import(path):
        return []
    files: list[_File] = []

    def read(path: str) -> int | None:
        if not path.endswith('.py'):
            return None
        place = len(files)
        files.append(None)
        bases = [read(Config._get_cfg_path(b, path)[0]) for b in Config._get_base_files(path)]
        tree = ast.parse(_source(path))
        tree.body = [node for node in tree.body if '_base_' not in _targets(node)]
        files[place] = _File(Path(path), tree, tuple(bases))
        return place

    read(path)
    return [] if any(None in file.bases for file in files) else files


def _source(path: str) -> str:
    """The text of a config file, names of files and of the environment filled in by mmengine."""
    with tempfile.TemporaryDirectory() as folder:
        copy = osp.join(folder, 'config.py')
        Config._substitute_predefined_vars(path, copy)
        Config._substitute_env_variables(copy, copy)
        return Path(copy).read_text(encoding='utf-8')


def _targets(node: ast.stmt) -> set[str]:
    """The names that a statement assigns."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return set()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = (n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def assigned_names(file: _File) -> set[str]:
    """The names that a file assigns, in a statement of their own."""
    return {name for node in file.tree.body for name in _targets(node)}


def names_used(files: Sequence[_File]) -> set[str]:
    """The names that files use, of their own or of those that they inherit from.

    Where one is changed only, as in ``name.update(...)`` or ``name['a'] = 1``, it is not used.
    """
    nodes = [node for file in files for node in ast.walk(file.tree)]
    changed = {id(root) for node in nodes for root in _changed_names(node)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.update(set() if id(node) in changed else {node.id})
        elif isinstance(node, ast.Attribute):  # `_base_.name`, `{{_base_.name}}`
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # '{{_base_.name}}'
            found.update(re.findall(r'{{\s*_base_\.(\w+)', node.value))
        elif isinstance(node, (ast.For, ast.comprehension, ast.NamedExpr)):
            found.update(n.id for n in ast.walk(node.target) if isinstance(n, ast.Name))
    return found


def _changed_names(node: ast.AST) -> Iterator[ast.Name]:
    """The names whose values a statement changes in place."""
    parts = getattr(node, 'targets', [getattr(node, 'target', None)])
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        parts = [node.value.func]
    for part in parts if isinstance(node, ast.stmt) else ():
        while isinstance(part, (ast.Attribute, ast.Subscript)):
            part = part.value
        if isinstance(part, ast.Name):
            yield part


def _assigned_twice(files: Sequence[_File]) -> set[str]:
    """Names that more than one of the files assigns."""
    listed = [name for file in files for name in assigned_names(file)]
    return {name for name in listed if listed.count(name) > 1}


def _evaluate(
    files: Sequence[_File], changes: Mapping[str, Any], inherited: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What files make of variables of other values.

    Args:
        files: As of :func:`read_files`.
        changes: Values that take the place of what any file assigns; those of a dict are added.
        inherited: Values of files that others inherit from: not for the first that assigns them.

    Raises:
        ConfigError: They cannot be evaluated with these values.
    """
    first = {name: i for i in reversed(range(len(files))) for name in assigned_names(files[i])}
    with tempfile.TemporaryDirectory() as folder:
        for i, file in enumerate(files):
            below = {n: v for n, v in (inherited or {}).items() if first[n] < i}
            bases = [f'{folder}/config{b}.py' for b in file.bases]
            body = [*ast.parse(f'_base_ = {bases!r}').body] if bases else []
            for node in file.tree.body:
                body.append(node)
                for values in (below, changes):
                    for name in sorted(_targets(node) & set(values)):
                        body += ast.parse(_assignment(name, values[name])).body
            text = ast.unparse(ast.Module(body, []))
            Path(folder, f'config{i}.py').write_text(text, encoding='utf-8')
        try:
            result = Config.fromfile(f'{folder}/config0.py', import_custom_modules=False)
        except Exception as error:  # a config file is Python, and raises about anything
            names = ', '.join(changes) or 'its variables'
            raise ConfigError(
                f'{files[0].path} cannot be built with other values of {names}: {error}'
            ) from error
        return _plain(result)


def _assignment(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f'{name} = {{**{name}, **{value!r}}} if isinstance({name}, dict) else {value!r}'
    return f'{name} = {value!r}'


def _plain(cfg: Config) -> dict[str, Any]:
    """The entries of a config, without the scopes that mmengine adds to those of ``mmdet::...``."""
    found = {name: value for name, value in cfg.to_dict().items() if not name.startswith('_')}
    return _without_scopes(found)


def _without_scopes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_scopes(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_without_scopes, value))
    return value


def _changed(before: Any, present: Any) -> Any:
    """The entries of a dict that changed; any other value as a whole."""
    if not isinstance(before, dict) or not isinstance(present, dict) or set(before) - set(present):
        return present
    return {k: v for k, v in present.items() if k not in before or before[k] != v}


def _is_literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return False


NONE = object()


def _differences(before: Any, after: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Path and new value of what differs; of lists of one length and of dicts their parts."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in after:
            yield from _differences(before.get(key, NONE), after[key], (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, parts in enumerate(zip(before, after)):
            yield from _differences(*parts, (*path, i))
    elif before is NONE or before != after:
        yield path, after


def entry_at(content: Any, path: Sequence[str | int], default: Any = NONE) -> Any:
    """What stands at a path of keys and numbers of items, or the default."""
    for key in path:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return default
    return content


def set_entry(cfg: Config, path: Sequence[str | int], value: Any) -> None:
    """Let a value stand at a path, whose last key alone may be new."""
    *parents, last = path
    content = cfg
    for key in parents:
        content = content[key]
    content[last] = value


def _unread(
    cfg: Config, name: str, before: Any, present: Mapping[str, Any], known: Set[str]
) -> str:
    """What to say of an override that nothing reads, with the entries that it may have meant."""
    changed = [path for path, _ in _differences(before, present[name], (name,))] or [(name,)]
    keys = {next(key for key in reversed(path) if isinstance(key, str)) for path in changed}
    entries = [
        '.'.join(map(str, path))
        for path in _paths({n: v for n, v in present.items() if n in known})
        if path[-1] in keys
    ]
    advice = f': override {", ".join(entries[:4])}' if entries else ''
    return f'{name} is read by nothing of {cfg.filename}{advice}'


def _paths(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all entries of dicts, also of those in lists."""
    if isinstance(content, (dict, list, tuple)):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            if isinstance(content, dict):
                yield (*path, key)
            yield from _paths(value, (*path, key))
