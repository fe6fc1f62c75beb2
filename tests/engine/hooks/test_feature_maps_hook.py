from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from flsl_mm.data_error import DataError
from flsl_mm.engine.hooks import FeatureMapsHook


class RandomStates(Hook):
    """Records torch's random state after every iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def after_train_iter(self, runner, *_, **__) -> None:
        self.states.append(torch.get_rng_state())


def train(make_runner, cfg, **overrides) -> tuple[dict, list[torch.Tensor]]:
    """The last checkpoint of a run and the random states after its iterations."""
    runner, hook = make_runner(cfg, **overrides), RandomStates()
    runner.register_hook(hook)
    runner.train()
    return torch.load(Path(cfg.work_dir) / 'epoch_2.pth', weights_only=False), hook.states


def pictures(work_dir: str) -> list[str]:
    return sorted(path.name for path in Path(work_dir).glob('*/vis_data/vis_image/*.png'))


@pytest.fixture
def switched_on(image_folder):
    return {
        'default_hooks.feature_maps': dict(
            images=str(image_folder), interval=1, max_images=2, short_side=32
        ),
        'default_hooks.checkpoint.interval': 1,
        'visualizer.vis_backends': [
            dict(type='LocalVisBackend'),
            dict(type='TensorboardVisBackend'),
        ],
    }


def assert_equal(left, right) -> None:
    leaves, tree = torch.utils._pytree.tree_flatten(left)
    others, other_tree = torch.utils._pytree.tree_flatten(right)
    assert tree == other_tree
    for a, b in zip(leaves, others):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_training_is_the_same_with_pictures_as_without(
    make_runner, tiny_config, switched_on, tmp_path
):
    plain, states = train(make_runner, tiny_config)
    assert not pictures(tiny_config.work_dir)
    tiny_config.work_dir = str(tmp_path / 'pictured')
    pictured, pictured_states = train(make_runner, tiny_config, **switched_on)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(plain[part], pictured[part])
    assert_equal(states, pictured_states)


def test_pictures_are_drawn_before_the_first_epoch_and_after_each_interval(
    make_runner, tiny_config, switched_on
):
    train(make_runner, tiny_config, **switched_on)
    names = [
        f'feature_maps_{kind}_{step}.png' for kind in ('ass', 'attention') for step in (0, 2, 4)
    ]
    assert pictures(tiny_config.work_dir) == names
    folder = next(Path(tiny_config.work_dir).glob('*/vis_data/vis_image'))
    first, last = (np.asarray(Image.open(folder / names[i])) for i in (0, 2))
    assert first.shape == last.shape and (first != last).any()
    assert 'feature_maps_ass' in logged_images(tiny_config.work_dir)


def logged_images(work_dir: str) -> list[str]:
    """Names of the pictures in TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [path] = Path(work_dir).glob('*/vis_data/events*')
    events = EventAccumulator(str(path))
    events.Reload()
    return events.Tags()['images']


def test_a_resumed_run_with_pictures_equals_the_uninterrupted_one(
    make_runner, tiny_config, switched_on, tmp_path
):
    whole, states = train(make_runner, tiny_config, **switched_on)
    first = Path(tiny_config.work_dir) / 'epoch_1.pth'
    tiny_config.work_dir = str(tmp_path / 'resumed')
    resumed, resumed_states = train(
        make_runner, tiny_config, **switched_on, resume=True, load_from=str(first)
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(whole[part], resumed[part])
    assert_equal(states[2:], resumed_states)
    assert pictures(tiny_config.work_dir) == [
        'feature_maps_ass_4.png', 'feature_maps_attention_4.png',
    ]  # fmt: skip


def test_missing_images_show_before_training(make_runner, tiny_config, tmp_path):
    overrides = {'default_hooks.feature_maps.images': str(tmp_path / 'absent')}
    with pytest.raises(DataError, match='there is no image or folder .*absent'):
        make_runner(tiny_config, **overrides).train()


@pytest.mark.parametrize(
    'wrong', [dict(interval=0), dict(max_images=0), dict(points=[(0.5, 1.5)]), dict(points=[])]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match='FeatureMapsHook'):
        FeatureMapsHook(**wrong)
