"""Tiles of large pictures: what lies on their seams is found once, and whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData, PixelData

pytest.importorskip('mmdet')
from mmdet.structures import DetDataSample  # noqa: E402

from flsl_mm.apis.tiling import make_tiles, merge_detections, merge_tiles  # noqa: E402


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(1, 120), st.floats(0, 0.9))
def test_tiles_cover_a_picture_and_overlap_as_much_as_asked_for(size, side, overlap):
    tiles = make_tiles(size, side, overlap)
    seen = np.zeros(size, int)
    for tile in tiles:
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
        assert tile.bottom - tile.top == min(side, size[0])
        assert tile.right - tile.left == min(side, size[1])
    assert seen.min() >= 1
    for before, after in zip(tiles, tiles[1:]):
        if after.top == before.top:
            assert before.right - after.left >= int(overlap * side)


def draw(size, objects) -> np.ndarray:
    """Numbers of objects, from 1, where they are: (left, top, right, bottom)."""
    scene = np.zeros(size, int)
    for number, (left, top, right, bottom) in enumerate(objects, 1):
        scene[top:bottom, left:right] = number
    return scene


def look(scene: np.ndarray, tile, labels, rng) -> InstanceData:
    """What a network that sees everything finds in a tile: its scores are whatever they are."""
    part = scene[tile.top : tile.bottom, tile.left : tile.right]
    numbers = [n for n in np.unique(part) if n]
    masks = [part == n for n in numbers]
    corners = [(m.any(0).nonzero()[0], m.any(1).nonzero()[0]) for m in masks]
    boxes = [[x[0], y[0], x[-1] + 1, y[-1] + 1] for x, y in corners]
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([labels[n - 1] for n in numbers], dtype=torch.long),
        scores=torch.tensor(rng.uniform(0.5, 1, len(numbers)), dtype=torch.float32),
        masks=torch.tensor(np.array(masks).reshape(-1, *part.shape)),
    )


SIZE, SIDE = (230, 310), 100
# Smaller than a tile on seams and corners of tiles, and larger than one along both axes.
OBJECTS = {
    'one tile': [(5, 5, 30, 40)],
    'two tiles': [(70, 10, 110, 50), (10, 60, 50, 105)],
    'four tiles': [(60, 60, 120, 110)],
    'larger than a tile': [(20, 20, 260, 200)],
    'along the picture': [(0, 90, 310, 110)],
    'close neighbors': [(60, 20, 90, 60), (90, 20, 120, 60), (60, 61, 120, 100)],
    'one inside another': [(10, 10, 200, 200), (60, 60, 120, 110)],
}


@pytest.mark.parametrize('overlap', [0.2, 0.5])
@pytest.mark.parametrize('case', OBJECTS)
def test_every_object_is_found_once_and_whole(case, overlap):
    objects = OBJECTS[case]
    scene, rng = draw(SIZE, objects), np.random.default_rng(0)
    tiles = make_tiles(SIZE, SIDE, overlap)
    assert len(tiles) >= 12
    labels = [i % 2 for i in range(len(objects))]
    found = merge_detections(tiles, [look(scene, t, labels, rng) for t in tiles], SIZE)
    assert len(found) == len(objects)
    order = [int(scene[mask.numpy()][0]) - 1 for mask in found.masks]
    assert sorted(order) == list(range(len(objects)))
    for k, number in enumerate(order):
        assert found.bboxes[k].tolist() == [float(side) for side in objects[number]]
        assert np.array_equal(found.masks[k], scene == number + 1)
        assert found.labels[k] == labels[number]


def test_objects_of_two_classes_at_one_place_stay_two():
    tiles = make_tiles((60, 180), 100, 0.2)
    box = torch.tensor([[85.0, 10, 95, 30]])

    def one(label: int, shift: int) -> InstanceData:
        move = torch.tensor([shift, 0, shift, 0])
        scores = torch.tensor([0.9])
        return InstanceData(bboxes=box - move, labels=torch.tensor([label]), scores=scores)

    for label, count in ((0, 1), (1, 2)):
        found = [one(0, tiles[0].left), one(label, tiles[1].left)]
        assert len(merge_detections(tiles, found, (60, 180))) == count


def test_the_surest_view_of_a_whole_object_counts():
    tiles = make_tiles((60, 180), 100, 0.2)
    first, second = torch.tensor([[85.0, 10, 95, 30]]), torch.tensor([[84.0, 10, 96, 31]])
    found = [
        InstanceData(bboxes=b, labels=torch.tensor([0]), scores=torch.tensor([s]))
        for b, s in ((first, 0.6), (second - torch.tensor([80, 0, 80, 0]), 0.8))
    ]
    merged = merge_detections(tiles, found, (60, 180))
    assert merged.bboxes.tolist() == second.tolist()
    assert merged.scores.tolist() == pytest.approx([0.8])


def test_what_is_below_the_score_is_left_out_and_nothing_found_is_no_error():
    tiles = make_tiles(SIZE, SIDE, 0.2)
    scene, rng = draw(SIZE, OBJECTS['two tiles']), np.random.default_rng(0)
    samples = [DetDataSample(pred_instances=look(scene, t, [0, 0], rng)) for t in tiles]
    assert len(merge_tiles(tiles, samples, SIZE, score=0.0).pred_instances) == 2
    nothing = merge_tiles(tiles, samples, SIZE, score=1.0).pred_instances
    assert len(nothing) == 0 and nothing.masks.shape == (0, *SIZE)


def test_labels_are_those_of_the_logits_sum():
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    tiles = make_tiles((75, 110), 40, 0.3)
    logits = [torch.randn(5, 40, 40, generator=generator) for _ in tiles]
    total = torch.zeros(5, 75, 110)
    for tile, values in zip(tiles, logits):
        total[:, tile.top : tile.bottom, tile.left : tile.right] += values
    samples = [
        SegDataSample(seg_logits=PixelData(data=v), pred_sem_seg=PixelData(data=v[:1]))
        for v in logits
    ]
    merged = merge_tiles(tiles, iter(samples), (75, 110))
    assert torch.equal(merged.pred_sem_seg.data[0], total.argmax(0))
