"""J and F of semi-supervised DAVIS-2017, as its official evaluator computes them."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from ...utils.errors import DataError, errors_about

VOID = 255
# Tolerance of the boundary measure, as a share of the image diagonal.
_TOLERANCE = 0.008


class ObjectMeasures(NamedTuple):
    """Agreement by object (N objects) and scored frame (S frames), in [0, 1].

    Attributes:
        region: (N, S) J, the intersection over union.
        boundary: (N, S) F, the harmonic mean of precision and recall of the boundary pixels.
    """

    region: np.ndarray
    boundary: np.ndarray


def evaluate_davis(sequences: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict:
    """J and F of semi-supervised DAVIS-2017.

    The first frame, which is given, and the last are not scored. 255 is background. Objects are
    averaged, not sequences. The objects are those up to the highest id of the first frame's ground
    truth: one that appears later is background.

    Args:
        sequences: By name, ground truth and prediction, each (T, H, W) integer object ids with 0
            as background and T at least 3.

    Returns:
        dict: In percent, see :func:`summarize_davis`.

    Raises:
        DataError: Nothing to evaluate, shapes differ, no object in the first frame, or a predicted
            id that the ground truth does not have; the message names the sequence.

    Examples:
        >>> truth = np.zeros((3, 8, 8), np.uint8)
        >>> truth[:, 2:5, 2:5] = 1
        >>> evaluate_davis({'still': (truth, truth)})['J&F-Mean']
        100.0
    """
    measures = {}
    for name, (truth, prediction) in sequences.items():
        with errors_about(name):
            measures[name] = measure_sequence(np.asarray(truth), np.asarray(prediction))
    return summarize_davis(measures)


def measure_sequence(truth: np.ndarray, prediction: np.ndarray) -> ObjectMeasures:
    """J and F of each object in each scored frame.

    Args:
        truth: (T, H, W) integer object ids.
        prediction: (T, H, W) likewise.

    Returns:
        ObjectMeasures: (N, T - 2) each.

    Raises:
        DataError: As in :func:`evaluate_davis`.
    """
    num_objects = _check_ids(truth, prediction)
    scored = range(1, len(truth) - 1)
    region, boundary = np.zeros((2, num_objects, len(scored)))
    tolerance = math.ceil(_TOLERANCE * math.hypot(*truth.shape[1:]))
    for place, frame in enumerate(scored):
        for index in range(num_objects):
            expected = (truth[frame] == index + 1).view(np.uint8)
            found = (prediction[frame] == index + 1).view(np.uint8)
            expected, found = _crop(expected, found)
            region[index, place] = _region_measure(expected, found)
            boundary[index, place] = _boundary_measure(expected, found, tolerance)
    return ObjectMeasures(region, boundary)


def summarize_davis(measures: Mapping[str, ObjectMeasures]) -> dict:
    """The official figures, from the measures of each sequence.

    Recall is the share of frames above 0.5, decay the mean of the first quarter of the frames
    minus that of the last.

    Args:
        measures: By sequence.

    Returns:
        dict: In percent ``J&F-Mean``, ``J-Mean``, ``J-Recall``, ``J-Decay``, ``F-Mean``,
        ``F-Recall``, ``F-Decay``, means over all objects; ``sequences``, the same of each
        sequence's objects by name; ``objects``, ``J-Mean`` and ``F-Mean`` by ``<sequence>_<id>``.

    Raises:
        DataError: There is no sequence.
    """
    if not measures:
        raise DataError('DAVIS: no sequence to evaluate')
    figures = {
        name: np.array([[_statistics(row) for row in rows] for rows in measure])  # (2, N, 3)
        for name, measure in measures.items()
    }
    objects = {
        f'{name}_{index + 1}': {'J-Mean': float(100 * region), 'F-Mean': float(100 * boundary)}
        for name, values in figures.items()
        for index, (region, boundary) in enumerate(values[..., 0].T)
    }
    return dict(
        _figures(np.concatenate(list(figures.values()), axis=1)),
        sequences={name: _figures(values) for name, values in figures.items()},
        objects=objects,
    )


def _check_ids(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Validate the input of :func:`measure_sequence`; returns the number of objects."""
    if truth.ndim != 3 or truth.shape != prediction.shape:
        raise DataError(
            f'ground truth (T, H, W) is {truth.shape}, prediction {prediction.shape}: they must '
            'have the same frames and size'
        )
    if not all(np.issubdtype(masks.dtype, np.integer) for masks in (truth, prediction)):
        raise ValueError(f'masks hold integer ids, got {truth.dtype} and {prediction.dtype}')
    if len(truth) < 3:
        raise DataError(f'{len(truth)} frames: the first and the last are not scored')
    num_objects = int(truth[0].max(initial=0, where=truth[0] != VOID))
    if not num_objects:
        raise DataError('the first frame of the ground truth has no object')
    if prediction.min() < 0 or prediction.max() > num_objects:
        unknown = set(np.unique(prediction).tolist()) - set(np.unique(truth).tolist())
        unknown -= {*range(num_objects + 1), VOID}
        if unknown:
            raise DataError(f'predicted objects {sorted(unknown)} are not in the ground truth')
    return num_objects


