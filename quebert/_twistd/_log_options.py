"""
The options of our twistd plugins that say how the log is written.

twistd makes its log from C{--logger}, C{--logfile} and C{--syslog}; these options
change what it has made.  The C{twist} command has other options, and is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import FileLogObserver, ILogObserver, LegacyLogObserverWrapper
from twisted.python.reflect import namedAny
from twisted.python.usage import Options, UsageError
from twisted.scripts._twistd_unix import UnixAppLogger

from quebert._log_output import LEVELS, LevelFilter, as_json, as_text

__all__ = ["LOG_FORMATS", "LOG_PARAMETERS", "check_log_options", "write_log"]

LOG_FORMATS = ("text", "json")
#: For C{optParameters}.
LOG_PARAMETERS = [
    [
        "log-level",
        None,
        None,
        "How much is logged: debug, info (the default), warn, error or critical.",
    ],
    [
        "log-format",
        None,
        None,
        "How the log is written: text (the default), or json, an object for each line.",
    ],
]
# Makes the observer of this process.
_make: Callable[[], Any] | None = None
_CHOICES = {"log-level": tuple(LEVELS), "log-format": LOG_FORMATS}


def check_log_options(options: Options) -> None:
    """
    @raise UsageError: an option of the log has a value that it cannot have.
    """
    for name, choices in _CHOICES.items():
        if options[name] not in (None, *choices):
            listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
            raise UsageError(f"--{name}={options[name]} must be {listed}")


def write_log(options: Options, level: LevelFilter, format: str) -> None:
    """
    Have twistd write its log like this.

    @param options: those of a plugin, while twistd parses them.
    @param format: one of L{LOG_FORMATS}; it does not count if C{--logger} was given.
    @raise UsageError: C{format} goes neither with C{--logger} nor with C{--syslog}.
    """
    of_twistd: Any = options.parent
    if of_twistd is None or "nodaemon" not in of_twistd:
        return
    for name in ("logger", "syslog"):
        if format == "json" and of_twistd.get(name):
            raise UsageError(
                f"--log-format=json and twistd's --{name} exclude each other"
            )

    try:
        given = of_twistd.get("logger") and namedAny(of_twistd["logger"])
    except Exception:
        return  # twistd tells of it

    def make() -> Any:
        made = given() if given else UnixAppLogger(of_twistd)._getLogObserver()
        if isinstance(made, FileLogObserver) and not given:
            made.formatEvent = as_json if format == "json" else as_text
        if not ILogObserver.providedBy(made):  # syslog's is a legacy one
            made = LegacyLogObserverWrapper(made)
        return level.before(made)

    global _make
    _make = make
    of_twistd["logger"] = f"{log_observer.__module__}.{log_observer.__name__}"


def log_observer() -> Any:
    """
    What twistd takes for its C{--logger}, which must have a name.
    """
    assert _make is not None
    return _make()
