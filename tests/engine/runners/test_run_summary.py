from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import LinearLR, MultiStepLR

from flsl_mm.engine.runners.run_summary import endless_warmup


@pytest.mark.parametrize('iterations, warned', [(2, True), (99, True), (100, False), (500, False)])
def test_a_warm_up_that_is_longer_than_the_run_is_told(iterations, warned):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        LinearLR(optimizer, start_factor=0.001, by_epoch=False, begin=0, end=100),
        MultiStepLR(optimizer, milestones=[8], by_epoch=True),
    ]
    said = endless_warmup(SimpleNamespace(param_schedulers=schedulers, max_iters=iterations))
    assert (said is not None) == warned
    if warned:
        assert f'over 100 iterations and the run has {iterations}: ' in said
        assert said.endswith(f'warmup_iters={max(1, iterations // 10)}')


def test_a_fall_by_iterations_is_no_warm_up():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    fall = [LinearLR(optimizer, start_factor=1.0, end_factor=0.1, by_epoch=False, end=100)]
    assert endless_warmup(SimpleNamespace(param_schedulers=fall, max_iters=9)) is None
