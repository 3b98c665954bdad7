"""
Numbers and times in the sentences of reasons why a task waits.  Pure.
"""

from __future__ import annotations

import time

__all__ = ["before", "counted", "moment", "pace", "span"]


def counted(count: int, noun: str) -> str:
    """
    So many of something.
    """
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def before(position: int) -> str:
    """
    How many tasks are before one.
    """
    if not position:
        return "this task is the next"
    return f"{counted(position, 'task')} {'is' if position == 1 else 'are'} before it"


def pace(rate: float) -> str:
    """
    So many tasks a second, or one in so long.
    """
    if 0.0 < rate <= 0.5:
        return f"one task in {span(1 / rate)}"
    return "1 task a second" if rate == 1.0 else f"{rate:.3g} tasks a second"


def span(seconds: float) -> str:
    """
    A length of time, about.
    """
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def moment(when: float) -> str:
    """
    A moment, in seconds since the epoch, for readers anywhere.
    """
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
    except (ValueError, OverflowError, OSError):
        return "a time beyond all calendars"
