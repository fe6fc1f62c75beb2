"""Evaluation: pure functions on arrays, and metrics that wrap them for the registries."""

from .functional import *  # noqa: F403
from .metrics import *  # noqa: F403
