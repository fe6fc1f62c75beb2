"""The page of a sweep: tables, curves of training, and what the networks see on photographs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..models import build_vit
from ..utils.counts import counted
from ..utils.files import whole_file
from ..visualization import curves_figure, modes_figure, pca_figure
from ..visualization.html_report import Cell, HtmlReport
from .ablation_table import AblationCell, AblationTable
from .study import Run, Runs, correlations, is_measure, measured, trainings

CHANCE = ' chance'  # of a k-NN, to compare its numbers with
MODES_SHOWN = 3  # images with modes, of which every network needs two columns


def write_study_report(
    path: Path,
    tables: Sequence[AblationTable],
    runs: Runs,
    tasks: Mapping[str, Any],
    images: Sequence[np.ndarray],
    device: Any,
) -> None:
    """Write one file with all there is to see of a sweep; what is not finished is left out.

    Args:
        path: The page.
        tables: What is compared.
        runs: The runs of every cell.
        tasks: Settings of the evaluation, by task.
        images: uint8 (H, W, 3) each, shown with every network's first run; none for no pictures.
        device: Where networks run for the pictures.
    """
    report = HtmlReport(f'Sweep: {", ".join(table.name for table in tables)}')
    for table in tables:
        report.heading(table.title)
        _write_table(report, table, runs)
        _write_curves(report, table, runs)
        if images:
            _write_pictures(report, table, runs, images, device)
    _write_signs(report, runs)
    report.heading('How this was made')
    _write_making(report, runs, tasks)
    with whole_file(path) as draft:
        draft.write_text(report.text(), encoding='utf-8')


def _write_table(report: HtmlReport, table: AblationTable, runs: Runs) -> None:
    """Measures by row, cells by column; of several cells the best mean of a row is set off."""
    found = {cell: measured(runs[cell]) for cell in table.cells}
    names = {name: None for numbers in found.values() for name in numbers}
    rows = []
    if any(cell.reported is not None for cell in table.cells):
        rows.append(['reported (paper)', *(_reported(cell) for cell in table.cells)])
    for name in names:
        if not is_measure(name) and not name.endswith(CHANCE):
            continue
        means = [np.mean(found[cell].get(name, np.nan)) for cell in table.cells]
        several = np.isfinite(means).sum() > 1 and is_measure(name)
        cells = [
            Cell.of_seeds(values, bool(several and mean == np.nanmax(means)))
            if (values := found[cell].get(name))
            else Cell('-')
            for cell, mean in zip(table.cells, means)
        ]
        rows.append([name, *cells])
    report.table([table.axis, *(cell.label for cell in table.cells)], rows)
    waiting = [
        f'{cell.label} (seed {run.seed})' if run.seed is not None else cell.label
        for cell in table.cells
        for run in runs[cell]
        if not run.numbers()
    ]
    if waiting:
        report.paragraph(f'Not finished, and in no number: {", ".join(waiting)}.')
    report.paragraph(
        'Measured with the settings at the end of this page, in percent, larger is better; of '
        'several seeds the mean ± standard deviation, and each below. All other numbers are in the '
        'JSON file beside this page.'
    )


def _reported(cell: AblationCell) -> str:
    return '-' if cell.reported is None else f'{cell.reported:.1f}'


def _write_curves(report: HtmlReport, table: AblationTable, runs: Runs) -> None:
    logs = {
        cell.label: run.log()
        for cell, run in _first_runs(table, runs).items()
        if not cell.untrained
    }
    if any(logs.values()):
        without = ', '.join(label for label, rows in logs.items() if not rows)
        report.figure(
            curves_figure({label: rows for label, rows in logs.items() if rows}, window=3),
            'What the first run of each has logged, means of three lines'
            + (f'; without a log: {without}' if without else ''),
        )


def _write_pictures(
    report: HtmlReport,
    table: AblationTable,
    runs: Runs,
    images: Sequence[np.ndarray],
    device: Any,
) -> None:
    """What the first run of each cell sees, where its checkpoint still is there."""
    vits = {
        cell.label: build_vit(run.source, seed=run.seed or 0).to(device)
        for cell, run in _first_runs(table, runs).items()
        if run.train.has_left()
    }
    if vits:
        report.figure(
            pca_figure(vits, images),
            'Tokens of all images by their three principal components: what has one color is '
            'similar to the network',
        )
    scaled = {label: vit for label, vit in vits.items() if vit.self_scale is not None}
    if scaled:
        report.figure(
            modes_figure(scaled, images[:MODES_SHOWN]),
            'The tokens that the mode of a query (green) is made of, for the networks that were '
            'trained with mean-shift, at the scale of each; in the corner, their effective number. '
            f'The queries lie on regions that are unlike each other to "{next(iter(scaled))}"',
        )


def _first_runs(table: AblationTable, runs: Runs) -> dict[AblationCell, Run]:
    """The first finished run of each cell that has one."""
    finished = {cell: [run for run in runs[cell] if run.numbers()] for cell in table.cells}
    return {cell: found[0] for cell, found in finished.items() if found}


def _write_signs(report: HtmlReport, runs: Runs) -> None:
    if lines := correlations(runs):
        report.heading('What signs of training foretell')
        report.paragraph(
            "Spearman's rank correlation over the trained networks (their number), of signs that "
            'need no labels, at the end of training, with what was measured.'
        )
        report.table(*(lines[0], lines[1:]))


def _write_making(report: HtmlReport, runs: Runs, tasks: Mapping[str, Any]) -> None:
    steps = trainings(runs).values()
    done = [step for step in steps if step.is_done()]
    report.paragraph(f'{counted(len(done), "network")} of {len(steps)} trained by these commands.')
    report.commands([step.text for step in steps], 'Trainings')
    report.commands([json.dumps(dict(tasks), indent=2)], 'Settings of the evaluation')
