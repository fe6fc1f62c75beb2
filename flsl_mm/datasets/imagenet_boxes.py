"""ILSVRC images with the boxes of its localization task."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, TRANSFORMS

from ..utils.errors import ConfigError
from ..utils.files import file_stamp
from ..utils.images import evenly_spaced
from .image_files import IMAGE_EXTENSIONS
from .unusable_sample import Unusable, UnusableSample

IMAGE_FOLDERS = ('ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC', '.')
BOX_FOLDERS = ('ILSVRC/Annotations/CLS-LOC', 'Annotations/CLS-LOC', 'Annotations')


@DATASETS.register_module()
class ImageNetBoxes(BaseDataset):
    """The images of a split that have an XML file with CLS-LOC boxes.

    ILSVRC has boxes for 544,546 of its training images and all of its validation images. The
    class of a training image is its folder's name; that of a validation image, in class folders
    or not, stands in its XML file. XML files are read with their images, in the data workers.

    A sample is what the pipeline returns, with ``label`` and ``reason`` 0. An image that the
    pipeline cannot use (``OSError``, :class:`UnusableSample`) gives a dict of ``reason``, a member
    of :class:`Unusable`, and ``message`` instead.

    Args:
        data_root: ImageNet: holds ``Data/CLS-LOC/train`` and ``Annotations/CLS-LOC/train``, below
            ``ILSVRC`` or not, or ``train`` and ``Annotations/train``.
        split: ``'train'`` or ``'val'``.
        classes: Names whose positions are the labels; others have label -1. By default the
            training folders.
        pipeline: Transforms from ``img_path`` and ``ann_path`` to a sample; ``box_class`` has to be
            among its keys.
        per_class: At most that many images of each training class, spread over its folder.
        max_images: At most that many images, spread over all; of the training split as many of
            each class, one at least.
        kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: There are no images or annotations, or none that belong together; the
            message says where they were looked for.
        ConfigError: Wrong ``split``, or ``classes`` are missing.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        classes: Sequence[str] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        per_class: int | None = None,
        max_images: int | None = None,
        **kwargs,
    ) -> None:
        if split not in ('train', 'val'):
            raise ConfigError(f"ImageNetBoxes: split is 'train' or 'val', got {split!r}")
        if split == 'val' and classes is None:
            raise ConfigError(
                'ImageNetBoxes: the val split needs the classes of the training split'
            )
        for name, value in (('per_class', per_class), ('max_images', max_images)):
            if value is not None and value < 1:
                raise ConfigError(f'ImageNetBoxes: {name} must be at least 1, got {value}')
        self.split, self.classes = split, classes
        self.steps = repr(list(pipeline))
        self.per_class, self.max_images = per_class, max_images
        # built here as mmengine would look them up in the default scope's registry only
        transforms = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]
        super().__init__(data_root=str(data_root), pipeline=transforms, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry for each image with an XML file, in the order of the names."""
        folders = [
            _find_folder(self.data_root, roots, self.split, what)
            for roots, what in ((IMAGE_FOLDERS, 'images'), (BOX_FOLDERS, 'boxes (XML files)'))
        ]
        xml = {self._key(*file): file[1] for file in _files(folders[1], ('.xml',))}
        images = [
            dict(img_path=path, ann_path=xml[self._key(folder, path)], folder=folder)
            for folder, path in _files(folders[0], IMAGE_EXTENSIONS)
            if self._key(folder, path) in xml and (folder or self.split == 'val')
        ]
        if not images:
            where = 'in class folders ' if self.split == 'train' else ''
            raise FileNotFoundError(f'no image {where}below {folders[0]} has boxes in {folders[1]}')
        if self.classes is None:
            self.classes = sorted({image['folder'] for image in images})
        chosen = self._subset(images)
        MMLogger.get_current_instance().info(
            f'ImageNet {self.split}: {len(images)} images with boxes, {len(chosen)} used; '
            f'{len(xml) - len(images)} XML files without an image'
        )
        return chosen

    def _key(self, folder: str, path: str) -> str:
        """What an image and its XML file share: class and name, in ``val`` the name alone."""
        stem = os.path.splitext(os.path.basename(path))[0]
        return f'{folder}/{stem}' if self.split == 'train' else stem

    def _subset(self, images: list[dict]) -> list[dict]:
        if self.split == 'val':
            return evenly_spaced(images, self.max_images) if self.max_images else images
        limits = [self.per_class or len(images)]
        if self.max_images:
            limits.append(max(1, self.max_images // len(self.classes)))
        by_class: dict[str, list[dict]] = {}
        for image in images:
            by_class.setdefault(image['folder'], []).append(image)
        return [i for group in by_class.values() for i in evenly_spaced(group, min(limits))]

    def __getitem__(self, index: int) -> dict:
        """The sample of an image, or why there is none."""
        info = self.get_data_info(index)
        try:
            sample = self.pipeline(dict(info))
        except UnusableSample as error:
            return dict(reason=error.reason, message=f'{info["img_path"]}: {error}')
        except OSError as error:
            return dict(reason=Unusable.UNREADABLE, message=f'{info["img_path"]}: {error}')
        name = info['folder'] if self.split == 'train' else sample['box_class']
        return dict(sample, label=self._positions.get(name, -1), reason=0)

    @property
    def _positions(self) -> dict[str, int]:
        if not hasattr(self, '_label_of'):
            self._label_of = {name: i for i, name in enumerate(self.classes)}
        return self._label_of

    def fingerprint(self, start: int = 0, stop: int | None = None) -> str:
        """A hash of the files, their sizes and times of change, the classes and the pipeline.

        Args:
            start: First image whose files are looked at; of a million it takes minutes where the
                disk is slow, and several processes can divide them.
            stop: One past the last; None for all.
        """
        digest = hashlib.sha256(os.fsencode('\n'.join([self.steps, *self.classes])))
        for index in range(len(self))[start:stop]:
            info = self.get_data_info(index)
            for path in (info['img_path'], info['ann_path']):
                # None where it is missing
                digest.update(os.fsencode(f'{path} {file_stamp(path)}\n'))
        return digest.hexdigest()


def _find_folder(root: str, folders: Sequence[str], split: str, what: str) -> str:
    if not os.path.isdir(root):
        raise FileNotFoundError(f'ImageNet: data_root is not a folder: {root}')
    paths = [os.path.normpath(os.path.join(root, folder, split)) for folder in folders]
    for path in paths:
        if os.path.isdir(path):
            return path
    raise FileNotFoundError(f'ImageNet: no {split} {what}; looked for {", ".join(paths)}')


def _files(folder: str, extensions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Files in a folder and in the folders in it: the name of the latter ('' for none), path."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if e.name[0] != '.'), key=lambda e: e.name)
    for entry in visible:
        if entry.name.lower().endswith(extensions):
            yield '', entry.path
        elif entry.is_dir():
            for path in sorted(os.listdir(entry.path)):
                if path[0] != '.' and path.lower().endswith(extensions):
                    yield entry.name, os.path.join(entry.path, path)
