"""One network of a sweep: trained once, evaluated once."""

from collections.abc import Mapping
from typing import Any

import torch

from ..evaluation.tasks.frozen_task import FrozenTask
from ..models import build_vit
from ..utils.files import file_stamp
from .training_run import TrainingRun, as_json


class SweepRun(TrainingRun):
    """A pretraining run and what box-aligned k-NN says of its teacher.

    Its ``state`` also has ``knn`` (the numbers), ``headline`` (which of them counts),
    ``knn_settings`` and ``checkpoint_stamp``.
    """

    @property
    def measured(self) -> float | None:
        """Top-1 in percent, where it was measured."""
        return self.state['knn'][self.state['headline']] if 'knn' in self.state else None

    @property
    def chance(self) -> float | None:
        """Top-1 in percent with shuffled labels, where it was measured."""
        return self.state['knn']['chance'] if 'knn' in self.state else None

    def evaluate(
        self, task: FrozenTask, settings: Mapping[str, Any], device: torch.device | str
    ) -> None:
        """Evaluate the final teacher, unless that has been done under the same settings.

        Args:
            task: Box-aligned k-NN.
            settings: Its settings.
            device: Where to evaluate.
        """
        key = dict(
            knn_settings=as_json(dict(settings)), checkpoint_stamp=file_stamp(self.checkpoint)
        )
        if 'knn' in self.state and all(self.state.get(n) == value for n, value in key.items()):
            return
        vit = build_vit(str(self.checkpoint), key='teacher').to(device)
        self.remember(knn=dict(task(vit)), headline=task.headline, **key)
