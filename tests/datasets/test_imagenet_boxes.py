import shutil

import pytest

from flsl_mm.datasets import ImageNetBoxes, Unusable

PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='LoadImageNetBoxes'),
    dict(type='ResizeShortSide', size=40),
    dict(type='CenterCropBoxes', size=32),
    dict(type='LargestBoxGrid'),
    dict(type='PackBoxPoints'),
]


def read(root, split, **kwargs):
    return ImageNetBoxes(str(root), split, pipeline=PIPELINE, **kwargs)


def test_training_images_get_their_class_from_the_folder(imagenet_boxes):
    dataset = read(imagenet_boxes, 'train')
    assert (len(dataset), dataset.classes) == (12, ['n01', 'n02', 'n03'])
    samples = [dataset[i] for i in range(12)]
    assert [sample['label'] for sample in samples] == [0] * 4 + [1] * 4 + [2] * 4
    assert samples[0]['inputs'].shape == (3, 32, 32) and samples[0]['points'].shape == (9, 2)
    assert not any(sample['reason'] for sample in samples)


def test_what_a_mac_leaves_in_the_folders_is_neither_image_nor_class(imagenet_boxes):
    splits = ('train', 'val')
    before = [len(read(imagenet_boxes, s, classes=['n01', 'n02', 'n03'])) for s in splits]
    for kind, suffix in (('Data', 'JPEG'), ('Annotations', 'xml')):
        root = imagenet_boxes / kind / 'CLS-LOC'
        (root / 'train/._n01').write_bytes(b'Mac OS X')
        (root / 'train/.n09').mkdir()
        for folder, name in (('train/n01', 'n01_0'), ('train/.n09', 'n09_1'), ('val', 'val_1')):
            (root / folder / f'._{name}.{suffix}').write_bytes(b'Mac OS X')
            (root / folder / '.DS_Store').write_bytes(b'Mac OS X')
    train = read(imagenet_boxes, 'train')
    assert train.classes == ['n01', 'n02', 'n03']
    assert [len(train), len(read(imagenet_boxes, 'val', classes=train.classes))] == before


def test_validation_images_get_their_class_from_the_xml_file(imagenet_boxes):
    dataset = read(imagenet_boxes, 'val', classes=['n01', 'n02', 'n03'])
    assert [dataset[i]['label'] for i in range(len(dataset))] == [0, 1, 2] * 2
    unknown = read(imagenet_boxes, 'val', classes=['n02'])
    assert [unknown[i]['label'] for i in range(3)] == [-1, 0, -1]


def test_points_lie_on_the_object(imagenet_boxes):
    for sample in read(imagenet_boxes, 'train'):
        columns, rows = sample['points'].long().unbind(1)
        colors = sample['inputs'][:, rows, columns].float()
        assert (colors.argmax(dim=0) == sample['label']).all()
        assert (colors.max(dim=0).values > 180).all()


@pytest.mark.parametrize('layout', ['ILSVRC', 'flat', 'val in class folders'])
def test_other_layouts(imagenet_boxes, layout):
    root = imagenet_boxes
    if layout == 'ILSVRC':
        (root / 'ILSVRC').mkdir()
        for name in ('Data', 'Annotations'):
            (root / name).rename(root / 'ILSVRC' / name)
    elif layout == 'flat':
        for split in ('train', 'val'):
            (root / 'Data/CLS-LOC' / split).rename(root / split)
            (root / 'Annotations/CLS-LOC' / split).rename(root / 'Annotations' / split)
    else:
        folder = root / 'Data/CLS-LOC/val/n01'
        folder.mkdir()
        for path in list(folder.parent.glob('*.JPEG')):
            path.rename(folder / path.name)
    classes = read(root, 'train').classes
    dataset = read(root, 'val', classes=classes)
    assert [dataset[i]['label'] for i in range(6)] == [0, 1, 2] * 2


def test_images_without_boxes_and_boxes_without_images_are_left_out(imagenet_boxes):
    annotations = imagenet_boxes / 'Annotations/CLS-LOC/train'
    (annotations / 'n01/n01_0.xml').unlink()
    shutil.copy(annotations / 'n01/n01_3.xml', annotations / 'n01/n01_99.xml')
    dataset = read(imagenet_boxes, 'train')
    names = [dataset.get_data_info(i)['img_path'].split('/')[-1] for i in range(len(dataset))]
    assert len(names) == 11 and 'n01_0.JPEG' not in names and 'n01_99.JPEG' not in names


def test_a_subset_is_spread_evenly(imagenet_boxes):
    dataset = read(imagenet_boxes, 'train', per_class=2)
    names = [dataset.get_data_info(i)['img_path'].split('/')[-1] for i in range(len(dataset))]
    assert names[:2] == ['n01_0.JPEG', 'n01_6.JPEG'] and len(names) == 6
    val = read(imagenet_boxes, 'val', classes=dataset.classes, max_images=4)
    assert [val[i]['label'] for i in range(len(val))] == [0, 1, 0, 1]


def test_unusable_images_say_why(imagenet_boxes):
    data = imagenet_boxes / 'Data/CLS-LOC/train/n01'
    annotations = imagenet_boxes / 'Annotations/CLS-LOC/train/n01'
    dataset = read(imagenet_boxes, 'train')  # before the files change: they are read later
    (data / 'n01_0.JPEG').write_bytes(b'no image')
    (annotations / 'n01_3.xml').write_text('<annotation>')
    (annotations / 'n01_6.xml').write_text(
        '<annotation><size><width>80</width><height>60</height></size></annotation>'
    )
    (data / 'n01_9.JPEG').unlink()
    reasons = [dataset[i]['reason'] for i in range(5)]
    assert reasons == [
        Unusable.UNREADABLE,
        Unusable.BAD_ANNOTATION,
        Unusable.NO_BOX,
        Unusable.UNREADABLE,
        0,
    ]
    assert str(data / 'n01_0.JPEG') in dataset[0]['message']


@pytest.mark.parametrize(
    'missing, message',
    [
        ('.', 'data_root is not a folder'),
        ('Data', 'no train images; looked for .*Data/CLS-LOC/train'),
        ('Annotations', r'no train boxes \(XML files\); looked for .*Annotations/CLS-LOC/train'),
        ('Annotations/CLS-LOC/train/*', 'no image in class folders below .* has boxes in'),
    ],
)
def test_missing_folders_are_named(imagenet_boxes, missing, message):
    for path in [imagenet_boxes] if missing == '.' else list(imagenet_boxes.glob(missing)):
        shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match=message):
        read(imagenet_boxes, 'train')


@pytest.mark.parametrize(
    'arguments', [dict(split='test'), dict(split='val'), dict(split='train', per_class=0)]
)
def test_wrong_arguments_are_refused(imagenet_boxes, arguments):
    with pytest.raises(ValueError, match='ImageNetBoxes'):
        read(imagenet_boxes, **arguments)


def test_the_fingerprint_follows_the_files(imagenet_boxes):
    first = read(imagenet_boxes, 'train').fingerprint()
    assert read(imagenet_boxes, 'train').fingerprint() == first
    parts = [read(imagenet_boxes, 'train').fingerprint(*part) for part in ((0, 6), (6, 12))]
    assert len({first, *parts}) == 3
    path = imagenet_boxes / 'Annotations/CLS-LOC/train/n01/n01_0.xml'
    path.write_text(path.read_text() + '\n')
    assert read(imagenet_boxes, 'train').fingerprint() != first
