"""``--cfg-options`` and their like on a command line."""

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction


class OptionsAction(DictAction):
    """mmengine's ``KEY=VALUE`` options; texts may have blanks, and anything else in quotes.

    As in mmengine ``3``, ``0.1``, ``true`` and ``None`` are what they look like, and ``a,b`` and
    ``[a,b]`` are lists, without their blanks. Beyond that ``"007"`` and ``"a,b"`` with the quotes
    (inside those of the shell) are texts, and Python literals with quotes or braces are read as
    Python does.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add to the dict of the namespace; the command ends where something cannot be read."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not equals:
                parser.error(f'{option_string} takes KEY=VALUE, got {text!r}')
            try:
                options[key] = read_value(value)
            except (ValueError, AssertionError, RecursionError):
                parser.error(
                    f'{option_string}: cannot read {text!r}; a text with commas or brackets needs '
                    'quotes, a dict is Python: {"key": True}'
                )
        setattr(namespace, self.dest, options)


def read_value(text: str) -> Any:
    """The value that a text stands for, see :class:`OptionsAction`.

    Raises:
        ValueError: A dict is not written as in Python.
        AssertionError: Brackets do not match.
        RecursionError: Nor do these.
    """
    bracket = text[:1] in tuple('[({')
    if (bracket or text[:1] in ('"', "'")) and any(mark in text for mark in '\'"{'):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError) as error:
            if bracket and '{' in text:
                raise ValueError(f'no dict of Python: {text}') from error
        else:
            return value if bracket or isinstance(value, str) else list(value)
    if text[:1] in ('[', '(') or ',' in text:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text)
