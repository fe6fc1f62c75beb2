"""Steps of a longer job: commands that are run once, go on where they stopped, and never mix."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..utils.errors import DataError
from ..utils.files import file_stamp, read_json, write_json
from .command_line import read_config_file, read_value

PAUSE = 0.2  # seconds between looks at the running processes
NEWS = 15.0  # seconds between lines about them
GRACE = 20.0  # seconds that a process has to end its own
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
WORDS = dict(cfg_options='options', config_digest='entries of the config')


@dataclass(frozen=True, eq=False)
class Step:
    """A command that a user could type, and what tells whether it has been done.

    Its mark, ``<folder>/<name>_state.json``, has its settings and the stamps of its files from when
    it began, and its result and its seconds once it is done; until then ``spent``, those of the
    earlier runs. They count where it resumes, also if some of it is repeated. One rule for all:

    - *done*: it ended under the same settings and with the same files, what it leaves is there, and
      nothing that it needs is to be run (again). Files that are gone since do not count.
    - *stale*: all else. It is run (again).
    - *refused*: it resumes, and its folder holds a run with other settings or files, with which it
      would mix.

    Attributes:
        name: Unique in its folder; what it prints goes to ``<folder>/<name>_output.log``.
        title: What it does, for people.
        folder: Of mark and log.
        command: All its words; ``python`` is the interpreter of this process.
        work: What is done in this process instead of a command; it returns the result, as JSON.
        after: Names of the steps of the same folder that it needs.
        waits: Marks of the steps of other folders that it needs.
        settings: What it depends on beside files, as JSON; its command by default.
        files: Paths that it reads and that may change.
        leaves: The file that it is for.
        resumes: Whether it goes on with what it finds in its folder. Whoever made the file that it
            leaves, such as a job of Slurm, it is done then.
        seconds: What it takes about; the time left is reckoned from it.
    """

    name: str
    title: str
    folder: Path
    command: tuple[str, ...] = ()
    work: Callable[[], Any] | None = None
    after: tuple[str, ...] = ()
    waits: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    leaves: Path | None = None
    resumes: bool = False
    seconds: float = 10.0

    @property
    def text(self) -> str:
        """The command line, to be copied."""
        return shlex.join(self.command)

    @property
    def mark(self) -> Path:
        """The file that remembers it."""
        return self._mark(self.name)

    @property
    def needs(self) -> set[Path]:
        """Marks of the steps that it needs."""
        return {*map(self._mark, self.after), *self.waits}

    def _mark(self, name: str) -> Path:
        return self.folder / f'{name}_state.json'

    @property
    def log(self) -> Path:
        """What it has printed, of all its runs."""
        return self.folder / f'{self.name}_output.log'

    def read(self) -> dict[str, Any]:
        """The content of its mark; empty where there is none, or a damaged one."""
        try:
            found = read_json(self.mark)
        except (OSError, DataError):
            return {}
        number = (int, float)
        kinds = dict(files=dict, seconds=number, spent=number, result=(dict, type(None)))
        sound = all(isinstance(found[name], kinds.get(name, object)) for name in found)
        return found if sound else {}

    def is_done(self) -> bool:
        """Whether it is done, apart from what it needs.

        Raises:
            DataError: Its folder holds another run, which it would go on with.
        """
        found = self.read()
        if other := self._difference(found):
            if self.resumes:
                raise DataError(
                    f'{self.folder} holds a run with other {other}: give another --work-dir, or '
                    'remove that folder'
                )
            return False
        finished = {'seconds', 'result'} <= set(found) if self.work else 'seconds' in found
        return self.has_left() and (self.resumes or finished)

    def _difference(self, found: Mapping[str, Any]) -> str | None:
        """What makes a mark that of another run; of older versions it does not tell all."""
        for name, value in self._settings().items():
            if (before := found.get(name, value if self.resumes else None)) != value:
                return f'{WORDS.get(name, name)} ({before})'
        for path, stamp in found.get('files', {}).items():
            if file_stamp(path) not in (None, stamp):
                return f'files to start from ({path} has changed)'
        return None

    def _settings(self) -> dict[str, Any]:
        """As they come back from a JSON file: a tuple has become a list."""
        return json.loads(json.dumps(dict(self.settings) or dict(command=self.text)))

    def has_left(self) -> bool:
        """Whether the file that it is for is there, a checkpoint or JSON whole."""
        if self.leaves is None:
            return True
        if self.leaves.suffix == '.json':
            try:
                return bool(read_json(self.leaves))
            except (OSError, DataError):
                return False
        return (zipfile.is_zipfile if self.leaves.suffix == '.pth' else os.path.isfile)(self.leaves)

    def begin(self) -> None:
        """Remember what it starts from."""
        found = self.read()
        stamps = {str(path): stamp for path in self.files if (stamp := file_stamp(path))}
        spent = 0.0
        if not self._difference(found):
            stamps.update(found.get('files', {}))
            if self.resumes:
                spent = found.get('seconds', found.get('spent', spent))
        write_json(self.mark, dict(self._settings(), files=stamps, spent=spent))

    def stop(self, seconds: float) -> None:
        """Remember what a run took that was ended or failed."""
        found = self.read()
        write_json(self.mark, dict(found, spent=round(found.get('spent', 0) + seconds, 1)))

    def finish(self, seconds: float, result: Any = None) -> float:
        """Remember that it is done.

        Args:
            seconds: Of its last run.
            result: Of its work.

        Returns:
            float: Seconds of all its runs where it resumes, else of the last.
        """
        found = self.read()
        total = found.pop('spent', 0) + seconds
        write_json(self.mark, dict(found, seconds=round(total, 1), result=result))
        return total


class StepRunner:
    """Runs steps as soon as what they need is done, and none that was done before.

    Args:
        lanes: Processes at a time.
        root: Where the commands run; the current folder by default.
        environment: More variables of the commands.
        keep_going: Whether a step that fails does not stop those that do not need it.
        say: Prints a line.
    """

    def __init__(
        self,
        lanes: int = 1,
        root: Path | None = None,
        environment: Mapping[str, str] | None = None,
        keep_going: bool = False,
        say: Callable[[str], None] = lambda text: print(text, flush=True),
    ) -> None:
        self.lanes, self.root, self.keep_going, self.say = lanes, root, keep_going, say
        path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get('PYTHONPATH')]))
        self._environment = {**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': path}
        self._environment.update(environment or {})
        self._start = time.monotonic()
        self._running: dict[Path, tuple[Step, subprocess.Popen, float]] = {}
        self._done: dict[Path, float | None] = {}  # seconds, where they are known
        self._failed: dict[Path, str] = {}

    def run(self, steps: Sequence[Step]) -> None:
        """Run the steps.

        Args:
            steps: Each after those that it needs; earlier ones have precedence.

        Raises:
            DataError: A step is refused, or shares its mark with another; then nothing is run. Or
                one failed; the message has the last line of its log. Those running are ended.
            SystemExit: The process was asked to end (SIGTERM, SIGHUP); so are they.
        """
        owners: dict[Path, Step] = {}
        for step in steps:
            if owners.setdefault(step.mark, step) is not step:
                raise DataError(
                    f'{owners[step.mark].title} and {step.title} would share {step.folder}: '
                    'rename one'
                )
            if step.is_done() and step.needs <= set(self._done):
                self._done[step.mark] = step.read().get('seconds')
        if self._done:
            self.say(f'{len(self._done)} of {len(steps)} steps were done before')
        with _exit_on_signals():
            try:
                self._run_rest(steps)
            finally:
                self._end_running()
        if self._failed:
            failures = '; '.join(self._failed.values())
            raise DataError(f'{len(self._failed)} of {len(steps)} steps failed: {failures}')

    def _run_rest(self, steps: Sequence[Step]) -> None:
        news = time.monotonic() + NEWS
        self._start_ready(steps)
        while self._running:
            time.sleep(PAUSE)
            self._collect()
            self._start_ready(steps)
            if time.monotonic() > news and self._running:
                self._announce(steps)
                news = time.monotonic() + NEWS

    def time_left(self, steps: Sequence[Step]) -> float:
        """Seconds that the rest takes about, by how the finished steps kept to their plan."""
        now = time.monotonic()
        ran = [(self._done[s.mark], s.seconds) for s in steps if self._done.get(s.mark)]
        pace = sum(took for took, _ in ran) / sum(planned for _, planned in ran) if ran else 1.0
        left = [
            max(0.1 * planned, planned - now + self._running[s.mark][2])
            if s.mark in self._running
            else planned
            for s in steps
            if s.mark not in self._done
            for planned in [pace * s.seconds]
        ]
        return max(sum(left) / self.lanes, max(left, default=0.0))

    def _start_ready(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if len(self._running) == self.lanes:
                return
            begun = {*self._done, *self._running, *self._failed}
            if step.mark in begun or not step.needs <= set(self._done):
                continue
            self._say_at(f'{step.title}\n         $ {step.text}' if step.command else step.title)
            step.begin()
            start = time.monotonic()
            if step.work:
                self._note_done(step, start, step.work())
            else:
                self._running[step.mark] = (step, self._launch(step), start)

    def _launch(self, step: Step) -> subprocess.Popen:
        command = [sys.executable if word == 'python' else word for word in step.command[:1]]
        with open(step.log, 'a', encoding='utf-8') as log:
            print('$', step.text, file=log, flush=True)
            return subprocess.Popen(
                [*command, *step.command[1:]],
                cwd=self.root,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _collect(self) -> None:
        """Note which processes have ended."""
        for step, process, start in list(self._running.values()):
            if process.poll() is None:
                continue
            del self._running[step.mark]
            if process.returncode == 0 and step.has_left():
                self._note_done(step, start)
                continue
            _note_stop(step, start)
            lines = step.log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
            reason = lines[-1].strip() if process.returncode else f'it left no {step.leaves}'
            self._failed[step.mark] = f'{step.title} failed: {reason} (all of it in {step.log})'
            if not self.keep_going:
                raise DataError(self._failed.pop(step.mark))
            self._say_at(self._failed[step.mark])

    def _note_done(self, step: Step, start: float, result: Any = None) -> None:
        seconds = time.monotonic() - start
        self._done[step.mark] = step.finish(seconds, result)
        self._say_at(f'done in {seconds:.0f} s: {step.title}')

    def _end_running(self) -> None:
        """End the processes with all that they have started, such as data workers."""
        running = [process for _, process, _ in self._running.values()]
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)  # torchrun ends its own processes
        end = time.monotonic() + GRACE
        while any(process.poll() is None for process in running) and time.monotonic() < end:
            time.sleep(PAUSE)
        for process in running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for step, _, start in self._running.values():
            _note_stop(step, start)

    def _announce(self, steps: Sequence[Step]) -> None:
        left = f', about {max(1, round(self.time_left(steps) / 60))} min left' if self._done else ''
        running = [
            f'\n         {step.title}{training_line(step)}' for step, _, _ in self._running.values()
        ]
        self._say_at(
            f'{len(self._done)} of {len(steps)} steps done{left}; running:{"".join(running)}'
        )

    def _say_at(self, text: str) -> None:
        self.say(f'[{time.monotonic() - self._start:5.0f} s] {text}')


def _note_stop(step: Step, start: float) -> None:
    """Remember what a run took; on a full disk that is not known, and all else goes on."""
    with suppress(OSError):
        step.stop(time.monotonic() - start)


def training_line(step: Step) -> str:
    """The last line of training in a step's log (it has the time left), after a colon."""
    text = step.log.read_text(encoding='utf-8', errors='replace')
    lines = [line for line in text.splitlines() if '(train)' in line]
    return f': {lines[-1].split("INFO - ")[-1][:100].rstrip()}' if lines else ''


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Being asked to end ends the block by an exception, so that what ``finally`` says is done."""

    def leave(number: int, _) -> None:
        raise SystemExit(128 + number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # as under nohup
    ]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_step(
    tools: Path, config: Path, folder: Path, options: Mapping[str, Any], processes: int = 1
) -> Step:
    """A config with overrides, trained by ``train.py`` to its last epoch, or continued to.

    Args:
        tools: The folder of the tools.
        config: Any config that counts epochs.
        folder: Its work dir, for one config with one set of overrides only.
        options: Overrides of the config.
        processes: On this machine.

    Raises:
        DataError: An override does not fit or cannot be given to a tool.
    """
    cfg = read_config_file(config, options)
    head = ['python', str(tools / 'train.py'), str(config)]
    if processes > 1:
        head = ['bash', str(tools / 'dist_train.sh'), str(config), str(processes)]
    return Step(
        'run',
        f'train {folder.name}',
        folder,
        (*head, f'--work-dir={folder}', '--resume', *option_arguments(options)),
        settings=dict(cfg_options=dict(sorted(options.items())), config_digest=config_digest(cfg)),
        files=weight_files(cfg),
        leaves=folder / f'epoch_{cfg.train_cfg.max_epochs}.pth',
        resumes=True,
        seconds=100.0,
    )


def config_digest(cfg: Config) -> str:
    """A hash of all entries of a config; comments and how it is put together do not count."""
    text = json.dumps(cfg.to_dict(), default=_as_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(value: Any) -> Any:
    """What JSON has no type for; a set is in another order in each process."""
    return sorted(map(str, value)) if isinstance(value, set) else str(value)


def weight_files(cfg: Config) -> tuple[str, ...]:
    """Files that a run starts from, whether they are there or not."""
    from ..config.pretrained import pretrained_vits  # imports torch

    named = [cfg.get('load_from'), cfg.get('pretrained')]
    named += [init_cfg.get('checkpoint') for init_cfg in pretrained_vits(cfg.get('model'))]
    return tuple(sorted({str(path) for path in named if path}))


def option_arguments(options: Mapping[str, Any]) -> list[str]:
    """Overrides as arguments of a tool, which ``--cfg-options`` reads as they are.

    Raises:
        DataError: It would read something else, as of a dict's infinity.
    """
    texts = [_option_argument(*option) for option in sorted(options.items())]
    return ['--cfg-options', *texts] if texts else []


def _option_argument(key: str, value: Any) -> str:
    for text in (str(value), repr(value)):
        try:
            if repr(read_value(text)) == repr(value):
                return f'{key}={text}'
        except (ValueError, AssertionError, RecursionError):
            pass
    raise DataError(f'{key}={value!r} cannot be given to a tool by --cfg-options')
