"""FLSL: feature-level self-supervised learning (NeurIPS 2023) inside OpenMMLab.

Importing this package registers its models, transforms, hooks and optimizers, so that configs can
name them (``custom_imports = dict(imports=['flsl_mm'])``).
"""

from .dependencies import check_dependencies
from .version import __version__

check_dependencies()

# After the check, so that a missing package is named by it rather than by a traceback.

__all__ = ['__version__', 'checkpoint', 'datasets', 'engine', 'evaluation', 'models']
