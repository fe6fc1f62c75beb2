"""The recipe that chooses itself, by facts given and on real images."""

from pathlib import Path

import pytest
from mmengine.config import Config

from flsl_mm.config import recipe
from flsl_mm.config.recipe import Facts, choose_settings
from flsl_mm.utils.errors import ConfigError

LAPTOP = Facts(images=1000, short_side=480, gpu=False, processes=1, cores=2)
SERVER = Facts(images=100_000, short_side=480, gpu=True, processes=1, cores=16)


@pytest.fixture
def choose(project_root, monkeypatch):
    """The config after the choice, by dotted path."""

    def choose(facts: Facts, **options):
        monkeypatch.setattr(recipe, 'look_at', lambda cfg: facts)
        cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_small.py')
        cfg.merge_from_dict({key.replace('__', '.'): v for key, v in options.items()})
        lines = choose_settings(cfg)
        assert "'auto'" not in repr({**cfg.to_dict(), 'neck': cfg.model.pop('neck')}).replace(
            "precision': 'auto'", ''
        ).replace("'self_scale': 'auto'", '')
        return cfg, '\n'.join(lines)

    return choose


CASES = {  # facts -> width or name, patch, the three views, prototypes, batch, epochs, workers
    'a laptop': (LAPTOP, 192, 8, (96, 64, 32), 512, 32, 65, 0),
    'a few small images': (
        LAPTOP._replace(images=40, short_side=70),
        192,
        8,
        (64, 40, 24),
        512,
        4,
        200,
        0,
    ),
    'a server': (SERVER, 'deit-small', 16, (224, 144, 80), 1024, 128, 65, 8),
    'a GPU and few images': (
        SERVER._replace(images=3000),
        'deit-tiny',
        16,
        (224, 144, 80),
        512,
        128,
        1000,
        8,
    ),
    'a GPU and small images': (
        SERVER._replace(short_side=100),
        'deit-small',
        8,
        (96, 64, 32),
        1024,
        128,
        65,
        8,
    ),
}


@pytest.mark.parametrize(
    'facts, arch, patch, views, prototypes, batch, epochs, workers', CASES.values(), ids=CASES
)
def test_the_choice_follows_from_images_and_machine(
    choose, facts, arch, patch, views, prototypes, batch, epochs, workers
):
    cfg, text = choose(facts)
    found = cfg.model.backbone.arch
    assert (found if isinstance(found, str) else found.embed_dims) == arch
    assert cfg.model.backbone.patch_size == patch
    preprocessor, loader = cfg.model.data_preprocessor, cfg.train_dataloader
    sizes = (preprocessor.student_view.size, preprocessor.local_views.size)
    assert (cfg.model.backbone.img_size, *sizes) == views
    assert loader.dataset.pipeline[1].size == views[0]
    assert not any(side % patch for side in views)
    assert cfg.model.head.num_prototypes == prototypes
    assert (loader.batch_size, loader.num_workers) == (batch, workers)
    assert cfg.train_cfg.max_epochs == epochs
    assert 1 <= cfg.default_hooks.checkpoint.interval <= epochs
    assert str(facts.images) in text and str(batch) in text


def test_what_is_given_stays_and_the_rest_follows_it(choose):
    cfg, _ = choose(LAPTOP, model__backbone__img_size=160, train_dataloader__batch_size=8)
    assert cfg.model.backbone.img_size == cfg.train_dataloader.dataset.pipeline[1].size == 160
    assert cfg.model.backbone.patch_size == 16
    assert cfg.model.data_preprocessor.student_view.size == 112
    assert cfg.train_cfg.max_epochs == 16  # 2,000 iterations of 8
    given = dict(model__backbone__img_size=160)
    given['train_dataloader__dataset__pipeline__1__size'] = 128
    with pytest.raises(ConfigError, match=r'img_size=160 and .*size=128 must agree'):
        choose(LAPTOP, **given)


def test_a_config_without_auto_is_left_as_it_is(project_root):
    cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_vits16_300e.py')
    before = cfg.to_dict()
    assert choose_settings(cfg) == [] and cfg.to_dict() == before


def test_the_chosen_values_are_in_the_config_of_the_work_dir(
    project_root, make_runner, image_folder, tmp_path
):
    cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_small.py')
    cfg.train_dataloader.dataset.data_root = str(image_folder)
    cfg.work_dir = str(tmp_path / 'run')
    runner = make_runner(cfg)
    stored = Config.fromfile(Path(runner.work_dir, 'flsl_small.py'))
    assert choose_settings(stored) == []
    assert stored.train_dataloader.batch_size == 4  # twelve images
    assert stored.model.backbone.img_size == 48  # their short side is 60 pixels
    assert stored.model.head.in_channels == stored.model.backbone.arch.embed_dims
    [log] = Path(runner.work_dir).glob('*/*.log')
    assert 'recipe for 12 images, median short side 60 pixels' in log.read_text()


@pytest.mark.parametrize(
    'facts, rate',
    [(LAPTOP, 5e-4), (SERVER, 5e-4), (SERVER._replace(images=3000), 1e-3)],
    ids=['a laptop', 'DeiT-small', 'DeiT-tiny'],
)
def test_the_learning_rate_follows_device_and_width(choose, facts, rate):
    cfg, said = choose(facts)
    assert cfg.optim_wrapper.optimizer.lr == rate and f'learning rate {rate:g}' in said
