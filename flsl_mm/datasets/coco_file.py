"""COCO-style files, checked and mended once for all who read them; needs pycocotools for masks."""

import json
import math
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger

from ..utils.errors import DataError

SINGULAR = dict(images='image', categories='category', annotations='annotation')
ADVICE_BOXES = 'COCO boxes are x, y, width and height in pixels'


class Mends:
    """What was mended in a file: how often, and the first entry of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, what: str, entry: str) -> None:
        """Count one entry; ``what`` is what was wrong with it, and what it is now."""
        self._counts[what] += 1
        self._first.setdefault(what, entry)

    def __iter__(self) -> Iterator[str]:
        """One line for each kind."""
        for what, count in self._counts.items():
            yield f'{count} with {what} (the first is {self._first[what]})'

    def __len__(self) -> int:
        """How many entries there are."""
        return self._counts.total()


def read_coco_file(path: str, masks: bool = False, detection: bool = True) -> dict[str, Any]:
    """Read a COCO-style file as training, evaluation and mask conversion all need it.

    What is missing and follows from the rest, or is written in another way, is mended: ``iscrowd``
    (0), ``area`` (that of the segmentation, else of the box), a missing box (that of the
    segmentation), ids of annotations (unless all are different whole numbers from 1 on they are
    numbered anew: pycocotools takes 0 for no match), numbers written as text where others are
    numbers, polygons written as one flat list or as points, backslashes in names of files. Polygons
    of less than three points and annotations of unknown images are left out. Boxes that reach
    beyond the image or are elsewhere than their polygons, and images of one file, are left as they
    are. A warning counts each kind. All else is refused.

    Args:
        path: A JSON file.
        masks: Whether masks are needed: objects whose polygons are all unusable are left out too.
        detection: Whether images need a size and categories a name.

    Returns:
        dict: With the lists ``images``, ``categories`` and ``annotations``; an annotation without
        mask has no ``segmentation``.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is no such file, an entry lacks something, or no object is of any use.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:  # Windows' editors put a mark before it
            content = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no annotation file {path}') from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f'annotation file {path} is no JSON: {error}') from error
    mends = Mends()
    try:
        if not isinstance(content, dict):
            raise DataError(f'a {type(content).__name__} is not supported, COCO files are a dict')
        if content.get('annotations') is None:  # images to test on
            content['annotations'] = []
        if not detection and (empty := next((n for n in SINGULAR if not content.get(n)), None)):
            raise DataError(f'has no {empty}')
        _check_entries(content, detection, mends)
        _mend_annotations(content, masks, mends)
        check_usable(content, mends)
    except DataError as error:
        raise DataError(f'annotation file {path}: {error}') from error
    for line in mends:
        MMLogger.get_current_instance().warning(f'annotation file {path}: {line}')
    return content


_END = 1 << 20  # bytes: COCO's 80 categories take 6,000


def category_names(path: str) -> list[str]:
    """The names of a COCO-style file's categories, in its order.

    Of a large file only the list of categories is decoded, where it can be found without the rest.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is no such file.
    """
    try:
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            [start] = [match.end() for match in re.finditer(rb'"categories"\s*:\s*', text)]
            end = text[start : start + _END].decode(errors='replace')
        names = [category['name'] for category in json.JSONDecoder().raw_decode(end)[0]]
        if names and all(isinstance(name, str) and name for name in names):
            return names
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        pass  # an empty or unusual file
    return [category['name'] for category in read_coco_file(path)['categories']]


def check_masks(annotations: Sequence[Mapping[str, Any]]) -> None:
    """Refuse annotations without a mask.

    Raises:
        DataError: There are some; names the first.
    """
    without = [annotation for annotation in annotations if 'segmentation' not in annotation]
    if without:
        raise DataError(
            f'annotation {without[0]["id"]} has no segmentation ({len(without)} of '
            f'{len(annotations)} have none)'
        )


