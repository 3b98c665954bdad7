"""
The connections of a server: how many there are, and how much memory they take.

Knows nothing of HTTP; what is done with a request is the resource's business.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from quebert._deadlines import Deadlines
from quebert.executor._crowd import Crowd
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit
from quebert.executor._tally import Tally
from quebert.functions import ExecutorAnswer

__all__ = ["BoundedConnection", "BoundedResource", "Connections", "Stage"]

# Connections beyond the limit that stay until their clients have their answer.
_MOST_TURNED_AWAY = 100


class Stage(enum.Enum):
    """
    What happens on a connection.

    @cvar HEAD: the head of a request comes.
    @cvar BODY: its body comes.
    @cvar WORK: it is being answered.
    @cvar ANSWER: the answer is on its way.
    @cvar IDLE: there is no request.
    @cvar REFUSED: an answer was written before all of the request had come, or since
        the connection is one too many; more that comes is dropped.
    @cvar CLOSING: the connection is being closed.
    """

    HEAD = enum.auto()
    BODY = enum.auto()
    WORK = enum.auto()
    ANSWER = enum.auto()
    IDLE = enum.auto()
    REFUSED = enum.auto()
    CLOSING = enum.auto()


# Stages in which a connection may be closed to make room for another.
_WAITING = (Stage.HEAD, Stage.IDLE, Stage.REFUSED, Stage.CLOSING)


class BoundedConnection(Hashable, Protocol):
    """
    A connection that can be closed to make room for others.
    """

    @property
    def network(self) -> str:
        """
        Where the client is.
        """

    @property
    def is_at_work(self) -> bool:
        """
        Whether its request is being answered.
        """

    def refuse(self, answer: ExecutorAnswer) -> None:
        """
        Answer now, whatever else is to come of the request.
        """

    def late(self) -> None:
        """
        The time for this stage is over.
        """

    def give_way(self) -> None:
        """
        Give back the memory that this connection holds.
        """

    def leave(self) -> None:
        """
        Make room for another connection.
        """

    def loseConnection(self) -> None:
        """
        Close it once all that was written is on its way.
        """

    def abort(self) -> None:
        """
        Close it now.
        """


C = TypeVar("C", bound=BoundedConnection)


class BoundedResource(Protocol):
    """
    What answers all requests of a site, within limits.

    @ivar limits: of the connections and requests.
    @ivar transit: what is on its way, of all requests.
    """

    limits: ExecutorLimits
    transit: Transit[Any]

    def log_refused(self, why: str) -> None:
        """
        Log that a request was refused.
        """


class Connections(Generic[C]):
    """
    Keeps clients within the limits of C{resource}, and can close their connections.
    Factories of Twisted inherit from it.

    @param resource: answers whatever is requested.
    @param reactor: keeps the time.
    @ivar limits: those of C{resource}.
    @ivar deadlines: ends connections that take too long.
    """

    reactor: Any

    def __init__(self, resource: BoundedResource, reactor: Any) -> None:
        self.reactor = reactor
        self.limits = resource.limits
        self.deadlines: Deadlines[C] = Deadlines(
            lambda: reactor, lambda connection: connection.late()
        )
        self._log_refused = resource.log_refused
        self._transit: Transit[C] = resource.transit
        self._crowd: Crowd[C] = Crowd(
            self.limits.connections, self.limits.connections_per_address
        )
        self._connections: set[C] = set()
        self._turned_away: dict[C, None] = {}
        self._tally = Tally()

    # -- What connections tell

    def opened(self, channel: C) -> None:
        """
        There is one more connection.
        """
        self._connections.add(channel)
        self._tally.add()
        leaves = self._crowd.add(channel, channel.network)
        if leaves is channel:  # no other waits for its client, but one may be slow
            leaves = self._slow_one(channel.network) or channel
        if leaves is not None:
            self._crowd.remove(leaves)
        if leaves is channel:
            self._turn_away(channel)
        elif leaves is not None:
            leaves.leave()

    def _slow_one(self, network: str) -> C | None:
        """
        The slow connection that is closed for a new one of C{network}: one of the same
        network if this has too many connections.
        """
        among_its_own = self._crowd.has_too_many(network)
        for slow in self._transit.overdue(self.reactor.seconds()):
            if slow.network == network or not among_its_own:
                return slow
        return None

    def _turn_away(self, channel: C) -> None:
        """
        Refuse a new connection.  It does not count, but it stays until its client has
        the answer.
        """
        sentence = "the executor has too many connections"
        channel.refuse(ExecutorAnswer.unavailable(sentence))
        self._turned_away[channel] = None
        if len(self._turned_away) > _MOST_TURNED_AWAY:
            oldest = next(iter(self._turned_away))
            del self._turned_away[oldest]
            oldest.abort()

    def lost(self, channel: C) -> None:
        """
        There is one connection less.
        """
        self._connections.discard(channel)
        self._turned_away.pop(channel, None)
        self._crowd.remove(channel)
        self._transit.release(channel)
        self._tally.remove()

    def entered(self, channel: C, stage: Stage) -> None:
        """
        A connection is in another stage.
        """
        if stage in _WAITING:
            self._crowd.waits(channel)
        else:
            self._crowd.works(channel)
        if stage not in (Stage.HEAD, Stage.BODY):
            self._transit.release(channel)

    def has_room(self) -> bool:
        """
        Whether there is memory for another request; answers that leave may take it all.
        """
        return self._make_room(None)

    def holds(self, channel: C, size: int) -> bool:
        """
        What comes or leaves by a connection takes C{size} bytes of memory.

        @return: whether there is as much, if those that are too slow give theirs back.
        """
        since = inf if channel.is_at_work else self.reactor.seconds()
        self._transit.hold(channel, size, since)
        return self._make_room(channel)

    def _make_room(self, channel: C | None) -> bool:
        while self._transit.is_too_much:
            slow = next(self._transit.overdue(self.reactor.seconds()), None)
            if slow is None or slow is channel:
                return False
            self._transit.release(slow)
            slow.give_way()
        return True

    def refused(self, channel: C, why: str) -> None:
        """
        A client is refused, or its connection closed.
        """
        self._log_refused(f"{channel.network}: {why}" if channel.network else why)

    def close(self) -> Deferred[None]:
        """
        Close all connections.

        @return: fires once all that was written to them is on its way.
        """
        for each in list(self._connections):
            each.loseConnection()
        return self._tally.none()
