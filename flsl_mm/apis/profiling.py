"""Profiling: where the time of a training step goes."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader

from ..engine.runners import FLSLRunner
from ..utils.errors import DataError
from ..utils.files import whole_file

PARTS = ('data wait', 'views', 'backbone', 'neck', 'head', 'losses', 'optimizer', 'EMA', 'other')


class StepClock:
    """Gives the time between two marks to a part of the step.

    On a GPU the marks are events in its queue, so that nothing waits for them: time in which the
    GPU has work left from before is not counted as waiting for data.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
    """

    def __init__(self, device: str) -> None:
        self.on_gpu = device.startswith('cuda')
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str) -> None:
        """Everything since the last mark was ``part``."""
        if self.on_gpu:
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            moment = time.perf_counter()
        self.marks.append((part, moment))

    def read(self) -> dict[str, float]:
        """Seconds of each part since the first mark; starts anew."""
        if self.on_gpu:
            torch.cuda.synchronize()
        seconds = dict.fromkeys(PARTS, 0.0)
        for (_, before), (part, after) in zip(self.marks, self.marks[1:]):
            taken = before.elapsed_time(after) / 1e3 if self.on_gpu else after - before
            seconds[part] += taken
        self.marks.clear()
        return seconds

    def around(self, part: str, function: Callable) -> Callable:
        """The same function, with its time given to ``part``, and named so in a trace."""

        def timed(*args, **kwargs):
            self.mark('other')
            with record_function(part):
                result = function(*args, **kwargs)
            self.mark(part)
            return result

        return timed


def instrument(model: nn.Module, wrapper: OptimWrapper, clock: StepClock) -> None:
    """Let a clock tick inside an FLSL model and its optimizer; for the rest of their lives.

    The backward pass is divided where the gradient of a part's output is complete.

    Args:
        model: An :class:`FLSL`.
        wrapper: Its optimizer.
        clock: The clock.
    """

    def with_backward(part: str, function: Callable, outputs: Callable) -> Callable:
        """Time forward as ``part``; its outputs' gradients end the backward of what follows."""
        forward = clock.around(part, function)
        follower = dict(backbone='neck', neck='head', head='losses')[part]

        def run(*args, **kwargs):
            result = forward(*args, **kwargs)
            for tensor in outputs(result):
                if tensor.requires_grad:
                    tensor.register_hook(lambda grad: clock.mark(follower))
            return result

        return run

    for backbone in (model.backbone, model.teacher.backbone):
        backbone.forward_tokens = with_backward('backbone', backbone.forward_tokens, list)
    for head in (model.head, model.teacher.head):
        head.forward = with_backward('head', head.forward, lambda logits: [logits])
    model.neck.forward = with_backward('neck', model.neck.forward, lambda out: [out.modes])
    model.head.loss = clock.around('losses', model.head.loss)
    model.data_preprocessor.forward = clock.around('views', model.data_preprocessor.forward)
    update_teacher = model.update_teacher

    def timed_update(*args, **kwargs) -> None:
        clock.mark('optimizer')  # in whose step it is called
        with record_function('EMA'):
            update_teacher(*args, **kwargs)
        clock.mark('EMA')

    model.update_teacher = timed_update
    wrapper.backward = clock.around('backbone', wrapper.backward)  # what no hook has taken
    wrapper.step = clock.around('optimizer', wrapper.step)
    wrapper.zero_grad = clock.around('optimizer', wrapper.zero_grad)


def profile_training(
    model: nn.Module,
    wrapper: OptimWrapper,
    loader_cfg: dict,
    steps: int,
    warmup: int,
    device: str,
    trace: str,
) -> dict[str, float]:
    """Train on real images, and divide the time of a step.

    Args:
        model: An :class:`FLSL`; trained in place.
        wrapper: Its optimizer, whose steps move the teacher.
        loader_cfg: Config of the data loader.
        steps: Measured steps.
        warmup: Steps before them.
        device: Where the model is.
        trace: Where the torch trace of one more step is written.

    Returns:
        dict[str, float]: Mean seconds of each of ``PARTS``.
    """
    clock = StepClock(device)
    instrument(model, wrapper, clock)
    loader = FLSLRunner.build_dataloader(loader_cfg, seed=0)
    batches = endless(loader)
    total = dict.fromkeys(PARTS, 0.0)
    for turn in range(warmup + steps):
        seconds = _timed_step(model, wrapper, batches, clock)
        print(f'step {turn + 1}/{warmup + steps}: {sum(seconds.values()):.3f} s', flush=True)
        if turn >= warmup:
            total = {part: total[part] + seconds[part] for part in PARTS}
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if clock.on_gpu else [])]
    with profile(activities=activities) as profiler:
        _timed_step(model, wrapper, batches, clock)
    with whole_file(trace) as draft:
        profiler.export_chrome_trace(str(draft))
    return {part: value / steps for part, value in total.items()}


def endless(loader: DataLoader) -> Iterator[dict]:
    """Batches of one epoch after the other.

    Raises:
        DataError: There is none.
    """
    if not len(loader):
        raise DataError(f'{len(loader.dataset)} images do not fill a batch of {loader.batch_size}')
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def _timed_step(
    model: nn.Module, wrapper: OptimWrapper, batches: Iterator[dict], clock: StepClock
) -> dict[str, float]:
    """One step; seconds of its parts."""
    clock.mark('other')
    with record_function('data wait'):
        batch = next(batches)
    clock.mark('data wait')
    model.train_step(batch, wrapper)
    clock.mark('other')
    return clock.read()


def print_parts(parts: dict[str, float]) -> None:
    """Print a table of seconds by part."""
    whole = sum(parts.values())
    print(f'{"part":10} {"ms":>9} {"share":>7}')
    for name, seconds in {**parts, 'step': whole}.items():
        print(f'{name:10} {1e3 * seconds:9.1f} {seconds / whole:7.1%}')
