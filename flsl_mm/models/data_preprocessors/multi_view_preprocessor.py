"""Views: from teacher crops to the normalized images that FLSL learns from."""

from collections.abc import Sequence
from itertools import groupby

import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...datasets.transforms.teacher_crop import (
    CROP_UNIFORMS,
    check_crop_range,
    sample_crop_boxes,
)
from ...utils.errors import ConfigError
from ...utils.images import IMAGENET_MEAN, IMAGENET_STD, check_input, check_statistics
from ..layers.compile import CompiledFunction
from .photometry import ColorStep, Photometry, recolor, render
from .resized_crop import channels_last, resized_crops


@MODELS.register_module()
class MultiViewPreprocessor(BaseDataPreprocessor):
    """Cut student and local views from teacher crops, recolor and normalize all of them.

    Runs batched on the training device (paper, Appendix E.3): the teacher view is the crop itself,
    student and local views are random resized crops of it, before photometry; photometry is drawn
    for every view by itself. There is no flip. All random numbers come from torch's global CPU
    generator, so they are the same on every device.

    Args:
        num_teacher_views: 1, or 2 for the paper's two (teacher, student) pairs: the teacher views
            share the crop and differ in photometry, and there are as many student views.
        student_view: ``size`` in pixels and ``scale``, the range of the share of the crop's area.
        local_views: ``number``, ``size`` and ``scale`` of small student views; None for none.
        photometry: Arguments of :class:`Photometry`; None for none.
        mean: Mean of each of the C channels, R, G, B first, of pixels in 0-255.
        std: Standard deviation of each.
        clean_views: Whether to return the views without photometry too (multi-stage attention).
        non_blocking: Whether not to wait for transfers to the device.

    Raises:
        ConfigError: A setting is out of its range.
    """

    def __init__(
        self,
        num_teacher_views: int = 1,
        student_view: dict = dict(size=224, scale=(0.5, 1.0)),  # noqa: B006
        local_views: dict | None = dict(number=2, size=96, scale=(0.05, 0.4)),  # noqa: B006
        photometry: dict | None = dict(),  # noqa: B006
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        clean_views: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if num_teacher_views not in (1, 2):
            raise ConfigError(f'num_teacher_views must be 1 or 2, got {num_teacher_views}')
        self.mean, self.std = check_statistics(mean, std)
        self.num_teacher_views = num_teacher_views
        self.cuts = _parse_views('student_view', number=num_teacher_views, **student_view)
        if local_views is not None:
            self.cuts += _parse_views('local_views', **local_views)
        self.photometry = None if photometry is None else Photometry(**photometry)
        self.clean_views = clean_views
        self.compiled: CompiledFunction | None = None
        # applied to pixels in [0, 1]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        self.register_buffer('gain', 255 / std, persistent=False)
        self.register_buffer('shift', -mean / std, persistent=False)

    def compile_photometry(self, **options) -> None:
        """Compile the photometry of views, each size for itself; on a CPU nothing uses it.

        There an image at a time, which stays in its cache, is many times as fast.

        Args:
            options: Arguments of :func:`torch.compile`.
        """
        self.compiled = CompiledFunction(recolor, 'the photometry of views', **options)

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """Make the views of a batch; outside training, only normalize its images.

        Args:
            data: ``inputs`` (B, C, S, S), uint8, and ``data_samples`` as ``PackTeacherCrop`` makes
                them. Outside training the images may have any size and type, values in 0-255.
            training: Whether to make views.

        Returns:
            dict: In training ``inputs``, the list ``[*teachers, *students, *locals]`` of (B, C, H,
            W) in float32, and ``data_samples``, to each of which ``view_boxes`` (V, 4) was added:
            x1, y1, x2, y2 of each view in pixels of the upright original, float32 on the CPU; with
            ``clean_views`` also ``clean_inputs``, the same views without photometry. Otherwise
            ``inputs`` is one tensor.

        Raises:
            DataError: The images have other channels than ``mean``.
        """
        images = data['inputs']
        if not isinstance(images, Tensor):  # mmengine's default, `pseudo_collate`
            images = torch.stack(images)
        images = images.to(self.device, non_blocking=self._non_blocking)
        samples = data.get('data_samples')
        check_input(images.shape[1], len(self.mean))
        # the model may run under autocast; pixels are worth float32
        with torch.autocast(self.device.type, enabled=False):
            if not training:
                return dict(inputs=self.render([images.float() / 255])[0], data_samples=samples)
            views, boxes = self.cut(images)
            outputs = dict(data_samples=_add_view_boxes(samples, boxes, images.shape[-2:]))
            if self.clean_views:
                outputs['clean_inputs'] = self.render(views)
            outputs['inputs'] = self.render(views, [self.draw(len(view)) for view in views])
        return outputs

    def cut(self, crops: Tensor) -> tuple[list[Tensor], Tensor]:
        """Views of teacher crops, before photometry.

        Args:
            crops: Teacher crops (B, C, S, S), uint8.

        Returns:
            tuple: V views (B, C, H, W), uint8 on a CPU or float32 in [0, 1] elsewhere, and their
            boxes x1, y1, x2, y2 in pixels of the crop, (B, V, 4) int64 on the CPU.
        """
        height, width = crops.shape[-2:]
        crops = channels_last(crops) if crops.is_cpu else crops / 255
        views = [crops] * self.num_teacher_views
        whole = torch.tensor([0, 0, width, height]).expand(len(crops), 4)
        boxes = [whole] * self.num_teacher_views
        for _, scale in self.cuts:
            uniforms = torch.rand(len(crops), CROP_UNIFORMS, dtype=torch.float64).numpy()
            boxes.append(torch.from_numpy(sample_crop_boxes(height, width, scale, uniforms)))
        cut = zip(self.cuts, boxes[self.num_teacher_views :])
        for size, group in groupby(cut, key=lambda view: view[0][0]):  # those of one size together
            views += resized_crops(crops, [box for _, box in group], size)
        return views, torch.stack(boxes, dim=1)

    def draw(self, batch_size: int) -> Sequence[ColorStep]:
        """Random photometry for one view of a batch."""
        return () if self.photometry is None else self.photometry.draw(batch_size)

    def render(
        self, views: Sequence[Tensor], steps: Sequence[Sequence[ColorStep]] | None = None
    ) -> list[Tensor]:
        """Normalize views (B, C, H, W), uint8 or in [0, 1], recolored where there are steps."""
        steps = steps or [()] * len(views)
        return render(views, steps, self.gain, self.shift, self.compiled)


def _parse_views(
    name: str, number: int, size: int, scale: tuple[float, float]
) -> list[tuple[int, tuple[float, float]]]:
    """The checked size and scale of each of ``number`` views."""
    if number < 1:
        raise ConfigError(f'{name}: number must be at least 1, got {number}')
    check_crop_range(name, size, scale)
    return [(size, tuple(scale))] * number


def _add_view_boxes(
    samples: Sequence[DataSample], boxes: Tensor, crop_shape: tuple[int, int]
) -> Sequence[DataSample]:
    """Give every sample the boxes of its views in pixels of its upright original.

    Args:
        samples: With ``teacher_box``; changed in place.
        boxes: Boxes in pixels of the crop (B, V, 4).
        crop_shape: Height and width of the crop after resizing.

    Raises:
        ConfigError: The samples do not say where the crop was.
    """
    if not samples or 'teacher_box' not in samples[0]:
        raise ConfigError('data samples have no teacher_box: pack them with PackTeacherCrop')
    height, width = crop_shape
    outer = torch.tensor([sample.teacher_box for sample in samples], dtype=torch.float32)
    extent = (outer[:, 2:] - outer[:, :2]) / torch.tensor([width, height])
    boxes = outer[:, None, [0, 1, 0, 1]] + boxes * extent[:, None, [0, 1, 0, 1]]  # (B, V, 4)
    for sample, view_boxes in zip(samples, boxes):
        sample.view_boxes = view_boxes
    return samples
