"""Numbers of several methods over several seeds, and what can be said about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..utils.tables import mean_and_spread, text_table


@dataclass(frozen=True)
class Comparison:
    """One measure of every method.

    Attributes:
        title: What is measured, such as ``'k-NN top-1'``.
        values: By method, one number for each seed; larger is better.
    """

    title: str
    values: Mapping[str, Sequence[float]]

    def mean(self, method: str) -> float:
        """Mean over the seeds."""
        return fmean(self.values[method])

    def margins(self, method: str, other: str) -> list[float]:
        """How far ``method`` is ahead of ``other``, for each seed that both have."""
        return [a - b for a, b in zip(self.values[method], self.values[other])]

    def is_ahead(self, method: str, other: str) -> bool:
        """Whether the worst seed of ``method`` beats the best of ``other``."""
        return min(self.values[method]) > max(self.values[other])


def verdict(comparisons: Sequence[Comparison], method: str, other: str) -> str:
    """One or two sentences on where ``method`` is ahead of ``other``, and where it is not.

    Ahead is a measure whose worst seed of ``method`` is better than the best of ``other``; behind
    is the reverse; in between the seeds overlap.
    """
    groups: dict[str, list[str]] = dict(ahead=[], behind=[], overlap=[])
    for comparison in comparisons:
        if comparison.is_ahead(method, other):
            group = 'ahead'
        else:
            group = 'behind' if comparison.is_ahead(other, method) else 'overlap'
        margin = comparison.mean(method) - comparison.mean(other)
        groups[group].append(f'{comparison.title} ({margin:+.1f})')
    parts = [
        f'{text} {", ".join(groups[group])}'
        for group, text in (
            ('ahead', f'ahead of {other} with every seed on'),
            ('behind', f'behind {other} with every seed on'),
            ('overlap', 'not apart from it, as the seeds overlap, on'),
        )
        if groups[group]
    ]
    return f'{method} is {"; ".join(parts)}.'


def means_table(comparisons: Sequence[Comparison], methods: Sequence[str]) -> str:
    """Mean and spread of every measure (rows) and method (columns), as plain text."""
    rows = [['', *methods]]
    rows += [
        [c.title, *(mean_and_spread(c.values[m]) if m in c.values else '-' for m in methods)]
        for c in comparisons
    ]
    return text_table(rows)
