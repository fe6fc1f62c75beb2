"""Configs with keys that are Python keywords, such as ``global``."""

import copy
import keyword
from typing import Any

from mmengine.config import Config

MARK = '@keyword@'  # makes a key no identifier, so mmengine quotes it


class KeywordSafeConfig(Config):
    """mmengine's Config, without its failure on dict keys that are Python keywords.

    mmengine writes ``{'global': 2}`` as ``dict(global=2)``, which is no Python, and so could
    neither log nor save a config that has ``window_sizes``.
    """

    @classmethod
    def wrap(cls, cfg: Config) -> 'KeywordSafeConfig':
        """The same config with a safe :attr:`pretty_text`."""
        wrapped = copy.deepcopy(cfg)
        object.__setattr__(wrapped, '__class__', cls)
        return wrapped

    @property
    def pretty_text(self) -> str:
        """The config as Python source."""
        try:
            return Config(_mark_keywords(self.to_dict())).pretty_text.replace(MARK, '')
        except SyntaxError as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # mmengine takes it for an error
                raise error.__context__ from None
            raise


def _mark_keywords(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key + MARK if keyword.iskeyword(str(key)) else key: _mark_keywords(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_mark_keywords(item) for item in value)
    return value
