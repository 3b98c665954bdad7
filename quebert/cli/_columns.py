"""
Tables as lines.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from quebert._text import width

__all__ = ["columns"]


def columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """
    A table, whose columns are as wide as they must be.
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell + " " * (most - width(cell))
            for cell, most in zip(row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()
