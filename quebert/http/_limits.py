"""
How many connections and requests there may be, and how much an answer may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from quebert import _open_files

__all__ = ["MOST_CONNECTIONS", "NO_HOSTS", "Limits", "affordable"]

#: To all origins together, unless told otherwise.
MOST_CONNECTIONS = 5_000


def affordable() -> int:
    """
    Connections that this process may have, with a quarter of its files left for
    others: each is one.
    """
    return _open_files.affordable(MOST_CONNECTIONS)


@attrs.frozen
class Limits:
    """
    How many connections and waiting requests there may be, and how much of an answer is
    read, and how slowly.

    @ivar connections: to all origins together; L{affordable} by default.
    @ivar per_origin: connections to each, under one guard.
    @ivar waiting: requests that wait for one of them, for each origin; one
        more fails at once.
    @ivar idle: seconds that a connection is kept unused; with 0 none is used
        again.  Less than servers commonly wait, so that a request seldom meets a
        closing one.
    @ivar body: bytes of an answer's body that are read; where there are more,
        the connection is closed and the status alone decides.  So it is where
        there are more bytes around the body than in it, and more than these and
        64 KiB: the sizes of tiny chunks, and what can be said beside them.
    @ivar slowest: bytes per second that must come after an answer's head, framing
        and all; 0 for however few.
    @ivar slowest_over: seconds over which C{slowest} is the mean: those after the head,
        and so on.
    """

    connections: int = attrs.field(factory=affordable)
    per_origin: int = 250
    waiting: int = 10_000
    idle: float = 4.0
    body: int = 1_048_576
    slowest: float = 1.0
    slowest_over: float = 60.0


#: No host has limits of its own.
NO_HOSTS: Mapping[str, Limits] = MappingProxyType({})
