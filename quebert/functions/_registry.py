"""
L{Functions}: which function does which tasks.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

from quebert._text import one_line
from quebert.errors import ConfigError
from quebert.functions._answer import AnsweredError, ExecutorAnswer
from quebert.task import Task

__all__ = ["Function", "Functions", "all_functions", "function_for", "task"]

#: Takes a task; returns its result, or is a coroutine, or returns a generator of pieces
#: of text or bytes; with Twisted, it may return a Deferred.
Function = Callable[[Any], Any]
F = TypeVar("F", bound=Function)

# Characters of a path, and paths, that are told.
_SHOWN, _MOST_TOLD = 100, 20


class Functions:
    """
    Functions by the paths of the requests that bring tasks.  It can be called itself:
    it calls the function for a task.
    """

    def __init__(self) -> None:
        self._functions: dict[str | None, Function] = {}

    def __len__(self) -> int:
        return len(self._functions)

    def task(self, path: str | None = None) -> Callable[[F], F]:
        """
        A decorator for a function that does the tasks of a path.

        @param path: such as C{"/thumbnail"}, relative to where the executor is mounted;
            C{None} for whatever other functions do not do.
        @raise ConfigError: there is no such path, or it has another function.
        """
        if path is not None and not isinstance(path, str):
            raise ConfigError('the decorator needs parentheses: @task("/path")')

        def add(function: F) -> F:
            self.add(function, path)
            return function

        return add

    def add(self, function: Function, path: str | None = None) -> None:
        """
        The same without a decorator.
        """
        key = None if path is None else _key(path)
        known = self._functions.get(key)
        if known is not None and _origin(known) != _origin(function):
            shown = "all other paths" if path is None else path
            raise ConfigError(f"{shown} has a function already: {_origin(known)[1]}")
        self._functions[key] = function

    @contextmanager
    def reloading(self, modules: Container[str]) -> Iterator[None]:
        """
        Forget the functions of some modules while these are loaded again; if that
        fails, all is as it was before.

        @param modules: their names.
        """
        before = self._functions
        self._functions = {
            path: function
            for path, function in before.items()
            if _origin(function)[0] not in modules
        }
        try:
            yield
        except BaseException:
            self._functions = before
            raise

    @property
    def paths(self) -> list[str]:
        """
        Those that have a function.
        """
        return sorted(path for path in self._functions if path is not None)

    def find(self, path: str) -> Function:
        """
        The function for a path; a slash at its end makes no difference.

        @raise NoFunction: it has none.
        """
        found = self._functions.get(path.rstrip("/") or "/")
        if found is None:
            found = self._functions.get(None)
        if found is None:
            raise NoFunction(path, self.paths)
        return found

    def __call__(self, task: Task) -> Any:
        """
        What the function for a task returns.

        @raise NoFunction: it has none.
        """
        return function_for(self, task)(task)


class NoFunction(AnsweredError):
    """
    No function does tasks of a path: 404.
    """

    def __init__(self, path: str, paths: list[str]) -> None:
        there = ", ".join(one_line(each, _SHOWN) for each in paths[:_MOST_TOLD])
        more = ", …" if len(paths) > _MOST_TOLD else ""
        sentence = f"no function does tasks at {one_line(path, _SHOWN)}: there is "
        sentence += f"{there or 'none'}{more}"
        super().__init__(ExecutorAnswer.text(HTTPStatus.NOT_FOUND, sentence))


def _key(path: str) -> str:
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ConfigError(f"{path!r:.60} must be a path that begins with /")
    return path.rstrip("/") or "/"


def _origin(function: Function) -> tuple[str, str]:
    """
    Where a function is from: the same after its module was loaded again, or what makes
    an application was called again.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if name is None or name.endswith("<lambda>"):  # there may be several
        return str(id(function)), repr(function)[:_SHOWN]
    return str(module), str(name)


def function_for(function: Function, task: Task) -> Function:
    """
    The function that does a task, once L{Functions} have chosen.

    @raise NoFunction: there is none.
    """
    while isinstance(function, Functions):
        function = function.find(_path(task))
    return function


def _path(task: Task) -> str:
    """
    That of the request; of a task that did not come by one, that of its URL.
    """
    path = getattr(task, "path", None)
    if path:
        return str(path)
    try:
        return urlsplit(str(task.get("url", ""))).path or "/"
    except ValueError:
        return "/"


#: The functions that have the decorator L{task}.
all_functions = Functions()


def task(path: str | None = None) -> Callable[[F], F]:
    """
    A decorator for a function that does the tasks of a path: C{@task("/thumbnail")}.

    @param path: see L{Functions.task}.
    @raise ConfigError: there is no such path, or it has another function.
    """
    return all_functions.task(path)
