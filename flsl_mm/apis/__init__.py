"""What the tools call: command lines, steps, runs of frozen tasks, predictions, features as files.

A module is imported when its names are looked up: command lines are read before torch is loaded.
"""

from ..utils.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__, {'.features': ['Features', 'embed_images', 'open_features']}
)
