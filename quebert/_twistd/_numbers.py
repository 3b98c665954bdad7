"""
Numbers that options give.
"""

from __future__ import annotations

from twisted.python.usage import UsageError

__all__ = ["number", "seconds"]


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
