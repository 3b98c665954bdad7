"""
The reactor where none was given.

The global one is imported when it is needed, and not before: importing it
installs it, and that choice is the program's.
"""

from __future__ import annotations

from typing import Any

__all__ = ["given_or_global"]


def given_or_global(reactor: Any) -> Any:
    """
    C{reactor}, or the global one where it is C{None}.
    """
    if reactor is None:
        from twisted.internet import reactor
    return reactor
