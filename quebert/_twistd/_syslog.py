"""
The system's log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import (
    LegacyLogObserverWrapper,
    LogLevel,
    globalLogPublisher,
)

from quebert._log_output import LevelFilter

__all__ = ["log_to_syslog"]


def log_to_syslog(prefix: str, level: LevelFilter | None = None) -> Callable[[], None]:
    """
    Send what is logged to syslog, too, from now on.

    @param prefix: what each line there begins with.
    @param level: lets pass what is to be sent; by default all.
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

    observe: Any = LegacyLogObserverWrapper(emit)  # type: ignore[arg-type]
    if level is not None:
        observe = level.before(observe)
    globalLogPublisher.addObserver(observe)
    return lambda: globalLogPublisher.removeObserver(observe)
