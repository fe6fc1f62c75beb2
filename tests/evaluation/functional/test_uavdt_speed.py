"""The whole benchmark in size: 20 sequences, 16,592 frames, 100 detections in each."""

import time

import numpy as np
import pytest

from flsl_mm.datasets.uavdt_files import TEST_LENGTHS
from flsl_mm.evaluation import evaluate_uavdt

VEHICLES, DETECTIONS = 22, 100  # in a frame; the real benchmark has about 20 vehicles


def write_sequence(gt_dir, detection_dir, name: str, length: int, rng) -> None:
    """Vehicles, two ignored regions, and detections: one around each vehicle, the others random."""
    frames = np.repeat(np.arange(1, length + 1), VEHICLES)
    boxes = random_boxes(rng, len(frames))
    write(gt_dir / f'{name}_gt_whole.txt', frames, boxes, np.ones(len(frames)), 1)
    regions = np.repeat(np.arange(1, length + 1), 2)
    big = random_boxes(rng, len(regions)) * [1, 1, 4, 4]
    write(gt_dir / f'{name}_gt_ignore.txt', regions, big, np.ones(len(regions)), -1)
    others = np.repeat(np.arange(1, length + 1), DETECTIONS - VEHICLES)
    found = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), random_boxes(rng, len(others))])
    scores = rng.uniform(0, 1, len(found))
    write(detection_dir / f'{name}.txt', np.concatenate([frames, others]), found, scores, 1)


def random_boxes(rng, number: int) -> np.ndarray:
    return rng.uniform([0, 0, 15, 15], [950, 480, 70, 60], (number, 4))


def write(path, frames, boxes, scores, category: int) -> None:
    ones = np.ones(len(frames))
    table = np.column_stack([frames, -ones, boxes, scores, ones, category * ones])
    np.savetxt(path, table, fmt=['%d', '%d', '%.2f', '%.2f', '%.2f', '%.2f', '%.6f', '%d', '%d'],
               delimiter=',')  # fmt: skip


@pytest.mark.slow
def test_all_test_sequences_take_less_than_a_minute(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ('gt', 'detections'):
        (tmp_path / folder).mkdir()
    for name, length in TEST_LENGTHS.items():
        write_sequence(tmp_path / 'gt', tmp_path / 'detections', name, length, rng)
    start = time.process_time()
    result = evaluate_uavdt(tmp_path / 'gt', tmp_path / 'detections')
    seconds = time.process_time() - start
    print(f'{seconds:.1f} s of processor time: {result}')
    assert result['num_frames_with_gt'] == 16592 and result['num_detections'] == 1659200
    assert 0 < result['AP'] < 100 and len(result['attributes']) == 10 and result['classes']
    assert seconds < 60
