from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from flsl_mm.engine.hooks import FeatureMapsHook
from flsl_mm.utils.errors import DataError


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
        'visualizer.vis_backends': [
            dict(type='LocalVisBackend'),
            dict(type='TensorboardVisBackend'),
        ],
    }


def assert_same(left: dict, right: dict) -> None:
    """The weights, optimizer and schedules of two checkpoints are equal."""
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(left[part], right[part])


def assert_equal(left, right) -> None:
    leaves, tree = torch.utils._pytree.tree_flatten(left)
    others, other_tree = torch.utils._pytree.tree_flatten(right)
    assert tree == other_tree
    for a, b in zip(leaves, others):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_training_and_resuming_are_the_same_with_pictures_as_without(
    make_runner, tiny_config, switched_on, tmp_path
):
    plain, states = train(make_runner, tiny_config, **{'default_hooks.checkpoint.interval': 1})
    assert not pictures(tiny_config.work_dir)
    first = Path(tiny_config.work_dir) / 'epoch_1.pth'

    tiny_config.work_dir = str(tmp_path / 'pictured')
    pictured, pictured_states = train(make_runner, tiny_config, **switched_on)
    assert_same(plain, pictured)
    assert_equal(states, pictured_states)
    # Before the first epoch and after each.
    kinds = ('feature_maps_ass', 'feature_maps_attention')
    names = [f'{kind}_{step}.png' for kind in kinds for step in (0, 2, 4)]
    assert pictures(tiny_config.work_dir) == names
    folder = next(Path(tiny_config.work_dir).glob('*/vis_data/vis_image'))
    before, after = (np.asarray(Image.open(folder / names[i])) for i in (0, 2))
    assert before.shape == after.shape and (before != after).any()
    assert set(kinds) <= set(logged_images(tiny_config.work_dir))

    tiny_config.work_dir = str(tmp_path / 'resumed')
    resumed, resumed_states = train(
        make_runner, tiny_config, **switched_on, resume=True, load_from=str(first)
    )
    assert_same(plain, resumed)
    assert_equal(states[2:], resumed_states)
    assert pictures(tiny_config.work_dir) == [f'{kind}_4.png' for kind in kinds]


def logged_images(work_dir: str) -> list[str]:
    """Names of the pictures in TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [path] = Path(work_dir).glob('*/vis_data/events*')
    events = EventAccumulator(str(path))
    events.Reload()
    return events.Tags()['images']


def test_a_panorama_is_drawn_smaller_and_that_is_logged(
    make_runner, tiny_config, switched_on, tmp_path
):
    Image.new('RGB', (600, 30)).save(tmp_path / 'panorama.png')
    switched_on['default_hooks.feature_maps']['images'] = str(tmp_path / 'panorama.png')
    runner = make_runner(tiny_config, **switched_on)
    runner.train()
    [hook] = (hook for hook in runner.hooks if isinstance(hook, FeatureMapsHook))
    assert [image.shape for image in hook.images] == [(6, 128, 3)]
    [log] = Path(tiny_config.work_dir).glob('*/*.log')
    assert 'panorama.png is more than 4 times as long as wide: resized' in log.read_text()


def test_missing_images_show_before_training(make_runner, tiny_config, tmp_path):
    overrides = {'default_hooks.feature_maps.images': str(tmp_path / 'absent')}
    with pytest.raises(DataError, match='there is no image or folder .*absent'):
        make_runner(tiny_config, **overrides).train()


def test_a_model_without_teacher_is_refused(image_folder):
    runner = SimpleNamespace(model=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match='what the teacher sees, and Linear has none'):
        FeatureMapsHook(images=str(image_folder)).before_train(runner)


@pytest.mark.parametrize(
    'wrong', [dict(interval=0), dict(max_images=0), dict(points=[(0.5, 1.5)]), dict(points=[])]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match='FeatureMapsHook'):
        FeatureMapsHook(**wrong)
