import numpy as np

from flsl_mm.datasets.scenes import OBJECTS, make_scene


def test_a_seed_gives_its_scene():
    image, labels = make_scene(np.random.default_rng(3))
    again, _ = make_scene(np.random.default_rng(3))
    other, _ = make_scene(np.random.default_rng(4))
    assert np.array_equal(image, again) and not np.array_equal(image, other)
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8 and labels.shape == (96, 96)


def test_every_class_occurs_on_ground_of_its_own():
    rng = np.random.default_rng(0)
    labels = [make_scene(rng, size=48)[1] for _ in range(40)]
    assert set(np.unique(labels)) == set(range(len(OBJECTS) + 1))
    assert all((0 in each) and each.max() > 0 for each in labels)
