"""Reading the scalars that a run has logged."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import DataError


def read_training_log(path: str | Path) -> list[dict]:
    """Read the log of a run, across interruptions.

    Args:
        path: A ``scalars.json``, or a work dir, which has one in each ``<time>/vis_data``. What a
            resumed run logs replaces what the run before had logged from that iteration on.

    Returns:
        list[dict]: One entry for each line, in order; ``iter`` is the number of training iterations
        done, which rows of evaluations get from the training row before them.

    Raises:
        DataError: There is no log, it is empty, or a line is not JSON. (An unfinished last line,
            as a killed run leaves it, is left out.)
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob('*/vis_data/scalars.json'))
    if not files:
        raise DataError(f'no training log in {path}: give a scalars.json or the work dir of a run')
    rows: list[dict] = []
    for file in files:
        part = _read_rows(file)
        first = next((row['iter'] for row in part if 'iter' in row), math.inf)
        rows = [row for row in rows if row['iter'] < first]
        iteration = rows[-1]['iter'] if rows else 0
        for row in part:
            iteration = row.get('iter', iteration)
            rows.append({**row, 'iter': iteration})
    if not rows:
        raise DataError(f'the training log {files[-1]} is empty')
    return rows


def logged_curve(rows: Sequence[dict], key: str) -> tuple[list[int], list[float]]:
    """Iterations and values of one number in a log; both empty where it was never logged."""
    pairs = [(row['iter'], row[key]) for row in rows if key in row]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _read_rows(file: Path) -> list[dict]:
    lines = file.read_text(encoding='utf-8').splitlines()
    rows: list[dict] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(dict(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break
            raise DataError(f'{file}, line {number} is not a JSON object: {error}') from error
    return rows
