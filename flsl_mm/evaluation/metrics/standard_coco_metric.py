"""COCO's twelve numbers."""

import filecmp
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.registry import METRICS

from ...utils.errors import ConfigError

# mmdet's name of each number (which counts on proposals: 100, 300, 1000) and COCO's.
_NAMES = {
    'mAP': 'mAP',
    'mAP_50': 'mAP_50',
    'mAP_75': 'mAP_75',
    'mAP_s': 'mAP_s',
    'mAP_m': 'mAP_m',
    'mAP_l': 'mAP_l',
    'AR@100': 'AR@1',
    'AR@300': 'AR@10',
    'AR@1000': 'AR@100',
    'AR_s@1000': 'AR_s@100',
    'AR_m@1000': 'AR_m@100',
    'AR_l@1000': 'AR_l@100',
}
# Of what evaluates, the mmdet metric that calls it.
LIBRARIES = {'pycocotools': 'mmdet.CocoMetric', 'faster_coco_eval': 'mmdet.FasterCocoMetric'}


@METRICS.register_module()
class StandardCocoMetric(BaseMetric):
    """The twelve numbers of COCO's own evaluation, for boxes and for masks, in [0, 1].

    mmdet's ``CocoMetric`` does the work; it reports six of them and counts recall on 100, 300 and
    1000 proposals instead of COCO's 1, 10 and 100 detections. Names are ``coco/bbox_mAP`` and so
    on; -1 where there is nothing to find (COCO's convention). A model that detects nothing at all
    scores 0. The annotations are read as the data set reads them (:func:`read_coco_file`).

    Args:
        ann_file: Annotation file; by default that of the :class:`CheckedCocoDataset` under test. It
            must be that of the data set, or a copy.
        metric: ``'bbox'``, ``'segm'`` or both.
        library: What evaluates: ``'pycocotools'``, COCO's own, or ``'faster_coco_eval'``, the same
            numbers several times as fast (the extra ``fast-coco`` of this package).
        collect_device: Where processes gather results, ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the names.
        kwargs: Other arguments of mmdet's ``CocoMetric``: ``outfile_prefix`` (writes
            ``<prefix>.bbox.json`` and ``<prefix>.segm.json`` in COCO's result format), ...

    Raises:
        DataError: The annotation file cannot be used, lacks masks that are to be evaluated, or does
            not have the classes of the data set.
        ConfigError: It is another one than that of the data set, or ``library`` is unknown or not
            installed.
    """

    default_prefix = 'coco'
    passed_on_to = 'mmdet.CocoMetric'  # whose arguments a config may have too

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = ('bbox', 'segm'),
        library: str = 'pycocotools',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.kinds = [metric] if isinstance(metric, str) else list(metric)
        self.coco = METRICS.build(
            dict(
                type=_metric_of(library),
                metric=self.kinds,
                proposal_nums=(1, 10, 100),
                metric_items=list(_NAMES),
                **kwargs,
            )
        )
        self.coco.results = self.results  # one list, gathered here and filled there
        self.ann_file = ann_file
        if ann_file is not None:
            self._read(ann_file)

    def _read(self, ann_file: str) -> None:
        """Give mmdet's metric the annotations."""
        from ...datasets.checked_coco_dataset import CheckedCOCO  # needs mmdet

        with get_local_path(ann_file, backend_args=self.coco.backend_args) as path:
            self.coco._coco_api = CheckedCOCO(path, masks='segm' in self.kinds, complete=True)

    @property
    def dataset_meta(self) -> dict | None:
        """Class names of the dataset."""
        return self.coco.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        own = (dataset_meta or {}).get('ann_file')
        if own and self.ann_file is None:
            self.ann_file = own
            self._read(own)
        elif own and not _same_file(own, self.ann_file):
            raise ConfigError(
                f"the evaluator's ann_file {self.ann_file} is not that of the data set, {own}; "
                'leave ann_file of the evaluator out (None): it is then that of the data set'
            )
        self.coco.dataset_meta = dataset_meta
        if self.ann_file is not None:  # refuses other classes before anything is computed
            self.coco._coco_api.get_cat_ids(cat_names=dataset_meta['classes'])

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take in the predictions of one batch."""
        self.coco.process(data_batch, data_samples)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Evaluate the predictions of all images."""
        found = self.coco.compute_metrics(results)
        if self.coco.format_only:
            return found
        return {
            f'{kind}_{name}': found.get(f'{kind}_{key}', 0.0)
            for kind in self.kinds
            for key, name in _NAMES.items()
        }


def _metric_of(library: str) -> str:
    """The mmdet metric that evaluates with a library.

    Raises:
        ConfigError: There is none, or something is not installed.
    """
    name = LIBRARIES.get(library)
    if name is None:
        raise ConfigError(
            f'StandardCocoMetric: library={library!r} is none of {", ".join(LIBRARIES)}'
        )
    if find_spec(library) is None:
        package = library.replace('_', '-')
        raise ConfigError(
            f'StandardCocoMetric: library={library!r} is not installed: pip install {package}, or '
            'leave it out for pycocotools'
        )
    if METRICS.get(name) is None:
        raise ConfigError(
            f'StandardCocoMetric: library={library!r} needs an mmdet that has {name} '
            '(onedl-mmdetection); leave it out for pycocotools'
        )
    return name


def _same_file(first: str, second: str) -> bool:
    """Whether two paths are of one file, or of copies; of what is not on disk the names count."""
    if not (os.path.isfile(first) and os.path.isfile(second)):
        return first == second
    return os.path.samefile(first, second) or filecmp.cmp(first, second, shallow=False)
