"""Every ViT checkpoint in and out, strictly and safely."""

from .checkpoint_error import CheckpointError
from .converting import convert_checkpoint
from .load_report import LoadReport
from .loading import load_pretrained
from .pretrained_vit import PretrainedViT
from .publishing import publish_model
from .reading import read_checkpoint
from .whole_model import load_model

__all__ = [
    'CheckpointError',
    'LoadReport',
    'PretrainedViT',
    'convert_checkpoint',
    'load_model',
    'load_pretrained',
    'publish_model',
    'read_checkpoint',
]
