"""Box-aligned k-NN from image files to numbers, with a small ViT and colored boxes."""

import pytest
import torch
import torch.multiprocessing as mp

from flsl_mm.evaluation import bbox_knn
from flsl_mm.evaluation.tasks import BoxKNN
from flsl_mm.evaluation.tasks import box_features as module
from flsl_mm.evaluation.tasks.box_features import load_box_features, tokens_at
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.utils.errors import ConfigError, DataError

SETTINGS = dict(ks=(3, 1), resize=40, crop=32, batch_size=5, num_workers=0)


def small_vit(seed=0, **arch):
    torch.manual_seed(seed)
    arch = dict(dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32), **arch)
    vit = FLSLVisionTransformer(arch, img_size=32, patch_size=8)
    vit.init_weights()
    return vit.eval().requires_grad_(False)


def load(task, vit, split='train', **overrides):
    return load_box_features(vit, getattr(task, split), **{**task.loading, **overrides})


def test_an_untrained_network_tells_colors_apart(imagenet_boxes):
    result = BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())
    assert result['top1_k3'] == result['top1_k1'] == 100.0
    details = result['details']
    assert details['train']['images'] == 12 and details['train']['classes'] == 3
    assert details['test']['images'] == 6
    assert not any(details['train']['left_out'].values())
    assert result['chance'] == details['chance']['top1_k3']['mean'] < 100


def test_the_number_is_that_of_the_definition(imagenet_boxes):
    task, vit = BoxKNN(str(imagenet_boxes), **SETTINGS), small_vit()
    train, test = load(task, vit), load(task, vit, 'test')
    args = (train.features.float(), train.labels, test.features.float(), test.labels)
    result = task(vit)
    for k in (1, 3):
        assert result[f'top1_k{k}'] == bbox_knn(*args, k)
    shuffled = [
        train.labels[torch.randperm(12, generator=generator)]
        for generator in [torch.Generator().manual_seed(0)]
        for _ in range(5)
    ]
    chance = [bbox_knn(args[0], labels, *args[2:], 3) for labels in shuffled]
    assert result['chance'] == pytest.approx(sum(chance) / 5)


@pytest.mark.parametrize('patch', [8, 16])
def test_tokens_are_those_whose_patch_holds_the_point(patch):
    vit = FLSLVisionTransformer(
        dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=48,
        patch_size=patch,
    ).eval()
    images = torch.randn(2, 3, 48, 64)
    points = torch.tensor([[[0.0, 0.0], [63.9, 47.9]], [[15.9, 16.0], [16.0, 15.9]]]).double()
    found = tokens_at(vit, images, points)
    tokens = vit.forward_tokens([images])[0].view(2, 48 // patch, 64 // patch, -1)
    for image in range(2):
        for point in range(2):
            x, y = points[image, point].long() // patch
            assert torch.equal(found[image, point], tokens[image, y, x])


def test_features_do_not_depend_on_batches_or_workers(imagenet_boxes):
    task, vit = BoxKNN(str(imagenet_boxes), **SETTINGS), small_vit()
    expected = load(task, vit)
    for other in (dict(batch_size=12), dict(num_workers=2), dict(batch_size=1)):
        found = load(task, vit, **other)
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.features, expected.features)


def test_torchs_global_generator_is_left_alone(imagenet_boxes):
    task, vit = BoxKNN(str(imagenet_boxes), **dict(SETTINGS, num_workers=1)), small_vit()
    before = torch.get_rng_state()
    task(vit)
    assert torch.equal(torch.get_rng_state(), before)


def work(rank, world_size, rendezvous, results, root, settings):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=world_size
    )
    task, vit = BoxKNN(root, **settings), small_vit()
    torch.save((task(vit), tuple(load(task, vit))), f'{results}.{rank}')
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('cached', [False, True])
def test_two_processes_equal_one_bit_for_bit(imagenet_boxes, tmp_path, cached):
    """Three batches of five: one process gets two of them; one image is broken."""
    (imagenet_boxes / 'Data/CLS-LOC/train/n02').joinpath('n02_4.JPEG').write_bytes(b'')
    settings = dict(SETTINGS, cache_dir=str(tmp_path / 'cache') if cached else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'MAX_BROKEN', 0.1)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        task, vit = BoxKNN(str(imagenet_boxes), **dict(settings, cache_dir=None)), small_vit()
        expected, features = task(vit), load(task, vit)
        torch.set_num_threads(threads)
        args = (2, str(tmp_path / 'meet'), str(tmp_path / 'out'), str(imagenet_boxes), settings)
        mp.start_processes(work, args, nprocs=2, start_method='fork')
    assert expected['details']['train']['left_out']['unreadable'] == 1
    for rank in range(2):
        result, (found, labels, _) = torch.load(tmp_path / f'out.{rank}')
        assert result == expected
        assert torch.equal(found, features.features)
        assert torch.equal(labels, features.labels)


def test_cached_features_are_used_again(imagenet_boxes, tmp_path, monkeypatch):
    task = BoxKNN(str(imagenet_boxes), **SETTINGS, cache_dir=str(tmp_path / 'cache'))
    expected = task(small_vit())
    assert len(list((tmp_path / 'cache').iterdir())) == 2  # and no drafts
    monkeypatch.setattr(module, 'extract_box_features', None)
    assert task(small_vit()) == expected


