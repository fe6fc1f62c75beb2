"""Predictions for images without annotations, by networks with random weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
from pycocotools import mask as coco_mask  # noqa: E402

CLASSES = ('ant', 'bee', 'cat', 'dog', 'elk', 'fox')
PALETTE = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9), (50, 60, 70), (250, 250, 250)]
SEM_FPN = 'configs/ade20k/sem-fpn_random-vits16_40k_ade20k-512x512.py'


def save_model(cfg: Config, folder: Path, **meta) -> tuple[str, str]:
    """A config and random weights as files, as training leaves them."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'model.pth')
    cfg.dump(folder / 'config.py')
    return str(folder / 'config.py'), str(folder / 'model.pth')


@pytest.fixture(scope='module')
def detector(project_root, tmp_path_factory) -> tuple[str, str]:
    cfg = Config.fromfile(project_root / 'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py')
    cfg.test_dataloader.dataset.data_root = '/there/is/no/data/set'
    cfg.model.test_cfg.rcnn.max_per_img = 5
    meta = dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    return save_model(cfg, tmp_path_factory.mktemp('detector'), **meta)


def small_segmentor(project_root) -> Config:
    cfg = Config.fromfile(project_root / SEM_FPN)
    cfg.test_dataloader.dataset.data_root = '/there/is/no/data/set'
    next(t for t in cfg.test_dataloader.dataset.pipeline if t.type == 'Resize').scale = (256, 64)
    cfg.model.backbone.update(embed_dims=48, depth=4, num_heads=3, out_indices=(0, 1, 2, 3))
    cfg.model.neck.update(in_channels=[48] * 4, out_channels=32)
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=32, num_classes=len(CLASSES))
    return cfg


@pytest.fixture(scope='module')
def segmentor(project_root, tmp_path_factory) -> tuple[str, str]:
    meta = dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    return save_model(small_segmentor(project_root), tmp_path_factory.mktemp('segmentor'), **meta)


@pytest.fixture(scope='module')
def predict(load_tool):
    """Runs the tool in this process; gives its exit code."""
    module = load_tool('predict')
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three images in two folders, of two sizes and two kinds, and what is no image."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'photos'
    for name, size in {'a.png': (90, 70), 'b.png': (90, 70), 'deep/a.tif': (64, 120)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.BICUBIC).save(folder / name)
    (folder / 'notes.txt').write_text('no image')
    return folder


def test_the_screen_has_what_was_found_and_no_remarks_of_libraries(
    detector, run_tool, photos, tmp_path
):
    done = run_tool('predict.py', *detector, photos, tmp_path / 'out', '--score=0')
    assert done.returncode == 0, done.stderr
    found, numbers, written = done.stdout.splitlines()
    assert found.startswith('3 images, ') and written == f'written to {tmp_path / "out"}'
    assert numbers.startswith('category_id counts') and ': 1 ant, 2 bee' in numbers


NAMES = ['a.png', 'b.png', 'deep/a.tif']


def read(out: Path, name: str = 'predictions'):
    return json.loads((out / f'{name}.json').read_text())


def test_objects_are_those_of_the_librarys_own_inferencer(detector, predict, photos, tmp_path):
    from mmdet.apis import DetInferencer

    assert predict(*detector, photos, tmp_path / 'out', '--score', 0.1) == 0
    found = read(tmp_path / 'out')
    assert sorted({item['file_name'] for item in found}) == NAMES
    plain = DetInferencer(*detector, palette='coco', show_progress=False)
    for name in NAMES:
        items = [item for item in found if item['file_name'] == name]
        [other] = plain(str(photos / name))['predictions']
        kept = [i for i, score in enumerate(other['scores']) if score >= 0.1]
        assert len(items) == len(kept) > 0
        for item, i in zip(items, sorted(kept, key=lambda i: -other['scores'][i])):
            x, y, width, height = item['bbox']
            assert np.allclose([x, y, x + width, y + height], other['bboxes'][i], atol=0.02)
            assert item['score'] == pytest.approx(other['scores'][i], abs=1e-4)
            assert item['category_name'] == CLASSES[item['category_id'] - 1]
            assert item['category_id'] == other['labels'][i] + 1
            size = Image.open(photos / name).size
            assert coco_mask.decode(item['segmentation']).shape == size[::-1]
            assert item['segmentation']['counts'] == other['masks'][i]['counts']


