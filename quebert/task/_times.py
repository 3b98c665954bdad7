"""
The times that a task holds: when it may run.  Pure.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import attrs

from quebert._bounds import BOUNDS, Bounds
from quebert.errors import BadTask
from quebert.task._json import kind_of

__all__ = [
    "ANY_TIME",
    "Schedule",
    "ages_since_sent",
    "format_time",
    "parse_time",
    "read_seconds",
    "read_time",
    "schedule",
    "times_of",
]


@attrs.frozen
class Schedule:
    """
    When a task may run: seconds since the epoch, or C{None} for no limit.

    @ivar run_at: before this it is not requested.
    @ivar expires_at: when its time to live (C{ttl}) is over.  It is not requested after
        that; a request that has begun goes on.
    """

    run_at: float | None
    expires_at: float | None

    def early(self, now: float) -> float:
        """
        Seconds until the task may run, 0 if it may now.
        """
        return 0.0 if self.run_at is None else max(0.0, self.run_at - now)

    def expired(self, now: float) -> bool:
        """
        Whether the task's time to live is over.
        """
        return self.expires_at is not None and now > self.expires_at


#: The schedule of a task without C{run_at} and C{ttl}.
ANY_TIME = Schedule(run_at=None, expires_at=None)


def ages_since_sent(task: object) -> bool:
    """
    Whether the C{ttl} of C{task} counts from when its message was sent, since
    the task itself does not say.
    """
    if not isinstance(task, dict) or not task.get("ttl"):
        return False
    return task.get("timestamp") is None


def schedule(
    task: object, sent_at: float | None = None, bounds: Bounds = BOUNDS
) -> Schedule:
    """
    When C{task} may run.

    @param sent_at: stands in for a missing C{timestamp}, seconds since the
        epoch.
    @param bounds: how long a time may be, as text.
    @raise BadTask: it is no object, or a time in it is of the wrong type.
    """
    return times_of(task, sent_at, bounds)[0]


def times_of(
    task: object, sent_at: float | None = None, bounds: Bounds = BOUNDS
) -> tuple[Schedule, float | None]:
    """
    When a task may run, as L{schedule} tells; and its C{timestamp} in seconds since the
    epoch, or C{sent_at} where it has none.
    """
    if not isinstance(task, dict):
        raise BadTask(f"a task is a JSON object, not {kind_of(task)}")
    ttl, timestamp, run_at = task.get("ttl"), task.get("timestamp"), task.get("run_at")
    seconds = 0.0 if ttl is None else read_seconds("ttl", ttl)
    start = sent_at if timestamp is None else read_time("timestamp", timestamp, bounds)
    expires_at = start + seconds if seconds > 0 and start is not None else None
    if expires_at is None and run_at is None:
        return ANY_TIME, start  # as most are, and it need not be made
    begins_at = None if run_at is None else read_time("run_at", run_at, bounds)
    return Schedule(begins_at, expires_at), start


def read_seconds(field: str, value: object) -> float:
    """
    A number of seconds.

    @raise BadTask: C{value} is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadTask(f"{field} must be a number of seconds, not {kind_of(value)}")
    try:
        if math.isfinite(value):
            return float(value)
        raise OverflowError
    except OverflowError:
        raise BadTask(f"{field} is too large a number of seconds") from None


def read_time(field: str, value: object, bounds: Bounds = BOUNDS) -> float:
    """
    A time in a task, in seconds since the epoch.

    @raise BadTask: C{value} is no time as text.
    """
    try:
        if not isinstance(value, str):
            wrong = kind_of(value)
        elif len(value) > bounds.time:
            wrong = f"{len(value)} characters"
        else:
            return parse_time(value)
    except (ValueError, OverflowError):
        wrong = "another text"
    raise BadTask(
        f"{field} must be an RFC 3339 time such as '2026-11-23T20:15:00Z', not {wrong}"
    )


def format_time(when: float) -> str:
    """
    Seconds since the epoch as RFC 3339 in UTC: C{2026-11-23T20:15:00.123456Z}.
    """
    moment = datetime.fromtimestamp(when, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """
    Seconds since the epoch of an RFC 3339 or other ISO 8601 time; one without
    an offset is UTC.

    @raise ValueError: it is not a time.
    """
    moment = datetime.fromisoformat(text[:-1] + "Z" if text.endswith("z") else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
