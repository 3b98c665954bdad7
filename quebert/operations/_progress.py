"""
How far an operation has come.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["Progress"]


@attrs.define
class Progress:
    """
    How far an operation has come.  Whoever gives it one can look at it all the while,
    and also when the operation has failed half-way.

    @ivar total: how many messages there were in the beginning.
    @ivar seen: how many of them were looked at.
    @ivar done: how many of those have left.
    @ivar missing: how many were not there any more that a person was asked about.
    @ivar others: not 0 if others may hold messages of it, which are not counted.
    @ivar ended: whether it has gone through all that it could.
    @ivar watch: called with the C{Progress} at every step.
    """

    total: int = 0
    seen: int = 0
    done: int = 0
    missing: int = 0
    others: int = 0
    ended: bool = False
    watch: Callable[[Progress], object] = lambda progress: None
