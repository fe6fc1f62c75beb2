"""Running the steps of the demo side by side."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..utils.files import write_json
from .step import Step

PAUSE = 0.2  # seconds between looks at the running processes
NEWS = 15.0  # seconds between lines about them


class StepFailed(Exception):
    """A step of the demo ended with an error; the message has the end of its log."""


class StepRunner:
    """Runs steps as soon as what they need is done, one process to a core.

    A step that was done before, by the same command, is not repeated: an interrupted demo goes on
    where it stopped. What a step prints goes to ``<folder>/<name>.log``.

    Args:
        root: Where the commands run: the folder that holds ``tools``.
        folder: For the logs.
        lanes: Processes at a time; each computes with one thread.
        say: Prints a line.
    """

    def __init__(
        self, root: Path, folder: Path, lanes: int, say: Callable[[str], None] = print
    ) -> None:
        self.root, self.folder, self.lanes, self.say = root, folder, lanes, say
        self._start = time.monotonic()
        self._running: dict[str, tuple[Step, subprocess.Popen, float]] = {}
        self._done: dict[str, float] = {}  # seconds by name

    def run(self, steps: Sequence[Step]) -> dict[str, float]:
        """Run the steps.

        Args:
            steps: Each after those that it needs; earlier ones have precedence.

        Returns:
            dict[str, float]: Seconds that each step took, by name.

        Raises:
            StepFailed: A step failed; those still running are ended.
            SystemExit: The process was asked to end (SIGTERM); so are they.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for step in steps:
            seconds = self._finished_before(step)
            if seconds is not None and set(step.after) <= set(self._done):
                self._done[step.name] = seconds
        if self._done:
            self.say(f'{len(self._done)} of {len(steps)} steps were done before')
        with _exit_on_sigterm():
            try:
                self._run_rest(steps)
            finally:
                for _, process, _ in self._running.values():
                    os.killpg(process.pid, signal.SIGKILL)  # with its data workers
        return dict(self._done)

    def _run_rest(self, steps: Sequence[Step]) -> None:
        news = time.monotonic() + NEWS
        while len(self._done) < len(steps):
            self._start_ready(steps)
            time.sleep(PAUSE)
            self._collect(steps)
            if time.monotonic() > news and len(self._done) < len(steps):
                self._announce(steps)
                news = time.monotonic() + NEWS

    def time_left(self, steps: Sequence[Step]) -> float:
        """Seconds that the rest takes about, by how the finished steps kept to their plan."""
        now = time.monotonic()
        ran = [(self._done[s.name], s.seconds) for s in steps if s.name in self._done]
        pace = sum(took for took, _ in ran) / sum(planned for _, planned in ran) if ran else 1.0
        left = [
            max(0.1 * planned, planned - now + self._running[s.name][2])
            if s.name in self._running
            else planned
            for s in steps
            if s.name not in self._done
            for planned in [pace * s.seconds]
        ]
        return max(sum(left) / self.lanes, max(left, default=0.0))

    def _start_ready(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if len(self._running) == self.lanes:
                return
            waiting = step.name not in self._done and step.name not in self._running
            if waiting and set(step.after) <= set(self._done):
                self._say_at(f'{step.title}\n         $ {step.text}')
                self._running[step.name] = (step, self._launch(step), time.monotonic())

    def _launch(self, step: Step) -> subprocess.Popen:
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
        environment['PYTHONPATH'] = os.pathsep.join(
            filter(None, [str(self.root), os.environ.get('PYTHONPATH')])
        )
        with open(self.folder / f'{step.name}.log', 'w') as log:
            return subprocess.Popen(
                [sys.executable, *step.command],
                cwd=self.root,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _collect(self, steps: Sequence[Step]) -> None:
        """Note which processes have ended."""
        for step, process, start in list(self._running.values()):
            if process.poll() is None:
                continue
            del self._running[step.name]
            log = self.folder / f'{step.name}.log'
            if process.returncode:
                tail = '\n'.join(log.read_text(errors='replace').splitlines()[-15:])
                raise StepFailed(f'{step.title}: failed\n$ {step.text}\n{tail}\n(whole log: {log})')
            seconds = time.monotonic() - start
            self._done[step.name] = seconds
            write_json(self._mark(step), dict(command=step.text, seconds=round(seconds, 1)))
            self._say_at(f'done in {seconds:.0f} s: {step.title}')

    def _mark(self, step: Step) -> Path:
        return self.folder / f'{step.name}.done.json'

    def _finished_before(self, step: Step) -> float | None:
        """Seconds that the same command took when it was done before; None where it was not."""
        try:
            mark = json.loads(self._mark(step).read_text())
        except (OSError, ValueError):
            return None
        return mark['seconds'] if mark['command'] == step.text else None

    def _announce(self, steps: Sequence[Step]) -> None:
        titles = '; '.join(step.title for step, _, _ in self._running.values())
        left = self.time_left(steps)
        self._say_at(
            f'{len(self._done)} of {len(steps)} steps done, about '
            f'{max(1, round(left / 60))} min left; running: {titles}'
        )

    def _say_at(self, text: str) -> None:
        self.say(f'[{time.monotonic() - self._start:5.0f} s] {text}')


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the block by an exception, so that what its ``finally`` says is done."""

    def leave(number: int, _) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
