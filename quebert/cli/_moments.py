"""
Times as people read them.
"""

from __future__ import annotations

import time

__all__ = ["moment"]


def moment(when: object) -> str:
    """
    A moment by the clock on the wall here; empty for what is none.

    @param when: in seconds since the epoch.
    """
    if not isinstance(when, (int, float)):
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return ""
