import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional import clustering as module
from flsl_mm.evaluation.functional.clustering import nearest_centroids, spherical_kmeans


def directions(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(
        torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1
    )


@given(st.integers(1, 6), st.integers(0, 99))
def test_orthogonal_groups_are_found_whatever_the_seed(groups, seed):
    labels = torch.arange(40) % groups
    clusters = nearest_centroids(
        torch.eye(8)[labels], spherical_kmeans(torch.eye(8)[labels], groups, seed)
    )
    same = labels[:, None] == labels
    assert torch.equal(clusters[:, None] == clusters, same)


@given(st.integers(1, 8), st.integers(0, 20))
def test_every_centroid_is_the_direction_of_its_features_mean(clusters, seed):
    features = directions(60, 4, seed)
    centroids = spherical_kmeans(features, clusters, seed, max_iterations=200)
    nearest = nearest_centroids(features, centroids)
    for i in range(clusters):
        mean = F.normalize(features[nearest == i].sum(0), dim=0)
        torch.testing.assert_close(centroids[i], mean)


def test_it_is_the_same_every_time_and_leaves_the_global_generator_alone():
    features = directions(200, 8)
    state = torch.get_rng_state()
    first, again = (spherical_kmeans(features, 10, seed=3) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, spherical_kmeans(features, 10, seed=4))


def test_blocks_change_nothing_but_rounding(monkeypatch):
    features = directions(200, 8)
    whole = spherical_kmeans(features, 5)
    monkeypatch.setattr(module, '_BLOCK', 64)
    torch.testing.assert_close(spherical_kmeans(features, 5), whole)


def test_copies_of_fewer_features_than_clusters_do_no_harm():
    features = torch.eye(4)[torch.arange(20) % 2]
    centroids = spherical_kmeans(features, 3)
    assert torch.equal(features @ centroids.T.float() > 0.99, features @ centroids.T > 0.5)
    assert len(nearest_centroids(features, centroids).unique()) == 2


def test_a_cluster_without_features_starts_anew(monkeypatch):
    features = torch.eye(3)[torch.arange(30) % 3]
    # The second seed attracts nothing, the third two groups.
    seeds = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 0.8, 0.6]])
    monkeypatch.setattr(module, '_plus_plus', lambda *_: seeds)
    centroids = spherical_kmeans(features, 3)
    assert torch.equal(centroids, torch.eye(3)[[0, 2, 1]])


def test_more_clusters_than_features_are_an_error():
    with pytest.raises(ValueError, match='3 features, but 4 clusters wanted'):
        spherical_kmeans(directions(3, 2), 4)
