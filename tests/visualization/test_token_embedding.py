import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flsl_mm.visualization.token_embedding import embed_tokens, patch_labels

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(arrays(np.int64, SIZES, elements=st.integers(0, 3)), st.integers(1, 5))
def test_a_patch_has_its_most_frequent_label(mask, patch):
    expected = [
        np.bincount(mask[y : y + patch, x : x + patch].ravel()).argmax()
        for y in range(0, mask.shape[0], patch)
        for x in range(0, mask.shape[1], patch)
    ]
    np.testing.assert_array_equal(patch_labels(mask, patch), expected)


@pytest.fixture
def images(two_colors):
    return [two_colors(32, 32, 16, 16), two_colors(24, 32, 8, 12)]


def test_tokens_of_unlike_colors_are_apart_in_every_layer(color_vit, images):
    masks = [(image[..., 2] > 0).astype(int) for image in images]
    found = embed_tokens({'a': color_vit}, images, [1, 4], 'mask', masks)['a']
    assert found.layers == (1, 4)
    assert len(found.labels) == 64 + 48
    assert found.labels.sum() == 16 + 6
    np.testing.assert_array_equal(np.bincount(found.images), [64, 48])
    for points in found.points:
        assert points.shape == (112, 2)
        gaps = np.linalg.norm(points[:, None] - points, axis=-1)
        np.fill_diagonal(gaps, np.inf)
        assert (found.labels[gaps.argmin(axis=1)] == found.labels).all()


def test_clusters_are_those_of_the_last_layer(color_vit, images):
    found = embed_tokens({'a': color_vit}, images, [4], 'cluster', clusters=2)['a']
    np.testing.assert_array_equal(np.bincount(found.labels), [112 - 22, 22])


def test_tokens_are_drawn_equally_and_the_same_with_the_same_seed(small_vit, images):
    first, again, other = (
        embed_tokens({'a': small_vit}, images, [3], max_tokens=12, seed=seed)['a']
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.bincount(first.images), [6, 6])
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.points[0], again.points[0])
    assert not np.array_equal(first.tokens, other.tokens)


def test_wrong_coloring_is_refused(small_vit, images):
    with pytest.raises(ValueError, match='color_by must be one of image, mask, cluster'):
        embed_tokens({'a': small_vit}, images, color_by='class')
    with pytest.raises(ValueError, match="color_by='mask' needs masks"):
        embed_tokens({'a': small_vit}, images, color_by='mask')
