"""
Functions whose code is loaded again when its files change: for C{quebert dev}.

All modules of the project are imported anew, in this process: those below the current
directory, and the functions' own.  C{importlib.reload} would leave the names that one
module has imported from another as they were.  Another process would lose the tasks
that run, and take a moment to start.  So the tasks that run end with the old code, and
the next ones have the new.  What a module has started, such as a thread, stays.

If the new code cannot be imported, all old modules stay.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from traceback import extract_tb
from typing import Any

import quebert
from quebert.functions import all_functions
from quebert.functions.loading import load_functions, parse_name
from quebert.task import Task

__all__ = ["LOOK", "FileWatch", "ReloadingFunctions"]

#: Seconds between two looks at the files.
LOOK = 0.5

# What a file is known by; C{None} where there is none, as when an editor replaces it.
Stamp = tuple[int, int] | None


class FileWatch:
    """
    Tells when files have changed, once they do not change any more.
    """

    def __init__(self) -> None:
        self._known: dict[str, Stamp] = {}
        self._last: dict[str, Stamp] = {}

    def changed(self, paths: Iterator[str]) -> list[str]:
        """
        The files that differ from when this was asked last, or from when they were
        first named.
        """
        stamps = {path: _stamp(path) for path in paths}
        for path, stamp in stamps.items():
            if self._known.get(path) is None:
                self._known[path] = stamp
        settled = stamps == self._last
        self._last = stamps
        changed = [p for p, s in stamps.items() if s and s != self._known[p]]
        if not settled:  # somebody may be just writing
            return []
        self._known |= {path: stamps[path] for path in changed}
        return changed


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class ReloadingFunctions:
    """
    The functions that C{--function} names, as they are now.

    @param given: what it says, as for C{twistd quexecutor}: see L{parse_name}.
    @raise ConfigError: one is not there; one sentence tells why.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._names = [parse_name(each) for each in given]
        self._roots = {name.partition(".")[0] for _, name in self._names}
        self._folder = Path.cwd()
        self._ours: dict[tuple[str, str], bool] = {}
        self._failed: set[str] = set()  # files of code that could not be imported
        self._files = FileWatch()
        self._functions = load_functions(self._names)
        self._files.changed(self._paths())

    def __call__(self, task: Task) -> Any:
        """
        Call the one for a task.
        """
        return self._functions(task)

    def look(self) -> bool:
        """
        Look whether a file has changed, and load the functions again then.

        @return: whether they were.
        @raise ConfigError: they cannot be loaded, and those before go on; one sentence
            tells why.
        """
        changed = self._files.changed(self._paths())
        if not changed:
            return False
        for path in changed:  # of two changes in a second, Python notices one
            with suppress(OSError, NotImplementedError):
                os.unlink(cache_from_source(path))
        self._load()
        return True

    def _load(self) -> None:
        old = {name: sys.modules[name] for name, _ in self._modules()}
        for name in old:
            del sys.modules[name]
        importlib.invalidate_caches()
        linecache.checkcache()
        try:
            with all_functions.reloading(old):
                self._functions = load_functions(self._names)
        except BaseException as e:
            self._failed = {path for _, path in self._modules()} | _files_of(e)
            for name, _ in self._modules():
                del sys.modules[name]
            sys.modules.update(old)
            self._files.changed(self._paths())
            raise
        self._failed = set()

    def _paths(self) -> Iterator[str]:
        yield from {path for _, path in self._modules()} | self._failed

    def _modules(self) -> list[tuple[str, str]]:
        """
        The names and the files of the project's modules.
        """
        found = []
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and self._is_ours(name, path):
                found.append((name, path))
        return found

    def _is_ours(self, name: str, path: str) -> bool:
        known = self._ours.get((name, path))
        if known is None:
            known = self._ours[name, path] = self._belongs(name, path)
        return known

    def _belongs(self, name: str, path: str) -> bool:
        root = name.partition(".")[0]
        if root in ("__main__", "__mp_main__", "quebert"):
            return False
        file = Path(path)
        installed = any(file.is_relative_to(each) for each in _INSTALLED)
        installed = installed or not _PACKAGES.isdisjoint(file.parts)
        return root in self._roots or (
            file.is_relative_to(self._folder) and not installed
        )


# Where quebert itself is.
_OWN = os.path.dirname(os.path.abspath(quebert.__file__))
_PACKAGES = {"site-packages", "dist-packages"}
_INSTALLED = {
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
}


def _files_of(error: BaseException | None) -> set[str]:
    """
    The files in which an error came up.
    """
    found: set[str] = set()
    while error is not None:
        found.update(frame.filename for frame in extract_tb(error.__traceback__))
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        error = error.__cause__
    return {each for each in found if os.path.isabs(each) and _OWN not in each}
