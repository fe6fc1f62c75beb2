"""Training: loop, runner, hooks, schedules, optimizer; importing this registers them."""

from .hooks import *  # noqa: F403
from .loops import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .runners import *  # noqa: F403
from .runners.run_config import use_pretrained  # noqa: F401
from .schedulers import *  # noqa: F403
