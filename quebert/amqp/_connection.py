"""
The connection to the broker: made, negotiated, lost and made again.

Knows no queues and no messages: those are the watchers' and publishers'.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert.amqp._wire import Wire
from quebert.config import Broker
from quebert.errors import BrokerRefused, BrokerUnreachable, ChannelLost
from quebert.policy import exponential

__all__ = ["Connection"]

#: Seconds in which a connection that was accepted must have been negotiated.
NEGOTIATION = 15.0
#: Seconds at most between attempts, so that a broker that is back is found
#: again within five.
RETRY_LIMIT = 4.0
#: Seconds until the next attempt where the broker knows us and says no.
RETRY_REFUSED = 60.0


def retry_delay(attempt: int, jitter: float) -> float:
    """
    Seconds until attempt number C{attempt} to reconnect.

    @param jitter: from 0 to 1, the part of the longest wait that is waited.
    """
    return exponential(attempt, constant=1.5, maximum=RETRY_LIMIT * 4) / 4 * jitter


class _Link(Protocol):
    """
    What the L{ClientService} holds: a connection that can be used.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire


@implementer(IProtocolFactory)
@attrs.define(eq=False)
class _Factory:
    """
    A factory that makes no noise.
    """

    buildProtocol: Callable[[Any], IProtocol]

    def doStart(self) -> None:
        """
        Nothing to start.
        """

    doStop = doStart


@implementer(IStreamClientEndpoint)
@attrs.define(eq=False)
class _NegotiatedEndpoint:
    """
    Connects once the broker has let us in.

    It stands in for C{prepareConnection}: L{ClientService} logs a traceback
    when a connection is lost while that runs, and a broker that refuses a
    password does just that.
    """

    _endpoint: IStreamClientEndpoint
    _connection: Connection
    _clock: IReactorTime

    def __str__(self) -> str:
        return str(self._connection)

    __repr__ = __str__

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            wire = await self._negotiated()
        except Exception as e:
            self._connection.attempted(e)
            raise
        self._connection.attempted(None)
        link = factory.buildProtocol(wire)
        assert link is not None
        link.makeConnection(wire.transport)
        wire.lost.addCallback(lambda why: link.connectionLost(Failure(why)))
        return link

    async def _negotiated(self) -> Wire:
        broker = self._connection.broker
        wires = _Factory(
            lambda _: Wire(
                vhost=broker.vhost, heartbeat=broker.heartbeat, clock=self._clock
            )
        )
        wire: Any = await self._endpoint.connect(wires)
        negotiating = Deferred.fromCoroutine(
            wire.negotiate(broker.username, broker.password)
        )
        try:
            await negotiating.addTimeout(NEGOTIATION, self._clock)
        except TimeoutError:
            wire.transport.abortConnection()
            text = f"nothing was negotiated in {NEGOTIATION:g} s"
            raise BrokerUnreachable(text) from None
        except BaseException:
            wire.transport.abortConnection()
            raise
        negotiated: Wire = wire
        return negotiated


class Connection:
    """
    One connection to one broker, made when it is first wanted, and made again
    whenever it is lost.

    @param tls: as for L{TxAMQPClient<quebert.amqp.TxAMQPClient>}.
    @param reactor: gives the reactor, when it is needed.
    """

    log = Logger()

    def __init__(self, broker: Broker, tls: Any, reactor: Callable[[], Any]) -> None:
        self.broker = broker
        self._tls = tls
        self._get_reactor = reactor
        self._service: ClientService | None = None
        self._let_in = False
        self._refused = False

    def __str__(self) -> str:
        broker = self.broker
        return f"the broker at {broker.host}:{broker.port}, vhost {broker.vhost!r}"

    @property
    def reactor(self) -> Any:
        """
        The reactor.
        """
        return self._get_reactor()

    async def connected(self, timeout: float | None = None) -> Wire:
        """
        The connection, as soon as there is one.

        @param timeout: seconds; C{None} to wait for ever.
        @raise BrokerRefused: there never was one, and the broker said no.
        @raise BrokerUnreachable: there was none in time.
        """
        end = None if timeout is None else self.reactor.seconds() + timeout
        problem: object = "no answer"
        while True:
            waiting: Deferred[Any] = self._running().whenConnected(1)
            if end is not None:
                left = max(0.0, end - self.reactor.seconds())
                waiting.addTimeout(left, self.reactor)
            try:
                link = await waiting
                wire: Wire = link.wire
                if not wire.closed:
                    return wire
                problem = wire.why
                gone = wire.disconnected.wait()
                if end is not None:
                    left = max(0.0, end - self.reactor.seconds())
                    gone.addTimeout(left, self.reactor)
                await gone
            except TimeoutError:
                text = f"{self} was not reached in {timeout} s: {problem}"
                raise BrokerUnreachable(text) from None
            except CancelledError:
                raise ChannelLost(f"{self} is not wanted any more") from None
            except BrokerRefused as e:
                problem = e
                if e.final and not self._let_in:
                    self._give_up()
                    raise
            except Exception as e:
                problem = e
            # The service cannot be asked again from within its own callback.
            await deferLater(self.reactor, 0)

    def _running(self) -> ClientService:
        if self._service is None:
            plain = HostnameEndpoint(
                self.reactor, self.broker.host, self.broker.port, timeout=NEGOTIATION
            )
            self._service = ClientService(
                _NegotiatedEndpoint(self._secured(plain), self, self.reactor),
                _Factory(_Link),
                retryPolicy=self._retry_delay,
                clock=self.reactor,
            )
            self._service.startService()
        return self._service

    def _secured(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        if not self._tls:
            return endpoint
        creator = self._tls
        if creator is True:
            creator = optionsForClientTLS(self.broker.host)
        return wrapClientTLS(creator, endpoint)

    def _retry_delay(self, attempt: int) -> float:
        if self._refused:
            return RETRY_REFUSED
        # Not all mediators at the same moment.
        return retry_delay(attempt, random.uniform(0.5, 1.0))

    def attempted(self, problem: Exception | None) -> None:
        """
        Called by the endpoint with what became of an attempt to connect.
        """
        self._refused = isinstance(problem, BrokerRefused) and problem.final
        if isinstance(problem, CancelledError):
            return  # given up here, which is no problem of the broker's
        if problem is None:
            self._let_in = True
        elif self._let_in or not self._refused:  # else watch() tells
            self.log.warn("{broker}: {problem}", broker=self, problem=problem)

    def _give_up(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            # Not from within a callback of the service's own.
            self.reactor.callLater(0, service.stopService)

    async def stop(self) -> None:
        """
        End it, politely where that can be done at once.
        """
        service, self._service = self._service, None
        if service is None:
            return
        try:
            link: Any = await service.whenConnected(1).addTimeout(0, self.reactor)
            await link.wire.shut()
        except Exception:
            self.log.debug("There is no connection to {broker}.", broker=self)
        await service.stopService()
