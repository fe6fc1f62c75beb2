"""Training: loop, runner, hooks, schedules, optimizer; importing this registers them."""

from . import hooks, loops, optimizers, runners, schedulers
from .hooks import *  # noqa: F403
from .loops import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .runners import *  # noqa: F403
from .schedulers import *  # noqa: F403

__all__ = []
for _package in (hooks, loops, optimizers, runners, schedulers):
    __all__ += _package.__all__
