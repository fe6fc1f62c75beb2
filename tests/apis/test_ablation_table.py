from pathlib import Path

import pytest

from flsl_mm.apis.ablation_table import read_ablation_tables
from flsl_mm.utils.errors import DataError

TABLES = """
width:
  title: Width (Table 1)
  axis: D
  cells:
    - {label: '64', config: width/narrow.py, reported: 12.34}
    - {label: '128', config: base.py, reported: 56}
depth:
  title: Depth
  axis: blocks
  cells:
    - {label: '4', config: base.py}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / 'width').mkdir()
    (tmp_path / 'depth').mkdir()
    (tmp_path / 'width/narrow.py').touch()
    (tmp_path / 'base.py').touch()
    (tmp_path / 'tables.yml').write_text(TABLES)
    return tmp_path


def test_a_folder_is_its_table_and_their_parent_is_all_of_them(folder):
    [width] = read_ablation_tables(folder / 'width')
    assert (width.name, width.axis) == ('width', 'D')
    assert [table.name for table in read_ablation_tables(folder)] == ['width', 'depth']


def test_a_cell_may_be_the_untrained_network_of_a_config(folder):
    (folder / 'tables.yml').write_text(
        'depth: {title: x, axis: y, cells: [{label: random, config: base.py, untrained: true}]}'
    )
    [table] = read_ablation_tables(folder)
    assert table.cells[0].untrained and 'reported' not in table.format({})


def test_reported_and_measured_figures_stand_in_rows_of_their_own(folder):
    [width] = read_ablation_tables(folder / 'width')
    text = width.format(dict(measured={width.cells[1]: 7.06}, state={}))
    assert [line.split() for line in text.splitlines()] == [
        ['Width', '(Table', '1)'],
        ['D', '64', '128'],
        ['reported', '12.3', '56.0'],
        ['measured', '-', '7.1'],
        ['state', '-', '-'],
    ]


@pytest.mark.parametrize(
    'break_it, path, message',
    [
        (lambda f: (f / 'tables.yml').unlink(), 'width', 'nor its parent has tables.yml'),
        (lambda f: (f / 'other').mkdir(), 'other', "no table 'other', only width, depth"),
        (lambda f: (f / 'base.py').unlink(), '', 'there is no config .*base.py'),
        (lambda f: (f / 'tables.yml').write_text('width: {title: x}'), '', "table 'width' is not"),
        (lambda f: None, 'nowhere', 'nowhere is no folder of ablations'),
    ],
)
def test_what_is_wrong_is_named(folder, break_it, path, message):
    break_it(folder)
    with pytest.raises(DataError, match=message):
        read_ablation_tables(folder / path)
