"""Numbers in JSON files."""

import json
import math
import os
from typing import Any

from ..whole_file import whole_file


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file whole or not at all; folders are made, NaN and infinity become null.

    Args:
        path: The file.
        content: Of dicts, lists, strings and numbers.
    """
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + '\n'
    with whole_file(path) as draft:
        draft.write_text(text, encoding='utf-8')


def _finite(value: Any) -> Any:
    """The same with null, which JSON has, in place of nan and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
