import numpy as np
import pytest

from flsl_mm.utils.errors import DataError
from flsl_mm.visualization.projections import as_colors, kmeans, principal_components, tsne


def groups(*sizes: int, channels: int = 8, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Tokens near orthogonal directions, and the group of each."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    return np.eye(channels)[labels] * 5 + rng.normal(0, noise, (len(labels), channels)), labels


def test_the_first_component_separates_two_orthogonal_groups():
    tokens, labels = groups(30, 10)
    [first, second] = principal_components([tokens[:20], tokens[20:]])
    assert first.shape == second.shape == (20, 3)
    values = np.concatenate([first, second])[:, 0]
    distance = values[labels == 1].mean() - values[labels == 0].mean()
    assert abs(distance) == pytest.approx(5 * 2**0.5, rel=0.01)
    assert np.ptp(values[labels == 0]) < 0.1


def test_components_are_those_of_the_singular_value_decomposition():
    tokens = np.random.default_rng(1).normal(size=(40, 6)) * [6, 5, 4, 3, 2, 1]
    [ours] = principal_components([tokens])
    left, values, _ = np.linalg.svd(tokens - tokens.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(ours), np.abs(left * values)[:, :3], atol=1e-8)
    assert (ours.max(axis=0) >= -ours.min(axis=0)).all()


def test_too_few_tokens_for_three_components_are_refused():
    with pytest.raises(ValueError, match='3 components of 2 tokens x 8'):
        principal_components([np.zeros((2, 8))])


def test_colors_have_one_range_for_all_images():
    ramp = np.linspace(0, 1, 200)[:, None].repeat(3, axis=1)
    dark, bright = as_colors([ramp[:100], ramp[100:]])
    assert dark.min() == 0 and bright.max() == 1
    assert dark.max() < 0.51 and bright.min() > 0.49


def test_tsne_keeps_groups_apart():
    tokens, labels = groups(25, 25)
    points = tsne(tokens)
    assert points.shape == (50, 2)
    centers = np.stack([points[labels == i].mean(axis=0) for i in (0, 1)])
    nearest = np.linalg.norm(points[:, None] - centers, axis=-1).argmin(axis=1)
    assert (nearest == labels).all()
    np.testing.assert_array_equal(points, tsne(tokens))


def test_clusters_are_the_groups_with_the_largest_first():
    tokens, labels = groups(5, 20, 10)
    np.testing.assert_array_equal(kmeans(tokens, 3), np.array([2, 0, 1])[labels])


def test_too_few_tokens_are_named():
    with pytest.raises(DataError, match='t-SNE needs at least 4 tokens, got 3'):
        tsne(np.zeros((3, 8)))
    with pytest.raises(DataError, match='5 clusters of 3 tokens'):
        kmeans(np.zeros((3, 8)), 5)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    def refuse(name, *args):
        raise ImportError(f'No module named {name!r}')

    monkeypatch.setattr('flsl_mm.visualization.projections.import_module', refuse)
    with pytest.raises(DataError, match='t-SNE needs scikit-learn .*pip install scikit-learn'):
        tsne(np.zeros((8, 8)))
