"""Local files that are written whole or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..whole_file import whole_file


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend, with atomic writes (:func:`whole_file`)."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        with whole_file(filepath) as draft:
            draft.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        self.put(obj.encode(encoding), filepath)


register_backend('atomic', AtomicLocalBackend, force=True)
