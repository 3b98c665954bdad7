"""
What our twistd plugins share: naming functions, syslog, and how to end.
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from importlib import import_module
from traceback import extract_tb
from types import FrameType, ModuleType
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    LegacyLogObserverWrapper,
    LogLevel,
    globalLogPublisher,
)
from twisted.python.usage import Options, UsageError

from quebert._log import Logger
from quebert._text import one_line

__all__ = [
    "allow_many_connections",
    "calm_garbage_collector",
    "exit_cleanly_on_sigterm",
    "exit_with_failure",
    "load",
    "log_to_syslog",
    "no_default_pid_file",
    "number",
    "on_sighup",
    "seconds",
    "stop",
    "stop_on_signal",
]

_log = Logger()
# Characters of the text of an error.
_ERROR_LENGTH = 1_000


# -- What options say


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


def seconds(text: str, option: str) -> float:
    """
    A time to wait, as an option gives it.

    @raise UsageError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < float("inf"):
        return value
    raise UsageError(f"{option}={text} must be a number of seconds, 0 or more")


def number(text: str, option: str, most: int) -> int:
    """
    A number from 1 to C{most}, as an option gives it.

    @raise UsageError: it is none.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)):
        value = int(text)
        if 1 <= value <= most:
            return value
    raise UsageError(f"{option}={text} must be a number from 1 to {most}")


# -- The pid file

#: The pid file that twistd writes and checks where C{--pidfile} names no other.
DEFAULT_PID_FILE = "twistd.pid"


def no_default_pid_file(options: Options) -> None:
    """
    Have twistd neither write nor check its default pid file in the foreground.

    The pid file is how a daemon is found and stopped.  In the foreground nobody
    needs it, and it keeps twistd from starting: a second twistd in the same
    folder is refused, and so is a restart in a container after a C{kill -9}, as
    the process id in the file that is left over, 1, is that of the new process.

    @param options: those of a plugin, while twistd parses them: twistd looks at its
        own options, their C{parent}, later.  Without a parent nothing happens.
    """
    of_twistd: Any = options.parent
    if of_twistd is None or of_twistd.get("pidfile") != DEFAULT_PID_FILE:
        return
    if of_twistd["nodaemon"] or of_twistd["debug"]:  # --debug implies --nodaemon
        of_twistd["pidfile"] = ""


# -- Syslog


def log_to_syslog(prefix: str) -> Callable[[], None]:
    """
    Send what is logged to syslog, too, from now on.

    @param prefix: what each line there begins with.
    @return: ends it.
    """
    import syslog

    from twisted.python.syslog import SyslogObserver

    priorities = {
        LogLevel.debug: syslog.LOG_DEBUG,
        LogLevel.info: syslog.LOG_INFO,
        LogLevel.warn: syslog.LOG_WARNING,
        LogLevel.error: syslog.LOG_ERR,
        LogLevel.critical: syslog.LOG_CRIT,
    }
    observer = SyslogObserver(prefix)

    def emit(event: dict[str, Any]) -> None:
        # By itself it knows but "info" and, for failures, "alert", which some
        # systems show to everybody at once.
        priority = priorities.get(event.get("log_level"), syslog.LOG_INFO)
        observer.emit({"syslogPriority": priority, **event})

    observe = LegacyLogObserverWrapper(emit)  # type: ignore[arg-type]
    globalLogPublisher.addObserver(observe)
    return lambda: globalLogPublisher.removeObserver(observe)


# -- While it runs


def calm_garbage_collector() -> None:
    """
    Have Python look less often for garbage in cycles, of which tasks make none,
    and never again through all that was there when it began: that is a tenth of
    what a task costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def allow_many_connections() -> None:
    """
    Raise this process's limit of open files as far as it may be: each connection
    is one, and the limit that is common, 1,024, was made for other programs.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a lower one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def on_sighup(reactor: Any, call: Callable[[], object]) -> None:
    """
    Have SIGHUP call C{call} from now on, once C{reactor} runs.
    """
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(call))


# -- The end of the process


def exit_cleanly_on_sigterm(reactor: Any, *others: signal.Signals) -> None:
    """
    Have SIGTERM stop C{reactor}, and twistd exit with 0 after that.

    The reactor's own handler notes the signal, and twistd, when all is done,
    sends it to itself again: supervisors then see a process that was killed.

    @param others: signals that are to do the same.
    """
    # The reactor puts its own handlers in place when it starts.
    for number in (signal.SIGTERM, *others):
        reactor.callWhenRunning(stop_on_signal, number, reactor)


def stop_on_signal(number: signal.Signals, reactor: Any) -> None:
    """
    Have a signal stop C{reactor} from now on, or as soon as it runs.
    """

    def received(_: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop, reactor, number.name, f"{number.name} again")

    signal.signal(number, received)


def stop(reactor: Any, why: str, again: str | None = None) -> None:
    """
    Stop C{reactor}, unless that has been begun already.

    @param why: told in the log.
    @param again: told there instead, if it has been begun.
    """
    try:
        reactor.stop()
    except ReactorNotRunning:
        _log.info("{why}: closing down already.", why=again or why)
    else:
        _log.info("{why}: closing down.", why=why)


def exit_with_failure(reactor: Any) -> None:
    """
    Stop C{reactor}, at its start if it has not started, and have the process
    exit with 1 when all is done.
    """
    # twistd exits with 0 whatever happened, and takes no advice on it.
    atexit.register(_exit)
    reactor.callWhenRunning(_stop_if_running, reactor)


def _stop_if_running(reactor: Any) -> None:
    with suppress(ReactorNotRunning):
        reactor.stop()


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
