"""The error that ends a run which cannot go on."""


class TrainingStopped(RuntimeError):
    """Losses or weights are not finite; the message names the last good checkpoint.

    The tools show the message alone, without a traceback.
    """
