"""
The executor's connections: how many there are, and how much memory they take.

Knows nothing of HTTP; what is done with a task is the resource's business.
"""

from __future__ import annotations

from io import BytesIO
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Site

from quebert._deadlines import Deadlines
from quebert._reactor import given_or_global
from quebert.executor._channel import ExecutorChannel, Stage
from quebert.executor._crowd import Crowd
from quebert.executor._limits import ExecutorLimits
from quebert.executor._memory import Transit
from quebert.executor._request import ExecutorRequest
from quebert.executor._tally import Tally
from quebert.functions import ExecutorAnswer

__all__ = ["BoundedResource", "ExecutorSite"]

# Connections beyond the limit that stay until their clients have their answer.
_MOST_TURNED_AWAY = 100

# Stages in which a connection may be closed to make room for another.
_WAITING = (Stage.HEAD, Stage.IDLE, Stage.REFUSED, Stage.CLOSING)


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


class ExecutorSite(Site):
    """
    A site of an executor alone, for any endpoint.  It logs no requests, keeps its
    clients within the limits of C{resource}, and can close their connections.

    @param resource: answers whatever is requested.
    @param reactor: keeps the time; the global one by default.
    @ivar limits: those of C{resource}.
    @ivar deadlines: ends connections that take too long.
    """

    noisy = False
    displayTracebacks = False
    requestFactory = ExecutorRequest
    protocol = ExecutorChannel  # type: ignore[assignment]

    def __init__(self, resource: BoundedResource, reactor: Any = None) -> None:
        reactor = given_or_global(reactor)
        leaf: IResource = resource  # type: ignore[assignment]
        super().__init__(leaf, timeout=None, reactor=reactor)  # type: ignore[no-untyped-call]
        self.limits = resource.limits
        self.deadlines: Deadlines[ExecutorChannel] = Deadlines(
            lambda: reactor, ExecutorChannel.late
        )
        self._log_refused = resource.log_refused
        self._transit: Transit[ExecutorChannel] = resource.transit
        self._crowd: Crowd[ExecutorChannel] = Crowd(
            self.limits.connections, self.limits.connections_per_address
        )
        self._connections: set[ExecutorChannel] = set()
        self._turned_away: dict[ExecutorChannel, None] = {}
        self._tally = Tally()

    def startFactory(self) -> None:
        """
        Open no log of requests, nor begin to keep its time.
        """

    def getContentFile(self, length: int | None) -> BytesIO:
        """
        Bodies are kept in memory, as they are bounded.
        """
        return BytesIO()

    def acceptableProtocols(self) -> list[bytes]:
        """
        What clients can choose from where they connect by TLS: not HTTP/2, even if
        Twisted can speak it.
        """
        return [b"http/1.1"]

    # -- What connections tell

    def opened(self, channel: ExecutorChannel) -> None:
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

    def _slow_one(self, network: str) -> ExecutorChannel | None:
        """
        The slow connection that is closed for a new one of C{network}: one of the same
        network if this has too many connections.
        """
        among_its_own = self._crowd.has_too_many(network)
        for slow in self._transit.overdue(self.reactor.seconds()):
            if slow.network == network or not among_its_own:
                return slow
        return None

    def _turn_away(self, channel: ExecutorChannel) -> None:
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

    def lost(self, channel: ExecutorChannel) -> None:
        """
        There is one connection less.
        """
        self._connections.discard(channel)
        self._turned_away.pop(channel, None)
        self._crowd.remove(channel)
        self._transit.release(channel)
        self._tally.remove()

    def entered(self, channel: ExecutorChannel, stage: Stage) -> None:
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

    def holds(self, channel: ExecutorChannel, size: int) -> bool:
        """
        What comes or leaves by a connection takes C{size} bytes of memory.

        @return: whether there is as much, if those that are too slow give theirs back.
        """
        since = inf if channel.is_at_work else self.reactor.seconds()
        self._transit.hold(channel, size, since)
        return self._make_room(channel)

    def _make_room(self, channel: ExecutorChannel | None) -> bool:
        while self._transit.is_too_much:
            slow = next(self._transit.overdue(self.reactor.seconds()), None)
            if slow is None or slow is channel:
                return False
            self._transit.release(slow)
            slow.give_way()
        return True

    def worded(self, answer: ExecutorAnswer) -> ExecutorAnswer:
        """
        How a refusal is said.  A site with clients of another kind says it otherwise.
        """
        return answer

    def refused(self, channel: ExecutorChannel, why: str) -> None:
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
