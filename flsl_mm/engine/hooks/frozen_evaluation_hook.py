"""Frozen evaluation while training."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ...registry import FROZEN_TASKS
from ...utils.errors import ConfigError, DataError
from ...utils.files import read_json, write_json
from ...utils.modules import unwrap_model

NETWORKS = ('teacher', 'student')
RECORD = 'frozen_evaluation.json'


@HOOKS.register_module()
class FrozenEvaluationHook(Hook):
    """Evaluate the frozen teacher and student every few epochs, and keep the best checkpoint.

    - At the start (the level of random weights, and a wrong path shows at once), every
      ``interval`` epochs and at the end.
    - Numbers go into the log, the message hub and the visualizer (JSON, TensorBoard) at the
      iteration of the losses, named ``teacher/knn/top1_k20``; with all details into
      ``frozen_evaluation.json`` in the work dir, written whole.
    - The best network's whole checkpoint is ``best_frozen.pth``, written whole. Best is the
      headline of the first task for the first network. A resumed run goes on from the record in
      its work dir up to where it resumes, and makes up for an evaluation that was cut off. If the
      best of that record is not in ``best_frozen.pth`` (``saved`` is false), because the file is
      from further on, the next evaluation that is as good writes it.
    - Training is not disturbed: random states are restored, so a run with this hook equals one
      without, bit for bit, resumed or not. Checkpoints are saved before it starts.

    A task without ``data_root`` (or ``val``) takes the training data's. If it finds nothing there,
    that is one line in the log, and training goes on without it.

    Args:
        tasks: Configs of :data:`~flsl_mm.registry.FROZEN_TASKS`.
        interval: Epochs between two evaluations.
        networks: ``'teacher'``, ``'student'`` or both; the first decides what is best.

    Raises:
        ConfigError: A wrong ``interval``, network or task.
        FileNotFoundError: A task with a ``data_root`` does not find its data.
    """

    priority = 'LOWEST'  # the checkpoint of the epoch is on disk before anything can go wrong

    def __init__(
        self,
        tasks: Sequence[dict] = (),
        interval: int = 10,
        networks: Sequence[str] = NETWORKS,
    ) -> None:
        if interval < 1:
            raise ConfigError(f'FrozenEvaluationHook: interval must be at least 1, got {interval}')
        if not networks or not set(networks) <= set(NETWORKS):
            raise ConfigError(f'FrozenEvaluationHook: networks are {NETWORKS}, got {networks}')
        self.configs = list(tasks)
        self.interval = interval
        self.networks = tuple(networks)
        self.record: dict[str, Any] = dict(best=None, history=[])
        self._cut = False  # whether the record on disk goes further than this run

    def before_train(self, runner: Runner) -> None:
        """Find the data, take up the record, and evaluate what the run starts from."""
        self.tasks = [
            task for task in map(lambda c: _build_for_run(c, runner), self.configs) if task
        ]
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ConfigError(f'FrozenEvaluationHook: tasks of the same name: {names}')
        if runner.iter and self.tasks:  # else a new run: a record in the work dir is another's
            record = _read_record(runner)
            # Of a run that was resumed from before its last evaluations: they come again.
            history = [e for e in record['history'] if e['epoch'] <= runner.epoch]
            self.record = dict(best=self._best_of(history, record['best']), history=history)
            self._cut = self.record != record
        if self._due(runner.epoch, runner):
            self._evaluate(runner, runner.epoch)

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, when it is time."""
        if self._due(runner.epoch + 1, runner):
            self._evaluate(runner, runner.epoch + 1)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Cut the record on disk, too, when a resumed run leaves what came after it behind."""
        if self._cut:
            self._write_record(runner)

    def _due(self, epoch: int, runner: Runner) -> bool:
        done = any(entry['epoch'] == epoch for entry in self.record['history'])
        last = epoch == runner.max_epochs
        return bool(self.tasks) and not done and (last or epoch % self.interval == 0)

    def _evaluate(self, runner: Runner, epoch: int) -> None:
        """Evaluate the networks after ``epoch`` epochs, log, record, keep the best."""
        model = unwrap_model(runner.model)
        numbers: dict[str, dict[str, Any]] = {}
        with _random_states_kept():
            for network in self.networks:
                with _frozen(model, network) as vit:
                    numbers[network] = {task.name: dict(task(vit)) for task in self.tasks}
        self._log(runner, epoch, numbers)
        entry = dict(epoch=epoch, iter=runner.iter, **numbers)
        self.record['history'].append(entry)
        score = self._score(entry)
        if epoch and self._is_to_keep(score):
            meta = dict(epoch=epoch, iter=runner.iter)
            runner.save_checkpoint(
                runner.work_dir,
                'best_frozen.pth',
                meta=dict(meta),  # it adds to it
                backend_args=dict(backend='atomic'),
            )
            self.record['best'] = dict(meta, number=self._number, score=score)
            runner.logger.info(f'best so far: {self._number} {score:.2f}, kept as best_frozen.pth')
        self._write_record(runner)

    @property
    def _number(self) -> str:
        """Name of the number that decides what is best."""
        return f'{self.networks[0]}/{self.tasks[0].name}/{self.tasks[0].headline}'

    def _score(self, entry: Mapping[str, Any]) -> float | None:
        """That number; None in an entry of a run with other tasks."""
        first = self.tasks[0]
        return entry.get(self.networks[0], {}).get(first.name, {}).get(first.headline)

    def _is_to_keep(self, score: float) -> bool:
        best = self.record['best']
        if best is None or score > best['score']:
            return True
        return score == best['score'] and not best.get('saved', True)

    def _best_of(
        self, history: Sequence[Mapping[str, Any]], saved: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """The best of a history as in the record; ``saved`` is what ``best_frozen.pth`` is."""
        scored = [e for e in history if e['epoch'] and self._score(e) is not None]
        if not scored:
            return None
        best = max(scored, key=self._score)
        if saved and (saved['epoch'], saved['number']) == (best['epoch'], self._number):
            return saved
        where = dict(epoch=best['epoch'], iter=best['iter'])
        return dict(where, number=self._number, score=self._score(best), saved=False)

    def _write_record(self, runner: Runner) -> None:
        self._cut = False
        if is_main_process():
            write_json(Path(runner.work_dir, RECORD), self.record)

    @staticmethod
    def _log(runner: Runner, epoch: int, numbers: Mapping[str, Mapping[str, Any]]) -> None:
        scalars = {
            f'{network}/{task}/{name}': float(value)
            for network, tasks in numbers.items()
            for task, found in tasks.items()
            for name, value in found.items()
            if isinstance(value, (int, float))
        }
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f'frozen/{name}', value)
        text = '  '.join(f'{name}: {value:.2f}' for name, value in scalars.items())
        runner.logger.info(f'Frozen evaluation after epoch {epoch}: {text}')
        runner.visualizer.add_scalars(
            scalars, step=runner.iter, file_path=f'{runner.timestamp}.json'
        )


def _build_for_run(config: dict, runner: Runner) -> Any:
    """The task; None where it has no ``data_root`` and the training data's does not do."""
    if {'data_root', 'val'} & set(config):  # it says where its data are
        return FROZEN_TASKS.build(config)
    root = runner.train_dataloader.dataset.data_root
    try:
        return FROZEN_TASKS.build(config, data_root=root)
    except (FileNotFoundError, DataError) as error:
        runner.logger.info(f'no frozen evaluation by {config["type"]}: {error}')
        return None


