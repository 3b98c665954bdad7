"""
What the C{quebert} commands share: the reactor's run, its log, and its end.
Knows nothing of what runs.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from traceback import extract_tb
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure

from quebert import _text
from quebert._log import make_printable
from quebert.clock import use_monotonic_clock
from quebert.errors import QuebertError

__all__ = ["OutputLost", "log_problems", "one_line", "run", "told_to_end"]

T = TypeVar("T")

# Seconds in which a command that is interrupted may end politely.
_PATIENCE = 3.0
# The signals that end a command.
_ENDING = (signal.SIGINT, signal.SIGTERM)
#: Characters of a line.
_LINE_LIMIT = 1_000


class OutputLost(Exception):
    """
    Standard output takes nothing more: the disk is full, or its reader has gone.

    @ivar error: what happened.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.error = error


def run(main: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
    """
    Run C{main(reactor)} on the global reactor to its end, and give its result.

    @raise QuebertError: C{main} did.
    @raise OutputLost: C{main} did.
    @raise KeyboardInterrupt: SIGINT or SIGTERM came, which C{main} does not heed;
        it was cancelled, and has ended, or not within three seconds.
    """
    results: list[T] = []
    errors: list[QuebertError | OutputLost] = []

    async def noting(reactor: Any) -> None:
        started: Deferred[None] = Deferred()
        reactor.callWhenRunning(started.callback, None)
        await started  # it takes signals from then on
        use_monotonic_clock(reactor)
        running, ended = Deferred.fromCoroutine(main(reactor)), Deferred[None]()

        def interrupt() -> Deferred[None]:
            running.cancel()
            # A broker that answers no more would have it wait for minutes.
            over: Deferred[None] = Deferred()
            ended.addCallback(lambda _: None if over.called else over.callback(None))
            return over.addTimeout(_PATIENCE, reactor, onTimeoutCancel=_give_up)

        reactor.addSystemEventTrigger("before", "shutdown", interrupt)
        try:
            results.append(await running)
        except (QuebertError, OutputLost) as e:
            errors.append(e)
        except CancelledError:
            pass
        finally:
            ended.callback(None)

    # A reactor that has ended leaves handlers behind, for which Ctrl-C is nothing.
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        react(noting)
    except SystemExit as e:
        if e.code:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if errors:
        raise errors[0]
    if not results:
        raise KeyboardInterrupt
    return results[0]


def _give_up(result: object, seconds: float) -> None:
    """
    Leave it to the end of the process to close what is open.
    """


def told_to_end(reactor: Any) -> Deferred[None]:
    """
    Fires at the first SIGINT or SIGTERM.  C{reactor}, which must be running, does
    not end by itself then.
    """
    told: Deferred[None] = Deferred()

    def tell() -> None:
        if not told.called:
            told.callback(None)

    for number in _ENDING:
        signal.signal(number, lambda *_: reactor.callFromThread(tell))
    return told


# -- What is said


def one_line(text: str) -> str:
    """
    The text as a line that does nothing to a terminal but fill it.
    """
    return _text.one_line(text, _LINE_LIMIT)


def log_problems(
    *unimportant: type[BaseException], level: LogLevel, told: tuple[str, ...] = ()
) -> None:
    """
    Write what is logged from C{level} on to standard error, a line each.

    @param unimportant: errors that are no problem, or are told otherwise.
    @param told: how the namespaces of those begin whose warnings are told otherwise.
    """

    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        error = event.get("error") if failure is None else failure.value
        is_warning = event.get("log_level") is LogLevel.warn
        if is_warning and str(event.get("log_namespace")).startswith(told):
            return
        if not isinstance(error, unimportant):
            make_printable(event)
            sys.stderr.write(f"quebert: {_line(event)}\n")

    filtered = FilteringLogObserver(
        observe,  # type: ignore[arg-type]
        [LogLevelFilterPredicate(level)],
    )
    globalLogBeginner.beginLoggingTo(
        [filtered], discardBuffer=True, redirectStandardIO=False
    )


def _line(event: LogEvent) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text.rstrip('.:')}: {_told(failure)}"
    return one_line(text)


def _told(failure: Failure) -> str:
    """
    The error, with its place in the code.
    """
    told = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
    places = extract_tb(failure.getTracebackObject())
    if not places:
        return told
    return f"{told} ({places[-1].filename}, line {places[-1].lineno})"
