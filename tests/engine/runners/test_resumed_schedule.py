"""A resumed run has the learning rate of the present config, whatever its schedule."""

import pytest

import flsl_mm.engine  # noqa: F401  (registers the runner)

SCHEDULES = dict(
    steps=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[1, 3], gamma=0.1),
    ],
    poly=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
        dict(type='PolyLR', power=1.0, eta_min=1e-5, by_epoch=False, begin=2, end=8),
    ],
    cosine=dict(type='WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True),
    none=None,
)


@pytest.mark.parametrize('options', [{}, {'optim_wrapper.optimizer.lr': 7e-4}])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_the_rate_is_that_of_a_run_with_the_present_config(
    make_runner, tiny_config, tmp_path, schedule, options
):
    def rates(folder, epochs, **more):
        cfg = tiny_config.copy()
        cfg.param_scheduler = SCHEDULES[schedule]
        cfg.work_dir = str(tmp_path / folder)
        cfg.default_hooks.checkpoint.interval = 1
        runner = make_runner(cfg, **{'train_cfg.max_epochs': 4, **more})
        runner.train_loop._max_epochs = epochs
        runner.train()
        return [(g['lr'], g['weight_decay']) for g in runner.optim_wrapper.param_groups]

    rates('resumed', 2)
    assert rates('resumed', 3, resume=True, **options) == rates('whole', 3, **options)
