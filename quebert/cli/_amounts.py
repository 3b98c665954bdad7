"""
Numbers in few characters: amounts, durations and sparklines.  Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["UNKNOWN", "amount", "duration", "rate", "sparkline"]

#: What nobody tells.
UNKNOWN = "?"
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.:-=+*#"
# Above which an amount has the next letter.
_LETTERS = "kMGTPE"
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def amount(number: float | None) -> str:
    """
    A number in at most five characters, such as C{"12.3k"}.
    """
    if number is None or not math.isfinite(number):
        return UNKNOWN
    size, letter = float(number), ""
    for each in _LETTERS:
        if abs(size) < 9999.5 if not letter else abs(size) < 999.5:
            break
        size, letter = size / 1000, each
    if not letter:
        return f"{size:.0f}"
    return f"{size:.1f}{letter}" if abs(size) < 99.95 else f"{size:.0f}{letter}"


def rate(number: float | None) -> str:
    """
    A number of things a second, with a tenth where there are few.
    """
    if number is not None and 0 < number < 9.95:
        return f"{number:.1f}"
    return amount(number)


def duration(seconds: float | None) -> str:
    """
    A duration in at most five characters, such as C{"12ms"}, C{"3.4s"} or C{"5h"}.
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f}ms" if seconds > 0 else "0s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    for unit, letter in _UNITS:
        if seconds >= 1.5 * unit:
            return f"{amount(seconds / unit)}{letter}"
    return f"{seconds:.0f}s"


def sparkline(
    series: Sequence[float], columns: int, *, ascii_only: bool = False
) -> str:
    """
    The last numbers of a series as bars, the highest of which is the largest number.
    """
    bars = _ASCII_BARS if ascii_only else _BARS
    shown = list(series[-columns:]) if columns > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return bars[0] * len(shown)
    top = len(bars) - 1
    return "".join(bars[min(top, math.ceil(top * max(0.0, n) / most))] for n in shown)
