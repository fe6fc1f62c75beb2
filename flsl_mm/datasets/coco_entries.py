"""What the entries of a COCO-style file have to have, and to belong to."""

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
                raise DataError(f'{_name(name, number, entry)} {problem}')


def check_references(content: Mapping[str, Any]) -> None:
    """Refuse annotations that belong to nothing: they would be lost without a word.

    Args:
        content: Of a COCO-style file whose entries have been checked.

    Raises:
        DataError: An annotation has a category or an image that the file has not; the message
            names the first.
    """
    categories = {category['id'] for category in content['categories']}
    images = {image['id'] for image in content['images']}
    for number, annotation in enumerate(content['annotations']):
        which = _name('annotations', number, annotation)
        if annotation['category_id'] not in categories:
            raise DataError(f'{which} has the unknown category {annotation["category_id"]!r}')
        if annotation['image_id'] not in images:
            raise DataError(f'{which} belongs to the unknown image {annotation["image_id"]!r}')


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
    if 'bbox' in keys and not _is_box(entry['bbox']):
        return f'has a bbox that is not four numbers: {entry["bbox"]!r}'
    return None


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, (int, float)) for x in box)
