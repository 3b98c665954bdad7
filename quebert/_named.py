"""
Functions that options and configuration files name.
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

from quebert._text import one_line
from quebert.errors import ConfigError

__all__ = ["find_function", "find_module", "is_module", "is_name", "look_here"]

# Characters of the text of an error.
_ERROR_LENGTH = 1_000


def find_function(dotted: str, option: str) -> Callable[..., Any]:
    """
    The function that C{dotted} names, C{module.function}; the module may be in
    a package, the function in a class.  It is looked for in the current
    directory first, which twistd itself leaves out.

    @param option: where the name is from, such as C{--function}.
    @raise ConfigError: there is none; one sentence tells why.
    """
    given = f"{option}={dotted}"
    names = _names(dotted)
    if len(names) < 2:
        raise ConfigError(
            f"{given} must be module.function, such as {option}=executor.execute"
        )
    look_here()
    module, attributes = _imported(names, given)
    try:
        found: Any = reduce(getattr, attributes, module)
    except AttributeError:
        missing = ".".join(attributes)
        raise ConfigError(f"{given}: {module.__name__} has no {missing}") from None
    if not callable(found):
        raise ConfigError(f"{given} must be a function, not {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def find_module(dotted: str, option: str) -> ModuleType:
    """
    The module that C{dotted} names.

    @raise ConfigError: there is none, or it cannot be imported.
    """
    look_here()
    given = f"{option}={dotted}"
    module = _module(dotted, given)
    if module is None:
        raise _no_module(dotted, given)
    return module


def is_module(dotted: str, option: str) -> bool:
    """
    Whether C{dotted} names a module, which is imported then.

    @raise ConfigError: it cannot be imported.
    """
    look_here()
    return _module(dotted, f"{option}={dotted}") is not None


def is_name(dotted: str) -> bool:
    """
    Whether a text can be the name of a function or a module.
    """
    return bool(_names(dotted))


def look_here() -> None:
    """
    Look for modules in the current directory, too.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _names(dotted: str) -> list[str]:
    """
    The parts of a name; none if it is no name.
    """
    names = dotted.split(".")
    return names if all(name.isidentifier() for name in names) else []


def _imported(names: list[str], given: str) -> tuple[Any, list[str]]:
    """
    The longest beginning of C{names} that is a module, and the names after it.
    """
    for end in range(len(names) - 1, 0, -1):
        module = _module(".".join(names[:end]), given)
        if module is not None:
            return module, names[end:]
    raise _no_module(names[0], given)


def _no_module(name: str, given: str) -> ConfigError:
    return ConfigError(
        f"{given}: there is no module {name}, neither installed nor in {os.getcwd()}"
    )


def _module(name: str, given: str) -> ModuleType | None:
    try:
        return import_module(name)
    except (Exception, SystemExit) as e:
        missing = e.name if isinstance(e, ModuleNotFoundError) else None
        # Itself, or a package it is in; anything else is missed by its code.
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            return None
        raise ConfigError(f"{given}: {name} cannot be imported: {_told(e)}") from e


def _told(error: BaseException) -> str:
    """
    The error in one line, with its place in the code.
    """
    told = f"{type(error).__name__}: {one_line(str(error), _ERROR_LENGTH)}"
    if isinstance(error, SyntaxError):  # it tells its place by itself
        return told
    place = extract_tb(error.__traceback__)[-1]
    return f"{told} ({place.filename}, line {place.lineno})"
