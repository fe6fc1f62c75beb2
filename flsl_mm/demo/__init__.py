"""What ``tools/demo.py`` does: its commands and the report."""

from .plan import Plan, Sizes
from .report import make_report

__all__ = ['Plan', 'Sizes', 'make_report']
