"""The twelve numbers against COCO's own evaluation."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import frPyObjects

from flsl_mm.evaluation import StandardCocoMetric
from flsl_mm.utils.errors import ConfigError

pytest.importorskip('mmdet')
LIBRARIES = 'pycocotools', 'faster_coco_eval'
NAMES = 'mAP mAP_50 mAP_75 mAP_s mAP_m mAP_l AR@1 AR@10 AR@100 AR_s@100 AR_m@100 AR_l@100'.split()


@pytest.fixture(scope='module')
def ann_file(shared_dir) -> str:
    return str(shared_dir / 'data/coco/annotations/instances_val2017.json')


@pytest.fixture
def coco(ann_file) -> COCO:
    """Read for each test: evaluating changes the annotations."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(ann_file)


def predictions(coco: COCO) -> list[dict]:
    """Ground truth moved about, with random scores and some wrong labels: neither 0 nor 1."""
    rng = np.random.default_rng(0)
    labels = {category: i for i, category in enumerate(coco.getCatIds())}
    samples = []
    for image in coco.loadImgs(coco.getImgIds()):
        anns = coco.loadAnns(coco.getAnnIds(image['id'], iscrowd=False))
        boxes = np.array([a['bbox'] for a in anns]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 3, boxes.shape)
        masks = [frPyObjects(a['segmentation'], image['height'], image['width']) for a in anns]
        right = rng.random(len(anns)) < 0.8
        pred = dict(
            bboxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(rng.random(len(anns))),
            labels=torch.tensor(
                [labels[a['category_id']] if r else 0 for a, r in zip(anns, right)]
            ),
            masks=[mask[0] for mask in masks],  # the first part only
        )
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=pred,
            )
        )
    return samples


def evaluate(metric: StandardCocoMetric, coco: COCO, samples: list[dict]) -> dict[str, float]:
    metric.dataset_meta = dict(classes=[c['name'] for c in coco.loadCats(coco.getCatIds())])
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('library', LIBRARIES)
def test_the_numbers_are_those_of_pycocotools_on_the_exported_file(
    ann_file, coco, tmp_path, library
):
    pytest.importorskip(library)
    metric = StandardCocoMetric(
        ann_file=ann_file, outfile_prefix=str(tmp_path / 'detections'), library=library
    )
    found = evaluate(metric, coco, predictions(coco))
    assert list(found) == [f'coco/{kind}_{name}' for kind in ('bbox', 'segm') for name in NAMES]
    for kind in ('bbox', 'segm'):
        detections = json.loads((tmp_path / f'detections.{kind}.json').read_text())
        for detection in detections:
            if kind == 'segm':
                detection.pop('bbox')  # the area is that of the mask
        with contextlib.redirect_stdout(io.StringIO()):
            direct = COCOeval(coco, coco.loadRes(detections), kind)
            direct.evaluate()
            direct.accumulate()
            direct.summarize()
        assert [found[f'coco/{kind}_{name}'] for name in NAMES] == pytest.approx(
            list(direct.stats), abs=5.1e-4
        )
        assert 0.1 < found[f'coco/{kind}_mAP'] < 0.95
        assert len(set(direct.stats[6:9])) == 3  # the three numbers of detections differ


def test_the_libraries_agree_in_every_digit(coco, tmp_path):
    faster = pytest.importorskip('faster_coco_eval')
    detections = []
    for sample in predictions(coco):
        pred = sample['pred_instances']
        boxes = pred['bboxes'].numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, label, mask in zip(boxes, pred['scores'], pred['labels'], pred['masks']):
            mask = dict(mask, counts=mask['counts'].decode())
            category = coco.getCatIds()[label]
            detections.append(
                dict(
                    image_id=sample['img_id'],
                    category_id=category,
                    score=round(float(score), 1),  # many are equal
                    bbox=box.tolist(),
                    segmentation=mask,
                )
            )
    for kind in ('bbox', 'segm'):
        kept = [{k: v for k, v in d.items() if k != 'bbox' or kind == 'bbox'} for d in detections]
        stats = []
        for evaluator in (COCOeval, faster.COCOeval_faster):
            with contextlib.redirect_stdout(io.StringIO()):
                run = evaluator(coco, coco.loadRes([dict(d) for d in kept]), kind)
                run.evaluate(), run.accumulate(), run.summarize()
            stats.append(run.stats[:12])
        np.testing.assert_allclose(*stats, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    'library, message',
    [('coco', 'is none of pycocotools, faster_coco_eval'), ('faster_coco_eval', 'pip install')],
)
def test_a_library_that_is_not_there_is_one_line(ann_file, monkeypatch, library, message):
    monkeypatch.setattr(
        'flsl_mm.evaluation.metrics.standard_coco_metric.find_spec', lambda name: None
    )
    with pytest.raises(ConfigError, match=message):
        StandardCocoMetric(ann_file=ann_file, library=library)


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_model_that_detects_nothing_scores_zero(ann_file, coco, library):
    pytest.importorskip(library)
    samples = predictions(coco)
    for sample in samples:
        sample['pred_instances'] = dict(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0), masks=[]
        )
    metric = StandardCocoMetric(ann_file=ann_file, library=library)
    found = evaluate(metric, coco, samples)
    assert len(found) == 24 and set(found.values()) == {0.0}
