"""What every evaluation of frozen features has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from flsl_mm.models import FLSLVisionTransformer


class FrozenTask(ABC):
    """An evaluation of frozen features: built from a config, called with a network.

    Data are looked up when the task is built, so that a wrong path shows before anything runs:
    where they are not there, building raises ``FileNotFoundError``. Results do not depend on the
    number of processes, and torch's global generators are left alone (a ``DataLoader`` draws from
    them unless it is given a ``generator``).

    Attributes:
        name: Short name, unique within a table; prefix of the numbers in logs.
        headline: The key of the result that one would compare networks by; larger is better.
    """

    name: str
    headline: str

    @abstractmethod
    def __call__(self, vit: FLSLVisionTransformer) -> Mapping[str, Any]:
        """Evaluate.

        Args:
            vit: In evaluation mode, on the device to run on.

        Returns:
            Mapping[str, Any]: Numbers by name, ready for JSON; they are the columns of tables and
            the curves of logs. Details, which only JSON files show, are in nested dicts. The same
            in every process of a distributed run.
        """
