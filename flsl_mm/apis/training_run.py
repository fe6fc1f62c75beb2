"""A training run by a tool, found again in its folder."""

import hashlib
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.runners.run_config import pretrained_vits
from ..utils.errors import DataError
from ..utils.files import file_stamp, write_json
from .command_line import read_config_file, read_value
from .run_tool import run_tool

STATE = 'run_state.json'


class TrainingRun:
    """A config with overrides, trained by ``tools/train.py`` to its last epoch.

    Args:
        config: Any config that counts epochs.
        work_dir: Folder of the run, for one config with one set of overrides only.
        cfg_options: Overrides of the config.

    Attributes:
        name: Name of the folder.
        checkpoint: The final one.
        state: What is remembered in the folder: ``cfg_options``, ``config_digest``, ``weights``
            (the stamps, by path, of the files that it started from), ``train_seconds`` and what
            subclasses add.

    Raises:
        DataError: The folder holds a run with other overrides, of another config or from other
            weights, or an override does not fit or cannot be given to a tool.
    """

    def __init__(self, config: Path, work_dir: Path, cfg_options: Mapping[str, Any]) -> None:
        self.config = config
        self.work_dir = work_dir
        self.name = work_dir.name
        self.cfg_options = dict(sorted(cfg_options.items()))
        self._arguments = [option_argument(*option) for option in self.cfg_options.items()]
        cfg = read_config_file(config, self.cfg_options)
        self.checkpoint = work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'
        self.state: dict[str, Any] = dict(
            cfg_options=as_json(self.cfg_options),
            config_digest=config_digest(cfg),
        )
        self._files = weight_files(cfg)
        file = work_dir / STATE
        if file.is_file():
            found = json.loads(file.read_text())
            if other := self._difference(found):
                raise DataError(
                    f'{work_dir} holds a run with other {other}: give another --work-dir, or '
                    'remove that folder'
                )
            self.state.update(found)

    def _difference(self, found: Mapping[str, Any]) -> str | None:
        """What makes a state that of another run; of older versions it does not tell all.

        Files that are gone are none: a checkpoint of the run has all weights.
        """
        if found['cfg_options'] != self.state['cfg_options']:
            return f'options ({found["cfg_options"]})'
        if found.get('config_digest', self.state['config_digest']) != self.state['config_digest']:
            return 'entries of the config'
        for path, stamp in found.get('weights', {}).items():
            if file_stamp(path) not in (None, stamp):
                return f'weights to start from ({path} has changed)'
        return None

    @property
    def finished(self) -> bool:
        """Whether it is trained to the end."""
        return zipfile.is_zipfile(self.checkpoint)

    def arguments(self) -> list[str]:
        """Arguments of ``tools/train.py``."""
        return [
            str(self.config),
            f'--work-dir={self.work_dir}',
            '--resume',
            *self.option_arguments(),
        ]

    def option_arguments(self) -> list[str]:
        """The overrides as arguments of a tool."""
        return ['--cfg-options', *self._arguments] if self._arguments else []

    def train(self, command: Sequence[str], title: str) -> None:
        """Train, or continue to.

        Args:
            command: Runs ``tools/train.py`` with :meth:`arguments`.
            title: Put before what is shown.

        Raises:
            DataError: Training failed, or left no final checkpoint.
        """
        self.remember()
        start = time.monotonic()
        run_tool(command, self.work_dir / 'train_output.log', title)
        if not self.finished:
            raise DataError(f'{title}: training left no {self.checkpoint}')
        before = self.state.get('train_seconds', 0.0)
        self.remember(train_seconds=before + time.monotonic() - start)

    def remember(self, **found: Any) -> None:
        """Add to the state, and write it; with it, what the run starts from."""
        weights = {path: stamp for path in self._files if (stamp := file_stamp(path))}
        self.state = {'weights': weights, **self.state, **found}
        write_json(self.work_dir / STATE, self.state)


def config_digest(cfg: Config) -> str:
    """A hash of all entries of a config; comments and how it is put together do not count."""
    text = json.dumps(cfg.to_dict(), default=_as_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(value: Any) -> Any:
    """What JSON has no type for; a set is in another order in each process."""
    return sorted(map(str, value)) if isinstance(value, set) else str(value)


def weight_files(cfg: Config) -> list[str]:
    """Files that a run starts from, whether they are there or not."""
    named = [cfg.get('load_from'), cfg.get('pretrained')]
    named += [init_cfg.get('checkpoint') for init_cfg in pretrained_vits(cfg.get('model'))]
    return sorted({str(path) for path in named if path})


def as_json(value: Any) -> Any:
    """A value as it comes back from a JSON file: a tuple has become a list."""
    return json.loads(json.dumps(value))


def option_argument(key: str, value: Any) -> str:
    """``key=value`` as ``--cfg-options`` reads it.

    Raises:
        DataError: It would read something else, as of a dict's infinity.
    """
    text = str(value)
    if not _reads_as(text, value):
        text = repr(value)
    if not _reads_as(text, value):
        raise DataError(f'{key}={value!r} cannot be given to a tool by --cfg-options')
    return f'{key}={text}'


def _reads_as(text: str, value: Any) -> bool:
    try:
        return repr(read_value(text)) == repr(value)
    except (ValueError, AssertionError, RecursionError):
        return False
