"""The ablations of the paper: which configs make up a table, and what was reported for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.fileio import load

from ..utils.errors import DataError
from ..utils.tables import text_table

FILE_NAME = 'tables.yml'


class AblationCell(NamedTuple):
    """One trained network.

    Attributes:
        label: Its value on the table's axis.
        config: Pretraining config.
        reported: The paper's figure, None where it has none.
        untrained: Whether it is the network of the config with random weights.
        after: Config of the network whose weights it starts from, as its ``pretrained``; None
            where it starts from random ones, or from a file that its config names.
    """

    label: str
    config: Path
    reported: float | None
    untrained: bool = False
    after: Path | None = None


class AblationTable(NamedTuple):
    """Networks that differ in one thing.

    Attributes:
        name: Of the table, and of the folder of its configs where that has one table.
        title: What is varied, and which table of the paper has it.
        axis: Short name of what is varied.
        cells: The networks.
    """

    name: str
    title: str
    axis: str
    cells: tuple[AblationCell, ...]

    def format(self, rows: Mapping[str, Mapping[AblationCell, float | str]]) -> str:
        """The table as text.

        Args:
            rows: Under a row's title its value by cell, a number with one decimal or a word;
                cells may be missing. The reported figures come first by themselves, where there
                are any.

        Returns:
            str: The title, and a line for the labels, for the reported figures and for each row.
        """
        reported = {cell: cell.reported for cell in self.cells if cell.reported is not None}
        lines = [[self.axis, *(cell.label for cell in self.cells)]]
        for title, values in {**(dict(reported=reported) if reported else {}), **rows}.items():
            lines.append([title, *(_text(values.get(cell)) for cell in self.cells)])
        return f'{self.title}\n{text_table(lines)}'


def _text(value: float | str | None) -> str:
    return '-' if value is None else value if isinstance(value, str) else f'{value:.1f}'


def read_ablation_tables(path: str | Path) -> list[AblationTable]:
    """The tables that a folder stands for.

    Args:
        path: A folder with a ``tables.yml``: all its tables. Or a folder in such a folder: the
            table of that name.

    Raises:
        DataError: The folder stands for none, or its ``tables.yml`` is not as it should be.
    """
    path = Path(path)
    file = path / FILE_NAME if (path / FILE_NAME).is_file() else path.parent / FILE_NAME
    if not path.is_dir() or not file.is_file():
        raise DataError(
            f'{path} is no folder of ablations: neither it nor its parent has {FILE_NAME}'
        )
    tables = load(file) or {}
    names = list(tables) if file.parent == path else [path.name]
    if unknown := set(names) - set(tables):
        raise DataError(f'{file} has no table {unknown.pop()!r}, only {", ".join(tables)}')
    return [_read_table(file, name, tables[name]) for name in names]


def _read_table(file: Path, name: str, content: Mapping[str, Any]) -> AblationTable:
    try:
        cells = tuple(_read_cell(file, **cell) for cell in content['cells'])
        return AblationTable(name, content['title'], content['axis'], cells)
    except (KeyError, TypeError) as error:
        raise DataError(f'{file}: table {name!r} is not as it should be: {error}') from error


def _read_cell(
    file: Path,
    label: str,
    config: str,
    reported: float | None = None,
    untrained: bool = False,
    after: str | None = None,
) -> AblationCell:
    start = None if after is None else _find_config(file, after)
    return AblationCell(str(label), _find_config(file, config), reported, untrained, start)


def _find_config(file: Path, name: str) -> Path:
    path = (file.parent / name).resolve()
    if not path.is_file():
        raise DataError(f'{file}: there is no config {path}')
    return path
