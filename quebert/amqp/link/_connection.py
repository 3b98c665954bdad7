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
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert import _tls
from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.wire import Wire
from quebert.config import Address, Broker
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    CertificateRefused,
    ChannelLost,
    ProtocolError,
)
from quebert.policy import exponential

__all__ = ["BrokerConnection"]

#: Seconds in which the host's name must have been looked up, and the host have accepted
#: a connection.  Twisted has no limit for the look-up, which never ends if it fails in
#: a way that Twisted does not know, such as for want of a file.
FINDING = 60.0
#: Seconds in which a host must have accepted a connection.
CONNECTING = 5.0
#: Seconds in which it must then have said something: a host that is frozen, or cut off,
#: accepts connections all the same, and another host may answer.
GREETING = 5.0
#: Seconds in which a connection that was accepted must have been negotiated.
NEGOTIATION = 15.0
#: Seconds at most between attempts, so that a broker that is back is found
#: again within five.
RETRY_LIMIT = 4.0
#: The same where the broker knows us and says no.
RETRY_REFUSED_LIMIT = 60.0


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
class _QuietFactory:
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

    _connection: BrokerConnection
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
            problem = _certificate_refused(e.__cause__) or e
            self._connection.failed(problem)
            raise problem from None
        self._connection.made(wire)
        link = factory.buildProtocol(wire)
        assert link is not None
        link.makeConnection(wire.transport)
        wire.lost.addCallback(self._lost, link)
        return link

    def _lost(self, why: BrokerError, link: IProtocol) -> None:
        link.connectionLost(Failure(why))
        self._connection.lost(why)

    async def _negotiated(self) -> Wire:
        broker = self._connection.broker
        wires = _QuietFactory(
            lambda _: Wire(
                vhost=broker.vhost,
                heartbeat=broker.heartbeat,
                clock=self._clock,
                name=self._connection.name,
            )
        )
        connecting = self._connection.endpoint().connect(wires)
        wire: Any = await connecting.addTimeout(FINDING, self._clock)
        negotiating = Deferred.fromCoroutine(
            wire.negotiate(broker.username, broker.password)
        )
        greeting = self._clock.callLater(GREETING, _end_if_silent, wire)
        try:
            await negotiating.addTimeout(NEGOTIATION, self._clock)
        except TimeoutError:
            wire.transport.abortConnection()
            text = f"nothing was negotiated in {NEGOTIATION:g} s"
            raise BrokerUnreachable(text) from None
        except BaseException:
            wire.transport.abortConnection()
            raise
        finally:
            if greeting.active():
                greeting.cancel()
        negotiated: Wire = wire
        return negotiated


