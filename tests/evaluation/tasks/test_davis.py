"""The DAVIS protocol with a small network on drawn videos."""

import json

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from flsl_mm.datasets import scenes
from flsl_mm.datasets.davis import find_davis, read_masks
from flsl_mm.evaluation import evaluate_davis
from flsl_mm.evaluation.functional.label_propagation import LabelPropagator
from flsl_mm.evaluation.tasks import DavisPropagation
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.registry import FROZEN_TASKS
from flsl_mm.utils.errors import ConfigError, DataError


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('davis')
    scenes.write_davis(root, 0, 3, num_frames=5, size=(96, 64))
    return root


def build_vit(patch_size=8):
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    torch.manual_seed(0)
    vit = FLSLVisionTransformer(arch, img_size=64, patch_size=patch_size, out_type='raw')
    vit.init_weights()
    return vit.eval().requires_grad_(False)


def build_task(root, **settings) -> DavisPropagation:
    settings = dict(short_side=128, radius=4, num_previous=2) | settings
    return FROZEN_TASKS.build(dict(type='DavisPropagation', data_root=str(root), **settings))


def test_results_are_those_of_the_masks_that_are_kept(root, tmp_path):
    result = build_task(root, out_dir=tmp_path)(build_vit())
    pairs = {}
    for sequence in find_davis(root):
        found = [f'{result["masks"]}/{sequence.name}/{frame.stem}.png' for frame in sequence.frames]
        pairs[sequence.name] = (
            read_masks(sequence.masks),
            read_masks([type(sequence.frames[0])(path) for path in found]),
        )
        np.testing.assert_array_equal(*(masks[0] for masks in pairs[sequence.name]))
    expected = evaluate_davis(pairs)
    assert 0 < result['J&F-Mean'] < 100
    assert {k: v for k, v in result.items() if k != 'masks'} == expected
    assert json.loads(json.dumps(result)) == result
    assert build_task(root)(build_vit()) == expected  # keeping none


def test_a_static_video_keeps_its_mask(root):
    task = build_task(root, radius=0)
    sequence = task.sequences[0]
    still = sequence._replace(frames=sequence.frames[:1] * 5)
    first, *others = task.segment(build_vit(), still)
    iou = [
        (first.astype(bool) & m.astype(bool)).sum() / (first | m).astype(bool).sum() for m in others
    ]
    assert min(iou) > 0.7  # what the coarse grid leaves of it
    np.testing.assert_array_equal(others[0], others[-1])


@pytest.mark.parametrize('patch_size', [8, 16, 14])
def test_any_patch_size_gives_masks_of_the_size_of_the_frames(root, patch_size):
    task = build_task(root)
    masks = task.segment(build_vit(patch_size), task.sequences[0])
    assert masks.shape == (5, 64, 96)
    assert masks.max() == masks[0].max()


