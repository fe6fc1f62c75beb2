"""Reading what the demo's steps measured."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..visualization import read_training_log
from ..visualization.training_log import logged_curve
from .comparison import Comparison
from .plan import TITLES, Plan


class Measure(NamedTuple):
    """A number in the JSON files of the evaluation tools.

    Attributes:
        title: For tables.
        task: Name of the task in the files.
        key: Name of the number.
    """

    title: str
    task: str
    key: str


MEASURES = (
    Measure('k-NN top-1', 'knn', 'top1_k20'),
    Measure('DAVIS J&F', 'davis', 'J&F-Mean'),
    Measure('k-means mIoU', 'dense', 'clustering/mIoU'),
    Measure('over-clustered mIoU', 'dense', 'clustering/over_mIoU'),
    Measure('retrieval mIoU', 'dense', 'retrieval/mIoU'),
)
DETECTION = {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'}


def read_comparisons(plan: Plan) -> list[Comparison]:
    """Every measure of frozen features, by method and seed."""
    comparisons = []
    for measure in MEASURES:
        values = {title: [] for title in TITLES.values()}
        for seed in range(plan.sizes.seeds):
            results = json.loads(plan.numbers(seed).read_text())['results']
            for method, title in TITLES.items():
                numbers = results[plan.network(method, seed)][measure.task]
                values[title].append(float(numbers[measure.key]))
        comparisons.append(Comparison(measure.title, values))
    return comparisons


def read_chance(plan: Plan) -> float:
    """Top-1 of k-NN with shuffled labels, in percent; the mean over networks and seeds."""
    found = [
        numbers['knn']['chance']
        for seed in range(plan.sizes.seeds)
        for numbers in json.loads(plan.numbers(seed).read_text())['results'].values()
    ]
    return sum(found) / len(found)


def read_detection(plan: Plan) -> dict[str, dict[str, tuple[Sequence[int], Sequence[float]]]]:
    """AP in percent by measure and method: iterations and values."""
    curves = {}
    for title, key in DETECTION.items():
        curves[title] = {}
        for method, name in TITLES.items():
            steps, values = logged_curve(read_training_log(plan.detector(method)), key)
            curves[title][name] = (steps, [100 * value for value in values])
    return curves


def read_pretraining(plan: Plan) -> dict[str, dict[str, tuple[Sequence[int], Sequence[float]]]]:
    """Curves of pretraining with seed 0, by panel and line: iterations and values."""
    flsl, dino = (
        read_training_log(plan.checkpoint(method, 0).parent) for method in ('flsl', 'dino')
    )
    return {
        'FLSL: weighted losses': {
            name: logged_curve(flsl, f'loss_{name}') for name in ('inter', 'volume', 'intra')
        },
        'DINO: loss': dict(DINO=logged_curve(dino, 'loss')),
        'FLSL: tokens of a cluster': dict(FLSL=logged_curve(flsl, 'attended_tokens')),
    }
