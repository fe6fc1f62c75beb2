"""UAVDT from the command line: train, test, export, evaluate, convert; on drawn frames."""

import json
from pathlib import Path

import pytest

from flsl_mm.datasets.scenes import write_uavdt

GT = 'UAV-benchmark-MOTD_v1.0/GT'


@pytest.fixture
def eval_uavdt(load_tool):
    return load_tool('eval_uavdt').main


@pytest.fixture
def uavdt2coco(load_tool):
    return load_tool('dataset_converters/uavdt2coco').main


@pytest.fixture
def root(tmp_path) -> Path:
    write_uavdt(tmp_path / 'uavdt', ['M0101'], num_frames=4)
    write_uavdt(tmp_path / 'uavdt', ['M0203', 'M0205'], num_frames=2, seed=1)
    return tmp_path / 'uavdt'


def options(root: Path) -> list[str]:
    """A network and images that a CPU can handle; untrained boxes need a low IoU threshold."""
    values = [
        'pretrained=None',
        'model.backbone.embed_dims=32',
        'model.backbone.depth=4',
        'model.backbone.num_heads=2',
        'model.backbone.out_indices=(0,1,2,3)',
        'model.neck.in_channels=[32,32,32,32]',
        'model.roi_head.bbox_head.fc_out_channels=32',
        'model.test_cfg.rcnn.score_thr=0.0',
        'train_cfg.max_epochs=1',
        'test_evaluator.iou_threshold=0.05',
        f'test_evaluator.out_dir={root.parent / "detections"}',
    ]
    for kind, sequences, step in (('train', 'M0101', 2), ('val', 'M0203', 1), ('test', '', 1)):
        sequences = sequences or 'M0203,M0205'
        values += [
            f'{kind}_dataloader.num_workers=0',
            f'{kind}_dataloader.dataset.data_root={root}',
            f'{kind}_dataloader.dataset.sequences=[{sequences}]',
            f'{kind}_dataloader.dataset.pipeline.{step}.scale=(256,128)',
        ]
    return ['--cfg-options', *values]


def test_train_test_export_evaluate(project_root, run_tool, root, tmp_path, eval_uavdt, capsys):
    pytest.importorskip('mmdet')
    config = str(project_root / 'configs/uavdt/faster-rcnn_flsl-vits16_fpn_1x_uavdt.py')
    work_dir = tmp_path / 'run'
    common = [f'--work-dir={work_dir}', *options(root)]
    trained = run_tool('train.py', config, *common)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert '[1][2/2]' in trained.stdout + trained.stderr  # 4 frames, 2 in a batch
    checkpoint = str(work_dir / 'epoch_1.pth')
    tested = run_tool('test.py', config, checkpoint, *common)
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = json.loads((work_dir / 'test_metrics.json').read_text())['metrics']
    assert 0 < metrics['uavdt/AP'] < 100

    out = tmp_path / 'ap.json'
    arguments = [str(root / GT), str(tmp_path / 'detections'), '--iou=0.05', f'--out={out}']
    assert eval_uavdt(arguments) == 0
    result = json.loads(out.read_text())
    assert result['AP'] == metrics['uavdt/AP']
    for name in ('M0203', 'M0205'):
        assert result['sequences'][name]['AP'] == metrics[f'uavdt/AP_{name}']
    assert f'{result["AP"]:8.2f}' in capsys.readouterr().out


def test_eval_uavdt_prints_the_official_figures(shared_dir, eval_uavdt, tmp_path, capsys):
    folder, out = shared_dir / 'data/uavdt', tmp_path / 'ap.json'
    assert eval_uavdt([str(folder / 'GT'), str(folder / 'RES_DET'), f'--out={out}']) == 0
    printed = capsys.readouterr()
    lines = {line.split()[0]: line.split()[1:] for line in printed.out.splitlines()}
    assert lines['all'] == ['88.62', '88.56']
    assert lines['M0208'][0] == '5.02' and lines['M0801'][0] == '99.14'
    assert 'evaluating M0208' in printed.err
    assert json.loads(out.read_text())['attributes']['day']['AP'] == 88.62


def test_eval_uavdt_can_evaluate_a_part(shared_dir, eval_uavdt, tmp_path, capsys):
    folder, out = shared_dir / 'data/uavdt', tmp_path / 'ap.json'
    common = [str(folder / 'GT'), str(folder / 'RES_DET'), f'--out={out}']
    assert eval_uavdt([*common, '--sequences', 'M0801', '--iou', '0.5']) == 0
    result = json.loads(out.read_text())
    assert list(result['sequences']) == ['M0801'] and result['AP'] >= 99.14
    (tmp_path / 'frames.txt').write_text('M0801/img000001.jpg\nM0208_img000150\n')
    assert eval_uavdt([*common, '--frame-list', str(tmp_path / 'frames.txt')]) == 0
    assert json.loads(out.read_text())['num_detections'] == 200


def test_eval_uavdt_says_in_one_line_what_is_wrong(eval_uavdt, root, tmp_path, capsys):
    common = [str(root / GT), str(tmp_path), f'--out={tmp_path / "ap.json"}']
    assert eval_uavdt(common) == 2
    assert 'no detection file in' in capsys.readouterr().err
    for name in ('M0203', 'M0205'):
        (tmp_path / f'{name}.txt').write_text('1,-1,1,1\n')
    assert eval_uavdt(common) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('eval_uavdt.py: error: ') and 'M0203.txt, line 1: 4 columns' in error
    assert eval_uavdt([*common, '--iou=2']) == 2
    assert 'eval_uavdt.py: error: iou_threshold must be' in capsys.readouterr().err
    assert not (tmp_path / 'ap.json').exists()


def test_what_is_not_a_number_is_null_in_json(eval_uavdt, root, tmp_path):
    (root / GT / 'M0203_gt_whole.txt').write_text('')
    (tmp_path / 'M0203.txt').touch()
    out = tmp_path / 'ap.json'
    assert eval_uavdt([str(root / GT), str(tmp_path), '--sequences', 'M0203', f'--out={out}']) == 0
    assert json.loads(out.read_text(), parse_constant=pytest.fail)['AP'] is None


def test_uavdt2coco_is_read_by_coco_tools(uavdt2coco, root, tmp_path):
    coco = pytest.importorskip('pycocotools.coco')
    out = tmp_path / 'uavdt.json'
    assert uavdt2coco([str(root), 'test', str(out), '--sequences', 'M0203', 'M0205']) == 0
    data = coco.COCO(str(out))
    assert [category['name'] for category in data.loadCats(data.getCatIds())] == [
        'car', 'truck', 'bus',
    ]  # fmt: skip
    assert [image['file_name'] for image in data.loadImgs(data.getImgIds())] == [
        f'{name}/img{frame:06d}.jpg' for name in ('M0203', 'M0205') for frame in (1, 2)
    ]
    assert len(data.getAnnIds(imgIds=[1], iscrowd=False)) == 3
    crowd = data.loadAnns(data.getAnnIds(imgIds=[1], iscrowd=True))
    assert [annotation['category_id'] for annotation in crowd] == [1, 2, 3]
    assert all(a['bbox'] == [0, 0, 42, 22] and a['ignore'] == 1 for a in crowd)


def test_uavdt2coco_says_in_one_line_what_is_wrong(uavdt2coco, root, tmp_path, capsys):
    assert uavdt2coco([str(root), 'train', str(tmp_path / 'out.json')]) == 2
    assert 'uavdt2coco.py: error: no images of M0201, M0202' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()
