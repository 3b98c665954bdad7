"""
Times as tasks hold them.  Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["format_time", "parse_time"]


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
