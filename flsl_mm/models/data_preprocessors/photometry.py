"""Random colors, blur and solarization, with parameters of each sample's own.

The operations are torchvision's, on float images in [0, 1]; here every sample has its own
parameter and its own order of operations. There are two forms with equal results: one image at a
time in OpenCV, which a CPU does in a quarter of the time, and for all other devices all images
together in passes of static shape, which are few calls, and can be compiled.

Images may have any number of channels C. The first three are R, G, B where there are so many; each
other channel is treated as a grayscale image of its own, which neither hue nor saturation changes.
Solarization is of the first three channels alone.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.image_channels import COLORS
from ...utils.devices import send
from ...utils.errors import ConfigError
from . import photometry_opencv as opencv


class Operation(NamedTuple):
    """One operation in both its forms.

    Attributes:
        name: What it is called.
        single: ``(image (H, W, 3) or (H, W), value) -> None``, changes the array in place.
        weights: Of an operation that is a :func:`blend`: its three weights, (n,) or numbers, from
            the values (n,).
        batched: Of any other: ``(images (n, C, H, W), values (n,)) -> (n, C, H, W)``.
        neutral: The value at which the latter changes nothing.
    """

    name: str
    single: Callable[[np.ndarray, float], None]
    weights: Callable[[Tensor], tuple[Tensor | float, ...]] | None = None
    batched: Callable[[Tensor, Tensor], Tensor] | None = None
    neutral: float = 0.0


class ColorStep(NamedTuple):
    """One operation on some samples of a batch.

    Attributes:
        operation: What to do.
        samples: Which samples of the batch, (n,) int64.
        values: Parameter for each of them, (n,) float32.
    """

    operation: Operation
    samples: Tensor
    values: Tensor


class Photometry:
    """Random photometry of a view (paper, Appendix E.3; probabilities of the released code).

    Color jitter of brightness, contrast, saturation and hue in random order, grayscale, then one
    of several equally likely endings of blur and solarization. Parameters come from torch's global
    CPU generator, equally many for every sample, so that they are the same on every device.

    Args:
        brightness: Factor uniform in [1 - brightness, 1 + brightness], not below 0.
        contrast: The same for the contrast.
        saturation: The same for the saturation.
        hue: Shift uniform in [-hue, hue], in turns of the color circle; at most 0.5.
        jitter_prob: Probability of these four, together.
        grayscale_prob: Probability of grayscale.
        endings: For each ending the probability of blur and that of solarization after it.
        blur_sigma: Range of the blur's standard deviation in pixels.

    Raises:
        ConfigError: A probability or strength is out of its range.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        jitter_prob: float = 0.8,
        grayscale_prob: float = 0.2,
        endings: Sequence[tuple[float, float]] = ((0.5, 0.0), (0.1, 0.2)),
        blur_sigma: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        for strength in (brightness, contrast, saturation):
            if strength < 0:
                raise ConfigError(f'photometry: strengths must not be negative, got {strength}')
        if not 0 <= hue <= 0.5:
            raise ConfigError(f'photometry: hue must be within [0, 0.5], got {hue}')
        if not endings or any(len(ending) != 2 for ending in endings):
            raise ConfigError(f'photometry: endings must be (blur, solarize) pairs, got {endings}')
        for prob in (jitter_prob, grayscale_prob, *(p for ending in endings for p in ending)):
            if not 0 <= prob <= 1:
                raise ConfigError(f'photometry: probabilities must be within [0, 1], got {prob}')
        if len(blur_sigma) != 2 or not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise ConfigError(f'photometry: blur_sigma must be 0 < low <= high, got {blur_sigma}')
        strengths = torch.tensor([brightness, contrast, saturation])
        self.low = torch.cat([(1 - strengths).clamp(min=0), torch.tensor([-hue])])
        self.high = torch.cat([1 + strengths, torch.tensor([hue])])
        self.jitter_prob = jitter_prob
        self.grayscale_prob = grayscale_prob
        self.endings = torch.tensor(endings, dtype=torch.float32)
        self.blur_sigma = blur_sigma
        radius = math.ceil(3 * blur_sigma[1])
        self.blur = Operation(
            'blur',
            partial(opencv.gaussian_blur, radius=radius),
            batched=partial(gaussian_blur, radius=radius),
        )

    def draw(self, batch_size: int) -> list[ColorStep]:
        """Operations and parameters for a batch, on the CPU, in the order to apply them."""
        uniforms = torch.rand(batch_size, 14)
        factors = self.low + (self.high - self.low) * uniforms[:, :4]
        order = uniforms[:, 4:8].argsort(1)  # operation of each turn, (B, 4)
        order[uniforms[:, 8] >= self.jitter_prob] = -1
        steps = [
            _color_step(operation, order[:, turn] == i, factors[:, i])
            for turn in range(4)
            for i, operation in enumerate(JITTER)
        ]
        ending = self.endings[(uniforms[:, 9] * len(self.endings)).long()]  # (B, 2)
        low, high = self.blur_sigma
        sigma = low + (high - low) * uniforms[:, 10]
        zero, half = torch.zeros(batch_size), torch.full((batch_size,), 0.5)
        steps += [
            _color_step(SATURATION, uniforms[:, 11] < self.grayscale_prob, zero),
            _color_step(self.blur, uniforms[:, 12] < ending[:, 0], sigma),
            _color_step(SOLARIZE, uniforms[:, 13] < ending[:, 1], half),
        ]
        return [step for step in steps if len(step.samples)]


