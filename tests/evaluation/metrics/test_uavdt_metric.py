"""The metric, against the function on the files it writes."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.registry import METRICS
from PIL import Image

import flsl_mm  # noqa: F401
from flsl_mm.datasets import UAVDTDataset
from flsl_mm.datasets.scenes import write_uavdt
from flsl_mm.datasets.uavdt_files import parse_frame_name, read_detections
from flsl_mm.evaluation import evaluate_uavdt

SEQUENCES = ['M0203', 'M0205']


@pytest.fixture
def dataset(tmp_path) -> UAVDTDataset:
    write_uavdt(tmp_path, SEQUENCES, num_frames=5)
    return UAVDTDataset(str(tmp_path), 'test', SEQUENCES, test_mode=True)


def predict(dataset) -> list[dict]:
    """Boxes near the ground truth, and some that are not."""
    rng = np.random.default_rng(0)
    samples = []
    for entry in dataset:
        boxes = np.array([instance['bbox'] for instance in entry['instances']])
        boxes = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), boxes[:2] + 15])
        found = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.rand(len(boxes), generator=torch.Generator().manual_seed(len(samples))),
            labels=torch.tensor(rng.integers(0, 3, len(boxes))),
        )
        samples.append(dict(img_id=entry['img_id'], pred_instances=found))
    return samples


def build(dataset, **kwargs):
    metric = METRICS.build(dict(type='UAVDTMetric', **kwargs))
    metric.dataset_meta = dataset.metainfo
    return metric


def test_the_files_give_the_same_figure(dataset, tmp_path):
    metric = build(dataset, out_dir=str(tmp_path / 'out'))
    metric.process({}, predict(dataset))
    metrics = metric.evaluate(len(dataset))
    found = evaluate_uavdt(tmp_path / 'UAV-benchmark-MOTD_v1.0/GT', tmp_path / 'out')
    assert 0 < found['AP'] < 100
    assert metrics['uavdt/AP'] == found['AP']
    assert metrics['uavdt/AP_no_ignore'] == found['AP_no_ignore'] != found['AP']
    assert metrics['uavdt/AP_M0205'] == found['sequences']['M0205']['AP']
    assert metrics['uavdt/AP_night'] == found['attributes']['night']['AP']
    assert metrics['uavdt/AP_truck'] == found['classes']['truck']['AP']
    other = build(dataset, iou_threshold=0.3)
    other.process({}, predict(dataset))
    assert other.evaluate(len(dataset))['uavdt/AP'] > found['AP']


def test_real_detections_get_the_official_figure(shared_dir, tmp_path):
    lengths, folder = dict(M0208=265, M0801=298), shared_dir / 'data/uavdt'
    (tmp_path / 'GT').symlink_to(folder / 'GT')
    Image.new('L', (1024, 540)).save(tmp_path / 'blank.jpg')
    for name, length in lengths.items():
        (tmp_path / name).mkdir()
        for frame in range(1, length + 1):
            (tmp_path / name / f'img{frame:06d}.jpg').symlink_to(tmp_path / 'blank.jpg')
    dataset = UAVDTDataset(str(tmp_path), 'test', list(lengths), test_mode=True)
    rows = {name: torch.tensor(read_detections(folder / 'RES_DET', name)) for name in lengths}
    metric = build(dataset)
    for entry in dataset:
        name, frame = parse_frame_name(entry['img_id'])
        found = rows[name][rows[name][:, 0] == frame]
        corners = torch.cat([found[:, 2:4], found[:, 2:4] + found[:, 4:6]], 1)
        instances = dict(bboxes=corners, scores=found[:, 6], labels=torch.zeros(len(found)).int())
        metric.process({}, [dict(img_id=entry['img_id'], pred_instances=instances)])
    metrics = metric.evaluate(len(dataset))
    assert metrics['uavdt/AP'] == 88.62
    assert (metrics['uavdt/AP_M0208'], metrics['uavdt/AP_M0801']) == (5.02, 99.14)


def worker(rank: int, dataset, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2
    )
    metric, samples = build(dataset), predict(dataset)
    metric.process({}, (samples + samples[:1])[rank::2])  # padded, as the sampler pads
    torch.save(metric.evaluate(len(dataset)), f'{results}.{rank}')
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_figure_of_one(dataset, tmp_path):
    dataset = UAVDTDataset(str(tmp_path), 'test', SEQUENCES, test_mode=True, indices=list(range(9)))
    metric = build(dataset)
    metric.process({}, predict(dataset))
    expected = metric.evaluate(len(dataset))
    arguments = (dataset, str(tmp_path / 'rendezvous'), str(tmp_path / 'result'))
    mp.start_processes(worker, arguments, nprocs=2, start_method='fork')
    assert [torch.load(f'{arguments[2]}.{rank}') for rank in range(2)] == [expected] * 2


def test_frames_without_detections_count(dataset):
    samples = predict(dataset)
    for sample in samples:
        found = sample['pred_instances']
        sample['pred_instances'] = {key: value[:0] for key, value in found.items()}
    metric = build(dataset)
    metric.process({}, samples)
    assert metric.evaluate(len(dataset))['uavdt/AP'] == 0


def test_a_frame_list_selects_the_ground_truth(dataset, tmp_path):
    (tmp_path / 'frames.txt').write_text('M0203/img000002.jpg\nM0205/img000001.jpg\n')
    subset = UAVDTDataset(
        str(tmp_path), 'test', SEQUENCES, str(tmp_path / 'frames.txt'), test_mode=True
    )
    metric = build(subset)
    samples = [s for s in predict(dataset) if s['img_id'] in [e['img_id'] for e in subset]]
    for sample in samples:
        sample['pred_instances']['bboxes'] = sample['pred_instances']['bboxes'].round()
    metric.process({}, samples)
    metrics = metric.evaluate(len(subset))
    whole = build(dataset)
    whole.process({}, samples)
    assert len(samples) == 2
    assert metrics['uavdt/AP'] > whole.evaluate(len(subset))['uavdt/AP'] > 0


def test_another_dataset_is_refused(dataset):
    metric = build(dataset)
    metric.dataset_meta = dict(classes=('car',))
    metric.process({}, predict(dataset))
    with pytest.raises(ValueError, match='UAVDTMetric: the dataset has to be a UAVDTDataset'):
        metric.evaluate(len(dataset))
    with pytest.raises(ValueError, match='UAVDTMetric: 7 is no frame of UAVDT'):
        metric.process({}, [dict(predict(dataset)[0], img_id=7)])
