"""The one error of this package."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message is one line: what, where, what to do."""
