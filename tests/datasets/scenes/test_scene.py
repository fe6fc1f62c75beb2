"""What scenes show."""

import numpy as np
import pytest

from flsl_mm.datasets.scenes import CLASSES, GROUNDS, OBJECTS, sample_scene
from flsl_mm.datasets.scenes.kinds import HUES
from flsl_mm.datasets.scenes.scene import mask_box, visible_objects
from flsl_mm.datasets.scenes.texture import PATTERNS, Texture


def test_a_seed_gives_its_scene():
    picture, again, other = (
        sample_scene(np.random.default_rng(seed), size=(96, 72)).render() for seed in (3, 3, 4)
    )
    assert all(np.array_equal(*pair) for pair in zip(picture, again))
    assert not np.array_equal(picture.image, other.image)
    assert picture.image.shape == (72, 96, 3) and picture.image.dtype == np.uint8
    assert picture.labels.shape == picture.instances.shape == (72, 96)


def test_every_class_occurs_and_objects_lie_on_ground():
    rng = np.random.default_rng(0)
    pictures = [sample_scene(rng, size=(48, 48)).render() for _ in range(40)]
    assert set(np.unique([p.labels for p in pictures])) == set(range(len(CLASSES) + 1))
    for labels, instances in ((p.labels, p.instances) for p in pictures):
        assert (labels[instances > 0] <= len(OBJECTS)).all() and (labels[instances > 0] > 0).all()
        assert ((labels[instances == 0] == 0) | (labels[instances == 0] > len(OBJECTS))).all()
        assert (labels == 0).mean() < 0.1


def test_labels_do_not_depend_on_the_resolution():
    small, large = (sample_scene(np.random.default_rng(5), size=(s, s)).render() for s in (48, 96))
    assert (small.labels == large.labels[::2, ::2]).mean() > 0.9


def test_the_color_of_a_pixel_tells_less_than_half_of_the_classes():
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng, size=(48, 48)).render() for _ in range(120)]
    colors = np.concatenate([s.image[::3, ::3].reshape(-1, 3) for s in scenes]).astype(np.float32)
    labels = np.concatenate([s.labels[::3, ::3].reshape(-1) for s in scenes])
    # The most frequent class of the pixels with about that color, in other scenes.
    bins = (colors // 32).astype(int) @ np.array([64, 8, 1])
    half = len(labels) // 2
    counts = np.zeros((512, len(CLASSES) + 1))
    np.add.at(counts, (bins[:half], labels[:half]), 1)
    right = counts.argmax(axis=1)[bins[half:]] == labels[half:]
    by_class = [right[labels[half:] == label].mean() for label in range(1, len(CLASSES) + 1)]
    assert 0.1 < np.mean(by_class) < 0.5


def test_objects_move_through_videos_and_keep_their_look():
    scene = sample_scene(np.random.default_rng(2), kinds=[0], num_frames=9)
    first, last = scene.render(0), scene.render(8)
    masks = [picture.instances == 1 for picture in (first, last)]
    assert all(mask.sum() > 100 for mask in masks)
    assert (masks[0] & masks[1]).sum() < masks[0].sum()
    colors = [p.image[mask].mean(axis=0) for p, mask in zip((first, last), masks)]
    assert np.abs(colors[0] - colors[1]).max() < 40


def test_a_still_scene_does_not_move():
    scene = sample_scene(np.random.default_rng(2))
    assert np.array_equal(scene.render(0).instances, scene.render(5).instances)


def test_boxes_enclose_what_is_visible():
    rng = np.random.default_rng(3)
    for _ in range(20):
        scene = sample_scene(rng, size=(64, 48), kinds=[0, 1, 2])
        picture = scene.render()
        for label, mask in visible_objects(scene, picture):
            left, top, right, bottom = mask_box(mask)
            assert mask[top:bottom, left:right].sum() == mask.sum()
            for edge in (
                mask[top, left:right],
                mask[bottom - 1],
                mask[:, left],
                mask[:, right - 1],
            ):
                assert edge.any()
            assert (picture.labels[mask] == label).all()


@pytest.mark.parametrize('pattern', PATTERNS)
def test_patterns_are_shares_of_the_second_color(pattern):
    y, x = np.mgrid[:40, :60].astype(np.float32) / 40
    noise = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    texture = Texture(pattern, 0.25, 0.3, np.float32([[0, 0, 0], [1, 1, 1]]), noise)
    share = texture(x, y)
    assert share.shape == (40, 60, 3) and share.dtype == np.float32
    assert share.min() >= 0 and share.max() <= 1
    assert (share.std() > 0.05) or pattern in ('plain', 'lanes')


def test_every_hue_belongs_to_several_kinds():
    kinds = [*OBJECTS, *GROUNDS]
    assert all(len(set(kind.hues)) == 2 for kind in kinds)
    assert all(sum(hue in kind.hues for kind in kinds) >= 2 for hue in HUES)