def _color_step(operation: Operation, chosen: Tensor, values: Tensor) -> ColorStep:
    """The step for the samples where ``chosen`` (B,) holds; ``values`` (B,)."""
    samples = chosen.nonzero().flatten()
    return ColorStep(operation, samples, values[samples])


def render(
    views: Sequence[Tensor],
    steps: Sequence[Sequence[ColorStep]],
    gain: Tensor,
    shift: Tensor,
    compiled: Callable[..., Tensor] | None = None,
) -> list[Tensor]:
    """Recolor views and normalize them.

    Args:
        views: Pixels, each (B, C, H, W), uint8 in 0-255 or float32 in [0, 1]; not changed.
        steps: Of each view operations in their order, each for its samples only; samples and values
            on the CPU.
        gain: What pixels in [0, 1] are multiplied with at the end, (C, 1, 1).
        shift: What is added then, (C, 1, 1).
        compiled: What stands in for :func:`recolor`, elsewhere than on a CPU.

    Returns:
        list[Tensor]: Views (B, C, H, W), float32, on the device of ``views``. Elsewhere than on a
        CPU those of one size are rendered together, and are parts of one tensor.
    """
    if views[0].is_cpu:
        return [render_looped(*view, gain, shift) for view in zip(views, steps)]
    rendered: dict[int, Tensor] = {}
    for size in dict.fromkeys(view.shape[-2:] for view in views):
        numbers = [i for i, view in enumerate(views) if view.shape[-2:] == size]
        together = render_batched(
            [views[i] for i in numbers], [steps[i] for i in numbers], gain, shift, compiled
        )
        rendered.update(zip(numbers, together))
    return [rendered[i] for i in range(len(views))]


def render_looped(views: Tensor, steps: Sequence[ColorStep], gain: Tensor, shift: Tensor) -> Tensor:
    """:func:`render` image by image, which stays in a CPU's cache."""
    todo: list[list[tuple[Operation, float]]] = [[] for _ in views]
    for step in steps:
        for i, value in zip(step.samples.tolist(), step.values.tolist()):
            todo[i].append((step.operation, value))
    rendered = torch.empty(views.shape, dtype=torch.float32)
    parts = _parts(*views.shape[1:])
    for view, operations, result in zip(views, todo, rendered):
        for channels, part in parts:
            part.copy_(view[channels])
            if views.dtype == torch.uint8:
                part.div_(255)
            image = part.numpy()  # the same memory
            image = image[0] if len(part) == 1 else image.transpose(1, 2, 0)
            for operation, value in operations:
                if operation is not SOLARIZE or channels.start < COLORS:
                    operation.single(image, value)
            result[channels].copy_(part)
        result.mul_(gain).add_(shift)
    return rendered


def _parts(channels: int, height: int, width: int) -> list[tuple[slice, Tensor]]:
    """Memory for an image in parts: RGB, where there is, with the channels last; then the others.

    Returns:
        list: The channels of each part, and an empty tensor (channels, H, W) for it.
    """
    colors = COLORS if channels >= COLORS else 0
    starts = [*([0] if colors else []), *range(colors, channels)]
    return [
        (slice(start, stop), torch.empty(height, width, stop - start).permute(2, 0, 1))
        for start, stop in zip(starts, [*starts[1:], channels])
    ]


