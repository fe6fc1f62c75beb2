"""Packages whose modules are imported when one of their names is looked up (PEP 562)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], list[str]]:
    """The ``__getattr__`` and the ``__all__`` of a package.

    So a module of it that needs numpy alone can be used without loading torch for its neighbors.

    Args:
        package: Its ``__name__``.
        homes: Names that the package offers by the module that has them, such as ``.samplers``.
            No name may be that of a module of the package.
    """
    modules = {name: module for module, names in homes.items() for name in names}

    def look_up(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(import_module(modules[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return look_up, list(modules)
