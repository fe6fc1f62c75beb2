"""UAVDT, the vehicle detection benchmark filmed from drones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from ..utils.errors import ConfigError, DataError
from .transforms.load_fitting_image import load_fitting_images
from .uavdt_files import (
    BOX,
    CLASS,
    CLASSES,
    TEST_SEQUENCES,
    TRAIN_SEQUENCES,
    corners,
    group_by_frame,
    read_frame_list,
)
from .uavdt_index import SequenceIndex, find_folders, load_sequence

SPLITS = dict(train=TRAIN_SEQUENCES, test=TEST_SEQUENCES)


@DATASETS.register_module()
class UAVDTDataset(BaseDataset):
    """UAVDT's detection task, read from the official folders.

    Boxes come from ``*_gt_whole.txt``; those beyond the image are clipped, those outside dropped,
    and both counted in the log. Ignored regions (``*_gt_ignore.txt``) become instances with
    ``ignore_flag=1``, which mmdet keeps from assigners as negatives (``ignore_iof_thr``). Image
    sizes and ground truth are cached, and read again when a file or an image folder changes.

    Args:
        data_root: Folder where ``UAV-benchmark-M`` and ``UAV-benchmark-MOTD_v1.0`` were unpacked.
        split: ``'train'`` (30 sequences, 24,143 frames) or ``'test'`` (20; 16,592).
        sequences: These instead of a whole split.
        frame_list: A text file with one frame a line (``M0203/img000001.jpg``), relative to the
            working directory, that selects a subset, such as the papers' 23,258 or 15,069 frames;
            frames of other sequences in it are left out.
        cache_dir: Folder of the cached index; ``.uavdt_index`` in ``data_root`` by default.
        pipeline: Transforms; ``LoadImageFromFile`` compares sizes (:class:`LoadFittingImage`).
        kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`. In training,
            ``filter_cfg=dict(filter_empty_gt=True)`` leaves out frames without boxes.

    Raises:
        FileNotFoundError: Folders, sequences or the frame list are missing.
        DataError: A malformed line (the message names file and line), an unreadable image, or a
            frame list that selects nothing.
        ConfigError: An unknown ``split``.
    """

    METAINFO = dict(
        dataset_type='UAVDT',
        classes=CLASSES,
        palette=[(220, 20, 60), (0, 130, 180), (250, 170, 30)],
    )

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        sequences: Sequence[str] | None = None,
        frame_list: str | None = None,
        cache_dir: str | None = None,
        pipeline: Sequence = (),
        **kwargs,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"UAVDTDataset: split is 'train' or 'test', got {split!r}")
        self.sequences = tuple(sequences or SPLITS[split])
        self.frame_list = frame_list
        self.cache_dir = Path(cache_dir or Path(data_root, '.uavdt_index'))
        super().__init__(data_root=str(data_root), pipeline=load_fitting_images(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry for each selected frame, by sequence and number."""
        image_dir, gt_dir = find_folders(self.data_root, self.sequences)
        selected = read_frame_list(self.frame_list) if self.frame_list else None
        if self.test_mode:  # for UAVDTMetric; not in training, whose checkpoints hold no paths
            self._metainfo.update(
                gt_dir=str(gt_dir), sequences=self.sequences, frame_list=self.frame_list
            )
        entries, counts = [], Counter()
        for name in self.sequences:
            index = load_sequence(image_dir, gt_dir, name, self.cache_dir)
            wanted = None if selected is None else selected.get(name, set())
            entries += make_entries(index, name, image_dir, wanted, counts)
        if not entries:
            raise DataError(f'{self.frame_list}: has no frame of {", ".join(self.sequences)}')
        with_boxes = sum(has_boxes(entry) for entry in entries)
        MMLogger.get_current_instance().info(
            f'UAVDT: {len(self.sequences)} sequences, {len(entries)} frames ({with_boxes} with '
            f'boxes), {counts["boxes"]} boxes, {counts["clipped"]} clipped to the image, '
            f'{counts["outside"]} outside it dropped'
        )
        return entries

    def filter_data(self) -> list[dict]:
        """The frames, in training without those that have no boxes if the filter says so."""
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt'):
            return self.data_list
        return [entry for entry in self.data_list if has_boxes(entry)]


def has_boxes(entry: dict) -> bool:
    """Whether a frame has a vehicle outside of what is ignored."""
    return any(not instance['ignore_flag'] for instance in entry['instances'])


def make_entries(
    index: SequenceIndex, sequence: str, image_dir: Path, wanted: set[int] | None, counts: Counter
) -> list[dict]:
    """The entries of a sequence's frames, in mmdet's format.

    Args:
        index: The sequence.
        sequence: Its name.
        image_dir: Folder of the sequences' image folders.
        wanted: Frames to take; all by default.
        counts: ``boxes``, ``clipped`` and ``outside`` are added here.

    Returns:
        list[dict]: ``img_id``, ``img_path``, ``height``, ``width`` and ``instances``.
    """
    boxes, ignored = group_by_frame(index.boxes), group_by_frame(index.ignored)
    entries = []
    for name, frame, (width, height) in zip(
        index.names.tolist(), index.frames.tolist(), index.sizes.tolist()
    ):
        if wanted is not None and frame not in wanted:
            continue
        vehicles = _instances(index.boxes[boxes.get(frame, [])], width, height, False, counts)
        regions = _instances(index.ignored[ignored.get(frame, [])], width, height, True, Counter())
        entries.append(
            dict(
                img_id=f'{sequence}/img{frame:06d}',
                img_path=str(image_dir / sequence / name),
                height=height,
                width=width,
                instances=vehicles + regions,
            )
        )
    return entries


def _instances(
    rows: np.ndarray, width: int, height: int, ignore: bool, counts: Counter
) -> list[dict]:
    """Instances from rows in the official columns, clipped to the image."""
    boxes = np.concatenate(corners(rows[:, BOX]), axis=1)
    clipped = boxes.clip(0, [width, height, width, height])
    inside = (clipped[:, 2:] > clipped[:, :2]).all(1)
    counts['boxes'] += int(inside.sum())
    counts['clipped'] += int(((clipped != boxes).any(1) & inside).sum())
    counts['outside'] += int((~inside).sum())
    labels = np.zeros(len(rows), int) if ignore else rows[:, CLASS].astype(int) - 1
    return [
        dict(bbox=box, bbox_label=label, ignore_flag=int(ignore))
        for box, label in zip(clipped[inside].tolist(), labels[inside].tolist())
    ]
