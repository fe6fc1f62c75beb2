"""Pictures of a test: annotations and predictions side by side, of all images or the worst."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer
from mmpretrain.registry import HOOKS

from ...datasets.image_channels import COLORS, as_rgb
from ...datasets.transforms.load_fitting_image import LoadFittingImage
from ...evaluation.functional.image_quality import count_detected, pixel_accuracy
from ...utils.files import write_json
from ...utils.modules import unwrap_model


@HOOKS.register_module()
class PicturesHook(Hook):
    """Draw what a test predicts, beside the annotations, by the library's visualizer.

    A picture is called like its image, below the folder that all images share. With ``worst`` only
    so many are drawn, when all are known: those with the lowest F1 of detections (IoU of 0.5 and
    ``score_thr``), or the lowest share of right pixels; their names begin with their rank, and
    ``worst.json`` has the figures. Several processes share the work.

    Args:
        folder: Where pictures go.
        worst: How many; None draws all.
        score_thr: Detections of a lower score are left out.
    """

    def __init__(self, folder: str, worst: int | None = None, score_thr: float = 0.3) -> None:
        self.folder, self.worst, self.score_thr = folder, worst, score_thr

    def before_test(self, runner: Runner) -> None:
        """Give each image the name of its picture."""
        from ...visualization.saving import PictureNames  # with matplotlib

        dataset = runner.test_dataloader.dataset
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        base = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        names = PictureNames()
        self._names = {
            path: (name := os.path.relpath(path, base), str(names('', name))) for path in paths
        }
        backbone = getattr(unwrap_model(runner.model), 'backbone', None)
        in_color = getattr(backbone, 'in_channels', COLORS) in (1, COLORS)
        self._load = LoadFittingImage(color_type='color' if in_color else 'unchanged')
        self._kept: list[tuple[dict[str, Any], BaseDataElement]] = []

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[BaseDataElement],
    ) -> None:
        """Draw the images of a batch, or keep them while they are among the worst."""
        for sample in outputs:
            if self.worst is None:
                self._draw(runner.visualizer, sample, self._names[sample.img_path][1])
                continue
            figures = dict(image=self._names[sample.img_path][0], **self._judge(sample))
            self._kept.append((figures, _without_logits(sample)))
            self._kept = sorted(self._kept, key=_rank)[: self.worst]

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw the worst."""
        if self.worst is None:
            return
        own = {figures['image']: (figures, sample) for figures, sample in self._kept}
        gathered = all_gather_object([figures for figures, _ in own.values()])
        # A sampler may give an image to two processes.
        listed = {figures['image']: figures for part in gathered for figures in part}
        worst = sorted(((f, None) for f in listed.values()), key=_rank)[: self.worst]
        for rank, (figures, _) in enumerate(worst, 1):
            name = Path(figures['image']).with_suffix('.png')
            figures['picture'] = f'{rank:03}_{"_".join(name.parts)}'
            if figures['image'] in own:
                self._draw(runner.visualizer, own[figures['image']][1], figures['picture'])
        if is_main_process():
            write_json(Path(self.folder, 'worst.json'), [figures for figures, _ in worst])
            runner.logger.info(f'the {len(worst)} worst images are in {self.folder}')

    def _judge(self, sample: BaseDataElement) -> dict[str, float]:
        """The figures of an image, ``quality`` among them."""
        if 'pred_sem_seg' in sample:
            labels, truth = (
                getattr(sample, name).data[0].cpu().numpy()
                for name in ('pred_sem_seg', 'gt_sem_seg')
            )
            return dict(quality=pixel_accuracy(labels, truth))
        found = sample.pred_instances
        found = found[found.scores >= self.score_thr]
        counts = count_detected(
            *(getattr(found, name).cpu().numpy() for name in ('bboxes', 'labels', 'scores')),
            *_truth(sample.gt_instances),
            _truth(sample.get('ignored_instances', InstanceData()))[0],
        )
        return dict(quality=counts.quality, **counts._asdict())

    def _draw(self, visualizer: Visualizer, sample: BaseDataElement, name: str) -> None:
        """Write a picture of that name."""
        height, width = sample.ori_shape
        loaded = self._load(dict(img_path=sample.img_path, height=height, width=width))
        options = dict(pred_score_thr=self.score_thr) if 'pred_instances' in sample else {}
        pixels = as_rgb(loaded['img'])
        path = os.path.join(self.folder, name)
        visualizer.add_datasample(name, pixels, sample.cpu(), out_file=path, **options)


def _rank(kept: tuple[dict[str, Any], Any]) -> tuple:
    """The worst first; of equal ones those with more mistakes, then by name."""
    figures = kept[0]
    mistakes = figures.get('missed', 0) + figures.get('false', 0)
    return figures['quality'], -mistakes, figures['image']


def _truth(instances: InstanceData) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (m, 4) and classes (m,) of annotations, which may be none."""
    if not len(instances):
        return np.zeros((0, 4)), np.zeros(0, int)
    boxes = instances.bboxes
    boxes = getattr(boxes, 'tensor', boxes)  # mmdet's own class of boxes
    return boxes.cpu().numpy(), instances.labels.cpu().numpy()


def _without_logits(sample: BaseDataElement) -> BaseDataElement:
    """What is drawn of a sample, on the CPU."""
    kept = sample.cpu()
    if 'seg_logits' in kept:
        del kept.seg_logits
    return kept