def why_unusable(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> str | None:
    """Why mmdet trains on no such object; None if it does."""
    left, top, width, height = annotation['bbox']
    if annotation.get('ignore'):
        return 'the mark "ignore"'
    if annotation['area'] <= 0:
        return 'an area of 0 or less'
    if width < 1 or height < 1:
        return 'a box of less than a pixel'
    if 'width' in image and not (
        left < image['width'] and top < image['height'] and left + width > 0 and top + height > 0
    ):
        return 'a box outside the image'
    return None


def check_usable(content: Mapping[str, Any], mends: Mends) -> None:
    """Count the objects that training leaves out.

    Raises:
        DataError: All boxes are fractions of the image, or no object can be used.
    """
    annotations = content['annotations']
    if annotations and all(max(annotation['bbox']) <= 1 for annotation in annotations):
        raise DataError(f'all boxes are within 0..1, as fractions of the image: {ADVICE_BOXES}')
    images = {image['id']: image for image in content['images']}
    left_out = Mends()
    for annotation in annotations:
        name = f'annotation {annotation["id"]}'
        if reason := why_unusable(annotation, images[annotation['image_id']]):
            for found in (left_out, mends):
                found.add(f'{reason}: left out in training', name)
        elif annotation['iscrowd']:
            left_out.add('the mark "iscrowd": a region to ignore', name)
    if annotations and len(left_out) == len(annotations):
        raise DataError(
            f'none of its {len(annotations)} objects can be used: {"; ".join(left_out)}; '
            f'{ADVICE_BOXES}'
        )


# Images and categories ---------------------------------------------------------------------------


def _check_entries(content: Mapping[str, Any], detection: bool, mends: Mends) -> None:
    """Check what each entry must have, and make the ids of one kind."""
    needed = dict(
        images=('id', 'file_name', 'width', 'height') if detection else ('id', 'file_name'),
        categories=('id', 'name') if detection else ('id',),
        annotations=('image_id', 'category_id'),
    )
    for name, keys in needed.items():
        if not isinstance(content.get(name), list):
            kind = type(content.get(name)).__name__
            raise DataError(
                f'its {name} are a {kind}, no list' if name in content else f'has no {name}'
            )
        for number, entry in enumerate(content[name]):
            if problem := _problem(entry, keys):
                raise DataError(f'{_name(name, number, entry)} {problem}')
    for name, key in (('images', 'image_id'), ('categories', 'category_id')):
        _unify_ids(content[name], content['annotations'], key, mends)
        _refuse_repeated(content[name], 'id', f'{name} have the id')
    _refuse_repeated(
        [c for c in content['categories'] if c.get('name')], 'name', 'categories have the name'
    )
    files: set[str] = set()
    for image in content['images']:
        if '\\' in image['file_name']:
            mends.add('backslashes in file_name: taken as /', f'image {image["id"]}')
            image['file_name'] = image['file_name'].replace('\\', '/')
        if image['file_name'] in files:
            mends.add('the file_name of another image', f'image {image["id"]}')
        files.add(image['file_name'])
        for key in ('width', 'height'):
            if image.get(key) is None:
                image.pop(key, None)
                continue
            side = _number(image[key])
            if side is None or side < 1 or side % 1:
                raise DataError(
                    f'image {image["id"]} has no whole number of pixels as {key}: {image[key]!r}'
                )
            image[key] = int(side)


def _problem(entry: Any, keys: Sequence[str]) -> str | None:
    """What is wrong with an entry; None if nothing is."""
    if not isinstance(entry, dict):
        return f'is no object but {entry!r}'
    for key in keys:
        value = entry.get(key)
        if value is None:
            return f'has no {key}'
        if key.endswith('id') and (isinstance(value, bool) or not isinstance(value, (int, str))):
            if not (isinstance(value, float) and value.is_integer()):
                return f'has no number or text as {key}: {value!r}'
            entry[key] = int(value)
        if key.endswith('name') and not (isinstance(value, str) and value):
            return f'has no text as {key}: {value!r}'
    return None


def _unify_ids(entries: list[dict], annotations: list[dict], key: str, mends: Mends) -> None:
    """Ids are all numbers or all text; text among numbers is the number that it writes."""
    owners = [(entry, 'id') for entry in entries] + [(entry, key) for entry in annotations]
    texts = [(entry, name) for entry, name in owners if isinstance(entry[name], str)]
    if len(texts) in (0, len(owners)):
        return
    for entry, name in texts:
        value = entry[name]
        if _number(value) is None or str(int(_number(value))) != value:
            raise DataError(f'has numbers and text as {key}: {value!r} is no number')
        entry[name] = int(value)
        mends.add(f'a number written as text for {key}: taken as the number', repr(value))


def _refuse_repeated(entries: Sequence[Mapping[str, Any]], key: str, what: str) -> None:
    value, count = next(iter(Counter(entry[key] for entry in entries).most_common(1)), (None, 0))
    if count > 1:
        raise DataError(f'{count} {what} {value!r}')


def _name(name: str, number: int, entry: Any) -> str:
    """What to call the entry at a place of a list: by its id if it has one."""
    known = isinstance(entry, dict) and entry.get('id') is not None
    return f'{SINGULAR[name]} {entry["id"]}' if known else f'{name}[{number}]'


def _number(value: Any) -> float | None:
    """A finite number, also one written as text; None if it is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


# Annotations -------------------------------------------------------------------------------------


def _mend_annotations(content: dict[str, Any], masks: bool, mends: Mends) -> None:
    """Mend the annotations, or leave them out."""
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    kept, unknown = [], 0
    for number, annotation in enumerate(content['annotations']):
        name = _name('annotations', number, annotation)
        if annotation['category_id'] not in categories:
            raise DataError(f'{name} has the unknown category {annotation["category_id"]!r}')
        image = images.get(annotation['image_id'])
        if image is None:  # as where a part of the images was selected
            what = f'an unknown image: left out with all like it: {name} belongs to the unknown'
            unknown = unknown or f'{what} image {annotation["image_id"]!r}'
            mends.add(unknown, name)
            continue
        try:
            if _mend_segmentation(annotation, image, name, mends) and masks:
                mends.add('no usable polygon: left out', name)
                continue
            _mend_values(annotation, image, name, mends)
        except DataError as error:
            separator = ': ' if str(error).startswith('its ') else ' '
            raise DataError(f'{name}{separator}{error}') from error
        kept.append(annotation)
    if content['annotations'] and not kept:
        raise DataError(f'none of its annotations is left: {"; ".join(mends)}')
    content['annotations'] = kept
    ids = [annotation.get('id') for annotation in kept]
    if not all(type(i) is int and i > 0 for i in ids) or len(set(ids)) < len(ids):
        for number, annotation in enumerate(kept, 1):
            if annotation.get('id') != number:
                what = 'an id that changes, as not all were different whole numbers from 1 on'
                mends.add(what, _name('annotations', number - 1, annotation))
            annotation['id'] = number


def _mend_values(annotation: dict, image: Mapping[str, Any], name: str, mends: Mends) -> None:
    """Mend ``iscrowd``, ``bbox`` and ``area``."""
    crowd = annotation.get('iscrowd')
    if crowd is None:
        mends.add('no iscrowd: taken as 0', name)
    elif (0 if crowd is False else 1 if crowd is True else _number(crowd)) not in (0, 1):
        raise DataError(f'has an iscrowd that is neither 0 nor 1: {crowd!r}')
    annotation['iscrowd'] = int(crowd or 0)
    mask = annotation.get('segmentation')
    if annotation.get('bbox') is None:
        if mask is None:
            raise DataError('has no bbox')
        annotation['bbox'] = _mask_api().toBbox(_as_rle(mask, image)).tolist()
        mends.add('no bbox: taken from the segmentation', name)
    box = annotation['bbox']
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
        raise DataError(f'has a bbox that is not four numbers: {box!r}')
    if _reaches_beyond(box, image):
        mends.add(f'a box that reaches beyond the image ({ADVICE_BOXES})', name)
    if isinstance(mask, list) and not _covers(box, mask):
        mends.add('a box that is elsewhere than its polygons', name)
    area = annotation.get('area')
    if isinstance(area, (bool, str)) or _number(area) is None:
        sizes = mask is not None and (isinstance(mask, dict) or 'width' in image)
        annotation['area'] = (
            float(_mask_api().area(_as_rle(mask, image))) if sizes else box[2] * box[3]
        )
        mends.add('no number as area: that of the object', name)


def _reaches_beyond(box: Sequence[float], image: Mapping[str, Any]) -> bool:
    """Whether a box ends more than a pixel beyond its image, which rounding does not explain."""
    right, bottom = box[0] + box[2], box[1] + box[3]
    sides = image.get('width', math.inf), image.get('height', math.inf)
    return min(box[:2]) < -1 or right > sides[0] + 1 or bottom > sides[1] + 1


def _covers(box: Sequence[float], polygons: Sequence[Sequence[float]]) -> bool:
    """Whether a box and that of polygons have a quarter of their union in common (IoU)."""
    sides, areas = [], []
    for axis in (0, 1):
        low = min(min(polygon[axis::2]) for polygon in polygons)
        high = max(max(polygon[axis::2]) for polygon in polygons)
        sides.append(max(0, min(high, box[axis] + box[axis + 2]) - max(low, box[axis])))
        areas.append((box[axis + 2], high - low))
    both = sides[0] * sides[1]
    union = sum(width * height for width, height in zip(*areas)) - both
    return both >= union / 4


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers."""
    try:
        return math.isfinite(sum(values)) and not any(isinstance(v, bool) for v in values)
    except (TypeError, OverflowError):
        return False


def _mend_segmentation(annotation: dict, image: Mapping[str, Any], name: str, mends: Mends) -> bool:
    """Bring a segmentation into COCO's form; take away what is none.

    Returns:
        bool: Whether there were polygons and none can be used.
    """
    found = annotation.pop('segmentation', None)
    if not found:
        return False
    if isinstance(found, dict):
        annotation['segmentation'] = _check_rle(found, image)
        return False
    if not isinstance(found, list):
        raise DataError(f'has a segmentation that is neither polygons nor RLE: {found!r:.60}')
    polygons = _polygons(found)
    usable = [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0 and _are_numbers(p)]
    if len(usable) < len(polygons):
        mends.add('polygons of less than three points, or no points: left out', name)
    elif usable != found:
        mends.add('polygons written as one list or as points', name)
    if usable:
        annotation['segmentation'] = usable
    return not usable


def _polygons(found: list) -> list[list]:
    """Polygons x, y, x, y, ... of those, of one of them, or of lists of points."""
    if not any(isinstance(item, list) for item in found):
        return [found]
    if len(found) >= 3 and all(isinstance(p, list) and len(p) == 2 for p in found):
        if not any(isinstance(value, list) for p in found for value in p):
            return [[value for point in found for value in point]]
    return [_flat(item) for item in found]


def _flat(polygon: Any) -> list:
    if isinstance(polygon, list) and polygon and all(isinstance(p, list) for p in polygon):
        return [value for point in polygon for value in point]
    return polygon if isinstance(polygon, list) else []


def _check_rle(rle: dict, image: Mapping[str, Any]) -> dict:
    """A run-length encoding that pycocotools can decode.

    Raises:
        DataError: It cannot, or the mask has another size than the image.
    """
    size, counts = rle.get('size'), rle.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and all(type(s) is int for s in size)):
        raise DataError(f'its segmentation cannot be read: size is {size!r}')
    if 'width' in image and size != [image['height'], image['width']]:
        raise DataError(
            f'its segmentation cannot be read: it is {size[1]} x {size[0]} pixels, its image '
            f'{image["width"]} x {image["height"]}'
        )
    if isinstance(counts, list):
        if all(type(c) is int and c >= 0 for c in counts) and sum(counts) == size[0] * size[1]:
            return rle
        raise DataError('its segmentation cannot be read: the runs do not fill the mask')
    try:
        area = int(_mask_api().decode(rle).sum())
    except Exception as error:  # pycocotools raises about anything
        raise DataError(f'its segmentation cannot be read: {error}') from error
    if not counts or area != _mask_api().area(rle):  # the rest is what was in memory before
        raise DataError('its segmentation cannot be read: the runs do not fill the mask')
    return rle


