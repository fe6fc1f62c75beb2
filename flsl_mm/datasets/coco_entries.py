"""What the entries of a COCO-style file have to have, and to belong to."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.errors import DataError

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
                raise DataError(f'{_name(name, number, entry)} {problem}')


def check_categories(content: Mapping[str, Any]) -> None:
    """Refuse annotations of no category: they would be lost without a word.

    Args:
        content: Of a COCO-style file whose entries have been checked.

    Raises:
        DataError: An annotation has a category that the file has not; the message names the first.
    """
    _check_references(content, 'category_id', 'categories', 'has the unknown category')


def check_images(content: Mapping[str, Any]) -> None:
    """Refuse annotations of no image; otherwise as :func:`check_categories`."""
    _check_references(content, 'image_id', 'images', 'belongs to the unknown image')


def _check_references(content: Mapping[str, Any], key: str, target: str, problem: str) -> None:
    known = {entry['id'] for entry in content[target]}
    for number, annotation in enumerate(content['annotations']):
        if annotation[key] not in known:
            which = _name('annotations', number, annotation)
            raise DataError(f'{which} {problem} {annotation[key]!r}')


def _name(name: str, number: int, entry: Any) -> str:
    """What to call the entry at a place of a list: by its id if it has one."""
    known = isinstance(entry, dict) and entry.get('id') is not None
    return f'{SINGULAR[name]} {entry["id"]}' if known else f'{name}[{number}]'


def _problem(entry: Any, keys: Sequence[str]) -> str | None:
    """What is wrong with an entry; None if nothing is."""
    if not isinstance(entry, dict):
        return f'is no object but {entry!r}'
    for key in keys:
        if entry.get(key) is None:
            return f'has no {key}'
        if key.endswith('id') and not isinstance(entry[key], (int, str)):
            return f'has no number or text as {key}: {entry[key]!r}'
    if 'bbox' in keys and not _is_box(entry['bbox']):
        return f'has a bbox that is not four numbers: {entry["bbox"]!r}'
    return None


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, (int, float)) for x in box)
