import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation import bbox_knn
from flsl_mm.evaluation.functional import box_aligned_knn as module
from flsl_mm.evaluation.functional.box_aligned_knn import count_right


def plain_bbox_knn(train, train_labels, test, test_labels, k, temperature=0.07) -> float:
    """The definition, feature by feature."""
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (train, test)]
    pool = unit[0].reshape(-1, train.shape[-1])
    pool_labels = np.repeat(train_labels, train.shape[1])
    right = 0
    for image, label in zip(unit[1], test_labels):
        predicted = set()
        for feature in image:
            similarity = pool @ feature
            votes = {}
            for i in np.argsort(-similarity)[:k]:
                weight = np.exp(similarity[i] / temperature)
                votes[pool_labels[i]] = votes.get(pool_labels[i], 0) + weight
            predicted.add(max(votes, key=votes.get))
        right += label in predicted
    return 100 * right / len(test)


def random_problem(seed, images=20, test_images=15, cells=3, width=6, classes=4):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(classes, 1, width))
    labels = [rng.integers(0, classes, n) for n in (images, test_images)]
    features = [centers[x] + rng.normal(size=(len(x), cells, width)) for x in labels]
    return features[0], labels[0] * 7 - 3, features[1], labels[1] * 7 - 3


@pytest.fixture
def golden(golden_dir):
    arrays = np.load(golden_dir / 'knn.npz')
    names = ('train_features', 'train_labels', 'test_features', 'test_labels')
    return [arrays[name] for name in names], json.loads((golden_dir / 'knn.json').read_text())


def test_top1_equals_the_golden_values(golden):
    arrays, expected = golden
    for k, (top1, _) in expected['top1_top5'].items():
        assert bbox_knn(*arrays, int(k), expected['temperature']) == pytest.approx(top1)


@pytest.mark.parametrize('dtype', [np.uint16, np.int8, np.int64])
def test_labels_are_integers_of_any_kind(dtype):
    train, train_labels, test, labels = random_problem(0)
    expected = bbox_knn(train, train_labels + 3, test, labels + 3, 5)
    args = (train, (train_labels + 3).astype(dtype), test, (labels + 3).astype(dtype))
    assert bbox_knn(*args, 5) == expected


@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 60),
    temperature=st.sampled_from([0.02, 0.07, 1.0]),
    chunk=st.integers(1, 15),
    pairs=st.integers(60, 1000),
)
def test_chunks_equal_the_plain_definition(seed, k, temperature, chunk, pairs):
    problem = random_problem(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, '_divide_memory', lambda *_: (chunk, pairs))
        assert bbox_knn(*problem, k, temperature) == plain_bbox_knn(*problem, k, temperature)


def test_length_of_features_does_not_matter():
    train, labels, test, test_labels = random_problem(0)
    scaled = train * np.random.default_rng(1).uniform(0.1, 50, (*train.shape[:2], 1))
    expected = bbox_knn(train, labels, test, test_labels, 5)
    assert bbox_knn(scaled, labels, 3 * test, test_labels, 5) == expected


def test_an_image_is_right_when_any_of_its_features_is():
    train = torch.eye(4)[:, None]  # four images of one feature, each a class
    labels = torch.arange(4)
    test = torch.eye(4)[[0, 1, 2]][None]  # one image of three features
    for label, expected in [(0, 100.0), (1, 100.0), (2, 100.0), (3, 0.0)]:
        assert bbox_knn(train, labels, test, torch.tensor([label]), 1) == expected


def test_a_class_without_training_images_is_never_right():
    train, labels, test, test_labels = random_problem(0)
    assert bbox_knn(train, labels, test, np.full_like(test_labels, 99), 5) == 0.0
    assert bbox_knn(train, labels, test, np.full_like(test_labels, -99), 5) == 0.0