def render_batched(
    views: Sequence[Tensor],
    steps: Sequence[Sequence[ColorStep]],
    gain: Tensor,
    shift: Tensor,
    compiled: Callable[..., Tensor] | None = None,
) -> list[Tensor]:
    """:func:`render` of views of one size, in static shapes and with no synchronization."""
    pixels = torch.cat([v / 255 if v.dtype == torch.uint8 else v for v in views])
    if any(steps):
        values = torch.cat([plan_colors(todo, len(view)) for todo, view in zip(steps, views)])
        blurs = {step.operation for todo in steps for step in todo if step.operation.name == 'blur'}
        radii = [blur.batched.keywords['radius'] for blur in blurs]
        pixels = (compiled or recolor)(pixels, send(values, pixels.device), *radii)
    return list(torch.addcmul(shift, pixels, gain).split([len(view) for view in views]))


# What every image of a batch goes through, whether it is drawn for it or not: so shapes are static,
# and no operation is taken twice. An image has at most three blends before its hue is turned, and
# four after it, of which one may be to grayscale.
PASSES = (*['blend'] * 3, 'hue', *['blend'] * 4, 'blur', 'solarize')


def plan_colors(steps: Sequence[ColorStep], batch_size: int) -> Tensor:
    """The values of every pass for every image, as :func:`recolor` takes them.

    Args:
        steps: Operations in their order, as :meth:`Photometry.draw` gives them.
        batch_size: Images B.

    Returns:
        Tensor: (B, passes, 3): weights of a blend, or the one value of another operation; those
        that change nothing where an image has no such operation.

    Raises:
        ValueError: The order of an image's operations is none of a photometry.
    """
    values = torch.zeros(batch_size, len(PASSES), 3)
    neutral = dict(blend=1.0, solarize=SOLARIZE.neutral)
    values[:, :, 0] = torch.tensor([neutral.get(kind, 0.0) for kind in PASSES])
    free = torch.zeros(batch_size, dtype=torch.long)  # the first pass that each image may still use
    for operation, samples, given in steps:
        kind = 'blend' if operation.weights else operation.name
        following = [
            PASSES.index(kind, i) if kind in PASSES[i:] else -1 for i in range(len(PASSES))
        ]
        turn = torch.tensor([*following, -1])[free[samples]]
        if (turn < 0).any():
            raise ValueError(f'{operation.name} cannot come after the operations before it')
        if operation.weights:
            weights = operation.weights(given)
            for i, weight in enumerate(weights):
                values[samples, turn, i] = torch.as_tensor(weight, dtype=torch.float32)
        else:
            values[samples, turn, 0] = given
        free[samples] = turn + 1
    return values


def recolor(images: Tensor, values: Tensor, radius: int | None = None) -> Tensor:
    """Recolor images, all of them in each pass: one graph for :func:`torch.compile`.

    Args:
        images: (n, C, H, W) in [0, 1].
        values: What :func:`plan_colors` gives, on their device.
        radius: Of the blur in pixels; None where no image is blurred.

    Returns:
        Tensor: (n, C, H, W).
    """
    for kind, weights in zip(PASSES, values.unbind(1)):
        if kind == 'blend':
            images = blend(images, *weights.unbind(1))
        elif kind == 'hue':
            images = adjust_hue(images, weights[:, 0])
        elif kind == 'solarize':
            images = solarize(images, weights[:, 0])
        elif radius is not None:
            images = gaussian_blur(images, weights[:, 0], radius)
    return images


def blend(images: Tensor, own: Tensor, gray: Tensor, mean: Tensor) -> Tensor:
    """Blend images with their grayscale and with their mean gray.

    Args:
        images: (n, C, H, W) in [0, 1].
        own: Weight of the image itself (n,).
        gray: Weight of its grayscale (n,).
        mean: Weight of the mean of that (n,).

    Returns:
        Tensor: (n, C, H, W), cut off at 0 and 1.
    """
    luma = to_grayscale(images)
    level = luma.mean((-2, -1), keepdim=True) * _as_column(mean)
    offset = torch.addcmul(level, luma, _as_column(gray))
    return torch.addcmul(offset, images, _as_column(own)).clamp_(0, 1)


