"""Every ViT checkpoint in and out, strictly and safely."""

from ..utils.errors import CheckpointError
from .converting import convert_checkpoint, publish_model
from .files import read_checkpoint
from .loading import load_model, load_pretrained
from .pretrained_vit import PretrainedViT
from .report import LoadReport

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