def test_finished_sequences_are_found_again(root, tmp_path, monkeypatch):
    vit = build_vit()
    task = build_task(root, out_dir=tmp_path)
    segment, calls = task.segment, []

    def fail_in_the_second(vit, sequence):
        calls.append(sequence.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return segment(vit, sequence)

    monkeypatch.setattr(task, 'segment', fail_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        task(vit)
    result = task(vit)
    assert len(calls) == 4 and len(set(calls)) == 3  # only the interrupted one again
    assert {k: v for k, v in result.items() if k != 'masks'} == build_task(root)(vit)


def test_masks_do_not_depend_on_the_projection_head(root, tmp_path):
    vit, folders = build_vit(), set()
    for vit.head in (None, torch.nn.Linear(32, 4)):
        folders.add(build_task(root, out_dir=tmp_path)(vit)['masks'])
    assert len(folders) == 1


def test_masks_of_other_networks_and_settings_are_not_taken(root, tmp_path):
    vit = build_vit()
    folders = [build_task(root, out_dir=tmp_path)(vit)['masks']]
    folders.append(build_task(root, out_dir=tmp_path, topk=1)(vit)['masks'])
    folders.append(build_task(root, out_dir=tmp_path, precision='bfloat16')(vit)['masks'])
    vit.ln1.weight[0] = 2
    folders.append(build_task(root, out_dir=tmp_path)(vit)['masks'])
    assert len(set(folders)) == 4


def test_bfloat16_is_the_network_s_alone(root, monkeypatch):
    """Labels are propagated in float32: the measures stay, but for the rounding of features."""
    vit, seen = build_vit(), []
    forward, propagate = vit.forward_tokens, LabelPropagator.propagate

    def spy_on_network(images):
        seen.append(torch.is_autocast_enabled('cpu'))
        return forward(images)

    def spy_on_propagation(self, features):
        assert features.dtype == torch.float32 and not torch.is_autocast_enabled('cpu')
        return propagate(self, features)

    exact = build_task(root)(vit)
    monkeypatch.setattr(vit, 'forward_tokens', spy_on_network)
    monkeypatch.setattr(LabelPropagator, 'propagate', spy_on_propagation)
    rounded = build_task(root, precision='bfloat16')(vit)
    assert seen and all(seen)
    assert rounded['J&F-Mean'] == pytest.approx(exact['J&F-Mean'], abs=2)


def test_masks_of_videos_that_have_changed_are_not_taken(tmp_path):
    vit, folders = build_vit(), []
    for seed in (0, 1):
        scenes.write_davis(tmp_path / 'davis', 0, 1, num_frames=3, size=(96, 64), seed=seed)
        result = build_task(tmp_path / 'davis', out_dir=tmp_path / 'masks')(vit)
        folders.append(result.pop('masks'))
        assert result == build_task(tmp_path / 'davis')(vit)
    [frame] = (tmp_path / 'davis').rglob('00001.jpg')
    frame.touch()
    folders.append(build_task(tmp_path / 'davis', out_dir=tmp_path / 'masks')(vit)['masks'])
    assert len(set(folders)) == 3


def test_the_global_generator_is_left_alone(root):
    vit, state = build_vit(), torch.get_rng_state()
    build_task(root)(vit)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_settings_and_missing_data_show_when_the_task_is_built(root, tmp_path):
    with pytest.raises(ConfigError, match='topk and num_frames must be at least 1, got 0'):
        build_task(root, topk=0)
    with pytest.raises(ConfigError, match="precision='half' is none of float32, bfloat16"):
        build_task(root, precision='half')
    with pytest.raises(ConfigError, match='num_previous 0: got 128, -1'):
        build_task(root, num_previous=-1)
    with pytest.raises(FileNotFoundError, match='ImageSets/2017/val.txt'):
        build_task(tmp_path)


def test_features_that_are_not_finite_are_an_error(root):
    vit = build_vit()
    vit.ln1.weight[0] = torch.nan
    with pytest.raises(
        DataError, match='00001.jpg: the network gives features that are not finite'
    ):
        build_task(root)(vit)


def worker(rank: int, root, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=2
    )
    torch.save(build_task(root)(build_vit()), f'{results}.{rank}')
    broken = build_task(root)
    if rank == 1:
        broken.segment = fail
    with pytest.raises(DataError, match='00002.jpg: not a readable image'):
        broken(build_vit())  # in both processes, and neither waits for the other
    torch.distributed.destroy_process_group()


def fail(vit, sequence):
    raise DataError('00002.jpg: not a readable image')


def test_two_processes_equal_one(root, tmp_path):
    args = (root, str(tmp_path / 'rendezvous'), str(tmp_path / 'result'))
    mp.start_processes(worker, args, nprocs=2, start_method='fork')
    expected = build_task(root)(build_vit())
    for rank in range(2):
        assert torch.load(f'{tmp_path}/result.{rank}', weights_only=True) == expected
