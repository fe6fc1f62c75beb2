"""One tool that runs another."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import DataError


def run_tool(command: Sequence[str], log: Path, title: str, interval: float = 10.0) -> None:
    """Run a tool in a process of its own; show where it is now and then.

    Args:
        command: The process; its output goes into ``log``.
        log: File, added to.
        title: Put before the lines of the training log that are shown (they have the time left).
        interval: Seconds between two of them.

    Raises:
        DataError: It failed; the message has its last line and names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last, shown = '', 0.0
    with (
        open(log, 'a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding='utf-8',
            errors='replace',
        ) as process,
    ):
        print('$', ' '.join(command), file=file, flush=True)
        for line in process.stdout:
            file.write(line)
            file.flush()
            last = line.strip() or last
            if '(train)' in line and time.monotonic() - shown > interval:
                shown = time.monotonic()
                print(f'{title}: {line.split("INFO - ")[-1][:100].rstrip()}', flush=True)
    if process.returncode:
        raise DataError(f'{title} failed: {last} (all of it in {log})')


def train_command(tools: Path, arguments: Sequence[str], processes: int = 1) -> list[str]:
    """What runs ``train.py``, in several processes if asked to.

    Args:
        tools: The folder of the tools.
        arguments: The config first.
        processes: On this machine.
    """
    if processes == 1:
        return [sys.executable, str(tools / 'train.py'), *arguments]
    config, *others = arguments
    return ['bash', str(tools / 'dist_train.sh'), config, str(processes), *others]
