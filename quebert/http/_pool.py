"""
Connections, kept for each origin and used again, within limits.

Knows no URLs and no requests: an origin is whatever an endpoint leads to.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from quebert import _open_files
from quebert._deadlines import Deadlines
from quebert._log import Logger
from quebert._turn import EndOfTurn
from quebert._url import origin_of
from quebert.errors import ExecutorError
from quebert.guard import Guard
from quebert.http._connection import HTTPConnection, HTTPExchange, Owner
from quebert.http._reader import Reader

__all__ = ["MOST_CONNECTIONS", "NO_HOSTS", "Limits", "Pool", "affordable"]

# Seconds at least between two looks at which connections nobody uses.
_SPACING = 0.1

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
    How much there may be of what.

    @ivar connections: to all origins together; L{affordable} by default.
    @ivar per_origin: connections to each.
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
    @ivar grace: seconds after the head, and again and again, over which that is
        the mean.
    """

    connections: int = attrs.field(factory=affordable)
    per_origin: int = 250
    waiting: int = 10_000
    idle: float = 4.0
    body: int = 1_048_576
    slowest: float = 1.0
    grace: float = 60.0


#: No host has limits of its own.
NO_HOSTS: Mapping[str, Limits] = MappingProxyType({})


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def buildProtocol(self, address: Any) -> HTTPConnection:
        return self._connection


