"""
Connections, kept for each origin and used again, within limits.

Knows no URLs and no requests: an origin is whatever an endpoint leads to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._reentrancy import NonReentrant
from quebert._url import origin_of
from quebert.errors import ExecutorError
from quebert.guard import Guard
from quebert.http._connection import HTTPConnection
from quebert.http._exchange import HTTPExchange
from quebert.http._idle import Expiry
from quebert.http._limits import NO_HOSTS, Limits
from quebert.http._reader import Reader
from quebert.http._reads import Reads
from quebert.http._slow_answers import SlowAnswers
from quebert.http._writes import Writes

__all__ = ["Pool"]


class _ConnectionFactory(Factory):
    """
    Makes one connection, and keeps it no longer.  Its transport keeps the factory: in a
    ring of the three, a connection that is gone would stay in memory, with what it has
    read, until Python looks for garbage.
    """

    noisy = False

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection: HTTPConnection | None = connection

    def buildProtocol(self, address: Any) -> HTTPConnection | None:
        connection, self._connection = self._connection, None
        return connection


class _OriginConnections:
    """
    The connections to one origin, and the requests that wait for one of them.
    """

    log = Logger()

    __slots__ = (
        "_connecting",
        "_endpoint",
        "_pool",
        "_send_soon",
        "_waiting",
        "idle",
        "limits",
        "name",
        "open",
        "origins",
        "read_together",
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
        self.read_together = pool.reads.add
        self._send_soon = pool.writes.send_soon
        self._endpoint = endpoint
        self._waiting: OrderedDict[HTTPExchange, None] = OrderedDict()
        self._connecting: dict[HTTPExchange, Deferred[Any]] = {}

    @property
    def unused(self) -> bool:
        """
        Whether it has no connection, and no request waits.
        """
        return not self.open and not self._waiting

    def start(self, exchange: HTTPExchange) -> bool:
        """
        Make a request, on a connection that there is, or on a new one.

        @return: whether there is one; if not, the request is to L{wait}.
        """
        if self.idle:
            connection = self.idle.pop()
            del self._pool.idle[connection]
            self._send_soon(connection, exchange)
            return True
        return self._started_anew(exchange)

    def _started_anew(self, exchange: HTTPExchange) -> bool:
        pool = self._pool
        if self.open < self.limits.per_origin and pool.may_connect():
            self._connect(exchange)
            return True
        return False

    def wait(self, exchange: HTTPExchange) -> None:
        """
        Make a request later, when there is a connection for it.
        """
        waiting = len(self._waiting)
        if waiting >= self.limits.waiting:
            text = f"{waiting} requests wait for a connection to {self.name} already"
            exchange.fail(ExecutorError(text))
            return
        exchange.owner = self
        self._waiting[exchange] = None
        self._pool.waiting_origins[self] = None

    def abandon(self, exchange: HTTPExchange) -> None:
        """
        Nobody waits for the answer any more: it needs no connection.
        """
        connecting = self._connecting.get(exchange)
        if connecting is not None:
            connecting.cancel()
            return
        self._waiting.pop(exchange, None)
        if not self._waiting:
            self._pool.waiting_origins.pop(self, None)
            self._pool.forget(self)

    def start_requests(self) -> None:
        """
        Make the requests that wait, as many as may be made.
        """
        while self._waiting:
            exchange, _ = self._waiting.popitem(last=False)
            if not self.start(exchange):
                self._waiting[exchange] = None
                self._waiting.move_to_end(exchange, last=False)
                break
        if not self._waiting:
            self._pool.waiting_origins.pop(self, None)

    # -- Connecting

    def _connect(self, exchange: HTTPExchange) -> None:
        self.open += 1
        self._pool.open += 1
        connection = HTTPConnection(self, self.limits.body, self._pool.readers)
        exchange.owner = self
        connecting = self._endpoint.connect(_ConnectionFactory(connection))
        self._connecting[exchange] = connecting
        connecting.addCallbacks(
            self._connected, self._not_connected, (exchange,), {}, (exchange,)
        )
        connecting.addErrback(self._fail, exchange)

    def _connected(self, connection: HTTPConnection, exchange: HTTPExchange) -> None:
        self._connecting.pop(exchange, None)
        if connection.closed:
            raise ExecutorError("the connection failed before an answer: it was lost")
        if exchange.is_over:  # cancelled just now
            self.released(connection)
        else:
            self._send_soon(connection, exchange)

    def _not_connected(self, failure: Failure, exchange: HTTPExchange) -> None:
        self._connecting.pop(exchange, None)
        self._gone()
        if failure.check(ConnectError, DNSLookupError):
            text = f"no connection could be made: {failure.value}"
            raise ExecutorError(text) from failure.value
        failure.raiseException()

    def _fail(self, failure: Failure, exchange: HTTPExchange) -> None:
        if exchange.is_over:
            failure.trap(CancelledError, ExecutorError)
        else:
            exchange.fail(failure)

    # -- What becomes of connections

    def released(self, connection: HTTPConnection) -> None:
        if not self.limits.idle:
            connection.abort()
        elif self._waiting:
            self._send_soon(connection, self._waiting.popitem(last=False)[0])
        else:
            pool, expiry = self._pool, self._pool.expiry
            self.idle.append(connection)
            pool.idle[connection] = until = expiry.seconds() + self.limits.idle
            if until < expiry.next_look:
                expiry.look_at(until)
            if pool.waiting_origins:
                pool.start_waiting()

    def withdraw(self, connection: HTTPConnection) -> HTTPExchange | None:
        if self._pool.idle.pop(connection, None) is None:
            return self._pool.writes.withdraw(connection)
        self.idle.remove(connection)
        return None

    def lost(self, connection: HTTPConnection) -> None:
        self._gone()

    def body_begins(self, connection: HTTPConnection) -> None:
        limits = self.limits
        if limits.slowest:
            self._pool.slow.begin(connection, limits.slowest, limits.slowest_over)

    def body_ends(self, connection: HTTPConnection) -> None:
        self._pool.slow.end(connection)

    def seconds(self) -> float:
        return self._pool.seconds()

    def send_again(self, exchange: HTTPExchange) -> None:
        self.log.info(
            "{origin} closed a connection as a request was sent; the request is sent"
            " again",
            origin=self.name,
        )
        # The server may have closed the others, too, which we shall hear.
        if not self._started_anew(exchange):
            self.wait(exchange)

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
    @ivar open: how many connections there are, made or being made.
    @ivar idle: the connections that nobody uses, the longest idle first, and when each
        is to be closed.
    @ivar expiry: closes these.
    @ivar waiting_origins: the origins with requests that wait.
    @ivar start_waiting: starts these requests, as many as there may be connections for.
    @ivar readers: readers of answers that no connection uses.
    @ivar reads: reads all answers that have come in a turn of the reactor.
    @ivar slow: ends answers whose rest comes too slowly.
    @ivar writes: has requests sent, at once or at the end of a turn.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        hosts: Mapping[str, Limits] = NO_HOSTS,
    ) -> None:
        self.limits = limits
        self._hosts = hosts
        self._clock = clock
        self.open = 0
        self.origins: dict[Guard, dict[str, _OriginConnections]] = {}
        self.waiting_origins: dict[_OriginConnections, None] = {}
        # What they do with it may end at once, and have this called again.
        self.start_waiting = NonReentrant(self._start_waiting)
        self.readers: list[Reader] = []
        self.slow = SlowAnswers(clock)
        self.reads = Reads(clock)
        self.writes = Writes(clock)
        self.idle: dict[HTTPConnection, float] = {}
        self.expiry = Expiry(clock, self.idle)

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
        return self.open < self.limits.connections or self.expiry.close_oldest()

    def gone(self, origin: _OriginConnections) -> None:
        """
        A connection is gone, or could not be made.
        """
        self.open -= 1
        if self.waiting_origins:
            self.start_waiting()
        self.forget(origin)

    def forget(self, origin: _OriginConnections) -> None:
        """
        An origin may be of no use any more.
        """
        if origin.unused and origin.origins.get(origin.name) is origin:
            del origin.origins[origin.name]

    def _start_waiting(self) -> None:
        for origin in list(self.waiting_origins):
            origin.start_requests()
