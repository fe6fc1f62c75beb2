"""The operators of mmcv that detectors call, from torchvision, where mmcv has none compiled.

mmcv from a plain installation has no compiled extension ``mmcv._ext``, and mmdet does not import
without it. Of its hundred operators, the detectors of this project call two, ``nms`` and
``roi_align``. torchvision ships both, for CPU and CUDA, and they give the compiled ones' results
bit for bit. This module is a stand-in for the extension:

- ``import flsl_mm`` puts it in the place of ``mmcv._ext`` (:func:`use_torchvision_operators`);
- ``make setup`` copies this file to ``mmcv/_ext.py`` of its environment, so that mmdet's own tools
  work there before anything of ours is imported. A compiled extension is found before it.

So this file imports nothing of its package. Any operator that is not here can be looked up, as
mmcv does when it is imported, and says when it is called how to get a compiled mmcv.
"""

import importlib.util
import sys
from collections.abc import Callable

IS_STAND_IN = True  # what tells this module from a compiled extension


def use_torchvision_operators() -> None:
    """Let mmcv take its operators from here, unless it has an extension (or has imported one)."""
    if 'mmcv._ext' not in sys.modules and importlib.util.find_spec('mmcv._ext') is None:
        sys.modules['mmcv._ext'] = sys.modules[__name__]


def operators_in_use() -> str:
    """Where mmcv's operators come from, in words."""
    use_torchvision_operators()
    extension = importlib.import_module('mmcv._ext')
    return 'torchvision' if getattr(extension, 'IS_STAND_IN', False) else 'compiled mmcv'


def nms(boxes, scores, iou_threshold: float, offset: int = 0):
    """Indices of the boxes that non-maximum suppression keeps, by descending score.

    Args:
        boxes: (N, 4), left, top, right, bottom.
        scores: (N,).
        iou_threshold: A box that overlaps a better one by more is dropped.
        offset: Pixels added to widths and heights: 0, or 1 as in old detectors.

    Returns:
        Tensor: (K,), int64.
    """
    import torch
    import torchvision

    boxes, scores = _at_least_float32(boxes), _at_least_float32(scores)  # autocast's are not
    if offset:
        boxes = boxes + torch.tensor([0, 0, offset, offset], dtype=boxes.dtype, device=boxes.device)
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes, scores, dets, iou_threshold: float, sigma: float, min_score: float, method: int, offset
):
    """Lower the score of a box that overlaps a better one, rather than drop it.

    Args:
        boxes: (N, 4).
        scores: (N,).
        dets: (N, 5), gets the boxes and scores kept in its first K rows, best first.
        iou_threshold: The overlap from which on methods 0 and 1 lower a score.
        sigma: Width of method 2.
        min_score: A box whose score falls below is dropped.
        method: A score is multiplied 0: by nothing; 1: by ``1 - overlap``; 2: by
            ``exp(-overlap**2 / sigma)``.
        offset: As in :func:`nms`.

    Returns:
        Tensor: (K,), int64, the boxes kept.
    """
    import torch
    from torchvision.ops import box_iou

    corners = boxes + torch.tensor([0, 0, offset, offset], dtype=boxes.dtype)
    scores, left, kept = scores.clone(), torch.arange(len(boxes)), []
    while len(left):
        best = left[scores[left].argmax()]
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        left = left[left != best]
        overlap = box_iou(corners[best, None], corners[left])[0]
        if method == 2:
            scores[left] *= torch.exp(-(overlap**2) / sigma)
        else:
            scores[left] *= torch.where(overlap >= iou_threshold, (1 - overlap) * method, 1.0)
        left = left[scores[left] >= min_score]
    return torch.stack(kept) if kept else left


def roi_align_forward(input, rois, output, argmax_y, argmax_x, **settings) -> None:
    """Average-pool regions of a map into ``output``, in place.

    Args:
        input: (B, C, H, W).
        rois: (K, 5), index of the image, then the box in pixels of the image.
        output: (K, C, h, w).
        argmax_y: Not used by average pooling; ``argmax_x`` neither.
        argmax_x: See there.
        settings: mmcv's ``aligned_height``, ``aligned_width``, ``spatial_scale``,
            ``sampling_ratio``, ``pool_mode`` and ``aligned``.

    Raises:
        NotImplementedError: Maximum pooling is asked for.
    """
    import torch
    import torchvision  # noqa: F401  # registers the operators

    scale, height, width, ratio, aligned = _roi_settings(**settings)
    precise, boxes = _at_least_float32(input), _at_least_float32(rois)
    output.copy_(
        torch.ops.torchvision.roi_align(precise, boxes, scale, height, width, ratio, aligned)
    )


def roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, **settings) -> None:
    """The gradient of :func:`roi_align_forward` by its map, into ``grad_input``, in place.

    Args:
        grad_output: (K, C, h, w).
        rois: (K, 5).
        argmax_y: Not used by average pooling; ``argmax_x`` neither.
        argmax_x: See there.
        grad_input: (B, C, H, W).
        settings: As there.

    Raises:
        NotImplementedError: Maximum pooling is asked for.
    """
    import torch
    import torchvision  # noqa: F401  # registers the operators

    scale, height, width, ratio, aligned = _roi_settings(**settings)
    precise, boxes = _at_least_float32(grad_output), _at_least_float32(rois)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            precise, boxes, scale, height, width, *grad_input.shape, ratio, aligned
        )
    )


def get_compiler_version() -> str:
    """What mmcv's report on the environment says of its compiler."""
    return 'none: operators of torchvision'


get_compiling_cuda_version = get_compiler_version


def _roi_settings(
    aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned
) -> tuple:
    if pool_mode != 1:
        raise NotImplementedError(_message("roi_align with pool_mode='max'"))
    return spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned


def _at_least_float32(tensor):
    """Half precision as float32: bfloat16 has no kernels on a CPU, and sums are more exact."""
    return tensor.float() if tensor.element_size() < 4 else tensor


def _message(operator: str) -> str:
    return (
        f"mmcv's operator {operator} is not compiled here, and torchvision has none: install an "
        'mmcv with compiled operators (three commands in docs/install.md of flsl_mm)'
    )


def __getattr__(name: str) -> Callable:
    """Any other operator: it can be looked up, but not called.

    Raises:
        AttributeError: The name is one of Python's own.
    """
    if name.startswith('__'):
        raise AttributeError(name)

    def refuse(*args, **kwargs):
        raise NotImplementedError(_message(name))

    return refuse
