"""FLSL: feature-level self-supervised learning (NeurIPS 2023) inside OpenMMLab.

Importing this package registers its models, transforms, hooks and optimizers, so that configs can
name them (``custom_imports = dict(imports=['flsl_mm'])``).
"""

from .dependencies import check_dependencies
from .mmcv_operators import use_torchvision_operators
from .version import __version__

check_dependencies()
use_torchvision_operators()

# After the check, so that a missing package is named by it rather than by a traceback.
from . import checkpoint, datasets, engine, evaluation, models  # noqa: E402

__all__ = ['__version__', 'checkpoint', 'datasets', 'engine', 'evaluation', 'models']