def test_every_image_has_a_picture_of_its_size(detector, predict, photos, tmp_path, capsys):
    assert predict(*detector, photos, tmp_path / 'out') == 0
    pictures = tmp_path / 'out/pictures'
    for name, picture in zip(NAMES, ('a.png', 'b.png', 'deep/a.png')):
        assert Image.open(pictures / picture).size == Image.open(photos / name).size
    assert len([p for p in pictures.rglob('*') if p.is_file()]) == 3
    assert '3 images, ' in capsys.readouterr().out
    summary = read(tmp_path / 'out', 'summary')
    assert summary['classes'] == list(CLASSES) and summary['images'] == 3


def test_batches_and_ways_to_name_images_change_nothing(detector, predict, photos, tmp_path):
    assert predict(*detector, photos, tmp_path / 'out', '--score', 0.1) == 0
    arguments = photos / '*.png', photos / 'deep', tmp_path / 'other'
    assert predict(*detector, *arguments, '--score', 0.1, '--batch-size', 2) == 0
    for one, two in zip(read(tmp_path / 'out'), read(tmp_path / 'other'), strict=True):
        assert one['file_name'] == two['file_name']
        assert np.allclose(one['bbox'], two['bbox'], atol=0.02)
    with_score = predict(*detector, photos, tmp_path / 'none', '--score', 1)
    assert with_score == 0 and read(tmp_path / 'none') == []


def test_labels_are_those_of_the_librarys_own_inferencer(segmentor, predict, photos, tmp_path):
    from mmseg.apis import MMSegInferencer

    assert predict(*segmentor, photos, tmp_path / 'out', '--batch-size', 2) == 0
    found = read(tmp_path / 'out')
    assert [item['file_name'] for item in found] == NAMES
    plain = MMSegInferencer(*segmentor, classes=CLASSES, palette=PALETTE, show_progress=False)
    for item in found:
        labels = Image.open(tmp_path / 'out' / item['labels'])
        assert np.array_equal(labels, plain(str(photos / item['file_name']))['predictions'])
        assert labels.getpalette()[:18] == [value for color in PALETTE for value in color]
        assert sum(item['shares'].values()) == pytest.approx(1, abs=1e-3)
        assert set(item['shares']) <= set(CLASSES)
    assert (tmp_path / 'out/pictures/deep/a.png').is_file()


def test_images_of_one_name_do_not_overwrite_each_other(segmentor, predict, photos, tmp_path):
    Image.open(photos / 'a.png').save(photos / 'a.jpg')
    assert predict(*segmentor, photos, tmp_path / 'out') == 0
    labels = {item['labels'] for item in read(tmp_path / 'out')}
    assert labels == {'labels/a.png', 'labels/a.png.png', 'labels/b.png', 'labels/deep/a.png'}
    assert all((tmp_path / 'out' / path).is_file() for path in labels)


def test_an_image_that_is_no_larger_than_a_tile_is_predicted_as_without(
    detector, segmentor, predict, photos, tmp_path
):
    for kind, files in dict(detector=detector, segmentor=segmentor).items():
        outs = [tmp_path / kind / name for name in ('plain', 'tiles')]
        assert predict(*files, photos, outs[0], '--score', 0.1) == 0
        assert predict(*files, photos, outs[1], '--score', 0.1, '--tiles', 120) == 0
        for one, two in zip(read(outs[0]), read(outs[1]), strict=True):
            assert one['file_name'] == two['file_name']
            if kind == 'detector':
                assert np.allclose(one['bbox'], two['bbox'], atol=0.02)
                assert one['segmentation'] == two['segmentation']
            else:
                assert one['shares'] == two['shares']


def test_larger_images_are_predicted_in_tiles(segmentor, predict, photos, tmp_path, capsys):
    assert predict(*segmentor, photos, tmp_path / 'out', '--tiles', 50, '--batch-size', 2) == 0
    for item in read(tmp_path / 'out'):
        labels = Image.open(tmp_path / 'out' / item['labels'])
        assert labels.size == Image.open(photos / item['file_name']).size
    assert read(tmp_path / 'out', 'summary')['settings']['overlap'] == 0.2
    for wrong in (['--overlap', 0.5], ['--tiles', 50, '--overlap', 1], ['--tiles', 0]):
        with pytest.raises(SystemExit, match='2'):
            predict(*segmentor, photos, tmp_path / 'none', *wrong)


