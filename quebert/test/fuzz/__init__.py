"""
Fuzzing: properties that hold for any bytes.

Each module in L{TARGETS} has a function C{check(data)} that raises an error if a
property does not hold for C{data}.  C{make fuzz} looks for such bytes for some minutes;
C{make test} tries the bytes in the folder C{corpus}, a folder for each target.  Bytes
that were a finding belong there, once it is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import process_time

from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

__all__ = ["CORPUS", "LONGEST", "TARGETS", "corpus", "target"]

#: The modules that have a function C{check}.
TARGETS = (
    *("answer", "broker", "channel", "head", "request", "task", "text", "toml", "url"),
    *("web", "wire"),
)
CORPUS = Path(__file__).parent / "corpus"
#: Seconds of CPU time that no input of a few KB may take; common ones take 1 ms.
LONGEST = 5.0

Check = Callable[[bytes], None]


def target(name: str) -> Check:
    """
    The function of a target.  It raises an error, too, if a failure is logged that no
    log may have, or if it takes very long.
    """
    check: Check = import_module(f"{__name__}.{name}").check

    def checked(data: bytes) -> None:
        began = process_time()
        with _no_failures():
            check(data)
        took = process_time() - began
        assert took < LONGEST, f"it took {took:.1f} s"

    return checked


def corpus(name: str) -> list[Path]:
    """
    The inputs of a target that are kept.
    """
    return sorted((CORPUS / name).iterdir())


@contextmanager
def _no_failures() -> Iterator[None]:
    """
    A block in which nothing is logged as an error.
    """
    failures: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.error or "log_failure" in event:
            failure = event.get("log_failure")
            told = "" if failure is None else failure.getTraceback()
            failures.append(f"{formatEvent(event)}\n{told}")

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert not failures, "\n".join(failures)
