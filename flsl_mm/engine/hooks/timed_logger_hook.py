"""Lines of the log by iterations and by time; what a step costs, as soon as that is known."""

import time
from typing import Any

import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from ...models.selfsup.student_teacher import StudentTeacher
from ...utils.counts import counted
from ...utils.modules import unwrap_model
from ...utils.progress import duration

SOON = 3.0  # seconds of training after which the cost of a step is told
LONG = 2.0  # seconds; a step that is expected to take longer is announced before it begins


@HOOKS.register_module()
class TimedLoggerHook(LoggerHook):
    """mmengine's logger, with a line also where iterations are slow, and fewer where they are many.

    A line is due every ``interval`` iterations of an epoch and when the last one is ``seconds``
    old. Epochs that are shorter than ``interval`` have one at their end only where one of both has
    passed since the last line. The last iteration always has one.

    After three seconds of training the log says what an iteration and an epoch take, and when the
    next line comes. On a CPU, where one iteration may take a minute, it is estimated before from
    the teacher's time for one image.

    Args:
        interval: Iterations between lines.
        seconds: Between lines.
        kwargs: As for :class:`mmengine.hooks.LoggerHook`.
    """

    def __init__(self, interval: int = 50, seconds: float = 60.0, **kwargs) -> None:
        super().__init__(interval=interval, **kwargs)
        self.seconds = seconds
        self._asked: tuple[int, bool] | None = None  # iteration, and whether a line is due there
        self._told = False

    def before_train(self, runner: Runner) -> None:
        """Say what an iteration may take, where that is long."""
        super().before_train(runner)
        if (cost := estimate_step(runner)) and cost > LONG:
            runner.logger.info(
                f'an iteration will take about {duration(cost)} on this CPU (estimated from the '
                f'forward pass of one image); the first line comes after about {self._wait(cost)}'
            )
        self._done = 0  # iterations since the start
        self._since = 0  # iterations since the last line

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock with the first one: evaluations before it are no part of a step."""
        if not self._done:
            self._start = self._last = time.monotonic()

    def is_due(self, runner: Runner, batch_idx: int) -> bool:
        """Whether this iteration has a line; asked twice it says the same."""
        if self._asked is None or self._asked[0] != runner.iter:
            self._since += 1
            late = time.monotonic() - self._last >= self.seconds
            at_end = self.end_of_epoch(runner.train_dataloader, batch_idx)
            short = len(runner.train_dataloader) <= self.interval
            due = (
                late
                or self.every_n_inner_iters(batch_idx, self.interval)
                or (at_end and not self.ignore_last)
                or (at_end and short and self._since >= self.interval)
                or self.is_last_train_iter(runner)
            )
            self._asked = runner.iter, due
        return self._asked[1]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Log, where it is due."""
        if self.is_due(runner, batch_idx):
            tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
            runner.logger.info(line)
            runner.visualizer.add_scalars(tag, step=runner.iter + 1, file_path=self.json_log_path)
            self._since, self._last = 0, time.monotonic()
        self._tell_cost(runner)

    def _tell_cost(self, runner: Runner) -> None:
        now = time.monotonic()
        self._done += 1
        if self._done == 1:
            self._first = now
        if self._told or now - self._start < SOON:
            return
        self._told = True
        alone = self._done == 1  # then also the start of the data workers is in it
        cost = (now - (self._start if alone else self._first)) / max(1, self._done - 1)
        epoch = len(runner.train_dataloader)
        text = f'an iteration takes about {duration(cost)}'
        if epoch < runner.max_iters:
            text += f', an epoch of {epoch} about {duration(cost * epoch)}'
        if left := runner.max_iters - runner.iter - 1:
            rest = f'the {counted(left, "iteration")} left about {duration(cost * left)}'
            text += f', {rest}; a line about every {self._wait(cost)}'
        runner.logger.info(text)

    def _wait(self, cost: float) -> str:
        """Until a line is due, in words."""
        return duration(max(cost, min(self.interval * cost, self.seconds)))


def estimate_step(runner: Runner) -> float | None:
    """Seconds of a training step on a CPU, from the teacher's time for one image.

    The teacher encodes its views forward only; a backward pass costs twice its forward pass, so a
    student's token counts three times. Attention's square in the number of tokens, heads and data
    are left out: it is good for the order of magnitude.

    Args:
        runner: Its model built.

    Returns:
        float | None: None on a GPU, or where there are no views of a teacher.
    """
    model, loader = unwrap_model(runner.model), runner.train_dataloader
    first = next(model.parameters())
    views = getattr(getattr(model, 'data_preprocessor', None), 'cuts', None)
    if first.is_cuda or not views or not isinstance(model, StudentTeacher):
        return None
    if not isinstance(loader, DataLoader) or not loader.batch_size:
        return None
    encoder = model.teacher.backbone
    # Of FLSL's own network the teacher's views; another's grid is that of its authors' images.
    side = encoder.img_size[0] if encoder.family is None else views[0][0]
    image = torch.zeros(1, encoder.in_channels, side, side)
    spent = []
    with torch.no_grad():
        for _ in range(2):  # the first one also allocates
            start = time.perf_counter()
            encoder.forward_tokens([image])
            spent.append(time.perf_counter() - start)
    student = sum((size / side) ** 2 for size, _ in views)
    return loader.batch_size * min(spent) * (model.num_teacher_views + 3 * student)