class _OriginConnections(Owner):
    """
    The connections that lead to one place, and the requests that wait for one.
    """

    log = Logger()

    __slots__ = (
        "_connecting",
        "_endpoint",
        "_pool",
        "_waiting",
        "idle",
        "limits",
        "name",
        "open",
        "origins",
        "write_soon",
    )

    def __init__(
        self,
        pool: Pool,
        origins: dict[str, _OriginConnections],
        name: str,
        endpoint: IStreamClientEndpoint,
    ) -> None:
        self.idle: list[HTTPConnection] = []  # the last one is used first
        self.open = 0  # made or being made
        self.name = name
        self.limits = pool.limits_of(name)
        self.origins = origins  # those of the same guard
        self._pool = pool
        self.write_soon = pool.write_soon  # type: ignore[method-assign]
        self._endpoint = endpoint
        self._waiting: OrderedDict[HTTPExchange, None] = OrderedDict()
        self._connecting: dict[HTTPExchange, Deferred[Any]] = {}

    @property
    def unused(self) -> bool:
        """
        Whether nothing is lost by forgetting it.
        """
        return not self.open and not self._waiting

    def start(self, exchange: HTTPExchange) -> None:
        """
        Make a request, on a connection that there is, or a new one, or later.
        """
        if not self._started(exchange):
            self._wait(exchange)

    def _started(self, exchange: HTTPExchange) -> bool:
        if not self.idle:
            return self._started_anew(exchange)
        connection = self.idle.pop()
        del self._pool.idle[connection]
        connection.send(exchange)
        return True

    def _started_anew(self, exchange: HTTPExchange) -> bool:
        pool = self._pool
        if self.open < self.limits.per_origin and pool.may_connect():
            self._connect(exchange)
            return True
        return False

    def _wait(self, exchange: HTTPExchange) -> None:
        waiting = len(self._waiting)
        if waiting >= self.limits.waiting:
            text = f"{waiting} requests wait for a connection to {self.name} already"
            exchange.answered.errback(ExecutorError(text))
            return
        exchange.give_up = self._give_up_waiting
        self._waiting[exchange] = None
        self._pool.hungry[self] = None

    def _give_up_waiting(self, exchange: HTTPExchange) -> None:
        self._waiting.pop(exchange, None)
        if not self._waiting:
            self._pool.hungry.pop(self, None)
            self._pool.forget(self)

    def start_waiting(self) -> None:
        """
        Make the requests that wait, as many as may be made.
        """
        while self._waiting:
            exchange, _ = self._waiting.popitem(last=False)
            if not self._started(exchange):
                self._waiting[exchange] = None
                self._waiting.move_to_end(exchange, last=False)
                break
        if not self._waiting:
            self._pool.hungry.pop(self, None)

    # -- Connecting

    def _connect(self, exchange: HTTPExchange) -> None:
        self.open += 1
        self._pool.open += 1
        connection = HTTPConnection(self, self.limits.body, self._pool.readers)
        exchange.give_up = self._give_up_connecting
        connecting = self._endpoint.connect(_ConnectionFactory(connection))
        self._connecting[exchange] = connecting
        connecting.addCallbacks(
            self._connected, self._not_connected, (exchange,), {}, (exchange,)
        )
        connecting.addErrback(self._fail, exchange)

    def _give_up_connecting(self, exchange: HTTPExchange) -> None:
        connecting = self._connecting.get(exchange)
        if connecting is not None:
            connecting.cancel()

    def _connected(self, connection: HTTPConnection, exchange: HTTPExchange) -> None:
        self._connecting.pop(exchange, None)
        if exchange.answered.called:  # cancelled just now
            self.released(connection)
        elif connection.closed:
            raise ExecutorError("the connection failed before an answer: it was lost")
        else:
            connection.send(exchange)

    def _not_connected(self, failure: Failure, exchange: HTTPExchange) -> None:
        self._connecting.pop(exchange, None)
        self._gone()
        if failure.check(ConnectError, DNSLookupError):
            text = f"no connection could be made: {failure.value}"
            raise ExecutorError(text) from failure.value
        failure.raiseException()

    def _fail(self, failure: Failure, exchange: HTTPExchange) -> None:
        if not exchange.answered.called:
            exchange.answered.errback(failure)
        else:
            failure.trap(CancelledError, ExecutorError)

    # -- What becomes of connections

    def released(self, connection: HTTPConnection) -> None:
        if not self.limits.idle:
            connection.abort()
        elif self._waiting:
            connection.send(self._waiting.popitem(last=False)[0])
        else:
            self.idle.append(connection)
            self._pool.rests(connection, self)

    def lost(self, connection: HTTPConnection) -> None:
        if self._pool.idle.pop(connection, None) is not None:
            self.idle.remove(connection)
        self._gone()

    def body_begins(self, connection: HTTPConnection) -> None:
        if self.limits.slowest:
            self._pool.bodies.begin(connection, self.limits.grace)

    def body_is_late(self, connection: HTTPConnection) -> None:
        slowest, seconds = self.limits.slowest, self.limits.grace
        if connection.check_speed(slowest * seconds, seconds):
            self.body_begins(connection)

    def body_ends(self, connection: HTTPConnection) -> None:
        self._pool.bodies.end(connection)

    def seconds(self) -> float:
        return self._pool.seconds()

    def missed(self, exchange: HTTPExchange) -> None:
        self.log.info(
            "{origin} closed a connection as a request came: it is made again",
            origin=self.name,
        )
        # The server may have closed the others, too, which we shall hear.
        exchange.connection = None
        if not self._started_anew(exchange):
            self._wait(exchange)

    def _gone(self) -> None:
        self.open -= 1
        self._pool.gone(self)


