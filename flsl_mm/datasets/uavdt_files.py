"""The text files of the UAVDT benchmark: reading, checking and writing."""

import gzip
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from ..utils.errors import DataError

# Columns of a row, in the official order. Ground truth has out_of_view where detections have score.
FRAME, BOX, SCORE, CLASS = 0, slice(2, 6), 6, 8
NUM_COLUMNS = 9
CLASSES = ('car', 'truck', 'bus')  # categories 1, 2, 3

TRAIN_SEQUENCES = tuple(
    'M0101 M0201 M0202 M0204 M0206 M0207 M0210 M0301 M0401 M0402 M0501 M0603 M0604 M0605 M0702 '
    'M0703 M0704 M0901 M0902 M1002 M1003 M1005 M1006 M1008 M1102 M1201 M1202 M1304 M1305 '
    'M1306'.split()
)
# Test sequence -> number of frames.
TEST_LENGTHS = dict(
    M0203=1007, M0205=646, M0208=265, M0209=1576, M0403=514, M0601=372, M0602=480, M0606=1374,
    M0701=1308, M0801=298, M0802=1101, M1001=1859, M1004=269, M1007=659, M1009=604, M1101=864,
    M1301=1182, M1302=719, M1303=445, M1401=1050,
)  # fmt: skip
TEST_SEQUENCES = tuple(TEST_LENGTHS)

_POSITIONS = dict(
    day=(3, 4, 5, 6, 7, 8, 10, 11, 17, 18, 19, 20),
    night=(1, 2, 12, 14, 16),
    fog=(9, 13, 15),
    low=(1, 2, 4, 10, 11, 16, 19, 20),
    medium=(3, 5, 7, 8, 12, 13, 14, 15, 17, 18),
    high=(6, 9),
    front=(3, 4, 5, 6, 7, 8, 12, 13, 14, 16, 17, 20),
    side=(2, 4, 5, 6, 8, 11, 16, 18, 19),
    bird=(1, 9, 10, 15),
    long=(4, 12),
)
# Attribute -> its test sequences: light, altitude, view and duration, as in the official toolkit.
ATTRIBUTES = {
    name: tuple(TEST_SEQUENCES[position - 1] for position in positions)
    for name, positions in _POSITIONS.items()
}