def _crop(*masks: np.ndarray) -> list[np.ndarray]:
    """Cut masks (H, W) to what holds all their foreground and its boundary."""
    rows, columns = masks[0].shape
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(*masks))
    window = (
        slice(max(top - 1, 0), min(top + height + 1, rows)),
        slice(max(left - 1, 0), min(left + width + 1, columns)),
    )
    return [mask[window] for mask in masks]


def _region_measure(expected: np.ndarray, found: np.ndarray) -> float:
    """J of two masks; 1 where both are empty."""
    union = cv2.countNonZero(cv2.bitwise_or(expected, found))
    return cv2.countNonZero(cv2.bitwise_and(expected, found)) / union if union else 1.0


def _boundary_measure(expected: np.ndarray, found: np.ndarray, tolerance: int) -> float:
    """F of two masks: a boundary pixel is right if one of the other is within ``tolerance``."""
    expected, found = boundary_map(expected), boundary_map(found)
    num_expected, num_found = cv2.countNonZero(expected), cv2.countNonZero(found)
    if not num_expected or not num_found:
        return float(num_expected == num_found)
    disk = disk_of(tolerance)
    precision = cv2.countNonZero(cv2.bitwise_and(found, cv2.dilate(expected, disk))) / num_found
    recall = cv2.countNonZero(cv2.bitwise_and(expected, cv2.dilate(found, disk))) / num_expected
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower right neighbor: (H, W) uint8, 0 or 1."""
    padded = cv2.copyMakeBorder(mask, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    own = padded[:-1, :-1]
    return (own ^ padded[:-1, 1:]) | (own ^ padded[1:, :-1]) | (own ^ padded[1:, 1:])


def disk_of(radius: int) -> np.ndarray:
    """Pixels within ``radius`` of the center: (2 radius + 1, 2 radius + 1) uint8, 0 or 1."""
    steps = np.arange(-radius, radius + 1) ** 2
    return (steps + steps[:, None] <= radius**2).astype(np.uint8)


def _statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall and decay of an object's measure (S,)."""
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return values.mean(), (values > 0.5).mean(), first.mean() - last.mean()


def _figures(values: np.ndarray) -> dict[str, float]:
    """The seven figures of objects' statistics (2, N, 3)."""
    region, boundary = 100 * values.mean(1)
    names = ('Mean', 'Recall', 'Decay')
    return {
        'J&F-Mean': float((region[0] + boundary[0]) / 2),
        **{f'J-{name}': float(value) for name, value in zip(names, region)},
        **{f'F-{name}': float(value) for name, value in zip(names, boundary)},
    }