class Pool:
    """
    All origins.

    @param clock: keeps the time.
    @param hosts: the limits of some, by host, or host and port.
    @ivar origins: those that there are, by guard and name: a connection is used
        again only under the guard that permitted it.
    @ivar idle: the connections that nobody uses, the longest idle first, and
        whose they are.
    @ivar hungry: the origins with requests that wait.
    @ivar readers: those that are free.
    @ivar bodies: the connections over which the rest of an answer is to come.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        hosts: Mapping[str, Limits] = NO_HOSTS,
    ) -> None:
        self.limits = limits
        self._hosts = hosts
        self.open = 0
        self.origins: dict[Guard, dict[str, _OriginConnections]] = {}
        self.idle: dict[HTTPConnection, _OriginConnections] = {}
        self.hungry: dict[_OriginConnections, None] = {}
        self.readers: list[Reader] = []
        self.bodies = Deadlines(lambda: clock, HTTPConnection.body_is_late)
        self._clock = clock
        self._expiry: IDelayedCall | None = None
        self._next_look = math.inf
        self._feeding = False
        self._is_fed = True
        self._writing: list[HTTPConnection] = []
        self._now = 0.0  # the time of this turn, once somebody has asked
        self._turn = EndOfTurn(clock, self._write)

    def origins_of(self, guard: Guard) -> dict[str, _OriginConnections]:
        """
        The origins that there are under a guard, by name.
        """
        return self.origins.setdefault(guard, {})

    def add(
        self,
        origins: dict[str, _OriginConnections],
        name: str,
        endpoint: IStreamClientEndpoint,
    ) -> _OriginConnections:
        """
        Another origin, which is one of C{origins} until it has no connection any more.
        """
        origin = origins[name] = _OriginConnections(self, origins, name, endpoint)
        return origin

    def limits_of(self, name: str) -> Limits:
        """
        The limits of an origin, such as C{"https://example.com:8443"}.
        """
        if not self._hosts:
            return self.limits
        host = origin_of(name).partition("://")[2]
        return self._hosts.get(host, self.limits)

    def change(self, limits: Limits, hosts: Mapping[str, Limits]) -> None:
        """
        Have other limits for requests from now on.
        """
        self.limits, self._hosts = limits, hosts
        for origins in self.origins.values():
            origins.clear()  # what they have begun goes on

    # -- For the origins

    def seconds(self) -> float:
        """
        The time.
        """
        return self._clock.seconds()

    def may_connect(self) -> bool:
        """
        Whether there may be another connection; the one that has been idle
        for longest makes room for it.
        """
        if self.open < self.limits.connections:
            return True
        if self.idle:
            self._close(next(iter(self.idle)))
            return True
        return False

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        It has something to write.
        """
        if not self._writing:
            self._turn.ask()
        self._writing.append(connection)

    def _write(self) -> None:
        writing, self._writing, self._now = self._writing, [], 0.0
        if not writing:
            return
        now = self._clock.seconds()
        for connection in writing:
            connection.write(now)

    def rests(self, connection: HTTPConnection, origin: _OriginConnections) -> None:
        """
        Nobody uses it now.
        """
        if not self._now:  # the same for all of a turn
            self._now = self._clock.seconds()
            self._turn.ask()
        connection.idle_until = self._now + origin.limits.idle
        self.idle[connection] = origin
        if self.hungry:
            self._feed()
        if connection.idle_until < self._next_look and self.idle:
            self._look_at(connection.idle_until)

    def gone(self, origin: _OriginConnections) -> None:
        """
        A connection is gone, or could not be made.
        """
        self.open -= 1
        if self.hungry:
            self._feed()
        self.forget(origin)

    def forget(self, origin: _OriginConnections) -> None:
        """
        An origin may be of no use any more.
        """
        if origin.unused and origin.origins.get(origin.name) is origin:
            del origin.origins[origin.name]

    def _feed(self) -> None:
        """
        Let those that wait have what there is.  What they do with it may end at
        once, and have this called again.
        """
        self._is_fed = False
        if self._feeding:
            return
        self._feeding = True
        try:
            while not self._is_fed:
                self._is_fed = True
                for origin in list(self.hungry):
                    origin.start_waiting()
        finally:
            self._feeding = False

    def _close(self, connection: HTTPConnection) -> None:
        self.idle.pop(connection).idle.remove(connection)
        connection.abort()

    def _look_at(self, when: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._next_look = when
        seconds = max(0.0, when - self._clock.seconds())
        self._expiry = self._clock.callLater(seconds, self._expire)

    def _expire(self) -> None:
        self._expiry, self._next_look = None, math.inf
        now = self._clock.seconds()
        for connection in [each for each in self.idle if each.idle_until <= now]:
            self._close(connection)
        if self.idle:
            first = min(each.idle_until for each in self.idle)
            self._look_at(max(first, now + _SPACING))