class BrokerConnection:
    """
    One connection to one broker, made when it is first wanted, and made again
    whenever it is lost, to one host after the other.

    @param tls: as for L{TxAMQPClient<quebert.amqp.TxAMQPClient>}.
    @param reactor: gives the reactor, when it is needed.
    @param name: what the broker calls it.
    @param on_lost: called with the reason when it was there and is lost.
    @param sibling: another connection to the same broker; it knows which host answers.
        If that was ever accepted, this one tries again after a refusal.
    @param optional: give up after a refusal even if the sibling was accepted: the
        broker may let a user have no more connections.
    """

    log = Logger()

    def __init__(
        self,
        broker: Broker,
        tls: Any,
        reactor: Callable[[], Any],
        name: str,
        on_lost: Callable[[BrokerError], None] = lambda why: None,
        sibling: BrokerConnection | None = None,
        *,
        optional: bool = False,
    ) -> None:
        self.broker = broker
        self.name = name
        self._tls = tls
        self._get_reactor = reactor
        self._on_lost = on_lost
        self._service: ClientService | None = None
        self._wire: Wire | None = None
        self._sibling = sibling
        self._optional = optional
        self._problem: Exception | None = None  # of the last attempt
        self._stops = 0  # how often it was stopped
        self._turn = 0  # whose it is among the broker's hosts
        self._was_let_in = False
        self._refusals = 0  # in a row
        self._not_connected = RepeatedWarning(
            self.log,
            reactor,
            "There is no connection to the broker ({name}) for now",
            "There is a connection to the broker ({name}) again",
            name=name,
        )

    def __str__(self) -> str:
        return f"the broker at {self._address}, vhost {self.broker.vhost!r}"

    @property
    def _address(self) -> Address:
        addresses = self.broker.addresses
        return addresses[self._turn % len(addresses)]

    @property
    def _let_in(self) -> bool:
        if self._sibling is None or self._optional:
            return self._was_let_in
        return self._was_let_in or self._sibling._was_let_in

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
        @raise CertificateRefused: the same, of a certificate.
        @raise BrokerUnreachable: there was none in time.
        """
        end = None if timeout is None else self.reactor.seconds() + timeout
        stops = self._stops
        while True:
            service = self._running()
            if self._wire is not None and not self._wire.closed:
                return self._wire  # the service may be just telling of it
            waiting: Deferred[Any] = service.whenConnected(1)
            if end is not None:
                left = max(0.0, end - self.reactor.seconds())
                waiting.addTimeout(left, self.reactor)
            try:
                link = await waiting
                wire: Wire = link.wire
                if not wire.closed:
                    return wire
                self._problem = wire.why
                gone = wire.disconnected.wait()
                if end is not None:
                    left = max(0.0, end - self.reactor.seconds())
                    gone.addTimeout(left, self.reactor)
                await gone
            except TimeoutError:
                assert timeout is not None
                raise self.unreachable(timeout) from None
            except CancelledError:
                if self._stops == stops and self._service is service:
                    raise  # it is the caller who has given up
                if self._stops != stops:
                    raise ChannelLost(f"{self} is not wanted any more") from None
            except Exception:
                hosts = len(self.broker.addresses)
                if self._refusals >= hosts and not self._let_in:
                    self._give_up(service)
                    raise
            # The service cannot be asked again from within its own callback.
            await deferLater(self.reactor, 0)
            if self._stops != stops:
                raise ChannelLost(f"{self} is not wanted any more")

    def unreachable(self, seconds: float) -> BrokerUnreachable:
        """
        What to tell who has waited so long in vain.
        """
        problem = self._problem or "no answer"
        return BrokerUnreachable(f"{self} was not reached in {seconds} s: {problem}")

    def _running(self) -> ClientService:
        if self._service is None:
            if self._sibling is not None:
                self._turn = self._sibling._turn  # it knows who answers
            self._service = ClientService(
                _NegotiatedEndpoint(self, self.reactor),
                _QuietFactory(_Link),
                retryPolicy=self._retry_delay,
                clock=self.reactor,
            )
            self._service.startService()
        return self._service

    def endpoint(self) -> IStreamClientEndpoint:
        """
        Where the next attempt connects to.
        """
        host, port = self._address.host, self._address.port
        plain = HostnameEndpoint(self.reactor, host, port, timeout=CONNECTING)
        if not self._tls:
            return plain
        return wrapClientTLS(_tls.creator(self._tls, host), plain)

    def _retry_delay(self, attempt: int) -> float:
        hosts = len(self.broker.addresses)
        refused = self._refusals // hosts  # by all of them
        if refused:
            return exponential(
                refused, constant=RETRY_LIMIT, maximum=RETRY_REFUSED_LIMIT
            )
        # Not all mediators at the same moment; nobody gains by guessing the moment.
        jitter = random.uniform(0.5, 1.0)  # nosec B311
        return retry_delay(attempt // hosts, jitter) / hosts

    def failed(self, problem: Exception) -> None:
        """
        Called by the endpoint when an attempt to connect has failed.
        """
        if isinstance(problem, CancelledError):
            return  # given up here, which is no problem of the broker's
        self._problem = problem
        refused = isinstance(problem, BrokerError) and problem.final
        self._refusals = self._refusals + 1 if refused else 0
        # Where all refuse, watch() tells.
        told = self._let_in or self._refusals < len(self.broker.addresses)
        if told and self._service is not None:  # else it was stopped
            self._not_connected.met(f"{self}: {problem}")
        self._turn += 1

    @property
    def blocked(self) -> str | None:
        """
        Why the broker reads nothing that is published here, or C{None}.
        """
        return None if self._wire is None else self._wire.blocked

    def made(self, wire: Wire) -> None:
        """
        Called by the endpoint with the connection that it made.
        """
        self._wire = wire
        self._not_connected.succeeded()
        self._was_let_in = True
        self._problem = None
        self._refusals = 0

    def lost(self, why: BrokerError) -> None:
        """
        Called by the endpoint when the connection that it made is lost.
        """
        self._wire = None
        self._turn += 1
        if isinstance(why, ProtocolError) and self._service is not None:
            self._not_connected.met(f"{self}: {why}")
        self._on_lost(why)

    def _give_up(self, service: ClientService) -> None:
        if self._service is service:
            self._service = None
            self._not_connected.end()
            # Not from within a callback of the service's own.
            self.reactor.callLater(0, service.stopService)

    async def stop(self) -> None:
        """
        End it, politely where that can be done at once.
        """
        self._stops += 1
        self._not_connected.end()
        service, self._service = self._service, None
        if service is None:
            return
        if self._wire is not None:
            await self._wire.shut()
        await service.stopService()


def _end_if_silent(wire: Wire) -> None:
    if not wire.greeted:
        wire.why = BrokerUnreachable(f"the host said nothing in {GREETING:g} s")
        wire.transport.abortConnection()


def _certificate_refused(reason: BaseException | None) -> CertificateRefused | None:
    why = _tls.distrust(reason)
    return None if why is None else CertificateRefused(f"no TLS with the broker: {why}")