def test_several_k_and_labelings_in_one_pass_equal_single_ones():
    train, labels, test, test_labels = random_problem(3)
    shuffled = np.random.default_rng(0).permutation(labels)
    ks = [7, 1, 60, 7]
    right = count_right(train, np.stack([labels, shuffled]), test, test_labels, ks)
    for row, labeling in zip(right, (labels, shuffled)):
        single = [bbox_knn(train, labeling, test, test_labels, k) for k in ks]
        assert (100 * row / len(test)).tolist() == pytest.approx(single)


@pytest.mark.parametrize('count', [1, 2, 3, 40])
def test_shares_add_up(count, monkeypatch):
    problem = random_problem(1, test_images=33)
    monkeypatch.setattr(module, '_divide_memory', lambda *_: (2, 100))
    args = (problem[0], problem[1][None], *problem[2:], [1, 5])
    shares = [count_right(*args, share=(i, count)) for i in range(count)]
    assert torch.equal(sum(shares), count_right(*args))
    assert count == 1 or max(share[0, 0] for share in shares) < sum(shares)[0, 0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_half_precision_features_are_compared_in_single_precision(dtype):
    train, labels, test, test_labels = map(torch.as_tensor, random_problem(2))
    train, test = (torch.nn.functional.normalize(x, dim=-1).to(dtype) for x in (train, test))
    exact = bbox_knn(train.double(), labels, test.double(), test_labels, 5)
    assert bbox_knn(train, labels, test, test_labels, 5) == exact


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(k=0), r'k must be within 1\.\.60, got \[0\]'),
        (dict(k=61), r'k must be within 1\.\.60, got \[61\]'),
        (dict(temperature=0.0), 'temperature must be above 0'),
        (dict(train_labels=np.zeros(19, int)), r'20 and 15 images, but labels of shape \(19,\)'),
        (dict(test_labels=np.zeros(15)), 'labels must be integers'),
        (dict(test_features=np.zeros((15, 3, 5))), r'got \(20, 3, 6\) and \(15, 3, 5\)'),
        (dict(test_features=np.zeros((0, 3, 6)), test_labels=np.zeros(0, int)), 'no images'),
        (dict(train_features=np.full((20, 3, 6), np.nan)), 'not finite'),
        (dict(test_features=np.full((15, 3, 6), np.inf)), 'not finite'),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    names = ('train_features', 'train_labels', 'test_features', 'test_labels')
    args = dict(zip(names, random_problem(0)), k=5)
    with pytest.raises(ValueError, match=message):
        bbox_knn(**{**args, **change})


def test_too_little_memory_says_how_much_is_needed():
    train, labels, test, test_labels = random_problem(0)
    with pytest.raises(ValueError, match='max_memory must be at least [0-9]+ bytes for 6') as error:
        count_right(train, labels[None], test, test_labels, [5], max_memory=1000)
    needed = int(str(error.value).split('at least ')[1].split()[0])
    right = count_right(train, labels[None], test, test_labels, [5], max_memory=needed)
    assert torch.equal(right, count_right(train, labels[None], test, test_labels, [5]))


MEASURE = """
import resource, sys, types, torch
for name in ('flsl_mm', 'flsl_mm.evaluation', 'flsl_mm.evaluation.functional'):
    package = sys.modules[name] = types.ModuleType(name)  # not all of the package: time
    package.__path__ = ['/'.join([sys.argv[2], *name.split('.')])]
from flsl_mm.evaluation.functional.box_aligned_knn import count_right
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
train = torch.randn(4000, 3, 32, generator=generator)
test = torch.randn(2000, 3, 32, generator=generator)
labels = torch.arange(4000) % 50
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
count_right(train, labels[None], test[:5], labels[:5], [20], max_memory=2**24)  # warm up
before = peak()
count_right(train, labels[None], test, labels[:2000], [20], max_memory=int(sys.argv[1]))
print(peak() - before)
"""


def test_memory_stays_below_the_bound():
    """All similarities at once would be 288 MB."""
    bound = 2**26
    command = [sys.executable, '-c', MEASURE, str(bound), str(Path(module.__file__).parents[3])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) < bound
