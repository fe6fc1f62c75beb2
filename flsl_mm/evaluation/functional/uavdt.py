"""Detection AP of the UAVDT benchmark, as its official toolkit computes it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ...datasets.uavdt_files import (
    ATTRIBUTES,
    BOX,
    CLASS,
    CLASSES,
    FRAME,
    SCORE,
    TEST_SEQUENCES,
    corners,
    group_by_frame,
    read_detections,
    read_ground_truth,
)
from ...utils.errors import ConfigError, DataError


@dataclass(frozen=True)
class Matches:
    """Detections of some frames after matching, in the order that breaks ties between scores.

    Attributes:
        scores: (N,).
        correct: (N,) bool, whether the detection took a ground truth box.
        num_gt: Number of ground truth boxes.
    """

    scores: np.ndarray
    correct: np.ndarray
    num_gt: int

    @classmethod
    def pool(cls, parts: Iterable['Matches']) -> 'Matches':
        """All detections of several sequences together."""
        parts = list(parts)
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.correct for part in parts]),
            sum(part.num_gt for part in parts),
        )

    @property
    def ap(self) -> float:
        """Average precision in percent to 2 decimals, as the official toolkit prints it."""
        return round(100 * average_precision(self.scores, self.correct, self.num_gt), 2)


def evaluate_uavdt(
    gt_dir: str | PathLike,
    detection_dir: str | PathLike,
    sequences: Sequence[str] | None = None,
    iou_threshold: float = 0.7,
    frames: Mapping[str, Collection[int]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict:
    """The official class-agnostic VOC AP of UAVDT over official text files.

    A detection strictly inside a single ignored region of its frame is dropped; ground truth there
    still counts. In each frame the detections, by descending score, each take the unmatched ground
    truth of highest IoU, at least ``iou_threshold``. All frames of all sequences are pooled. Paper
    of FLSL, Section 5, "UAVDT".

    Args:
        gt_dir: Folder with ``M0203_gt_whole.txt`` and ``M0203_gt_ignore.txt`` (or ``.txt.gz``).
        detection_dir: Folder with ``M0203.txt`` (or ``.txt.gz``); an empty file is a sequence
            without detections.
        sequences: Such as ``['M0203']``; by default the test sequences with ground truth in
            ``gt_dir``: the official 20 where it is complete.
        iou_threshold: In (0, 1]; official is 0.7.
        frames: If given, only these frames, by sequence, are evaluated.
        progress: Called with the name of each sequence before it is read.

    Returns:
        dict: In percent to 2 decimals, nan where there is no ground truth:

        - ``AP``: the official figure;
        - ``AP_no_ignore``: without ignored regions, so that no detection is dropped;
        - ``sequences``, ``attributes``, ``classes``: dicts of such pairs by name. Attributes are
          those with an evaluated sequence; classes (matched among themselves, not an official
          figure) are there when all detections carry a category.

        And the counts ``num_frames_with_gt``, ``num_gt``, ``num_detections``, ``num_ignored``
        (detections dropped).

    Raises:
        FileNotFoundError: A file is missing.
        DataError: A malformed line; the message names file and line.
        ConfigError: No sequence, or an ``iou_threshold`` out of range.

    Examples:
        >>> evaluate_uavdt('UAV-benchmark-MOTD_v1.0/GT', 'RES_DET/mine')['AP']  # doctest: +SKIP
        52.8
    """
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f'iou_threshold must be above 0 and at most 1, got {iou_threshold}')
    if isinstance(sequences, str) or (sequences is not None and not len(sequences)):
        raise ConfigError(f'sequences are a list of at least one name, got {sequences!r}')
    names = find_test_sequences(gt_dir) if sequences is None else list(dict.fromkeys(sequences))
    check_detection_files(detection_dir, names)
    results, counts = {}, []
    for name in names:
        if progress:
            progress(name)
        keep = None if frames is None else sorted(frames.get(name, ()))
        results[name], count = _evaluate_sequence(gt_dir, detection_dir, name, iou_threshold, keep)
        counts.append(count)
    groups = {key: [n for n in value if n in results] for key, value in ATTRIBUTES.items()}
    return dict(
        _summarize(results, names),
        sequences={name: _summarize(results, [name]) for name in names},
        attributes={key: _summarize(results, value) for key, value in groups.items() if value},
        classes=_summarize_classes(results),
        **{key: sum(count[key] for count in counts) for key in counts[0]},
    )


def find_test_sequences(gt_dir: str | PathLike) -> list[str]:
    """The test sequences with ground truth in a folder, in official order.

    Raises:
        DataError: There are none.
    """
    found = {path.name[:5] for path in Path(gt_dir).glob('M????_gt_whole.txt*')}
    names = [name for name in TEST_SEQUENCES if name in found]
    if not names:
        raise DataError(
            f'no ground truth of a test sequence (such as M0203_gt_whole.txt) in {gt_dir}; '
            'other sequences have to be named'
        )
    return names


def check_detection_files(detection_dir: str | PathLike, names: Sequence[str]) -> None:
    """Require a detection file for each sequence, before any of them is read.

    Raises:
        FileNotFoundError: Some are missing; the message names them all.
    """
    there = {path.name for path in Path(detection_dir).glob('*')}
    missing = [name for name in names if not {f'{name}.txt', f'{name}.txt.gz'} & there]
    if missing:
        raise FileNotFoundError(
            f'no detection file in {detection_dir} for {", ".join(missing)} (expected '
            f'{missing[0]}.txt or {missing[0]}.txt.gz, empty if nothing was found); '
            'or name the sequences to evaluate'
        )


def _evaluate_sequence(
    gt_dir: str | PathLike,
    detection_dir: str | PathLike,
    name: str,
    iou_threshold: float,
    frames: Collection[int] | None,
) -> tuple[dict[str, Matches], dict[str, int]]:
    """Matches of one sequence: with and without ignored regions, and by class; and its counts."""
    gt, ignored = read_ground_truth(gt_dir, name)
    detections = read_detections(detection_dir, name)
    if frames is not None:
        gt = gt[np.isin(gt[:, FRAME], frames)]
        detections = detections[np.isin(detections[:, FRAME], frames)]
    kept = detections[~inside_ignored(detections, ignored)]
    matches = dict(
        AP=match_detections(kept, gt, iou_threshold),
        AP_no_ignore=match_detections(detections, gt, iou_threshold),
    )
    if np.isin(detections[:, CLASS], range(1, len(CLASSES) + 1)).all():
        for label, category in enumerate(CLASSES, 1):
            of_class = gt[gt[:, CLASS] == label]
            for key, found in (('AP', kept), ('AP_no_ignore', detections)):
                matches[f'{category} {key}'] = match_detections(
                    found[found[:, CLASS] == label], of_class, iou_threshold
                )
    counts = dict(
        num_frames_with_gt=len(np.unique(gt[:, FRAME])),
        num_gt=len(gt),
        num_detections=len(detections),
        num_ignored=len(detections) - len(kept),
    )
    return matches, counts


def _summarize(results: dict[str, dict[str, Matches]], names: Iterable[str]) -> dict[str, float]:
    names = list(names)
    return {
        key: Matches.pool(results[name][key] for name in names).ap for key in ('AP', 'AP_no_ignore')
    }


def _summarize_classes(results: dict[str, dict[str, Matches]]) -> dict[str, dict[str, float]]:
    if not all(f'{CLASSES[0]} AP' in matches for matches in results.values()):
        return {}
    return {
        category: {
            key: Matches.pool(matches[f'{category} {key}'] for matches in results.values()).ap
            for key in ('AP', 'AP_no_ignore')
        }
        for category in CLASSES
    }


def inside_ignored(detections: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Which detections lie strictly inside one single ignored region of their frame.

    A detection that touches the region's border is not inside, nor is one that only several
    regions together cover.

    Args:
        detections: (N, 9) in the official columns.
        ignored: (M, 9).

    Returns:
        np.ndarray: (N,) bool.
    """
    inside = np.zeros(len(detections), bool)
    regions = group_by_frame(ignored)
    for frame, found in group_by_frame(detections).items():
        if frame in regions:
            low, high = corners(detections[found, None, BOX])
            region_low, region_high = corners(ignored[None, regions[frame], BOX])
            inside[found] = ((low > region_low) & (high < region_high)).all(-1).any(1)
    return inside


