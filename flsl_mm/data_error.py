"""The error that tells a user about data."""


class DataError(ValueError):
    """Data on disk are not what they should be; the message says where, and what to do.

    The tools show the message alone, without a traceback.
    """
