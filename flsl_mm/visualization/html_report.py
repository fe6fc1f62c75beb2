"""A page without anything outside it: text, tables, pictures as data."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from matplotlib.figure import Figure

from ..utils.tables import mean_and_spread

DPI = 130
STYLE = """
:root { color-scheme: light; }
body { font: 17px/1.6 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif;
  color: #1c2430; background: #fff; max-width: 960px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 32px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 22px; margin: 48px 0 8px; padding-top: 16px; border-top: 1px solid #dfe3e8; }
p { margin: 8px 0 14px; }
p.lead { font-size: 19px; }
figure { margin: 16px 0; }
figure img { max-width: 100%; max-height: 900px; height: auto; display: block; margin: 0 auto; }
figcaption { color: #566070; font-size: 15px; line-height: 1.45; margin-top: 8px; }
table { border-collapse: collapse; margin: 12px 0; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; border-bottom: 1px solid #e6e9ee; text-align: right;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1c2430; font-weight: 600; }
td small { color: #6b7585; display: block; font-size: 13px; }
td.best { font-weight: 700; background: #eef6ee; }
pre { background: #f4f6f8; border-radius: 6px; padding: 10px 14px; font-size: 13px;
  line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0 12px; }
code { font-size: 0.92em; }
details { margin: 6px 0; }
summary { cursor: pointer; color: #3b5b8c; }
"""


class HtmlReport:
    """Collects the parts of a page in order.

    Args:
        title: Of the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts = [f'<h1>{escape(title)}</h1>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f'<h2>{escape(text)}</h2>')

    def paragraph(self, text: str, lead: bool = False) -> None:
        """Add a paragraph; ``lead`` sets it larger."""
        kind = ' class="lead"' if lead else ''
        self._parts.append(f'<p{kind}>{escape(text)}</p>')

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a matplotlib figure as a picture inside the page."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format='png', dpi=DPI)
        data = base64.b64encode(buffer.getvalue()).decode()
        self._parts.append(
            f'<figure><img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{data}">'
            f'<figcaption>{escape(caption)}</figcaption></figure>'
        )

    def table(self, head: Sequence[str], rows: Sequence[Sequence['str | Cell']]) -> None:
        """Add a table; the first column is to the left, numbers to the right."""
        lines = [f'<th>{escape(cell)}</th>' for cell in head]
        body = [''.join(_as_cell(cell).html() for cell in row) for row in rows]
        self._parts.append(
            f'<table><thead><tr>{"".join(lines)}</tr></thead><tbody>'
            + ''.join(f'<tr>{row}</tr>' for row in body)
            + '</tbody></table>'
        )

    def commands(self, texts: Sequence[str], summary: str = '') -> None:
        """Add command lines; with a summary they are folded away under it."""
        block = f'<pre>{escape(chr(10).join(texts))}</pre>'
        if summary:
            block = f'<details><summary>{escape(summary)}</summary>{block}</details>'
        self._parts.append(block)

    def text(self) -> str:
        """The whole page."""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{escape(self.title)}</title><style>{STYLE}</style></head><body>\n'
            + '\n'.join(self._parts)
            + '\n</body></html>\n'
        )


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: What it says.
        note: Small, below it.
        best: Whether to set it off as the best of its row.
    """

    text: str
    note: str = ''
    best: bool = False

    @classmethod
    def of_seeds(cls, values: Sequence[float], best: bool) -> 'Cell':
        """Mean and spread of several seeds, with each of them below."""
        seeds = [f'{value:.1f}' for value in values]
        return cls(mean_and_spread(values), ', '.join(seeds) if len(seeds) > 1 else '', best)

    def html(self) -> str:
        """The cell's ``td`` element."""
        note = f'<small>{escape(self.note)}</small>' if self.note else ''
        kind = ' class="best"' if self.best else ''
        return f'<td{kind}>{escape(self.text)}{note}</td>'


def _as_cell(value: 'str | Cell') -> Cell:
    return value if isinstance(value, Cell) else Cell(value)