def test_unreadable_images_are_named_and_counted(detector, predict, photos, tmp_path, capsys):
    (photos / 'cut.png').write_bytes((photos / 'a.png').read_bytes()[:-50])
    (photos / 'text.jpg').write_text('no image')
    assert predict(*detector, photos, tmp_path / 'out') == 0
    out, err = capsys.readouterr()
    assert '3 images' in out and '2 could not be read' in out
    assert 'left out: cut.png' in err and 'left out: text.jpg' in err
    assert set(read(tmp_path / 'out', 'summary')['unreadable']) == {'cut.png', 'text.jpg'}
    assert predict(*detector, photos / 'cut.png', tmp_path / 'none') == 2
    assert 'none of 1 image can be read' in capsys.readouterr().err
    assert not (tmp_path / 'none/predictions.json').exists()


def test_a_video_is_its_frames(segmentor, predict, tmp_path, capsys):
    path = tmp_path / 'walk.avi'
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for level in (10, 120, 240):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.release()
    assert predict(*segmentor, path, tmp_path / 'out') == 0
    found = [item['file_name'] for item in read(tmp_path / 'out')]
    assert found == [f'walk.avi/00000{i}.jpg' for i in range(3)]
    assert len(list((tmp_path / 'out/pictures/walk.avi').iterdir())) == 3
    path.write_bytes(b'no video')
    assert predict(*segmentor, path, tmp_path / 'none') == 2


def test_pages_of_a_tiff_are_like_frames_and_many_bits_are_not_cut_off(
    segmentor, predict, photos, tmp_path
):
    pages = [Image.fromarray(np.full((48, 64), level, np.uint16)) for level in (10, 120)]
    for page in pages:
        page.paste(600, (0, 0, 20, 20))
    (tmp_path / 'scans').mkdir()
    pages[0].save(tmp_path / 'scans/a.tif', save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / 'scans/b.tif')
    assert predict(*segmentor, tmp_path / 'scans', tmp_path / 'out') == 0
    found = [item['file_name'] for item in read(tmp_path / 'out')]
    assert found == ['a.tif/000000.jpg', 'a.tif/000001.jpg', 'b.tif']
    one, two, alone = (Image.open(tmp_path / 'out' / i['labels']) for i in read(tmp_path / 'out'))
    assert np.array_equal(one, two) and np.array_equal(one, alone)  # scaled, they are the same


@pytest.mark.parametrize('channels', [1, 4])
def test_networks_of_gray_pictures_get_gray_pictures(
    project_root, predict, photos, tmp_path, capsys, channels
):
    cfg = small_segmentor(project_root)
    cfg.model.backbone.in_channels = channels
    cfg.model.data_preprocessor.update(mean=[114.0], std=[57.0], bgr_to_rgb=False)
    files = save_model(cfg, tmp_path, dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    assert predict(*files, photos, tmp_path / 'out') == (0 if channels == 1 else 2)
    if channels == 1:
        assert [item['file_name'] for item in read(tmp_path / 'out')] == NAMES
    else:
        assert 'mean has 1 numbers and std 1, one is needed' in capsys.readouterr().err


def test_classes_that_the_checkpoint_does_not_name_come_from_the_config(
    project_root, predict, photos, tmp_path, capsys
):
    cfg = small_segmentor(project_root)
    cfg.test_dataloader.dataset.metainfo = dict(classes=CLASSES)
    files = save_model(cfg, tmp_path)
    assert predict(*files, photos, tmp_path / 'out') == 0
    assert read(tmp_path / 'out', 'summary')['classes'] == list(CLASSES)


WRONG = {
    'no image': (lambda p: (*p['detector'], 'nowhere'), 'there is no image or folder nowhere'),
    'empty folder': (lambda p: (*p['detector'], p['empty']), 'no images found in'),
    'other network': (
        lambda p: (p['detector'][0], p['segmentor'][1], p['photos']),
        'does not fit the config',
    ),
    'no detector': (
        lambda p: ('configs/knn/bbox-knn_imagenet.py', p['detector'][1], p['photos']),
        'is of no detector or segmentor',
    ),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_is_one_line(
    case, detector, segmentor, predict, photos, tmp_path, capsys, project_root, monkeypatch
):
    monkeypatch.chdir(project_root)
    (tmp_path / 'empty').mkdir()
    parts = dict(detector=detector, segmentor=segmentor, photos=photos, empty=tmp_path / 'empty')
    arguments, message = WRONG[case]
    assert predict(*arguments(parts), tmp_path / 'out') == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('predict.py: error: ') and message in error
    assert not (tmp_path / 'out').exists()
