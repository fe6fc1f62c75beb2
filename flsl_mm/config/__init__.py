"""What a config says: what is made of it, and what is refused, before anything is built."""

from .complete import complete
from .pretrained import use_pretrained

__all__ = ['complete', 'use_pretrained']
