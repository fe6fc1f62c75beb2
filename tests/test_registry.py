import logging

import pytest
from mmengine.registry import DefaultScope

from flsl_mm.evaluation.tasks.frozen_task import FrozenTask
from flsl_mm.registry import FROZEN_TASKS


@pytest.fixture
def counting_task():
    class CountingTask(FrozenTask):
        name, headline = 'counting', 'number'

        def __init__(self, start: int = 0, step: int = 1) -> None:
            self.start, self.step = start, step

        def __call__(self, vit):
            return dict(number=self.start + self.step)

    FROZEN_TASKS.register_module(module=CountingTask)
    yield CountingTask
    del FROZEN_TASKS.module_dict['CountingTask']


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine', 'flsl_mm'])
def test_tasks_are_built_in_any_default_scope_without_warnings(counting_task, scope, caplog):
    DefaultScope.get_instance('test', scope_name=scope)
    with caplog.at_level(logging.INFO):
        task = FROZEN_TASKS.build(dict(type='CountingTask', start=3), step=2)
        named = FROZEN_TASKS.build(dict(type='flsl_mm.CountingTask', start=3))
    assert isinstance(task, counting_task) and task(None) == dict(number=5)
    assert isinstance(named, counting_task) and named(None) == dict(number=4)
    assert not caplog.records


def test_the_config_wins_over_defaults(counting_task):
    cfg = dict(type='CountingTask', start=3)
    assert FROZEN_TASKS.build(cfg, start=1)(None) == dict(number=4)
    assert cfg == dict(type='CountingTask', start=3)


def test_an_unknown_task_is_named_with_those_there_are(counting_task):
    with pytest.raises(ValueError, match="no frozen task of type 'kNN'; known: .*CountingTask"):
        FROZEN_TASKS.build(dict(type='kNN'))
