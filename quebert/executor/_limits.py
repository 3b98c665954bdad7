"""
How much an executor takes from its clients, and how long it waits for them.
"""

from __future__ import annotations

import attrs

from quebert._bounds import AT_WORK, BOUNDS
from quebert._open_files import affordable
from quebert.errors import ConfigError

__all__ = ["MOST_CONNECTIONS", "ExecutorLimits"]

#: Connections at most, if the process may have so many files open.
MOST_CONNECTIONS = 4_096
# Of a head, for what a mediator adds to the headers of a task.
_ADDED_BYTES, _ADDED_FIELDS = 16_384, 38


def _most_connections() -> int:
    return affordable(MOST_CONNECTIONS)


@attrs.frozen(kw_only=True)
class ExecutorLimits:
    """
    How much an executor takes, and how long it waits.  By default no mediator meets a
    limit: whatever task it takes, an executor takes, too.

    @ivar body: bytes that the body of a request may have: 413.  Around a body there may
        be as many bytes as in it, or 64 KiB: the sizes of chunks, and what HTTP lets a
        client send beside them.
    @ivar head: bytes that the request line and the header fields may have: 431.
    @ivar fields: header fields that a request may have: 431.
    @ivar head_time: seconds in which a head must come, from its first byte on or, for
        the first request, from the moment of connecting: 408.
    @ivar slowest: bytes per second that must come of a body, framing and all, and that
        a client must take of an answer: 408, or the connection is closed.
    @ivar grace: seconds over which that is the mean, again and again; and for which an
        executor goes on reading what it has refused, so that its answer arrives.
    @ivar idle: seconds that a connection is kept without a request.  A mediator keeps
        one for 4 s.
    @ivar connections: open at once.  Three quarters of the files that the process may
        open, 4,096 at most, by default.
    @ivar connections_per_address: of one address, or of one IPv6 network of 64 bits;
        half of C{connections} by default.  Where there are more, the one that has
        waited longest for its client is closed; if all are at work, the new one is
        answered with 503.
    @ivar memory: bytes that bodies take together while they come, and answers while
        they leave: 503.  Tasks that functions are working on, decoded, may take as much
        again; others wait for them.  A single request may take more.
    @ivar patience: seconds that a task waits for memory: 503.
    @raise ConfigError: a limit is not a number of its kind.
    """

    body: int = BOUNDS.body
    head: int = BOUNDS.url + BOUNDS.all_headers + _ADDED_BYTES
    fields: int = BOUNDS.headers + _ADDED_FIELDS
    head_time: float = 20.0
    slowest: float = 1_024.0
    grace: float = 20.0
    idle: float = 60.0
    connections: int = attrs.field(factory=_most_connections)
    connections_per_address: int = attrs.field(
        default=attrs.Factory(lambda self: self.connections // 2 or 1, takes_self=True)
    )
    memory: int = AT_WORK
    patience: float = 30.0

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            whole = field.type == "int"
            kind = int if whole else (int, float)
            if not isinstance(value, kind) or isinstance(value, bool):
                text = "a whole number" if whole else "a number"
                raise ConfigError(f"{field.name} must be {text}, not {value!r:.40}")
            least = 0 if field.name == "slowest" else 1 if whole else 0.001
            if not least <= value < float("inf"):
                raise ConfigError(
                    f"{field.name} must be {least} or more, not {value!r:.40}"
                )
