"""One training in a work dir at a time, and none whose launcher has ended."""

import hashlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process

from ...utils.errors import ConfigError
from ...utils.files import open_regular

LOCK = 'run.lock'
BEAT = 5.0  # seconds between two signs of life
SILENCE = 45.0  # seconds without one after which a process of another machine has ended
LAUNCHER = os.getppid()  # at import: it may be gone when training begins


def _note_launcher() -> None:
    """Of a process that was forked after the import, its launcher is who forked it."""
    global LAUNCHER
    LAUNCHER = os.getppid()


os.register_at_fork(after_in_child=_note_launcher)


class WorkDirLock:
    """A file that says which process trains in a folder.

    A process of this machine is asked for by its number and time of start. Of another machine, as
    on a network file system, or of another container, only signs of life can be seen: the owner
    touches the file every five seconds. Who finds it waits for one, for 45 seconds.

    Args:
        folder: The work dir.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.path = Path(folder, LOCK)
        pid = os.getpid()
        owner = dict(
            host=socket.gethostname(),
            process=pid,
            start=time.strftime('%Y-%m-%d %H:%M:%S'),
            machine=_machine(),
            ticks=_start_of(pid),
            token=secrets.token_hex(8),
        )
        self.content = json.dumps(owner).encode()

    def acquire(self, say: Callable[[str], None]) -> None:
        """Take the lock; that of a process that has ended is taken over.

        Args:
            say: Gets a line where there is something to wait for.

        Raises:
            ConfigError: Another process trains in the folder; the message names it.
            OSError: The folder cannot be written.
        """
        while not self._create():
            content = self._read()[0]
            if content is not None and not self._has_ended(content, say):
                raise ConfigError(
                    f'{self.path.parent}: {_owner(content)} trains in this folder: wait for it, '
                    'end it, or give another --work-dir'
                )
            if content is not None:
                self._remove(content)

    def beat(self) -> bool:
        """Give a sign of life; whether the lock is still held."""
        with suppress(OSError):  # a network file system that is away for a moment
            content = self._read()[0]
            if content is None:
                return self._create() or self._read()[0] == self.content
            if content != self.content:
                return False
            os.utime(self.path)
        return True

    def release(self) -> None:
        """Remove the lock, unless another process has it."""
        with suppress(OSError):
            if self._read()[0] == self.content:
                self.path.unlink()

    def _create(self) -> bool:
        """Whether the lock was free and is held now."""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, self.content)
        except OSError:  # as on a full disk
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return True

    def _read(self) -> tuple[bytes | None, int]:
        """What the lock says, None where there is none, and the time of its last sign of life."""
        try:  # opening it makes a network file system look at its server
            with open_regular(self.path) as file:
                return file.read(10_000), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None, 0

    def _has_ended(self, content: bytes, say: Callable[[str], None]) -> bool:
        """Whether the process that a lock names has ended."""
        owner = _parse(content)
        if owner.get('machine') is not None and owner.get('machine') == _machine():
            pid = owner.get('process')
            start = _start_of(pid)
            return pid == os.getpid() or start is None or start != owner.get('ticks')
        say(f'{self.path} is of {_owner(content)}: waiting {SILENCE:.0f} s for a sign of life')
        before, end = self._read(), time.monotonic() + SILENCE
        while time.monotonic() < end:
            time.sleep(min(1.0, SILENCE / 10))
            found = self._read()
            if found != before:
                return found[0] is None
        return True

    def _remove(self, content: bytes) -> None:
        """Remove the lock of a process that has ended; of several that want to, one does."""
        claim = self.path.with_name(f'.{LOCK}.{hashlib.sha256(content).hexdigest()[:16]}.tmp')
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            time.sleep(0.05)
            with suppress(OSError):  # unless who claimed it was killed at that moment
                if time.time() - claim.stat().st_mtime > SILENCE:
                    claim.unlink()
            return
        try:
            if self._read()[0] == content:
                self.path.unlink()
        finally:
            claim.unlink()


def _parse(content: bytes) -> dict:
    """What a lock says; nothing where it is damaged, or just being written."""
    with suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict):
            return found
    return {}


def _owner(content: bytes) -> str:
    """The process that a lock names, for people."""
    owner = _parse(content)
    if not owner:
        return 'an unknown process'
    return f'process {owner.get("process")} on {owner.get("host")}, since {owner.get("start")}'


def _machine() -> str | None:
    """What processes share that see each other: a start of the system, and a container in it."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return None


def _start_of(pid: int) -> int | None:
    """When a process started, in ticks of the system; None where there is none, or a zombie."""
    try:
        fields = Path(f'/proc/{int(pid)}/stat').read_text().rpartition(')')[2].split()
    except (OSError, TypeError, ValueError):
        return None
    return None if fields[0] in 'ZX' else int(fields[19])


class _Watch(threading.Thread):
    """Gives signs of life, and ends the process when it may not go on.

    Args:
        lock: That of the work dir; None where another process of the run holds it.
        launched: Whether a launcher has to be there.
    """

    def __init__(self, lock: WorkDirLock | None, launched: bool) -> None:
        super().__init__(name='work dir lock', daemon=True)
        self.lock, self.launched = lock, launched
        self.done = threading.Event()

    def run(self) -> None:
        """Look every five seconds."""
        while not self.done.wait(BEAT):
            if self.launched and os.getppid() != LAUNCHER:
                self._leave(f'its launcher, process {LAUNCHER}, has ended')
            if self.lock and not self.lock.beat():
                self._leave(f'another process has taken over {self.lock.path}')

    def _leave(self, reason: str) -> None:
        """End the process, wherever the rest of it waits."""
        with suppress(OSError, ValueError):  # a terminal that is gone
            print(f'process {os.getpid()} ends: {reason}', file=sys.stderr, flush=True)
        if self.lock:
            self.lock.release()
        os._exit(1)


@contextmanager
def alone_in(
    folder: str | os.PathLike, launched: bool, say: Callable[[str], None]
) -> Iterator[None]:
    """Let no other run train in a folder meanwhile, and end with the launcher.

    Args:
        folder: The work dir, the same in all processes of the run.
        launched: Whether a launcher such as torchrun started this process: killed, it cannot end
            its processes, which would go on for ever.
        say: Gets a line where there is something to wait for.

    Raises:
        ConfigError: Another run trains in the folder; or it cannot be written. In all processes.
    """
    lock, problem = None, [None]
    if is_main_process():
        try:
            lock = WorkDirLock(folder)
            lock.acquire(say)
        except (ConfigError, OSError) as error:
            problem = [str(error)]
    broadcast_object_list(problem)
    if problem[0]:
        raise ConfigError(problem[0])
    watch = _Watch(lock, launched)
    watch.start()
    try:
        yield
    finally:
        watch.done.set()
        watch.join()
        if lock:
            lock.release()
