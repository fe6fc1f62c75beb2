"""Drawn scenes in the layouts of the real data sets."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

from ...utils.errors import ConfigError
from ..davis import FRAMES, LISTS, MASKS, write_masks
from .kinds import OBJECTS
from .sampling import sample_scene
from .scene import Picture, Scene, SceneObject, mask_box, visible_objects
from .texture import NOISE_SIDE, Ground, Texture

SPLITS = dict(training='train', validation='val')


def write_ade20k(
    root: str | PathLike,
    num_train: int = 200,
    num_val: int = 50,
    size: tuple[int, int] = (96, 96),
    seed: int = 0,
) -> None:
    """Write ``images`` and ``annotations``, each with ``training`` and ``validation``.

    Masks hold the class of every pixel: 1 to 10 in the order of :data:`CLASSES`, 0 unlabelled (the
    seam between two kinds of ground).

    Args:
        root: Folder to fill, such as ``ADEChallengeData2016``.
        num_train: Training images.
        num_val: Validation images.
        size: Width and height in pixels.
        seed: Of everything random; any number of images begins with those of a smaller number.
    """
    for (split, short), count in zip(SPLITS.items(), (num_train, num_val)):
        images, masks = (Path(root, top, split) for top in ('images', 'annotations'))
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            rng = np.random.default_rng((seed, split == 'validation', number))
            picture = sample_scene(rng, size).render()
            name = f'ADE_{short}_{number:08}'
            Image.fromarray(picture.image).save(images / f'{name}.jpg', quality=92)
            Image.fromarray(picture.labels).save(masks / f'{name}.png')


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
            annotations += _write_coco_image(folder / name, scene, number, len(annotations))
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


def _write_coco_image(path: Path, scene: Scene, image_id: int, num_before: int) -> list[dict]:
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


MIN_SIDE = 16  # pixels


def write_davis(
    root: str | PathLike,
    num_train: int = 2,
    num_val: int = 6,
    num_frames: int = 12,
    size: tuple[int, int] = (128, 96),
    seed: int = 0,
) -> None:
    """Write short videos of one to three moving objects, all of them to be seen in the first frame.

    Frames are ``JPEGImages/480p/scene-val-001/00000.jpg``, masks ``Annotations/480p/...png`` with
    the number of the object in DAVIS' palette, lists ``ImageSets/2017/{train,val}.txt``. The folder
    is called 480p whatever the size, as readers expect.

    Args:
        root: Folder to fill.
        num_train: Training sequences.
        num_val: Validation sequences.
        num_frames: Frames in each.
        size: Width and height in pixels, each at least 16.
        seed: Of everything random; any number of sequences begins with those of a smaller number.

    Raises:
        ConfigError: ``size`` is too small for objects to be seen.
    """
    if min(size) < MIN_SIDE:  # hardly any scene shows every object: it would be looked for forever
        raise ConfigError(
            f'write_davis: size must be at least {MIN_SIDE} x {MIN_SIDE} pixels for objects to be '
            f'seen, got {size[0]} x {size[1]}'
        )
    sets = Path(root, LISTS)
    sets.mkdir(parents=True, exist_ok=True)
    for split, count in (('train', num_train), ('val', num_val)):
        names = [f'scene-{split}-{number:03}' for number in range(1, count + 1)]
        for number, name in enumerate(names, 1):
            rng = np.random.default_rng((seed, split == 'val', number))
            _write_sequence(Path(root), name, _sample_video(rng, size, num_frames), num_frames)
        (sets / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))


def _sample_video(rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> Scene:
    """A scene whose first frame, which methods are given, shows every object."""
    while True:
        kinds = rng.permutation(len(OBJECTS))[: rng.integers(1, 4)]
        scene = sample_scene(rng, size, kinds, (0.14, 0.25), num_frames)
        if len(visible_objects(scene, scene.render())) == len(kinds):
            return scene


def _write_sequence(root: Path, name: str, scene: Scene, num_frames: int) -> None:
    stems = [f'{frame:05}' for frame in range(num_frames)]
    pictures = [scene.render(frame) for frame in range(num_frames)]
    folder = root / FRAMES / name
    folder.mkdir(parents=True, exist_ok=True)
    for stem, picture in zip(stems, pictures):
        Image.fromarray(picture.image).save(folder / f'{stem}.jpg', quality=95)
    write_masks(root / MASKS / name, stems, np.stack([p.instances for p in pictures]))


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
            _write_imagenet_image(Path(root), folder, name, scene, kind)


def _sample_image(rng: np.random.Generator, kind: int, side: int) -> Scene:
    aspect = rng.choice(ASPECTS)
    size = (round(side * max(1, aspect)), round(side * max(1, 1 / aspect)))
    behind = rng.integers(len(OBJECTS), size=rng.integers(2))
    kinds = [*behind, *[kind] * rng.integers(1, 3)]
    return sample_scene(rng, size, kinds, radius=(0.2, 0.33))


def _write_imagenet_image(root: Path, folder: str, name: str, scene: Scene, kind: int) -> None:
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


SIDES = ((0.10, 0.07), (0.16, 0.08), (0.22, 0.09))  # car, truck, bus: length, width / image width
COLORS = ((0.78, 0.16, 0.16), (0.16, 0.35, 0.78), (0.90, 0.78, 0.24))
WINDSCREEN = (0.12, 0.12, 0.14)
ASPHALT, LINES = (0.41, 0.41, 0.41), (0.92, 0.92, 0.92)
LANES = (0.25, 0.5, 0.75)


def write_uavdt(
    root: str | PathLike,
    sequences: Sequence[str],
    num_frames: int = 4,
    size: tuple[int, int] = (256, 136),
    seed: int = 0,
) -> None:
    """Write small sequences of vehicles on a road: images and ground truth.

    In each lane one vehicle drives to the right and partly out of the image. Each sequence has one
    ignored region, in its upper left corner.

    Args:
        root: Folder to fill with ``UAV-benchmark-M`` and ``UAV-benchmark-MOTD_v1.0``.
        sequences: Their names, such as ``['M0101', 'M0203']``.
        num_frames: Frames in each.
        size: Width and height in pixels.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    gt_dir = Path(root, 'UAV-benchmark-MOTD_v1.0/GT')
    gt_dir.mkdir(parents=True, exist_ok=True)
    width, height = size
    for name in sequences:
        folder = Path(root, 'UAV-benchmark-M', name)
        folder.mkdir(parents=True, exist_ok=True)
        starts = rng.uniform(0.1, 0.6, len(LANES)) * width
        categories = rng.permutation(len(SIDES))
        rows, regions = [], []
        for frame in range(1, num_frames + 1):
            boxes = _place_vehicles(starts + 0.04 * width * frame, categories, size)
            scene = _road_scene(rng, boxes, categories, size)
            rows += [
                (frame, target, *box, 1, 1, category + 1)
                for target, (box, category) in enumerate(zip(boxes, categories), 1)
                if box[0] < width
            ]
            regions.append((frame, 9, 0, 0, width // 6, height // 6, 1, -1, -1))
            image = Image.fromarray(scene.render().image)
            image.save(folder / f'img{frame:06d}.jpg', quality=95)
        for kind, lines in (('whole', rows), ('ignore', regions)):
            text = ''.join(','.join(map(str, line)) + '\n' for line in lines)
            (gt_dir / f'{name}_gt_{kind}.txt').write_text(text)


def _place_vehicles(
    lefts: np.ndarray, categories: np.ndarray, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of the vehicle of each lane, in whole pixels."""
    boxes = []
    for left, lane, category in zip(lefts, LANES, categories):
        w, h = (round(side * size[0]) for side in SIDES[category])
        boxes.append((round(left), round(lane * size[1] - h / 2), w, h))
    return boxes


def _road_scene(
    rng: np.random.Generator,
    boxes: Sequence[tuple[int, int, int, int]],
    categories: np.ndarray,
    size: tuple[int, int],
) -> Scene:
    noise = np.zeros((NOISE_SIDE, NOISE_SIDE), np.float32)
    road = Texture('lanes', 1.0, 0.0, np.float32([ASPHALT, LINES]), noise)
    vehicles = []
    for (left, top, w, h), category in zip(boxes, categories):
        colors = np.float32([COLORS[category], WINDSCREEN])
        vehicles.append(
            SceneObject(
                label=int(category) + 1,
                shape='block',
                texture=Texture('windscreen', w / size[1], 0.0, colors, noise),
                center=((left + w / 2) / size[1], (top + h / 2) / size[1]),
                extent=(w / 2 / size[1], h / 2 / size[1]),
            )
        )
    return Scene(size, (Ground(0, road),), tuple(vehicles), int(rng.integers(2**31)), shading=0.1)
