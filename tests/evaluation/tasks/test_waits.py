"""What frozen tasks wait for on a GPU that is not there (``tests/fake_cuda.py``), and how often."""

import numpy as np
import pytest
import torch
from fake_cuda import MASK, NUMBER, PLACES, READ, WRITE
from PIL import Image

from flsl_mm.datasets import scenes
from flsl_mm.datasets.labeled_images import LabeledImage, LabeledImages
from flsl_mm.evaluation.functional.box_aligned_knn import count_right
from flsl_mm.evaluation.tasks import BoxKNN, DavisPropagation
from flsl_mm.evaluation.tasks.box_features import _Batch, _batch_features, extract_box_features
from flsl_mm.evaluation.tasks.dense_images import encode_images
from flsl_mm.models import FLSLHead, FLSLVisionTransformer
from flsl_mm.registry import FROZEN_TASKS

GPU = torch.device('cuda', 0)


@pytest.fixture
def vit(fake_cuda):
    """A small network with its projection head on the device."""
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    net = FLSLVisionTransformer(arch, img_size=32, patch_size=8, out_type='raw')
    net.head = FLSLHead(32, num_prototypes=16, hidden_channels=32, bottleneck_channels=8)
    return net.to(GPU).eval().requires_grad_(False)


class Halves(LabeledImages):
    """Images of 4 x 6 tokens whose halves are of two classes, with a box each."""

    def __init__(self, number: int) -> None:
        super().__init__(list(range(number)), num_classes=2)

    def load(self, sample) -> LabeledImage:
        labels = np.zeros((32, 48), np.int16)
        labels[:, 24:] = 1
        boxes = np.array([[24.0, 0, 48, 32]])
        return LabeledImage(Image.fromarray(np.zeros((32, 48, 3), np.uint8)), labels, boxes)


def test_features_of_boxes_are_made_without_a_wait(vit, fake_cuda):
    images, points = torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.zeros(3, 9, 2)
    batch = _Batch(images, points, torch.zeros(4).long(), torch.tensor([0, 0, 1, 0]), [])
    found = []
    assert not fake_cuda.waits(lambda: found.extend(_batch_features(vit, batch, 5, 9)))
    features, labels, reasons = found
    assert all(x.device == GPU for x in found)
    assert features.shape == (5, 9, 32) and features.dtype == torch.float16
    assert labels.dtype == reasons.dtype == torch.int64


def test_a_batch_of_boxes_is_read_in_three_copies(vit, fake_cuda, imagenet_boxes):
    task = BoxKNN(str(imagenet_boxes), ks=(3, 1), resize=40, crop=32, batch_size=6, num_workers=0)
    found = []
    waits = fake_cuda.waits(
        lambda: found.append(extract_box_features(vit, task.train, 9, 6, num_workers=0))
    )
    assert waits == {READ: 2 * 3}  # features, labels, reasons of two batches
    assert found[0].features.shape == (12, 9, 32) and found[0].features.device.type == 'cpu'
    result = {}
    fake_cuda.waits(lambda: result.update(task(vit)))
    assert result['details']['test']['images'] == 6


def test_neighbors_of_all_labelings_and_ks_are_counted_in_one_read(fake_cuda):
    features, labels = torch.ones(20, 9, 8).half(), torch.arange(20) % 3
    found = []

    def count(shuffles, ks):
        args = features, torch.stack([labels] * shuffles), features[:7], labels[:7], ks
        found.append(count_right(*args, device=GPU))

    waits = fake_cuda.waits(lambda: count(6, [5, 3, 1, 2]))
    # The labels and one chunk each of the images, their labels and the bank go over.
    assert waits == {NUMBER: 1, READ: 1, WRITE: 4} == fake_cuda.waits(lambda: count(1, [2]))
    assert found[0].shape == (6, 4) and found[0].device.type == 'cpu'


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_frame_of_a_video_goes_over_once_and_its_mask_comes_back(
    precision, vit, fake_cuda, tmp_path
):
    scenes.write_davis(tmp_path, 0, 1, num_frames=4, size=(96, 64))
    settings = dict(short_side=128, radius=4, num_previous=2, precision=precision)
    task, masks = DavisPropagation(str(tmp_path), **settings), []
    waits = fake_cuda.waits(lambda: masks.append(task.segment(vit, task.sequences[0])))
    assert masks[0].shape == (4, 64, 96) and masks[0].dtype == np.uint8
    # Of each frame but the first: whether it is finite; ties among neighbors, and two sizes then.
    assert waits == {NUMBER: 3 * 4, READ: 3, WRITE: 4 + 1}


WAITS = {
    'SegmentationRetrieval': {PLACES: 1, NUMBER: 1, WRITE: 1},  # which classes; its labels
    'TokenClustering': {READ: 1},  # its tokens, kept on the host
    'ObjectDiscovery': {NUMBER: 1, MASK: 1, READ: 1},  # the seed, what it grows to, the mask
    'CollapseMonitors': {},
}
"""Of one image, once its tokens are there."""


@pytest.mark.parametrize('name', WAITS)
def test_dense_tasks_wait_as_often_as_an_image_needs(name, vit, fake_cuda):
    task = FROZEN_TASKS.build(dict(type=name, val=Halves(2), short_side=32))
    images = []
    waits = fake_cuda.waits(lambda: images.extend(encode_images(vit, task.val, 32, 0, 'images')))
    assert waits == {WRITE: 2}  # the pixels
    assert {(i.tokens.device, i.tokens.dtype) for i in images} == {(GPU, torch.float32)}
    fake_cuda.waits(lambda: task.start(vit))
    assert fake_cuda.waits(lambda: task.update(images[0])) == WAITS[name]


FINISH = {
    'SegmentationRetrieval': {NUMBER: 6, MASK: 2},
    'ObjectDiscovery': {NUMBER: 3},
    'CollapseMonitors': {NUMBER: 7, MASK: 2},
}
"""What is waited for when all images are done, however many they were."""


def evaluate(name, vit, gpu):
    """The task, when it has seen three images."""
    task = FROZEN_TASKS.build(dict(type=name, val=Halves(3), short_side=32))

    def see_all():
        task.start(vit)
        for image in encode_images(vit, task.val, 32, 0, 'images'):
            task.update(image)

    gpu.waits(see_all)
    return task


@pytest.mark.parametrize('name', FINISH)
def test_dense_tasks_end_with_a_few_waits(name, vit, fake_cuda):
    fake_cuda.number = 1  # so that pixels are labelled
    task, numbers = evaluate(name, vit, fake_cuda), {}
    waits = fake_cuda.waits(lambda: numbers.update(task.finish()))
    assert task.headline in numbers and waits == FINISH[name]


def test_clusters_of_tokens_are_found_on_the_device_and_read_once_an_image(vit, fake_cuda):
    task, counts = evaluate('TokenClustering', vit, fake_cuda), []
    fitted = torch.zeros(8, 32).to(GPU)
    waits = fake_cuda.waits(lambda: counts.append(task._count(fitted, 2, seed=0)))
    # Of k-means a seed each; of each image its tokens go over, its clusters come back; all counts.
    assert (waits[READ], waits[WRITE]) == (2 + 3 + 1, 3 + 1)
    assert counts[0].is_cpu and counts[0].shape == (2, 2)
