"""Parts of a config by the name of their type."""

from collections.abc import Iterator, Mapping
from typing import Any


def type_name(settings: Any) -> str:
    """The name of a type, without its scope; of what has none, no name of a type."""
    kind = settings.get('type') if isinstance(settings, Mapping) else None
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def parts_of_type(part: Any, *names: str) -> Iterator[dict]:
    """Every config of a type with one of these names, in a part of a config."""
    if type_name(part) in names:
        yield part
    elif isinstance(part, (Mapping, list, tuple)):
        for inner in part.values() if isinstance(part, Mapping) else part:
            yield from parts_of_type(inner, *names)
