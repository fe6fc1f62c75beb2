"""FLSL: feature-level self-supervised learning (NeurIPS 2023) inside OpenMMLab.

Importing this package registers its models, transforms, hooks and optimizers, so that configs can
name them (``custom_imports = dict(imports=['flsl_mm'])``).
"""

import sys

from .dependencies import check_dependencies
from .mmcv_operators import use_torchvision_operators
from .version import __version__

__all__ = ['__version__', 'checkpoint', 'datasets', 'engine', 'evaluation', 'models', 'register']

check_dependencies()


def register() -> None:
    """Import all that registers itself; torch and the OpenMMLab packages take seconds to load."""
    use_torchvision_operators()
    from . import checkpoint, datasets, engine, evaluation, models  # noqa: F401

    for package in (datasets, evaluation):  # which import a module when its names are looked up
        for name in package.__all__:
            getattr(package, name)


# A tool reads its arguments first (flsl_mm.apis.command_line.start_tool).
if not getattr(sys.modules.get('__main__'), '__tool__', False):
    register()
