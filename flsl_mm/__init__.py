"""FLSL: feature-level self-supervised learning (NeurIPS 2023) inside OpenMMLab.

Importing this package registers its models, transforms, hooks and optimizers, so that configs can
name them (``custom_imports = dict(imports=['flsl_mm'])``).
"""

import sys
from pathlib import Path

from .dependencies import check_dependencies
from .mmcv_operators import use_torchvision_operators
from .version import __version__

__all__ = [
    '__version__',
    'checkpoint',
    'datasets',
    'engine',
    'evaluation',
    'home',
    'models',
    'register',
]

check_dependencies()


def register() -> None:
    """Import all that registers itself; torch and the OpenMMLab packages take seconds to load."""
    use_torchvision_operators()
    from . import checkpoint, datasets, engine, evaluation, models  # noqa: F401

    for package in (datasets, evaluation):  # which import a module when its names are looked up
        for name in package.__all__:
            getattr(package, name)


def home() -> str:
    """The folder that holds ``configs`` and ``tools``: of an installed package, or the checkout.

    A config of another project inherits from one of ours by
    ``_base_ = __import__('flsl_mm').home() + '/configs/pretrain/flsl_small.py'``. (mmengine's
    ``'package::config'`` knows OpenMMLab's own packages only.)

    Raises:
        FileNotFoundError: Neither is there, as in a copy of the package's folder alone.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / '.mim', package.parent):
        if (folder / 'configs').is_dir() and (folder / 'tools').is_dir():
            return str(folder)
    raise FileNotFoundError(f'no configs and tools in {package}/.mim or beside {package}')


# A tool reads its arguments first (flsl_mm.apis.command_line.start_tool).
if not getattr(sys.modules.get('__main__'), '__tool__', False):
    register()
