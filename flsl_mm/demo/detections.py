"""What the demo's detectors find in a few validation scenes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config

from ..apis.predicting import Pictures, build_inferencer, detections, predict
from ..datasets.scenes import CLASSES
from ..utils.images import evenly_spaced
from .plan import TITLES, Plan

SCORE = 0.3  # detections below it are not drawn


class DetectedScene(NamedTuple):
    """A scene, RGB (H, W, 3) uint8, and the objects found, as of :func:`detections`."""

    image: np.ndarray
    objects: list[dict[str, Any]]


def detect_scenes(plan: Plan, number: int = 5) -> dict[str, list[DetectedScene]]:
    """Predictions of the fine-tuned detectors on validation scenes, by the method they are from.

    Args:
        plan: Of the demo, all of whose steps are done.
        number: Of scenes, evenly spaced over the validation set.
    """
    paths = sorted((plan.scenes / 'coco/val2017').iterdir())
    pictures = Pictures([str(path) for path in evenly_spaced(paths, number)])
    found = {}
    for method, title in TITLES.items():
        folder = plan.detector(method)
        [config] = folder.glob('*.py')
        checkpoint = Path((folder / 'last_checkpoint').read_text().strip())
        inferencer = build_inferencer(
            Config.fromfile(config), folder / checkpoint.name, torch.device('cpu')
        )
        found[title] = [
            DetectedScene(scene.pixels, detections(scene, CLASSES, SCORE))
            for scene in predict(inferencer, pictures)
        ]
    return found


def detections_figure(found: Mapping[str, Sequence[DetectedScene]]) -> Figure:
    """A row of scenes with boxes, names and scores for each method."""
    columns = len(next(iter(found.values())))
    figure = Figure(figsize=(2.1 * columns, 1.7 * len(found)), layout='constrained')
    axes = figure.subplots(len(found), columns, squeeze=False)
    for row, (title, scenes) in zip(axes, found.items()):
        row[0].set_ylabel(title, fontsize=9)
        for axis, scene in zip(row, scenes):
            axis.imshow(scene.image)
            axis.set(xticks=[], yticks=[])
            for item in scene.objects:
                left, top, width, height = item['bbox']
                color = colormaps['tab10'](CLASSES.index(item['category_name']))
                box = Rectangle((left, top), width, height, fill=False, ec=color, lw=1.3)
                axis.add_patch(box)
                name = f'{item["category_name"]} {item["score"]:.1f}'
                style = dict(facecolor=color, alpha=0.7, pad=0.5, lw=0)
                axis.text(left, top, name, fontsize=5, color='white', bbox=style, clip_on=True)
    return figure
