"""UAVDT's AP as a metric for tools/train.py and tools/test.py."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from ...datasets.uavdt_files import format_detections, parse_frame_name, read_frame_list
from ...utils.counts import counted
from ...utils.errors import ConfigError
from ...utils.files import whole_file
from ..functional.uavdt import evaluate_uavdt


@METRICS.register_module()
class UAVDTMetric(BaseMetric):
    """The official class-agnostic AP of UAVDT, in percent.

    Detections are written as official text files and :func:`flsl_mm.evaluation.evaluate_uavdt`
    evaluates these, so that ``tools/eval_uavdt.py`` on the files gives the same figure. The ground
    truth is the official text files too, of the sequences (and the frame list, if any) that the
    :class:`flsl_mm.datasets.UAVDTDataset` under test names in its meta information.

    Metrics: ``uavdt/AP`` (the official figure) and ``uavdt/AP_no_ignore`` (ignored regions not
    applied); AP of groups as ``uavdt/AP_day``, of classes as ``uavdt/AP_car``, of sequences as
    ``uavdt/AP_M0203``; what has no ground truth is left out.

    Args:
        iou_threshold: Official is 0.7.
        out_dir: Folder for the text files (``M0203.txt``, ...); by default they are not kept.
        collect_device: Where processes gather results, ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the names.
    """

    default_prefix = 'uavdt'

    def __init__(
        self,
        iou_threshold: float = 0.7,
        out_dir: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.iou_threshold = iou_threshold
        self.out_dir = out_dir

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take in the predictions of one batch, in pixels of the original images.

        Raises:
            ConfigError: An ``img_id`` names no frame of UAVDT.
        """
        for sample in data_samples:
            found = sample['pred_instances']
            name = parse_frame_name(str(sample['img_id']))
            if name is None:
                raise ConfigError(f'UAVDTMetric: {sample["img_id"]!r} is no frame of UAVDT')
            arrays = {key: found[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels')}
            self.results.append((*name, arrays))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write and evaluate the detections of all frames.

        Raises:
            ConfigError: The dataset under test is not UAVDT.
        """
        meta = self.dataset_meta or {}
        if 'gt_dir' not in meta:
            raise ConfigError(
                'UAVDTMetric: the dataset has to be a UAVDTDataset with test_mode=True'
            )
        frames = read_frame_list(meta['frame_list']) if meta['frame_list'] else None
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.out_dir or temporary
            self._export(results, meta['sequences'], folder)
            found = evaluate_uavdt(
                meta['gt_dir'], folder, meta['sequences'], self.iou_threshold, frames
            )
        metrics = {key: found[key] for key in ('AP', 'AP_no_ignore')}
        for kind in ('attributes', 'classes', 'sequences'):
            metrics.update({f'AP_{name}': pair['AP'] for name, pair in found[kind].items()})
        return {name: value for name, value in metrics.items() if not math.isnan(value)}

    def _export(self, results: list, sequences: Sequence[str], folder: str) -> None:
        """Write one file for each sequence, empty where nothing was found."""
        by_sequence: dict[str, list] = {name: [] for name in sequences}
        for name, frame, arrays in sorted(results, key=lambda result: result[:2]):
            by_sequence[name].append((frame, arrays))
        for name, found in by_sequence.items():
            text = ''.join(
                format_detections(
                    np.full(len(arrays['scores']), frame),
                    arrays['bboxes'],
                    arrays['scores'],
                    arrays['labels'],
                )
                for frame, arrays in found
            )
            with whole_file(Path(folder, f'{name}.txt')) as draft:
                draft.write_text(text, encoding='utf-8')
        if self.out_dir:
            MMLogger.get_current_instance().info(
                f'detections of {counted(len(sequences), "sequence")} written to {folder}'
            )
