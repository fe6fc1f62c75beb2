import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS as ROOT

from flsl_mm.engine import WarmupCosineLR


def trace(
    epochs: int, epoch_length: int = 5, base: float = 1e-3, resume_at: int = -1
) -> list[float]:
    """Learning rate of every iteration of a run."""

    def build():
        optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=base)
        wrapper = OptimWrapper(optimizer)
        config = dict(
            type=WarmupCosineLR, warmup=10, eta_min=1e-6, by_epoch=True,
            convert_to_iter_based=True, end=epochs,
        )  # fmt: skip
        return wrapper, ROOT.build(
            config, default_args=dict(optimizer=wrapper, epoch_length=epoch_length)
        )

    wrapper, scheduler = build()
    values = []
    for i in range(epochs * epoch_length):
        if i == resume_at:
            states = wrapper.state_dict(), scheduler.state_dict()
            wrapper, scheduler = build()
            wrapper.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        values.append(wrapper.get_lr()['lr'][0])
        wrapper.step()
        scheduler.step()
    return values


def test_warm_up_is_linear_and_the_rest_a_cosine():
    lr = trace(epochs=100)  # 500 iterations, 50 of warm-up
    assert lr[0] == pytest.approx(1e-3 / 50)
    assert lr[24] == pytest.approx(1e-3 * 25 / 50)
    assert lr[49] == lr[50] == pytest.approx(1e-3)
    middle = 50 + (500 - 50) // 2
    assert lr[middle] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 2)
    last = 1e-6 + 0.5 * (1e-3 - 1e-6) * (1 + math.cos(math.pi * 449 / 450))
    assert lr[-1] == pytest.approx(last)


def test_a_run_shorter_than_its_warm_up_just_warms_up():
    assert trace(epochs=2) == pytest.approx([1e-3 * (i + 1) / 50 for i in range(10)])


def test_a_longer_run_can_resume_a_shorter_one():
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1e-3)
    short, long = (WarmupCosineLR(OptimWrapper(optimizer), warmup=2, end=n) for n in (10, 100))
    for _ in range(9):
        short.step()
    long.load_state_dict(short.state_dict())
    assert (long.last_step, long.end) == (9, 100)


def test_resuming_continues_the_schedule():
    assert trace(epochs=20, resume_at=63) == pytest.approx(trace(epochs=20))


@pytest.mark.parametrize('epochs, warmup', [(300, 10), (100, 10), (10, 1), (3, 0.3)])
def test_a_recipe_of_any_length_warms_up_for_a_tenth_but_at_most_ten_epochs(
    project_root, epochs, warmup
):
    cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_vits16_300e.py').param_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    settings = {k: v for k, v in cfg.items() if k in ('warmup', 'warmup_share', 'eta_min')}
    scheduler = WarmupCosineLR.build_iter_from_epoch(
        OptimWrapper(optimizer), **settings, end=epochs, epoch_length=20
    )
    assert scheduler.warmup == pytest.approx(20 * warmup)
    assert scheduler.value_at(scheduler.warmup, 1.0) == pytest.approx(1.0)
    assert scheduler.value_at(0, 1.0) == pytest.approx(1 / scheduler.warmup)