def _read_record(runner: Runner) -> dict[str, Any]:
    """The record of an interrupted run, as the main process sees it; a damaged one is none."""
    found = [dict(best=None, history=[])]
    if is_main_process():
        path = Path(runner.work_dir, RECORD)
        try:
            record = read_json(path)
            if not _is_record(record):
                raise DataError(f'{path}: damaged, no record of frozen evaluations')
            found = [record]
        except FileNotFoundError:
            pass
        except DataError as error:
            runner.logger.warning(f'{error}: passed over, a new one is begun')
    broadcast_object_list(found)
    return found[0]


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether what is read from it is there, of the right kinds."""
    best, history = record.get('best'), record.get('history')
    entries = [*history, *([] if best is None else [best])] if isinstance(history, list) else [None]
    return (
        all(isinstance(entry, dict) for entry in entries)
        and all(isinstance(e.get(key), int) for e in entries for key in ('epoch', 'iter'))
        and all(_has_numbers(value) for e in history for value in e.values())
        and (best is None or isinstance(best.get('score'), (int, float)) and 'number' in best)
    )


def _has_numbers(value: Any) -> bool:
    """Whether dicts, however deep, hold no lists or texts instead of numbers by name."""
    if isinstance(value, dict):
        return all(map(_has_numbers, value.values()))
    return True


@contextmanager
def _frozen(model: nn.Module, network: str) -> Iterator[nn.Module]:
    """A backbone in evaluation mode and without gradients, with its head, as from a file."""
    part = model.teacher if network == 'teacher' else model
    vit, head = part.get_submodule('backbone'), part.get_submodule('head')
    training = vit.training, head.training
    vit.eval(), head.eval()
    vit.__dict__['head'] = head  # not as a part of it: its parameters stay what they are
    head.self_scale = getattr(getattr(model, 'neck', None), 'self_scale', None)
    # Images have many sizes; cuDNN would try out its kernels for each.
    tries_kernels, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        with torch.no_grad():
            yield vit
    finally:
        torch.backends.cudnn.benchmark = tries_kernels
        del vit.__dict__['head']
        vit.train(training[0]), head.train(training[1])


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Whatever draws random numbers inside, those after it are the same."""
    states = random.getstate(), np.random.get_state()
    # Of the GPUs only this process's: torch warns about eight of them.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