def match_detections(detections: np.ndarray, gt: np.ndarray, iou_threshold: float) -> Matches:
    """Match the detections of all frames of a sequence with its ground truth.

    Args:
        detections: (N, 9) in the official columns, any order.
        gt: (M, 9); the order within a frame decides between equal IoUs.
        iou_threshold: In (0, 1].

    Returns:
        Matches: By frame, then by descending score, equal scores in the order given.
    """
    detections = detections[np.lexsort((-detections[:, SCORE], detections[:, FRAME]))]
    expected = group_by_frame(gt)
    correct = np.zeros(len(detections), bool)
    for frame, found in group_by_frame(detections).items():
        if frame in expected:
            iou = pairwise_iou(detections[found][:, BOX], gt[expected[frame]][:, BOX])
            correct[found] = match_frame(iou, iou_threshold)
    return Matches(detections[:, SCORE], correct, len(gt))


def match_frame(iou: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Match the detections of one frame greedily.

    Each detection in turn takes the unmatched ground truth of highest IoU, if that is at least the
    threshold; among equal ones the last.

    Args:
        iou: (N, M), detections by descending score.
        iou_threshold: In (0, 1].

    Returns:
        np.ndarray: (N,) bool, whether the detection took one.
    """
    correct = np.zeros(len(iou), bool)
    rows, columns = np.nonzero(iou >= iou_threshold)
    # Candidates of each detection with the best first: the first that is free is the one to take.
    order = np.lexsort((-columns, -iou[rows, columns], rows))
    taken_rows, taken_columns = set(), set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
    correct[list(taken_rows)] = True
    return correct


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of continuous boxes (no pixel is added to a width).

    Args:
        a: (N, 4), left, top, width, height.
        b: (M, 4).

    Returns:
        np.ndarray: (N, M) in [0, 1]; 0 where boxes are empty.
    """
    a, b = a[:, None], b[None]
    (a_low, a_high), (b_low, b_high) = corners(a), corners(b)
    sides = np.minimum(a_high, b_high) - np.maximum(a_low, b_low)
    shared = np.where((sides > 0).all(-1), sides.prod(-1), 0.0)
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def average_precision(scores: np.ndarray, correct: np.ndarray, num_gt: int) -> float:
    """Area under the monotone precision envelope over all recall levels (VOC 2010 and later).

    Args:
        scores: (N,); equal ones stay in the order given.
        correct: (N,) bool.
        num_gt: Number of ground truth boxes.

    Returns:
        float: In [0, 1]; nan without ground truth.
    """
    if num_gt == 0:
        return float('nan')
    hits = np.asarray(correct)[np.argsort(-np.asarray(scores), kind='stable')]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / num_gt)  # recall rises by 1 / num_gt at each hit
