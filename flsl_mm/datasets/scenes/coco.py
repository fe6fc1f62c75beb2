"""Scenes in the layout of COCO 2017."""

import json
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .boxes import mask_box, visible_objects
from .kinds import OBJECTS
from .sampling import sample_scene
from .scene import Scene


def write_coco(
    root: str | PathLike,
    num_train: int = 200,
    num_val: int = 50,
    size: tuple[int, int] = (128, 96),
    seed: int = 0,
) -> None:
    """Write ``train2017``, ``val2017`` and ``annotations/instances_{train,val}2017.json``.

    Masks are polygons; those with holes or in several parts, which hardly any polygon describes,
    are uncompressed run lengths. Category ids start at 1, in the order of :data:`OBJECTS`.

    Args:
        root: Folder to fill.
        num_train: Training images.
        num_val: Validation images.
        size: Width and height in pixels.
        seed: Of everything random; any number of images begins with those of a smaller number.
    """
    annotation_dir = Path(root, 'annotations')
    annotation_dir.mkdir(parents=True, exist_ok=True)
    for split, count in (('train2017', num_train), ('val2017', num_val)):
        folder = Path(root, split)
        folder.mkdir(exist_ok=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            rng = np.random.default_rng((seed, split == 'val2017', number))
            scene = sample_scene(rng, size)
            name = f'{number:012}.jpg'
            annotations += _write_image(folder / name, scene, number, len(annotations))
            images.append(dict(id=number, file_name=name, width=size[0], height=size[1]))
        categories = [
            dict(id=number, name=kind.name, supercategory=kind.shape)
            for number, kind in enumerate(OBJECTS, 1)
        ]
        content = dict(
            info=dict(description='drawn scenes', version='1.0', year=2017),
            licenses=[],
            images=images,
            annotations=annotations,
            categories=categories,
        )
        (annotation_dir / f'instances_{split}.json').write_text(json.dumps(content))


def _write_image(path: Path, scene: Scene, image_id: int, num_before: int) -> list[dict]:
    """Write one image; returns its annotations."""
    picture = scene.render()
    Image.fromarray(picture.image).save(path, quality=92)
    annotations = []
    for label, mask in visible_objects(scene, picture):
        left, top, right, bottom = mask_box(mask)
        annotations.append(
            dict(
                id=num_before + len(annotations) + 1,
                image_id=image_id,
                category_id=label,
                bbox=[left, top, right - left, bottom - top],
                area=int(mask.sum()),
                iscrowd=0,
                segmentation=encode_mask(mask),
            )
        )
    return annotations


def encode_mask(mask: np.ndarray) -> list[list[float]] | dict:
    """A mask (H, W) bool as COCO writes it.

    Returns:
        Union[list, dict]: One polygon ``[[x1, y1, x2, y2, ...]]`` in pixels where one is enough,
        else ``dict(size=[H, W], counts=[...])``: run lengths down the columns, zeros first.
    """
    # At twice the size a traced contour runs through the quarters of the border's pixels.
    large = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) == 1 and len(contours[0]) > 2:
        return [((contours[0].reshape(-1) + 0.5) / 2).tolist()]
    flat = np.concatenate([[0], mask.T.reshape(-1), [0]]).astype(np.int8)
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return dict(size=list(mask.shape), counts=counts.tolist())
