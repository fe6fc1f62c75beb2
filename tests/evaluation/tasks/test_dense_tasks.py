"""The dense tasks on images of few colors, whose tokens are known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from PIL import Image
from torch import nn

from flsl_mm.datasets.labeled_images import IGNORED, LabeledImage, LabeledImages
from flsl_mm.evaluation.tasks import (
    CollapseMonitors,
    DenseSuite,
    ObjectDiscovery,
    SegmentationRetrieval,
    TokenClustering,
    token_clustering,
)
from flsl_mm.evaluation.tasks.dense_images import encode_images, network_input
from flsl_mm.models import FLSLHead, FrozenViT, build_vit
from flsl_mm.registry import FROZEN_TASKS
from flsl_mm.utils.errors import ConfigError, DataError

PATCH = 8
SIZE = dict(short_side=4 * PATCH)  # so that images of 4 rows of patches are encoded as they are
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)  # orthogonal


class ColorNetwork(FrozenViT, nn.Module):
    """In place of a ViT: tokens are the mean colors of patches."""

    patch_size = PATCH
    embed_dims = 3

    def __init__(self) -> None:
        super().__init__()
        self.device = nn.Parameter(torch.zeros(()))  # as the tasks look for it
        self.mean, self.std = (0, 0, 0), (255, 255, 255)

    def forward_tokens(self, images):
        pooled = [F.avg_pool2d(x, PATCH) for x in images]
        return [x.flatten(2).transpose(1, 2) for x in pooled]


class ColorImages(LabeledImages):
    """One image for each map of colors, 8 x 8 pixels for each entry; boxes in such units."""

    def __init__(self, maps: Sequence, ignored: int | None = None, boxes: Sequence = ()) -> None:
        samples = [(np.array(m), boxes[i] if boxes else []) for i, m in enumerate(maps)]
        self.ignored = ignored
        super().__init__(samples, num_classes=3)

    def load(self, sample) -> LabeledImage:
        pixels = sample[0].repeat(PATCH, 0).repeat(PATCH, 1)
        labels = pixels.astype(np.int16)
        labels[pixels == self.ignored] = IGNORED
        boxes = np.array(sample[1], np.float64).reshape(-1, 4) * PATCH
        return LabeledImage(Image.fromarray(COLORS[pixels]), labels, boxes)


def stripes(*colors: int) -> list[list[int]]:
    """A map of 4 equal rows: enlarging votes keeps straight borders, but rounds off corners."""
    return [list(colors)] * 4


VAL = [stripes(0, 0, 1, 2, 2, 1), stripes(2, 1, 1, 1, 0, 0), stripes(1, 1, 0, 2, 0, 0)]


def test_orthogonal_colors_are_retrieved_perfectly():
    task = SegmentationRetrieval(ColorImages(VAL), ColorImages([stripes(2, 1, 0, 1)]), **SIZE)
    expected = dict(mIoU=100, aAcc=100, details=dict(mAcc=100, unseen_classes=0))
    assert task(ColorNetwork()) == expected
    assert task(ColorNetwork()) == expected  # nothing is left of the first time


def test_without_training_images_halves_are_labelled_from_each_other():
    task = SegmentationRetrieval(ColorImages(VAL), num_neighbors=4, **SIZE)
    assert task(ColorNetwork())['mIoU'] == 100
    # The second image has what the other two lack, and the reverse.
    apart = [stripes(0, 1, 1, 0), stripes(2, 2, 2, 2), stripes(0, 1, 1, 0)]
    result = SegmentationRetrieval(ColorImages(apart), **SIZE)(ColorNetwork())
    assert result['aAcc'] == 0 and result['details']['unseen_classes'] == 3


def test_a_class_without_training_tokens_counts_as_missed():
    train = ColorImages([stripes(0, 1, 0, 1)])
    task = SegmentationRetrieval(ColorImages([stripes(0, 0, 1, 2)]), train, **SIZE)
    result = task(ColorNetwork())
    assert result['details']['unseen_classes'] == 1
    assert result['aAcc'] == 75


def test_ignored_pixels_neither_vote_nor_count():
    val, train = ColorImages(VAL, ignored=2), ColorImages(VAL, ignored=2)
    result = SegmentationRetrieval(val, train, num_neighbors=4, **SIZE)(ColorNetwork())
    assert result['aAcc'] == 100 and result['mIoU'] == 100


def test_a_small_bank_takes_as_many_tokens_of_each_image():
    task = SegmentationRetrieval(ColorImages(VAL), ColorImages(VAL), bank_size=12, **SIZE)
    task.start(ColorNetwork())
    ((tokens, labels),) = task._banks
    assert tokens.shape == (12, 3) and tokens.dtype == torch.float16
    assert torch.equal(tokens.argmax(1), labels)


def test_clusters_of_orthogonal_colors_are_the_classes():
    result = TokenClustering(ColorImages(VAL), over_clustering=1, **SIZE)(ColorNetwork())
    scores = dict(mIoU=100, aAcc=100, over_mIoU=100, over_aAcc=100)
    assert result == dict(scores, details=dict(clusters=3, over_clusters=3))


class CrossedImages(ColorImages):
    """Labelled by rows, so that colors say nothing."""

    def load(self, sample) -> LabeledImage:
        loaded = super().load(sample)
        rows = np.arange(loaded.labels.shape[0]) * 2 // loaded.labels.shape[0]
        labels = np.broadcast_to(rows[:, None], loaded.labels.shape).astype(np.int16)
        return loaded._replace(labels=labels)


def test_clusters_across_the_classes_are_half_right():
    images = CrossedImages([stripes(0, 0, 1, 1)])
    result = TokenClustering(images, over_clustering=2, **SIZE)(ColorNetwork())
    assert result['details'] == dict(clusters=2, over_clusters=4)
    assert result['aAcc'] == result['over_aAcc'] == 50


@pytest.mark.parametrize(('starts', 'accuracy', 'deviation'), [(1, 100, None), (3, 75, 25)])
def test_figures_of_several_starts_are_their_means(starts, accuracy, deviation, monkeypatch):
    images = ColorImages([stripes(0, 1, 0, 1)] * 2)
    seeds = []
    run = token_clustering.spherical_kmeans

    def noted(features, count, seed):
        seeds.append(seed)
        return run(features, count, seed)

    monkeypatch.setattr(token_clustering, 'spherical_kmeans', noted)
    task = TokenClustering(images, over_clustering=1, starts=starts, seed=5, **SIZE)
    task(ColorNetwork())
    assert seeds == [*range(5, 5 + starts)] * 2

    wrong = dict(zip(range(5, 8), (0, 1, 2)))  # of four pixels of a class, by start

    def counted(fitted, clusters, seed):
        return torch.tensor([[4 - wrong[seed], wrong[seed], 0], [wrong[seed], 4 - wrong[seed], 0]])

    monkeypatch.setattr(task, '_count', counted)
    result = task(ColorNetwork())
    assert result['aAcc'] == accuracy
    assert result['details'].get('aAcc_deviation') == deviation


def test_there_is_at_least_one_start():
    with pytest.raises(ConfigError, match='starts must be at least 1, got 0'):
        TokenClustering(ColorImages(VAL), starts=0, **SIZE)


def test_a_planted_object_is_discovered():
    pattern = np.zeros((8, 10), int)
    pattern[2:5, 3:7] = 1
    boxes = [[(3, 2, 7, 5), (0, 0, 1, 1)], [(0, 5, 3, 8)], []]
    task = ObjectDiscovery(ColorImages([pattern] * 3, boxes=boxes), short_side=64)
    # Found in the first image, missed in the second; the third has none.
    assert task(ColorNetwork()) == dict(CorLoc=50, details=dict(images=2, images_without_box=1))


def test_boxes_are_compared_in_pixels_of_the_image_as_stored():
    pattern = np.zeros((16, 20), int)
    pattern[4:10, 6:14] = 1
    # Encoded at half the size: a token covers 2 x 2 entries of the map.
    task = ObjectDiscovery(ColorImages([pattern], boxes=[[(6, 4, 14, 10)]]), short_side=64)
    assert task(ColorNetwork())['CorLoc'] == 100


def test_images_of_one_color_are_called_collapsed():
    task = CollapseMonitors(ColorImages([stripes(1, 1, 1)] * 2), **SIZE)
    result = task(ColorNetwork())
    assert result['RankMe'] == pytest.approx(1, abs=1e-3)
    assert result['ASS_contrast'] == pytest.approx(0, abs=1e-5)


def test_evenly_many_orthogonal_tokens_have_full_rank():
    result = CollapseMonitors(ColorImages([stripes(0, 1, 2, 2, 1, 0)] * 2), **SIZE)(ColorNetwork())
    assert result['RankMe'] == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize('patterns, expected', [([(0, 1, 2)] * 2, 1), ([(0,) * 3, (1,) * 3], 0)])
def test_the_share_of_the_place_is_that_of_the_images(patterns, expected):
    task = CollapseMonitors(ColorImages([stripes(*pattern) for pattern in patterns]), **SIZE)
    assert task(ColorNetwork())['place_share'] == pytest.approx(expected, abs=1e-3)


def test_the_use_of_prototypes_is_that_of_the_head_of_the_network():
    vit = ColorNetwork()
    vit.head = FLSLHead(3, num_prototypes=5, bottleneck_channels=3, num_layers=1)
    # The tokens themselves against one prototype for each color, and two that lose.
    nn.init.eye_(vit.head.mlp[0].weight)
    nn.init.zeros_(vit.head.mlp[0].bias)
    vit.head.prototypes.weight.data = torch.cat([torch.eye(3), -torch.ones(2, 3)])
    task = CollapseMonitors(ColorImages([stripes(0, 0, 1, 2, 2, 1)]), self_scale=50.0, **SIZE)
    result = task(vit)
    assert result['prototypes_used'] == 3
    assert result['prototype_entropy'] == pytest.approx(math.log(3))
    assert 'prototypes_used' not in task(ColorNetwork())
    # All modes are the mean of the image, whose largest part is the color of most tokens.
    vit.head.self_scale = 1e-9
    uneven = CollapseMonitors(ColorImages([stripes(0, 1, 1, 2)]), self_scale=50.0, **SIZE)
    assert uneven(vit)['prototypes_used'] == 1


def build_suite() -> DenseSuite:
    boxes = [[(0, 0, 2, 4)], [(4, 0, 6, 4)], []]
    val, train = ColorImages(VAL, boxes=boxes), ColorImages([stripes(2, 1, 0, 1)])
    return DenseSuite(val, train, **SIZE)


def test_the_suite_has_the_numbers_of_its_tasks():
    suite = build_suite()
    found = suite(ColorNetwork())
    assert suite.headline == 'retrieval/mIoU' and suite.headline in found
    for task in suite.tasks:
        alone = task(ColorNetwork())
        assert task.headline in alone
        assert alone == {name: found[f'{task.name}/{name}'] for name in alone}


def test_global_generators_are_left_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    build_suite()(ColorNetwork())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()


def worker(rank: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2
    )
    torch.save(build_suite()(ColorNetwork()), f'{results}.{rank}')
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_numbers_of_one(tmp_path):
    rendezvous, results = str(tmp_path / 'rendezvous'), str(tmp_path / 'result')
    mp.start_processes(worker, (rendezvous, results), nprocs=2, start_method='fork')
    alone = build_suite()(ColorNetwork())
    for rank in range(2):
        found = torch.load(f'{results}.{rank}')
        for name in ('collapse/RankMe', 'collapse/ASS_contrast'):
            # sums of floating point numbers, rounded in another order
            assert found.pop(name) == pytest.approx(alone[name], rel=1e-9)
        assert found == {key: alone[key] for key in found}


def test_a_real_vit_takes_images_of_any_shape():
    vit = build_vit('random:deit-tiny/16')
    images = ColorImages([stripes(0, 1, 2), stripes(*[0, 1] * 20), np.zeros((9, 4), int)])
    found = list(encode_images(vit, images, 32, 0, 'images'))
    # The first is 24 x 32 pixels; where the long side is over four times the short, both shrink.
    assert [image.grid for image in found] == [(3, 2), (1, 8), (4, 2)]
    assert [tuple(image.tokens.shape) for image in found] == [(6, 192), (8, 192), (8, 192)]
    alone = vit.normalize(network_input(images[0].image, 32, 16)[None])
    torch.testing.assert_close(found[0].tokens, vit.forward_tokens([alone])[0][0])


def test_gradients_are_neither_computed_nor_kept():
    seen = []

    class Watching(ObjectDiscovery):
        def update(self, image):
            seen.append((torch.is_grad_enabled(), image.tokens.requires_grad))
            super().update(image)

    Watching(ColorImages(VAL, boxes=[[[0, 0, 1, 1]]] * 3), **SIZE)(ColorNetwork())
    assert seen == [(False, False)] * 3


def test_reading_in_other_processes_changes_nothing():
    train = ColorImages([stripes(0, 1, 1, 2)])
    task = SegmentationRetrieval(ColorImages(VAL), train, num_workers=1, **SIZE)
    assert task(ColorNetwork())['mIoU'] == 100


def test_tasks_are_built_from_configs(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
        for i in range(2):
            shade = Image.new('RGB' if folder == 'images' else 'L', (32, 32))
            shade.paste((0, 255 * i, 255 - 255 * i) if folder == 'images' else i, (0, 0, 32, 32))
            shade.save(tmp_path / folder / f'{i}.png')
    data = dict(type='MaskFolder', images=str(tmp_path / 'images'), masks=str(tmp_path / 'masks'))
    for where in (
        dict(val=data),
        dict(data_root=str(tmp_path)),
        dict(data_root=str(tmp_path), images=dict(num_classes=2)),
    ):
        config = dict(type='TokenClustering', over_clustering=1, **where, **SIZE)
        assert FROZEN_TASKS.build(config)(ColorNetwork())['mIoU'] == 100


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: SegmentationRetrieval(ColorImages(VAL[:1])), 'needs training images'),
        (
            lambda: SegmentationRetrieval(
                ColorImages([stripes(1, 1)]), ColorImages([stripes(1)], ignored=1), **SIZE
            ),
            'no pixel of the masks to retrieve from is labelled',
        ),
        (
            lambda: SegmentationRetrieval(
                ColorImages([stripes(1, 1)], ignored=1), ColorImages([stripes(1)]), **SIZE
            ),
            'retrieval: no pixel of the masks to evaluate is labelled',
        ),
        (
            lambda: TokenClustering(ColorImages([stripes(1, 1)], ignored=1), **SIZE),
            'clustering: no pixel of the masks to evaluate is labelled',
        ),
        (
            lambda: TokenClustering(ColorImages(VAL[:1]), over_clustering=9, **SIZE),
            'clustering: 27 clusters wanted of 24 tokens',
        ),
        (lambda: ObjectDiscovery(ColorImages(VAL), **SIZE), 'none of the images .* has a box'),
    ],
)
def test_data_that_allow_no_number_are_one_line(build, message):
    with pytest.raises(DataError, match=message) as error:
        build()(ColorNetwork())
    assert '\n' not in str(error.value)


def test_training_images_of_other_classes_are_refused():
    train = ColorImages(VAL)
    train.num_classes = 4
    with pytest.raises(DataError, match='training images have 4 classes, those to evaluate 3'):
        SegmentationRetrieval(ColorImages(VAL), train)
