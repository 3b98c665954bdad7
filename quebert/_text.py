"""
Text that can be shown on a terminal and in a log.  Pure.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """
    C{text} with a question mark in place of each character that does something to a
    terminal, such as a line feed or an escape.
    """
    return "".join(c if c.isprintable() else "?" for c in text)
