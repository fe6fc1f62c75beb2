"""Models; importing this registers them."""

from .backbones import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .heads import *  # noqa: F403
from .mean_shift import mean_shift
from .necks import *  # noqa: F403
from .selfsup import *  # noqa: F403