def test_other_weights_data_or_settings_are_not_taken_from_the_cache(imagenet_boxes, tmp_path):
    cache = tmp_path / 'cache'

    def files(vit, **settings):
        settings = {**SETTINGS, 'cache_dir': str(cache), **settings}
        load(BoxKNN(str(imagenet_boxes), **settings), vit)
        return len(list(cache.iterdir()))

    assert files(small_vit()) == files(small_vit(), batch_size=3) == 1
    vit = small_vit()
    vit.head = torch.nn.Linear(32, 4)  # features do not depend on it
    assert files(vit) == 1
    assert files(small_vit(seed=1)) == 2
    assert files(small_vit(num_heads=4)) == 3  # the same weights
    assert files(small_vit(), resize=36) == 4
    assert files(small_vit(), train_per_class=2) == 5
    path = imagenet_boxes / 'Annotations/CLS-LOC/train/n01/n01_0.xml'
    path.write_text(path.read_text() + '\n')
    assert files(small_vit()) == 6


def test_a_damaged_cache_is_made_anew(imagenet_boxes, tmp_path):
    task = BoxKNN(str(imagenet_boxes), **SETTINGS, cache_dir=str(tmp_path / 'cache'))
    expected = load(task, small_vit())
    [path] = (tmp_path / 'cache').iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(load(task, small_vit()).features, expected.features)
    assert path.stat().st_size > 100


def test_a_cache_that_cannot_be_written_is_no_error(imagenet_boxes, tmp_path):
    (tmp_path / 'cache').write_text('a file where the folder should be')
    task = BoxKNN(str(imagenet_boxes), **SETTINGS, cache_dir=str(tmp_path / 'cache'))
    assert len(load(task, small_vit()).labels) == 12


def test_images_without_a_usable_box_are_left_out_and_counted(imagenet_boxes, write_boxes):
    train = imagenet_boxes / 'Annotations/CLS-LOC/train'
    write_boxes(train / 'n01/n01_0.xml', boxes=())
    write_boxes(train / 'n01/n01_3.xml', boxes=[(0, 0, 6, 60)])  # the crop begins at 13
    write_boxes(train / 'n02/n02_1.xml', size=(60, 80))
    write_boxes(imagenet_boxes / 'Annotations/CLS-LOC/val/val_00000012.xml', boxes=())
    details = BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())['details']
    assert (details['train']['images'], details['test']['images']) == (9, 5)
    expected = dict(unreadable=0, bad_annotation=0, no_box=1, box_outside_crop=1, other_size=1)
    assert details['train']['left_out'] == expected
    assert details['test']['left_out']['no_box'] == 1


def test_images_of_a_class_without_training_images_are_left_out(imagenet_boxes, write_boxes):
    write_boxes(
        imagenet_boxes / 'Annotations/CLS-LOC/val/val_00000012.xml',
        boxes=[(20, 20, 50, 50)],
        name='n99',
    )
    result = BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())
    assert result['details']['test']['images'] == 5
    assert result['details']['test']['left_out']['unseen_class'] == 1


def test_only_unseen_classes_are_an_error(imagenet_boxes, write_boxes):
    for path in (imagenet_boxes / 'Annotations/CLS-LOC/val').iterdir():
        write_boxes(path, name='n99')
    with pytest.raises(DataError, match='none of the 6 val images is of a class'):
        BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())


def test_too_many_damaged_files_stop_the_evaluation(imagenet_boxes):
    path = imagenet_boxes / 'Data/CLS-LOC/train/n02/n02_4.JPEG'
    path.write_bytes(b'')
    with pytest.raises(DataError, match=f'1 of 12 train images .* than the tolerated 1%.*{path}'):
        BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())


def test_no_usable_image_is_an_error(imagenet_boxes, write_boxes):
    for path in (imagenet_boxes / 'Annotations/CLS-LOC/val').iterdir():
        write_boxes(path, boxes=())
    with pytest.raises(DataError, match='no val image is left of 6.*has no box'):
        BoxKNN(str(imagenet_boxes), **SETTINGS)(small_vit())


def test_a_network_that_is_not_finite_is_an_error(imagenet_boxes):
    vit = small_vit()
    vit.ln1.bias[0] = float('nan')
    with pytest.raises(DataError, match='not finite'):
        BoxKNN(str(imagenet_boxes), **SETTINGS)(vit)


@pytest.mark.parametrize(
    'settings, error, message',
    [
        (dict(ks=(109,)), ConfigError, 'k = 109 .* only 108 training features'),
        (dict(ks=()), ValueError, 'ks'),
        (dict(ks=(0,)), ValueError, 'ks'),
        (dict(temperature=0), ValueError, 'temperature'),
        (dict(crop=64), ValueError, r'crop \(64\) must not be larger than resize \(40\)'),
        (dict(batch_size=0), ValueError, 'batch_size'),
    ],
)
def test_wrong_settings_show_when_the_task_is_built(imagenet_boxes, settings, error, message):
    with pytest.raises(error, match=message):
        BoxKNN(str(imagenet_boxes), **{**SETTINGS, **settings})


def test_a_subset_is_what_it_says(imagenet_boxes):
    task = BoxKNN(str(imagenet_boxes), **SETTINGS, train_per_class=2, max_test_images=4)
    details = task(small_vit())['details']
    assert (details['train']['images'], details['test']['images']) == (6, 4)
