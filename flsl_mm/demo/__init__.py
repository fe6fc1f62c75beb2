"""What ``tools/demo.py`` does: its commands, how they run, and the report."""

from .plan import Plan, Sizes
from .report import make_report
from .step import Step
from .step_runner import StepFailed, StepRunner

__all__ = ['Plan', 'Sizes', 'Step', 'StepFailed', 'StepRunner', 'make_report']
