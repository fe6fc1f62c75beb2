"""How well a single image is predicted, to find those where a network fails."""

from typing import NamedTuple

import numpy as np

MATCH = 0.5  # IoU from which a detection is of an object


class Detected(NamedTuple):
    """Objects of an image.

    Attributes:
        found: That a detection is of.
        missed: Without a detection.
        false: Detections of no object.
    """

    found: int
    missed: int
    false: int

    @property
    def quality(self) -> float:
        """F1 in [0, 1]; 1 where there is nothing and nothing is detected."""
        total = 2 * self.found + self.missed + self.false
        return 2 * self.found / total if total else 1.0


def count_detected(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    truth: np.ndarray,
    truth_labels: np.ndarray,
    ignored: np.ndarray,
) -> Detected:
    """Match detections with objects of their class, the surest first, each object once.

    A detection is of an object from an IoU of 0.5. One of no object that lies at least half in an
    ignored region counts nowhere.

    Args:
        boxes: Detections (n, 4): x1, y1, x2, y2.
        labels: Their classes (n,).
        scores: Their scores (n,).
        truth: Objects (m, 4).
        truth_labels: Their classes (m,).
        ignored: Regions to ignore (k, 4).
    """
    inside = _intersections(boxes, truth)
    overlap = inside / np.maximum(_areas(boxes)[:, None] + _areas(truth) - inside, 1e-9)
    overlap[labels[:, None] != truth_labels] = 0
    hidden = _intersections(boxes, ignored) >= 0.5 * np.maximum(_areas(boxes), 1e-9)[:, None]
    free, false = np.ones(len(truth), bool), 0
    for i in np.argsort(-scores, kind='stable'):
        candidates = np.where(free, overlap[i], 0)
        if len(truth) and candidates.max() >= MATCH:
            free[candidates.argmax()] = False
        else:
            false += not hidden[i].any()
    return Detected(int((~free).sum()), int(free.sum()), int(false))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def _intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas (n, m) that boxes (n, 4) and others (m, 4) have in common."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2)


def pixel_accuracy(labels: np.ndarray, truth: np.ndarray, ignored: int = 255) -> float:
    """Share of the labelled pixels that have their class, in [0, 1]; 1 where none is labelled."""
    counted = truth != ignored
    return float((labels == truth)[counted].mean()) if counted.any() else 1.0