def read_ground_truth(gt_dir: str | PathLike, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and ignored regions of one sequence, for the detection task.

    Args:
        gt_dir: Folder with ``M0203_gt_whole.txt`` and ``M0203_gt_ignore.txt`` (or ``.txt.gz``).
        sequence: Such as ``M0203``.

    Returns:
        tuple[np.ndarray, np.ndarray]: (N, 9) and (M, 9) in the official columns ``frame,
        target_id, left, top, width, height, out_of_view, occlusion, category``, in pixels.

    Raises:
        FileNotFoundError: A file is missing.
        DataError: A malformed line; the message names file and line.
    """
    boxes = read_rows(find_text(gt_dir, f'{sequence}_gt_whole'), NUM_COLUMNS, CLASSES)
    return boxes, read_rows(find_text(gt_dir, f'{sequence}_gt_ignore'), 6)


def read_detections(detection_dir: str | PathLike, sequence: str) -> np.ndarray:
    """Detections of one sequence.

    Args:
        detection_dir: Folder with ``M0203.txt`` (or ``.txt.gz``).
        sequence: Such as ``M0203``.

    Returns:
        np.ndarray: (N, 9) in the official columns, the score in the seventh; a category that the
        file does not give is -1.

    Raises:
        FileNotFoundError: The file is missing.
        DataError: A malformed line; the message names file and line.
    """
    return read_rows(
        find_text(detection_dir, sequence), SCORE + 1, num_frames=TEST_LENGTHS.get(sequence)
    )


def find_text(folder: str | PathLike, stem: str) -> Path:
    """The text file ``stem`` of a folder, plain or compressed.

    Raises:
        FileNotFoundError: There is neither.
    """
    for suffix in ('.txt', '.txt.gz'):
        path = Path(folder, stem + suffix)
        if path.is_file():
            return path
    raise FileNotFoundError(f'there is no {stem}.txt or {stem}.txt.gz in {folder}')


def read_rows(
    path: str | PathLike,
    min_columns: int,
    classes: tuple[str, ...] | None = None,
    num_frames: int | None = None,
) -> np.ndarray:
    """Rows of comma-separated numbers; blank lines do not count.

    Args:
        path: Plain or ``.gz``.
        min_columns: Fewer in a line are an error; those missing of the nine become -1.
        classes: If given, the category has to be one of these, counted from 1.
        num_frames: If given, no frame may be beyond.

    Returns:
        np.ndarray: (N, 9), float64.

    Raises:
        DataError: A line that is malformed; the message names it.
    """
    try:
        lines = [line for line in _read_text(path).splitlines() if not line.isspace() and line]
        rows = np.loadtxt(lines, delimiter=',', ndmin=2, comments=None) if lines else None
    except (ValueError, OSError, EOFError):  # the last two: a broken .gz
        raise DataError(_describe_first_problem(path, min_columns, classes, num_frames)) from None
    if rows is None:
        return np.empty((0, NUM_COLUMNS))
    full = np.full((len(rows), NUM_COLUMNS), -1.0)
    full[:, : rows.shape[1]] = rows[:, :NUM_COLUMNS]
    if rows.shape[1] < min_columns or _find_problems(full, rows.shape[1], classes, num_frames):
        raise DataError(_describe_first_problem(path, min_columns, classes, num_frames))
    return full


def _read_text(path: str | PathLike) -> str:
    encoding = 'utf-8-sig'  # Windows' editors put a mark before it
    compressed = str(path).endswith('.gz')
    opened = (
        gzip.open(path, 'rt', encoding=encoding) if compressed else open(path, encoding=encoding)
    )
    with opened as file:
        return file.read()


def _find_problems(
    rows: np.ndarray, width: int, classes: tuple[str, ...] | None, num_frames: int | None
) -> str:
    """What is wrong with a row of these (N, 9) which had ``width`` columns; empty if nothing."""
    frames, category = rows[:, FRAME], rows[:, CLASS]
    checks = {
        f'{width} columns, at most {NUM_COLUMNS} are known (decimals have points, no commas)': (
            width > NUM_COLUMNS
        ),
        'not finite': not np.isfinite(rows).all(),
        'frames are whole numbers from 1': ((frames < 1) | (frames % 1 != 0)).any(),
        f'the video has {num_frames} frames': num_frames and (frames > num_frames).any(),
        'a width or height is negative': (rows[:, BOX][:, 2:] < 0).any(),
        'the last two columns are whole numbers, the first of them -1, 0 or 1 (decimals have '
        'points, no commas)': not classes
        and (~np.isin(rows[:, SCORE + 1], (-1, 0, 1)) | (category % 1 != 0)).any(),
    }
    if classes:
        listed = f'the category is none of 1-{len(classes)} ({", ".join(classes)})'
        checks[listed] = not np.isin(category, range(1, len(classes) + 1)).all()
    return next((problem for problem, found in checks.items() if found), '')


def _describe_first_problem(
    path: str | PathLike,
    min_columns: int,
    classes: tuple[str, ...] | None,
    num_frames: int | None,
) -> str:
    """One line about the first malformed line of a file that could not be read."""
    try:
        lines = _read_text(path).splitlines()
    except (ValueError, OSError, EOFError) as error:
        return f'{path}: cannot be read as text ({error})'
    width = None
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            fields = line.split(',')
            width = width or len(fields)
            problem = _describe_problem(fields, width, min_columns, classes, num_frames)
            if problem:
                return f'{path}, line {number}: {problem}: {line.strip()[:80]!r}'
    return f'{path}: malformed'


def _describe_problem(
    fields: list[str],
    width: int,
    min_columns: int,
    classes: tuple[str, ...] | None,
    num_frames: int | None,
) -> str:
    """What is wrong with one line; empty if nothing."""
    if len(fields) < min_columns:
        return f'{len(fields)} columns, expected {min_columns} or more'
    if len(fields) != width:
        return f'{len(fields)} columns, the first line has {width}'
    try:
        values = [float(field) for field in fields]
        if '_' in (line := ','.join(fields)) or not line.isascii():  # which Python takes
            raise ValueError
    except ValueError:
        return 'not comma-separated numbers'
    row = np.full((1, NUM_COLUMNS), -1.0)
    row[0, : len(values)] = values[:NUM_COLUMNS]
    return _find_problems(row, width, classes, num_frames)


def format_detections(
    frames: np.ndarray, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> str:
    """Detections of one sequence as text in the official format.

    Coordinates are rounded to a thousandth of a pixel, scores to nine digits. The category goes
    into the last column, which the official evaluation does not read.

    Args:
        frames: (N,), from 1.
        boxes: (N, 4), left, top, right, bottom in pixels.
        scores: (N,).
        labels: (N,), from 0.

    Returns:
        str: One line per detection.
    """
    return ''.join(
        f'{frame},-1,{left:.3f},{top:.3f},{right - left:.3f},{bottom - top:.3f},{score:.9g},1,'
        f'{label + 1}\n'
        for frame, (left, top, right, bottom), score, label in zip(frames, boxes, scores, labels)
    )


def parse_frame_name(text: str) -> tuple[str, int] | None:
    """Sequence and number of a frame.

    Args:
        text: Any of the usual names: ``M0203/img000001.jpg``, ``M0203_img000001``, a whole path.

    Returns:
        Optional[tuple[str, int]]: Such as ``('M0203', 1)``; None where there is no such name.
    """
    found = re.search(r'(M\d{4}).*?img(\d+)', text)
    return (found[1], int(found[2])) if found else None


def read_frame_list(path: str | PathLike) -> dict[str, set[int]]:
    """Frames of a subset, such as the one that a paper used.

    Args:
        path: Text file with one frame a line, named as :func:`parse_frame_name` reads it; blank
            lines do not count.

    Returns:
        dict[str, set[int]]: Frame numbers by sequence.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: A line names no frame (the message says which), or the file is empty.
    """
    frames: dict[str, set[int]] = {}
    for number, line in _numbered_lines(path):
        name = parse_frame_name(line)
        if name is None:
            raise DataError(
                f'{path}, line {number}: names no frame such as M0203/img000001.jpg: {line[:80]!r}'
            )
        frames.setdefault(name[0], set()).add(name[1])
    if not frames:
        raise DataError(f'{path}: lists no frames')
    return frames


def _numbered_lines(path: str | PathLike) -> Iterator[tuple[int, str]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no frame list {path}')
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper left and lower right corners (..., 2) of boxes left, top, width, height (..., 4)."""
    return boxes[..., :2], boxes[..., :2] + boxes[..., 2:]


def group_by_frame(rows: np.ndarray) -> dict[float, np.ndarray]:
    """Which rows (N, 9) in the official columns are of each frame: their indices, in order."""
    order = np.argsort(rows[:, FRAME], kind='stable')
    frames, starts = np.unique(rows[order, FRAME], return_index=True)
    return dict(zip(frames.tolist(), np.split(order, starts[1:])))