def to_grayscale(images: Tensor) -> Tensor:
    """Luma of images (n, C, H, W): ITU-R 601 weights as torchvision rounds them.

    Returns:
        Tensor: (n, 1, H, W) of RGB. Of other images (n, C, H, W): channels that are not R, G, B as
        they are.
    """
    channels = images.shape[1]
    if channels < COLORS:
        return images
    red, green, blue = images[:, :COLORS].split(1, dim=1)
    luma = (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    if channels == COLORS:
        return luma
    return torch.cat([luma.expand(-1, COLORS, -1, -1), images[:, COLORS:]], dim=1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of images (n, C, H, W) in [0, 1] by ``shift`` (n,), in turns.

    The largest and the smallest channel of a pixel stay. With the hue h in turns, channel c becomes
    ``max - (max - min) * (2 - clip(|6 frac(h + n_c / 6) - 2|, 1, 2))``, n = 5, 3, 1, which is
    torchvision's way to HSV and back without its tables.
    """
    if images.shape[1] < COLORS:
        return images
    red, green, blue = images[:, :COLORS].unbind(1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    spread = largest - torch.minimum(torch.minimum(red, green), blue)
    is_red = largest.clone().eq_(red)
    is_green = largest.clone().eq_(green)
    hue = torch.lerp(torch.lerp(red - green, blue - red, is_green), green - blue, is_red)
    sector = (4 - 2 * is_green) * (1 - is_red)
    hue.div_(spread.clamp(min=1e-12)).add_(sector).div_(6).add_(shift.view(-1, 1, 1))
    base = largest - 2 * spread
    channels = []
    for offset in (5, 3, 1):
        # one more turn keeps frac's argument positive
        weight = (hue + (offset / 6 + 1)).frac_().mul_(6).sub_(2).abs_().clamp_(1, 2)
        channels.append(torch.addcmul(base, spread, weight))
    return torch.stack([*channels, *images[:, COLORS:].unbind(1)], dim=1)


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur images (n, C, H, W) with a Gaussian, edges repeated, as a matrix product for each axis.

    Args:
        images: Views in [0, 1].
        sigma: Standard deviation of each in pixels (n,); 0 leaves the image as it is.
        radius: Pixels at which the Gaussian is cut off.

    Returns:
        Tensor: Blurred images (n, C, H, W).
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # (n, 2 * radius + 1)
    height, width = images.shape[-2:]
    rows = _blur_matrices(kernel, offsets, height)
    columns = rows if width == height else _blur_matrices(kernel, offsets, width)
    return rows[:, None] @ (images @ columns[:, None].mT)


def _blur_matrices(kernel: Tensor, offsets: Tensor, size: int) -> Tensor:
    """What each of ``size`` pixels takes of each other (n, size, size), by kernels (n, K)."""
    pixels = torch.arange(size, device=kernel.device)
    sources = (pixels[:, None] + offsets[:, None, None]).clamp(0, size - 1)  # (K, size, 1)
    takes = (sources == pixels).to(kernel.dtype).flatten(1)  # (K, size * size)
    return (kernel @ takes).unflatten(1, (size, size))


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values of images (n, C, H, W) in [0, 1] that reach ``threshold`` (n,).

    Of the first three channels, that is.
    """
    colors = images[:, :COLORS]
    reached = colors.clone().ge_(_as_column(threshold))
    solarized = reached.sub_(colors).abs_()
    if images.shape[1] <= COLORS:
        return solarized
    return torch.cat([solarized, images[:, COLORS:]], dim=1)


def _as_column(values: Tensor) -> Tensor:
    """(n, ...) as (n, ..., 1, 1, 1)."""
    return values[..., None, None, None]


# Blends, by their factor f (n,).
BRIGHTNESS = Operation('brightness', opencv.adjust_brightness, lambda f: (f, 0.0, 0.0))
CONTRAST = Operation('contrast', opencv.adjust_contrast, lambda f: (f, 0.0, 1 - f))
SATURATION = Operation('saturation', opencv.adjust_saturation, lambda f: (f, 1 - f, 0.0))
HUE = Operation('hue', opencv.adjust_hue, batched=adjust_hue)
SOLARIZE = Operation('solarize', opencv.solarize, batched=solarize, neutral=2.0)
JITTER = (BRIGHTNESS, CONTRAST, SATURATION, HUE)
