"""
Functions that options of twistd's plugins name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.usage import UsageError

from quebert._named import find_function
from quebert.errors import ConfigError

__all__ = ["find_hook", "load"]


def load(dotted: str, option: str) -> Callable[..., Any]:
    """
    The function that an option names; see L{find_function}.

    @raise UsageError: there is none; one sentence tells why.
    """
    try:
        return find_function(dotted, option)
    except ConfigError as e:
        raise UsageError(str(e)) from e.__cause__


def find_hook(name: str) -> Any:
    """
    The hook that a configuration file names, C{module.function}.

    @raise ConfigError: there is none.
    """
    return find_function(name, "hook")
