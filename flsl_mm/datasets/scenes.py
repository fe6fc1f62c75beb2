"""Small synthetic scenes: textured, shaded objects on textured ground."""

import numpy as np

OBJECTS = (('disc', 'dots'), ('box', 'stripes'), ('triangle', 'checks'), ('ring', 'plain'))
PATTERNS = {
    'plain': lambda u, v: np.zeros_like(u),
    'stripes': lambda u, v: np.sin(np.pi * u) > 0,
    'checks': lambda u, v: np.sin(np.pi * u) * np.sin(np.pi * v) > 0,
    'dots': lambda u, v: np.sin(np.pi * u) ** 2 + np.sin(np.pi * v) ** 2 < 0.6,
}


def make_scene(
    rng: np.random.Generator, size: int = 96, max_objects: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    The class of an object is its shape and the pattern on it; colours, scale and direction of the
    pattern, size, place and light are random, so that a pixel alone does not give the class away.

    Args:
        rng: Source of everything random.
        size: Side in pixels.
        max_objects: Upper bound of the number of objects, at least 1.

    Returns:
        tuple: The image, uint8 (size, size, 3), and the class of every pixel, uint8 (size, size):
        0 is ground, ``1 + i`` is ``OBJECTS[i]``. Later objects cover earlier ones.
    """
    y, x = np.mgrid[:size, :size] / size
    image = _texture(rng, x, y, rng.choice(list(PATTERNS)))
    labels = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(1, max_objects + 1)):
        kind = int(rng.integers(len(OBJECTS)))
        radius = rng.uniform(0.12, 0.28)
        u, v = (x - rng.uniform(0.15, 0.85)) / radius, (y - rng.uniform(0.15, 0.85)) / radius
        mask = _shape(OBJECTS[kind][0], u, v)
        light = 1 - 0.3 * (u + v)  # brighter towards the upper left
        image[mask] = (_texture(rng, x, y, OBJECTS[kind][1]) * light[..., None])[mask]
        labels[mask] = 1 + kind
    image = image + rng.normal(0, 0.02, image.shape)
    return (255 * image.clip(0, 1)).astype(np.uint8), labels


def _shape(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points of an object's own coordinates, in radii, belong to it."""
    distance = np.hypot(u, v)
    if name == 'disc':
        return distance < 1
    if name == 'ring':
        return (distance < 1) & (distance > 0.5)
    if name == 'box':
        return np.maximum(abs(u), abs(v)) < 0.85
    return (v < 0.8) & (v > 2 * abs(u) - 1)  # triangle, tip up


def _texture(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pattern: str) -> np.ndarray:
    """Two random colours in a pattern of random scale and direction, float (H, W, 3)."""
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(8, 20)
    u = frequency * (x * np.cos(angle) + y * np.sin(angle))
    v = frequency * (y * np.cos(angle) - x * np.sin(angle))
    share = PATTERNS[pattern](u, v).astype(float)[..., None]
    first = rng.uniform(0.1, 0.9, 3)
    second = (first + rng.uniform(-0.4, 0.4, 3)).clip(0, 1)
    return first + (second - first) * share
