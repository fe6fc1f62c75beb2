"""What the runs of a sweep have found: their numbers, their signs, and how those go together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from ..utils.errors import DataError
from ..visualization.training_log import read_training_log
from .ablation_table import AblationCell
from .steps import Step

# Signs that need no label: of the log, and of the frozen network by the ends of their names.
LOGGED_SIGNS = (
    *('loss', 'place_share', 'matching_accuracy', 'attended_tokens', 'prototypes_used'),
    *('entropy_p_bar', 'max_p_t'),
)
FROZEN_SIGNS = ('RankMe', 'place_share')
# What they are compared with, by the ends of the numbers' names; larger is better.
MEASURES = ('J&F-Mean', 'mIoU', 'CorLoc')
TOP1 = ' top1_k'  # measures, too, of whatever number of neighbors
FEWEST = 5  # runs from which a rank correlation is shown


class Run(NamedTuple):
    """A network of one seed.

    Attributes:
        seed: That of training or of random weights; None for that of the config.
        source: What :func:`.build_vit` makes it of, once it is trained.
        train: How it is trained.
        frozen: How it is evaluated.
        before: How the network is trained that it starts from, after that which this one starts
            from, and so on.
    """

    seed: int | None
    source: str
    train: Step
    frozen: Step
    before: tuple[Step, ...] = ()

    @property
    def trainings(self) -> list[Step]:
        """How it is trained; where that is to come, with what is to be trained before."""
        return [*(() if self.train.is_done() else self.before), self.train]

    def numbers(self) -> dict[str, Any]:
        """What its evaluation under these settings gave, by task; empty before that."""
        return self.frozen.read()['result'] if self.frozen.is_done() else {}

    def log(self) -> list[dict]:
        """The rows of its log; none where its checkpoint was brought here without one."""
        try:
            return read_training_log(self.train.folder)
        except DataError:
            return []

    def signs(self) -> dict[str, float]:
        """What its log had to say at the end."""
        last: dict[str, float] = {}
        for row in self.log():
            last.update(row)
        return {name: last[name] for name in LOGGED_SIGNS if name in last}


Runs = Mapping[AblationCell, Sequence[Run]]


def trainings(runs: Runs) -> dict[Path, Step]:
    """All trainings by their marks, each after that which it starts from."""
    return {step.mark: step for found in runs.values() for run in found for step in run.trainings}


def is_measure(name: str) -> bool:
    """Whether a number of the tasks is one that networks are compared by."""
    return name.endswith(MEASURES) or TOP1 in name


def measured(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Every number of the tasks by name, such as ``davis J&F-Mean``, of the finished runs."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for task, numbers in run.numbers().items():
            for name, value in numbers.items():
                if isinstance(value, int | float):
                    found.setdefault(f'{task} {name}', []).append(float(value))
    return found


def correlations(runs: Runs) -> list[list[str]]:
    """Spearman's rank correlation of signs (rows) and measures over the trained networks.

    Returns:
        list: Lines of a table, the first its head, each number with that of its networks; none
        where no sign has :data:`FEWEST` of them.
    """
    # A network that stands in several tables counts once.
    trained = {
        run.frozen.mark: run
        for cell, found in runs.items()
        for run in found
        if not cell.untrained and run.numbers()
    }
    rows = [
        {**run.signs(), **{name: value for name, [value] in measured([run]).items()}}
        for run in trained.values()
    ]
    names = {name: None for row in rows for name in row}
    measures = [name for name in names if is_measure(name)]
    lines = []
    for sign in (name for name in names if name in LOGGED_SIGNS or name.endswith(FROZEN_SIGNS)):
        cells = []
        for measure in measures:
            pairs = [(row[sign], row[measure]) for row in rows if {sign, measure} <= set(row)]
            varied = all(len(set(values)) > 1 for values in zip(*pairs))
            shown = len(pairs) >= FEWEST and varied
            cells.append(f'{spearmanr(*zip(*pairs))[0]:+.2f} ({len(pairs)})' if shown else '-')
        lines.append([sign, *cells])
    told = any(cell != '-' for line in lines for cell in line[1:])
    return [['', *measures], *lines] if told else []
