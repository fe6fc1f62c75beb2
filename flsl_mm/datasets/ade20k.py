"""The old name of :mod:`flsl_mm.segmentation`, for configs dumped by earlier runs."""

from ..segmentation import *  # noqa: F403
