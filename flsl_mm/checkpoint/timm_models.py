"""Models that timm makes by their names."""

from types import ModuleType

from torch import nn

from ..utils.errors import CheckpointError
from ..utils.files import first_line


def timm_module(name: str) -> ModuleType:
    """A module of timm's.

    Raises:
        CheckpointError: timm is not installed.
    """
    try:
        import timm.data
        import timm.layers
        import timm.models
    except ImportError as error:
        raise CheckpointError(
            f'needs the package timm, which cannot be imported ({error}): pip install timm'
        ) from error
    return getattr(timm, name)


def create_model(name: str, **options) -> nn.Module:
    """A model of timm's without a classifier, for images of any size.

    Args:
        name: timm's name of it.
        options: Others of ``timm.create_model``, such as ``pretrained``.

    Raises:
        CheckpointError: timm cannot make it, or not download its weights.
    """
    models = timm_module('models')
    try:
        return models.create_model(name, num_classes=0, dynamic_img_size=True, **options)
    except Exception as error:  # of the registry, the hub, the network, or the model's arguments
        raise CheckpointError(f'timm cannot make it ({first_line(error)})') from error
