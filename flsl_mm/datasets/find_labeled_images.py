"""Labeled images below a folder of a known layout, as configs of their data sets."""

import os

from ..utils.errors import DataError

# Names of the folders of images and masks, as ADE20K and mmseg's conversions have them.
_MASK_LAYOUTS = (('images', 'annotations'), ('img_dir', 'ann_dir'), ('images', 'masks'))
_SPLITS = (('training', 'validation'), ('train', 'val'))
_COCO_FILE = 'annotations/instances_{}2017.json'


def find_labeled_images(root: str, plain: bool = False) -> tuple[dict | None, dict]:
    """Find training and validation images below a folder.

    Known are COCO's layout (``annotations/instances_val2017.json`` and ``val2017`` or
    ``images/val2017``) and pairs of folders of images and masks (``images`` and ``annotations`` or
    ``masks``; ``img_dir`` and ``ann_dir``), either split into ``training`` and ``validation`` or
    ``train`` and ``val``, or not split.

    Args:
        root: The folder.
        plain: In no known layout take all images below it, without labels.

    Returns:
        tuple: Configs of the training images, None where there is no split, and of those to
        evaluate, for mmpretrain's registry ``DATASETS``.

    Raises:
        FileNotFoundError: There is no such folder.
        DataError: It is in no known layout.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f'there is no folder {root}')
    if os.path.isfile(os.path.join(root, _COCO_FILE.format('val'))):
        train = os.path.isfile(os.path.join(root, _COCO_FILE.format('train')))
        return _coco(root, 'train') if train else None, _coco(root, 'val')
    for images, masks in _MASK_LAYOUTS:
        images, masks = os.path.join(root, images), os.path.join(root, masks)
        if not (os.path.isdir(images) and os.path.isdir(masks)):
            continue
        for splits in _SPLITS:
            if all(os.path.isdir(os.path.join(images, split)) for split in splits):
                train, val = (
                    _masks(os.path.join(images, split), os.path.join(masks, split))
                    for split in splits
                )
                return train, val
        return None, _masks(images, masks)
    if plain:
        return None, dict(type='PlainImages', images=root)
    raise DataError(
        f'{root} is in no known layout: neither {_COCO_FILE.format("val")} nor images and masks in '
        + ' or '.join(f'{images}, {masks}' for images, masks in _MASK_LAYOUTS)
    )


def _masks(images: str, masks: str) -> dict:
    return dict(type='MaskFolder', images=images, masks=masks)


def _coco(root: str, split: str) -> dict:
    folders = [os.path.join(root, name) for name in (f'{split}2017', f'images/{split}2017')]
    images = next(filter(os.path.isdir, folders), folders[0])
    ann_file = os.path.join(root, _COCO_FILE.format(split))
    return dict(type='InstanceImages', ann_file=ann_file, images=images)
