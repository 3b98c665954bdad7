"""
How long to wait before a task is tried again.  Pure: numbers in, seconds out.
"""

from __future__ import annotations

__all__ = ["exponential"]


def exponential(attempt: int, *, constant: float, maximum: float) -> float:
    """
    The wait before retry number C{attempt} (from 1), in seconds:
    C{constant ** attempt}, at most C{maximum}.
    """
    try:
        return float(min(float(constant) ** attempt, maximum))
    except OverflowError:
        return float(maximum)
