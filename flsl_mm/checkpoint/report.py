"""Load reports: what became of every key of a checkpoint."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmengine.logging import MMLogger, print_log

MARKS = dict(used='->', resized=':', ignored=':', new=':')  # between a key and what became of it


@dataclass
class LoadReport:
    """What became of every key of a checkpoint; ``str(report)`` is a readable text.

    Its first two lines are a summary: the file, and the numbers of keys.

    Attributes:
        source: Path of the file, or ``'state dict'``.
        layout: Name of the recognized layout.
        network: Network taken: ``'teacher'``, ``'student'``, ``'both'`` or ``'backbone'``.
        note: Why that network.
        num_heads: Attention heads that the file records, None where it does not.
        used: Key of the file to the parameter it went to.
        resized: Parameter to what was done, with both shapes.
        ignored: Key of the file to the reason.
        new: Parameter of a layer that the file does not have, such as a detector's pyramid, to how
            it starts.
    """

    source: str
    layout: str
    network: str
    note: str = ''
    num_heads: int | None = None
    used: dict[str, str] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first two lines: file and network, and the numbers of keys."""
        heads = 'not recorded' if self.num_heads is None else self.num_heads
        source = f'{self.source}: layout {self.layout}, network {self.network}'
        note = f' ({self.note})' if self.note else ''
        counts = ', '.join(f'{title} {len(getattr(self, title))}' for title in MARKS)
        starts = f' ({"; ".join(dict.fromkeys(self.new.values()))})' if self.new else ''
        return f'{source}{note}, attention heads {heads}\n{counts}{starts}'

    def __str__(self) -> str:
        lines = [self.summary]
        for title, mark in MARKS.items():
            entries = getattr(self, title)
            lines += [f'{title}:'] if entries else []
            lines += [f'  {key} {mark} {text}' for key, text in fold_blocks(entries)]
        return '\n'.join(lines)


def log_report(report: LoadReport) -> None:
    """Log a report: whole where there is a log file, else its summary and how to see the rest."""
    handlers = MMLogger.get_current_instance().handlers
    if any(isinstance(handler, logging.FileHandler) for handler in handlers):
        text = str(report)
    else:
        text = f'{report.summary}\n(each key: print `load_report` of what `build_vit` returns)'
    print_log(f'Loaded pretrained weights from {text}', logger='current')


def fold_blocks(entries: Mapping[str, str]) -> list[tuple[str, str]]:
    """Write alike entries of all transformer blocks as one: ``blocks.{0-11}.norm1.weight``."""
    groups: dict[tuple[str, str], list[int]] = {}
    for key, text in entries.items():
        found = re.search(r'(?:blocks|layers|layer)\.(\d+)\.', key)
        pair = (_hide_number(key), _hide_number(text)) if found else (key, text)
        groups.setdefault(pair, []).extend([int(found[1])] if found else [])
    folded = []
    for pair, numbers in groups.items():
        span = _span(numbers)
        folded.append(tuple(part.replace('{}', span) for part in pair))
    return folded


def _hide_number(name: str) -> str:
    return re.sub(r'((?:blocks|layers|layer)\.)\d+(?=\.)', r'\1{}', name, count=1)


def _span(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return ''.join(map(str, numbers))
    first, last = min(numbers), max(numbers)
    if sorted(numbers) == list(range(first, last + 1)):
        return f'{{{first}-{last}}}'
    return '{' + ','.join(map(str, sorted(numbers))) + '}'
