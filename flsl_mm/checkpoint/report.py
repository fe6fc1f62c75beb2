"""Load reports: what became of every key of a checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


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
        missing: Optional parameter that the file lacks to what happens with it.
    """

    source: str
    layout: str
    network: str
    note: str = ''
    num_heads: int | None = None
    used: dict[str, str] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        heads = 'not recorded' if self.num_heads is None else self.num_heads
        lines = [
            f'{self.source}: layout {self.layout}, network {self.network}'
            + (f' ({self.note})' if self.note else '')
            + f', attention heads {heads}'
        ]
        marks = dict(used='->', resized=':', ignored=':', missing=':')
        lines.append(', '.join(f'{title} {len(getattr(self, title))}' for title in marks))
        for title, mark in marks.items():
            entries = getattr(self, title)
            lines += [f'{title}:'] if entries else []
            lines += [f'  {key} {mark} {text}' for key, text in fold_blocks(entries)]
        return '\n'.join(lines)


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
