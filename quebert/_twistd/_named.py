"""
Functions that options name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from traceback import extract_tb
from types import ModuleType
from typing import Any

from twisted.python.usage import UsageError

from quebert._text import one_line
from quebert.errors import ConfigError

__all__ = ["find_hook", "load"]

# Characters of the text of an error.
_ERROR_LENGTH = 1_000


def load(dotted: str, option: str) -> Callable[..., Any]:
    """
    The function that C{dotted} names, C{module.function}; the module may be in
    a package, the function in a class.  It is looked for in the current
    directory first, which twistd itself leaves out.

    @param option: where the name is from, such as C{--function}.
    @raise UsageError: there is none; one sentence tells why.
    """
    given = f"{option}={dotted}"
    names = dotted.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise UsageError(
            f"{given} must be module.function, such as {option}=executor.execute"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, attributes = _imported(names, given)
    try:
        found: Any = reduce(getattr, attributes, module)
    except AttributeError:
        missing = ".".join(attributes)
        raise UsageError(f"{given}: {module.__name__} has no {missing}") from None
    if not callable(found):
        raise UsageError(f"{given} must be a function, not {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def find_hook(name: str) -> Any:
    """
    The hook that a configuration file names, C{module.function}.

    @raise ConfigError: there is none.
    """
    try:
        return load(name, "hook")
    except UsageError as e:
        raise ConfigError(str(e)) from None


def _imported(names: list[str], given: str) -> tuple[Any, list[str]]:
    """
    The longest beginning of C{names} that is a module, and the names after it.
    """
    for end in range(len(names) - 1, 0, -1):
        module = _module(".".join(names[:end]), given)
        if module is not None:
            return module, names[end:]
    raise UsageError(
        f"{given}: there is no module {names[0]}, neither installed nor in"
        f" {os.getcwd()}"
    )


def _module(name: str, given: str) -> ModuleType | None:
    try:
        return import_module(name)
    except (Exception, SystemExit) as e:
        missing = e.name if isinstance(e, ModuleNotFoundError) else None
        # Itself, or a package it is in; anything else is missed by its code.
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            return None
        raise UsageError(f"{given}: {name} cannot be imported: {_told(e)}") from e


def _told(error: BaseException) -> str:
    """
    The error in one line, with its place in the code.
    """
    told = f"{type(error).__name__}: {one_line(str(error), _ERROR_LENGTH)}"
    if isinstance(error, SyntaxError):  # it tells its place by itself
        return told
    place = extract_tb(error.__traceback__)[-1]
    return f"{told} ({place.filename}, line {place.lineno})"
