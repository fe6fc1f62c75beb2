"""The operations of ``photometry`` on one image at a time, through OpenCV: the form for CPUs.

Each changes ``image`` in place, an array float32 in [0, 1] that stays in the processor's cache from
one operation to the next; allocating and batching cost a CPU several times as much. It is RGB (H,
W, 3), or a single channel (H, W), which is a grayscale image of its own.
"""

import cv2
import numpy as np

LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
"""ITU-R 601 weights of red, green and blue, as torchvision rounds them."""


def adjust_brightness(image: np.ndarray, factor: float) -> None:
    """Scale an image by ``factor``; 0 is black."""
    np.multiply(image, np.float32(factor), out=image)
    np.clip(image, 0, 1, out=image)


def adjust_contrast(image: np.ndarray, factor: float) -> None:
    """Blend an image with its mean gray by ``factor``; 0 is gray."""
    means = cv2.mean(image)[:3]
    mean = means[0] if image.ndim == 2 else float(np.dot(LUMA, means))
    np.multiply(image, np.float32(factor), out=image)
    np.add(image, np.float32((1 - factor) * mean), out=image)
    np.clip(image, 0, 1, out=image)


def adjust_saturation(image: np.ndarray, factor: float) -> None:
    """Blend an image with its grayscale by ``factor``; 0 is gray."""
    if image.ndim == 2:
        return
    weights = factor * np.eye(3, dtype=np.float32) + (1 - factor) * LUMA
    cv2.transform(image, weights.astype(np.float32), dst=image)
    np.clip(image, 0, 1, out=image)


def adjust_hue(image: np.ndarray, shift: float) -> None:
    """Turn the hue of an image by ``shift``, in turns, within [-1, 1]."""
    if image.ndim == 2:
        return
    cv2.cvtColor(image, cv2.COLOR_RGB2HSV, dst=image)
    # OpenCV knows hues from 0 to 720 degrees only
    image[..., 0] += np.float32(360 * (shift % 1))
    cv2.cvtColor(image, cv2.COLOR_HSV2RGB, dst=image)


def gaussian_blur(image: np.ndarray, sigma: float, radius: int) -> None:
    """Blur an image with a Gaussian of ``sigma`` cut off at ``radius`` pixels, edges repeated."""
    side = 2 * radius + 1
    cv2.GaussianBlur(image, (side, side), sigma, dst=image, borderType=cv2.BORDER_REPLICATE)


def solarize(image: np.ndarray, threshold: float) -> None:
    """Invert the values of an image that reach ``threshold``."""
    np.subtract(image >= np.float32(threshold), image, out=image)
    np.abs(image, out=image)