def _as_rle(segmentation: list | dict, image: Mapping[str, Any]) -> dict:
    """A mask as pycocotools' compressed runs."""
    api = _mask_api()
    if isinstance(segmentation, list):
        if 'width' not in image:
            raise DataError('has no bbox')
        size = image['height'], image['width']
        return api.merge(api.frPyObjects(segmentation, *size))
    if isinstance(segmentation['counts'], list):
        return api.frPyObjects(segmentation, *segmentation['size'])
    return segmentation


def _mask_api() -> Any:
    """The module ``pycocotools.mask``.

    Raises:
        DataError: It is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError(
            'COCO-style annotations need pycocotools, which mmdet brings along '
            '(pip install pycocotools)'
        ) from error
    return mask


def decode_mask(segmentation: list | dict, shape: tuple[int, int]) -> Any:
    """A mask, bool (H, W), of the segmentation of a file that has been read.

    Args:
        segmentation: Polygons or runs.
        shape: Height and width of the image.

    Raises:
        DataError: The mask has another size.
    """
    rle = _as_rle(segmentation, dict(height=shape[0], width=shape[1]))
    mask = _mask_api().decode(rle).astype(bool)
    if mask.shape != shape:
        raise DataError(f'it is {mask.shape[1]} x {mask.shape[0]} pixels')
    return mask
