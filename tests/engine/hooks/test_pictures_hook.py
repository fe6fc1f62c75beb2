"""Pictures of a test: one for each image, or the worst ones in order."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.visualization import DetLocalVisualizer  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402
from mmseg.visualization import SegLocalVisualizer  # noqa: E402

from flsl_mm.engine.hooks import PicturesHook  # noqa: E402

# Frames have the same names in all sequences.
NAMES = ['M1/1.jpg', 'M1/2.jpg', 'M2/1.jpg', 'M2/2.tif']
BOX = torch.tensor([[5.0, 5, 30, 30]])


def instances(number: int, score: float | None = None) -> InstanceData:
    """The first ``number`` of some boxes."""
    found = InstanceData(
        bboxes=torch.cat([BOX + 3 * i for i in range(number)]) if number else BOX[:0],
        labels=torch.zeros(number, dtype=torch.long),
    )
    if score is not None:
        found.scores = torch.full((number,), score)
    return found


@pytest.fixture
def images(tmp_path) -> list[str]:
    paths = [tmp_path / 'data' / name for name in NAMES]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (64, 48), (90, 90, 90)).save(path)
    return list(map(str, paths))


@pytest.fixture
def run(images, tmp_path):
    """Lets a hook see a test of some samples, in two batches."""

    def run(samples: list, visualizer, **options) -> list[str]:
        infos = [dict(img_path=path) for path in images]
        dataset = type('Data', (), dict(get_data_info=lambda _, i: infos[i], __len__=lambda _: 4))()
        runner = SimpleNamespace(
            model=torch.nn.Identity(),
            test_dataloader=SimpleNamespace(dataset=dataset),
            visualizer=visualizer,
            logger=MMLogger.get_instance('pictures'),
        )
        for sample, path in zip(samples, images):
            sample.set_metainfo(dict(img_path=path, ori_shape=(48, 64)))
        hook = PicturesHook(str(tmp_path / 'out'), **options)
        hook.before_test(runner)
        for start in (0, 2):
            hook.after_test_iter(runner, start, {}, samples[start : start + 2])
        hook.after_test_epoch(runner)
        out = tmp_path / 'out'
        return sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file())

    return run


def detections(counts) -> list[DetDataSample]:
    """Samples with so many objects and so many detections, of which the first ones fit."""
    return [
        DetDataSample(gt_instances=instances(there), pred_instances=instances(found, 0.9))
        for there, found in counts
    ]


def det_visualizer() -> DetLocalVisualizer:
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=('ant',), palette=[(255, 0, 0)])
    return visualizer


def test_every_image_has_its_picture_with_annotations_beside(run, tmp_path):
    files = run(detections([(1, 1)] * 4), det_visualizer())
    assert files == ['M1/1.jpg', 'M1/2.jpg', 'M2/1.jpg', 'M2/2.png']
    for name in files:
        assert Image.open(tmp_path / 'out' / name).size == (128, 48)


def test_the_worst_are_drawn_in_order(run, tmp_path):
    # two missed; right; one missed of two; three false
    files = run(detections([(2, 0), (1, 1), (2, 1), (0, 3)]), det_visualizer(), worst=3)
    assert files == ['001_M2_2.png', '002_M1_1.png', '003_M2_1.png', 'worst.json']
    worst = json.loads((tmp_path / 'out/worst.json').read_text())
    assert [w['image'] for w in worst] == ['M2/2.tif', 'M1/1.jpg', 'M2/1.jpg']
    assert [w['quality'] for w in worst] == pytest.approx([0, 0, 2 / 3])
    assert worst[2] == dict(worst[2], found=1, missed=1, false=0, picture='003_M2_1.png')


def test_unsure_detections_do_not_count(run, tmp_path):
    samples = detections([(1, 1)] * 4)
    samples[1].pred_instances.scores[:] = 0.2
    run(samples, det_visualizer(), worst=1)
    worst = json.loads((tmp_path / 'out/worst.json').read_text())
    assert worst[0]['image'] == 'M1/2.jpg' and worst[0]['missed'] == 1


def test_images_with_few_right_pixels_are_the_worst(run, tmp_path):
    truth = torch.zeros(1, 48, 64, dtype=torch.long)
    samples = []
    for wrong in (3, 40, 0, 10):
        labels = truth.clone()
        labels[:, :wrong] = 1
        data = dict(pred_sem_seg=labels, gt_sem_seg=truth, seg_logits=torch.zeros(2, 48, 64))
        samples.append(SegDataSample(**{k: PixelData(data=v) for k, v in data.items()}))
    visualizer = SegLocalVisualizer()
    visualizer.dataset_meta = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 255, 0)])
    files = run(samples, visualizer, worst=2)
    assert files == ['001_M1_2.png', '002_M2_2.png', 'worst.json']
    worst = json.loads((tmp_path / 'out/worst.json').read_text())
    assert worst[0]['quality'] == pytest.approx(8 / 48)
    left, right = np.split(np.asarray(Image.open(tmp_path / 'out/001_M1_2.png'), float), 2, axis=1)
    assert np.abs(left[:40] - right[:40]).mean() > 5 * np.abs(left[42:] - right[42:]).mean()
