"""The error that tells a user about a setting."""

from .data_error import DataError


class ConfigError(DataError):
    """A setting is out of range, or does not fit another; the message says which.

    The tools show the message alone, as of every :class:`DataError`.
    """
