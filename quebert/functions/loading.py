"""
Functions that options name: C{--function} and C{--subconfig} of C{twistd quexecutor}.

With C{--subconfig} they are called as those of the first quebert were, in 2009:
C{function(body, uri, host, conf)}.  Its announcement says nothing of them.  What is
known of it is that a subprocess got these as strings.  Here C{body} is the task as it
came, in bytes; C{uri} the path and the query of the request; C{host} its header
C{Host}; and C{conf} what C{--subconfig} said, all in C{str}.  What such a function
returns or raises is answered as that of any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from quebert._named import find_function, find_module, is_module, is_name
from quebert._text import printable
from quebert.errors import ConfigError
from quebert.functions._registry import (
    Function,
    Functions,
    all_functions,
    function_for,
)
from quebert.task import Task

__all__ = ["for_request", "load_functions", "parse_name"]

_OPTION = "--function"
_ORIGINAL = ("body", "uri", "host", "conf")


def parse_name(given: str) -> tuple[str | None, str]:
    """
    What C{--function} says, C{module.function} or C{/path=module.function}: the path,
    C{None} for all others, and the name.

    @raise ConfigError: it is neither.
    """
    path, name = None, given
    if given.startswith("/"):
        path, _, name = given.partition("=")
    if not is_name(name) or (path is not None and ("?" in path or "#" in path)):
        raise ConfigError(
            f"{_OPTION}={printable(given)} must be module.function, such as"
            f" {_OPTION}=executor.execute, or /path=module.function, or a module with"
            " functions that have @task"
        )
    return path, name


def load_functions(
    names: Iterable[tuple[str | None, str]], subconfig: str | None = None
) -> Functions:
    """
    Import the functions that options name.

    @param names: as L{parse_name} gives them.
    @raise ConfigError: one is not there, or cannot be called; one sentence tells why.
    """
    found = Functions()
    for path, name in names:
        function = _named(name)
        if subconfig is not None and not isinstance(function, Functions):
            _check_original(name, function)
        found.add(function, path)
    return found


def _named(name: str) -> Function:
    if "." not in name:
        find_module(name, _OPTION)
    else:
        try:
            return find_function(name, _OPTION)
        except ConfigError as e:
            # A module of a package may have the form of a function.
            if e.__cause__ is not None or not is_module(name, _OPTION):
                raise
    if not len(all_functions):
        raise ConfigError(
            f"{_OPTION}={name}: the module {name} has no function with @task; name one:"
            f" {_OPTION}={name}.function"
        )
    return all_functions


def _check_original(name: str, function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(*_ORIGINAL)
    except TypeError:
        raise ConfigError(
            f"{_OPTION}={name}: with --subconfig a function must take"
            f" ({', '.join(_ORIGINAL)})"
        ) from None
    except ValueError:  # it tells nothing of what it takes
        pass


def for_request(
    functions: Function, subconfig: str | None, body: bytes, uri: str, host: str
) -> Function:
    """
    What is called with the task of a request.

    @param subconfig: C{None} for functions that take a task.
    """
    if subconfig is None:
        return functions

    def original(task: Task) -> Any:
        function: Callable[..., Any] = function_for(functions, task)
        return function(body, uri, host, subconfig)

    return original
