"""Scenes in the layout of ILSVRC-2012 CLS-LOC."""

from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .boxes import mask_box, visible_objects
from .kinds import OBJECTS
from .sampling import sample_scene
from .scene import Picture, Scene

# What WordNet ids are to ImageNet's classes.
WNIDS = tuple(f'n9000{number:04}' for number in range(1, len(OBJECTS) + 1))
ASPECTS = (1.0, 4 / 3, 3 / 4)


def write_imagenet(
    root: str | PathLike, num_train: int = 600, num_val: int = 120, side: int = 96, seed: int = 0
) -> None:
    """Write images of one or two large objects of the image's class, and boxes around these.

    A third object, of any class, may lie half hidden behind them. Classes take turns. Training
    images lie in class folders (``Data/CLS-LOC/train/n90000001/n90000001_12.JPEG``), those of
    validation flat (``Data/CLS-LOC/val/ILSVRC2012_val_00000012.JPEG``); XML annotations mirror
    that below ``Annotations/CLS-LOC``. ``LOC_synset_mapping.txt`` names the classes.

    Args:
        root: Folder to fill.
        num_train: Training images.
        num_val: Validation images.
        side: Shorter side in pixels; three shapes of images take turns.
        seed: Of everything random; any number of images begins with those of a smaller number.
    """
    names = ''.join(f'{wnid} {kind.name}\n' for wnid, kind in zip(WNIDS, OBJECTS))
    Path(root).mkdir(parents=True, exist_ok=True)
    Path(root, 'LOC_synset_mapping.txt').write_text(names)
    for split, count in (('train', num_train), ('val', num_val)):
        for number in range(1, count + 1):
            rng = np.random.default_rng((seed, split == 'val', number))
            kind = (number - 1) % len(OBJECTS)
            folder, name = f'{split}/{WNIDS[kind]}', f'{WNIDS[kind]}_{number}'
            if split == 'val':
                folder, name = split, f'ILSVRC2012_val_{number:08}'
            scene = _sample_image(rng, kind, side)
            _write_image(Path(root), folder, name, scene, kind)


def _sample_image(rng: np.random.Generator, kind: int, side: int) -> Scene:
    aspect = rng.choice(ASPECTS)
    size = (round(side * max(1, aspect)), round(side * max(1, 1 / aspect)))
    behind = rng.integers(len(OBJECTS), size=rng.integers(2))
    kinds = [*behind, *[kind] * rng.integers(1, 3)]
    return sample_scene(rng, size, kinds, radius=(0.2, 0.33))


def _write_image(root: Path, folder: str, name: str, scene: Scene, kind: int) -> None:
    picture = scene.render()
    images, annotations = (root / top / 'CLS-LOC' / folder for top in ('Data', 'Annotations'))
    for path in (images, annotations):
        path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.image).save(images / f'{name}.JPEG', quality=92)
    tree = _annotation(Path(folder).name, name, scene, picture, kind)
    ElementTree.indent(tree, '\t')
    tree.write(annotations / f'{name}.xml', encoding='unicode')


def _annotation(
    folder: str, name: str, scene: Scene, picture: Picture, kind: int
) -> ElementTree.ElementTree:
    """XML with the boxes of the objects of the image's class, in ImageNet's whole pixels."""
    height, width = picture.labels.shape
    root = ElementTree.Element('annotation')
    source = dict(database='drawn scenes')
    size = dict(width=width, height=height, depth=3)
    _append(root, dict(folder=folder, filename=name, source=source, size=size, segmented=0))
    for label, mask in visible_objects(scene, picture):
        if label == 1 + kind:
            box = dict(zip(('xmin', 'ymin', 'xmax', 'ymax'), mask_box(mask)))
            fields = dict(pose='Unspecified', truncated=0, difficult=0, bndbox=box)
            _append(root, dict(object=dict(name=WNIDS[kind], **fields)))
    return ElementTree.ElementTree(root)


def _append(parent: ElementTree.Element, content: dict) -> None:
    for tag, value in content.items():
        child = ElementTree.SubElement(parent, tag)
        if isinstance(value, dict):
            _append(child, value)
        else:
            child.text = str(value)
