r"""Speed of COCO's evaluation by faster_coco_eval against pycocotools, and whether they agree.

Both evaluate the same drawn scenes through `StandardCocoMetric`: ellipses of 80 classes with crowds
among them, found more or less well, and many wrong detections. They take turns, and times are of
the processor, all threads together, so that a busy machine changes little. They are of the
evaluation once all images are predicted. That the numbers are equal is part of the run. The last
line is JSON.

Example:
    python tools/analysis_tools/benchmark_coco.py --images 500
"""

__tool__ = True

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flsl_mm.apis.command_line import positive, run_command, start_tool, tool_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--images', type=positive, default=500, help='(%(default)s)')
    parser.add_argument(
        '--false-detections',
        type=positive,
        default=40,
        metavar='N',
        help='detections of nothing in an image (%(default)s)',
    )
    parser.add_argument('--repeats', type=positive, default=3, help='(%(default)s)')
    return parser.parse_args()


if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.logging import MMLogger
from pycocotools import mask as coco_masks

from flsl_mm.evaluation import StandardCocoMetric
from flsl_mm.evaluation.metrics.standard_coco_metric import LIBRARIES
from flsl_mm.utils.errors import DataError

SIZE = 480, 640  # of an image
CLASSES = [f'class {i}' for i in range(80)]
TOLERANCE = 1e-12  # the sums are in another order


class DrawnDetections:
    """Ground truth and detections of drawn scenes.

    Args:
        count: Images.
        false_detections: Detections of nothing in each.
        seed: Of everything random.

    Attributes:
        annotations: Content of a COCO file.
        samples: What a detector gives for each image, as mmdet's metrics take it.
    """

    def __init__(self, count: int, false_detections: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.objects: list[dict] = []
        self.samples = [self._image(i, false_detections) for i in range(count)]
        height, width = SIZE
        self.annotations = dict(
            images=[
                dict(id=i, file_name=f'{i}.jpg', height=height, width=width) for i in range(count)
            ],
            annotations=self.objects,
            categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
        )

    def _image(self, image: int, false_detections: int) -> dict:
        boxes, labels, scores = [], [], []
        for _ in range(self.rng.integers(15)):
            box, label = self._box(), int(self.rng.integers(len(CLASSES)))
            self._add_object(image, box, label)
            for _ in range(self.rng.integers(4)):
                found = box + self.rng.normal(0, 0.06, 4) * np.tile(box[2:], 2)
                boxes.append([*found[:2], *np.maximum(found[2:], 2)])
                right = self.rng.random() < 0.8
                labels.append(label if right else int(self.rng.integers(len(CLASSES))))
                scores.append(round(self.rng.random(), 2))  # some are equal
        for _ in range(false_detections):
            boxes.append(self._box())
            labels.append(int(self.rng.integers(len(CLASSES))))
            scores.append(round(self.rng.random() / 2, 2))
        corners = np.array(boxes)
        corners[:, 2:] += corners[:, :2]
        found = dict(
            bboxes=torch.from_numpy(corners),
            scores=torch.tensor(scores),
            labels=torch.tensor(labels),
            masks=[run_lengths(ellipse(box)) for box in boxes],
        )
        return dict(img_id=image, ori_shape=SIZE, pred_instances=found)

    def _box(self) -> np.ndarray:
        """Left, top, width and height."""
        size = np.exp(self.rng.uniform(np.log(8), np.log(300), 2))
        return np.concatenate([self.rng.uniform(0, np.array(SIZE[::-1]) - size), size])

    def _add_object(self, image: int, box: np.ndarray, label: int) -> None:
        crowd = bool(self.rng.random() < 0.03)
        outline = ellipse(box)
        mask = run_lengths(outline)
        self.objects.append(
            dict(
                id=len(self.objects) + 1,
                image_id=image,
                category_id=label + 1,
                bbox=box.tolist(),
                area=float(coco_masks.area(mask)),
                iscrowd=int(crowd),
                segmentation=mask if crowd else [outline],
            )
        )


def ellipse(box: np.ndarray) -> list[float]:
    """Polygon of 24 corners in a box of left, top, width and height."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    center, half = np.array(box[:2]) + np.array(box[2:]) / 2, np.array(box[2:]) / 2
    return (center + half * np.stack([np.cos(angles), np.sin(angles)], 1)).flatten().tolist()


def run_lengths(polygon: list[float]) -> dict:
    """Run lengths of a polygon's mask."""
    [mask] = coco_masks.frPyObjects([polygon], *SIZE)
    return dict(mask, counts=mask['counts'].decode())


def evaluate_by(library: str, ann_file: str, kind: str, samples: list[dict]) -> tuple[dict, float]:
    """The twelve numbers of boxes or masks, and the seconds of processor time that they took."""
    metric = StandardCocoMetric(ann_file=ann_file, metric=kind, library=library)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    start = time.process_time()
    found = metric.evaluate(len(samples))
    return found, time.process_time() - start


def compare_libraries(args: argparse.Namespace) -> dict[str, float]:
    """Evaluate in turns.

    Raises:
        ConfigError: faster_coco_eval is not installed.
        DataError: The numbers differ.
    """
    MMLogger.get_instance('mmengine', log_level='WARNING')  # mmdet's tables
    drawing = DrawnDetections(args.images, args.false_detections)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'instances.json'
        path.write_text(json.dumps(drawing.annotations))
        for kind in ('bbox', 'segm'):
            taken = {library: [] for library in LIBRARIES}
            for _ in range(args.repeats):
                numbers = []
                for library in LIBRARIES:
                    found, seconds = evaluate_by(library, str(path), kind, drawing.samples)
                    taken[library].append(seconds)
                    numbers.append(found)
                first, second = numbers
                if differ := [n for n in first if abs(first[n] - second[n]) > TOLERANCE]:
                    raise DataError(f'the libraries differ: {differ}: {first}, {second}')
            slow, fast = (statistics.median(taken[library]) for library in LIBRARIES)
            result.update({f'{kind}_seconds': fast, f'{kind}_pycocotools_seconds': slow})
            result[f'{kind}_speedup'] = slow / fast
            result[f'{kind}_mAP'] = first[f'coco/{kind}_mAP']
    return result


def measure(args: argparse.Namespace) -> None:
    """Measure and print."""
    found = compare_libraries(args)
    for name, value in found.items():
        print(f'{name:28}{value:10.3f}')
    print(json.dumps(dict(found, images=args.images)))


def main() -> int:
    """Run the command; returns its exit code."""
    args = parse_args()
    return run_command('benchmark_coco.py', lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())
