"""What the entries of a COCO-style file have to have."""

from collections.abc import Mapping, Sequence
from typing import Any

from flsl_mm.data_error import DataError

SINGULAR = dict(images='image', categories='category', annotations='annotation')


def check_entries(content: Mapping[str, Any], needed: Mapping[str, Sequence[str]]) -> None:
    """Refuse lists with an entry that lacks something.

    Args:
        content: Of a COCO-style file.
        needed: Keys of each entry, by the name of the list. A ``bbox`` must be four numbers.

    Raises:
        DataError: A list is missing, or an entry lacks a key; the message names the first.
    """
    for name, keys in needed.items():
        if not isinstance(content.get(name), list):
            raise DataError(f'has no {name}')
        for number, entry in enumerate(content[name]):
            problem = _problem(entry, keys)
            if problem:
                known = isinstance(entry, dict) and entry.get('id') is not None
                which = f'{SINGULAR[name]} {entry["id"]}' if known else f'{name}[{number}]'
                raise DataError(f'{which} {problem}')


def _problem(entry: Any, keys: Sequence[str]) -> str | None:
    """What is wrong with an entry; None if nothing is."""
    if not isinstance(entry, dict):
        return f'is no object but {entry!r}'
    for key in keys:
        if entry.get(key) is None:
            return f'has no {key}'
    if 'bbox' in keys and not _is_box(entry['bbox']):
        return f'has a bbox that is not four numbers: {entry["bbox"]!r}'
    return None


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, (int, float)) for x in box)
