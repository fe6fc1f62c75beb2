"""Runners, and what they make of a config."""

from .flsl_runner import FLSLRunner, latest_checkpoint

__all__ = ['FLSLRunner', 'latest_checkpoint']
