"""
Python programs for tests, forked from a process that has imported Twisted and quebert.

A new interpreter spends more than half a second of a processor on these imports, and
the tests start hundreds of programs.  A forked program is a process like any other,
with a pid, signals, an environment, and a working directory of its own.  Tests of the
start itself run a new interpreter, as C{test_documents} and C{test_twistd} do.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

__all__ = ["fork"]

_context = get_context("forkserver")
# None of them imports the reactor, whose file descriptors must not be shared.
_context.set_forkserver_preload(
    [
        "quebert.cli._broker",
        "quebert.cli._dead",
        "quebert.cli._dev",
        "quebert.cli._main",
        "quebert.cli._operating",
        "quebert.cli._running",
        "quebert.executor",
        "quebert.history._store",
        "quebert.operations",
        "quebert.service",
        "quebert.test.forking",
        "quebert.web.cluster",
        "twisted.internet.epollreactor",
        "twisted.scripts.twistd",
    ]
)


def fork(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> ForkServerProcess:
    """
    Start a Python program in C{folder}, with nothing on its standard input, and with
    its output in the file C{folder / "output"}.

    @param arguments: of the interpreter: C{-m} or C{-c} and more, or a file and more.
    @param environment: all of it.
    """
    process = _context.Process(
        target=_run, args=(str(folder), list(arguments), dict(environment)), daemon=True
    )
    process.start()
    return process


def _run(folder: str, arguments: list[str], environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _redirect("output")
    searched = environment.get("PYTHONPATH", "").split(os.pathsep)
    first = os.path.dirname(arguments[0])  # of a file
    sys.path[:0] = [first, *filter(None, searched)]
    try:
        _interpret(*arguments)
    finally:  # multiprocessing leaves this out
        atexit._run_exitfuncs()


def _interpret(option: str, *rest: str) -> None:
    if option == "-m":
        sys.argv = [*rest]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [option, *rest]
        runpy.run_path(option, run_name="__main__")


def _redirect(output: str) -> None:
    files = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT)
    for number, file in enumerate((*files, files[1])):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
