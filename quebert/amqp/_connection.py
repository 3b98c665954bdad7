"""
The connection to the broker: made, negotiated, lost and made again.

L{TxAMQPClient} holds one connection, which its watches and publishers share.
Knows no queues: those are the watchers'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    gatherResults,
)
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

from quebert.amqp._channel import Channel
from quebert.amqp._properties import encode_properties
from quebert.amqp._watcher import DRAIN, Watcher
from quebert.amqp._wire import Wire
from quebert.config import Broker
from quebert.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
)

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

    from quebert.amqp._watcher import Callback, OnDisconnect

__all__ = ["TxAMQPClient"]

#: Seconds in which a connection that was accepted must have been negotiated.
NEGOTIATION = 15.0
# A broker that is back is found again within five seconds.
_retry_soon = backoffPolicy(initialDelay=0.25, maxDelay=3.0, factor=1.5)
#: Seconds until the next attempt where the broker knows us and says no.
RETRY_REFUSED = 60.0


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
    _client: TxAMQPClient
    _clock: IReactorTime

    def __str__(self) -> str:
        return str(self._client)

    __repr__ = __str__

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            wire = await self._negotiated()
        except Exception as e:
            self._client.attempted(e)
            raise
        self._client.attempted(None)
        link = factory.buildProtocol(wire)
        assert link is not None
        link.makeConnection(wire.transport)
        wire.lost.addCallback(lambda why: link.connectionLost(Failure(why)))
        return link

    async def _negotiated(self) -> Wire:
        broker = self._client.broker
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


class TxAMQPClient:
    """
    A connection to a RabbitMQ, made when it is first needed and made again
    whenever it is lost.

    @param heartbeat: seconds; 0 for none.
    @param tls: C{True} for TLS with the platform's certificates, or an
        L{IOpenSSLClientConnectionCreator
        <twisted.internet.interfaces.IOpenSSLClientConnectionCreator>}.
    @param watcherFactory: called like L{Watcher} for each watch.
    @param connectTimeout: seconds in which L{watch} and L{publish} want a
        connection; C{None} for no limit.
    """

    log = Logger()

    def __init__(
        self,
        host: str,
        username: str,
        password: str,
        *,
        port: int = 5672,
        vhost: str = "/",
        heartbeat: int = 30,
        reactor: ReactorBase | None = None,
        tls: Any = None,
        watcherFactory: Callable[..., Watcher] = Watcher,
        connectTimeout: float | None = 30.0,
    ) -> None:
        self.broker = Broker(
            host, port, username, password, vhost, heartbeat, tls=bool(tls)
        )
        self.connectTimeout = connectTimeout
        self.watchers: list[Watcher] = []
        self._tls = tls
        self._reactor = reactor
        self._watcherFactory = watcherFactory
        self._service: ClientService | None = None
        self._let_in = False
        self._refused = False
        self._publisher: Channel | None = None
        self._publishers_waiting: list[Deferred[None]] = []

    @classmethod
    def from_url(cls, url: str, **options: Any) -> TxAMQPClient:
        """
        A client for C{amqp://user:password@host:port/vhost?heartbeat=30}.

        @param options: further keyword arguments of L{TxAMQPClient}.
        @raise ConfigError: C{url} cannot be read.
        """
        broker = Broker.from_url(url)
        settings = {
            "port": broker.port,
            "vhost": broker.vhost,
            "heartbeat": broker.heartbeat,
            "tls": broker.tls or None,
            **options,
        }
        return cls(broker.host, broker.username, broker.password, **settings)

    def __repr__(self) -> str:
        broker = self.broker
        return f"the broker at {broker.host}:{broker.port}, vhost {broker.vhost!r}"

    @property
    def reactor(self) -> Any:
        """
        The reactor, the global one unless another was given.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor  # type: ignore[assignment]
        return self._reactor

    # -- Watching

    def watch(
        self,
        exchange: str,
        queue: str,
        routingKey: str,
        callback: Callback,
        onDisconnect: OnDisconnect | None = None,
        maxEvents: int | None = None,
        exchangeType: str = "topic",
        errorDelay: float = 1.0,
    ) -> Deferred[Watcher]:
        """
        Declare C{exchange} and C{queue}, durable, bind them with
        C{routingKey}, and call C{callback} with each message of the queue,
        now and after every reconnection.

        @param callback: C{f(message)}; what it returns, or what its Deferred
            or coroutine returns, decides: C{None} acknowledges, C{bytes} or
            C{str} puts the task back with that body, an
            L{Outcome<quebert.outcome>} says what to do.
        @param onDisconnect: called with a C{Failure}, once for each lost
            connection.
        @param maxEvents: how many messages may be with C{callback} at once;
            100 by default, 0 for no limit.
        @param errorDelay: seconds after which a message whose callback failed
            is put back, doubled for each failure in a row, up to 120 s; 0 for
            at once.
        @return: fires with the L{Watcher} once the broker delivers.  Fails
            with L{BrokerRefused} when the broker does not let us in or has
            the exchange or queue otherwise, with L{BrokerUnreachable} when
            there is no connection in time, and with L{ConfigError}.
        """
        watcher = self._watcherFactory(
            self,
            exchange,
            queue,
            routingKey,
            callback,
            onDisconnect=onDisconnect,
            maxEvents=maxEvents,
            exchangeType=exchangeType,
            errorDelay=errorDelay,
        )
        return Deferred.fromCoroutine(self._watch(watcher))

    async def _watch(self, watcher: Watcher) -> Watcher:
        self.watchers.append(watcher)
        try:
            await watcher.start()
        except BaseException:
            if watcher in self.watchers:  # else it was stopped
                self.watchers.remove(watcher)
            raise
        return watcher

    # -- Publishing

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
    ) -> Deferred[None]:
        """
        Publish a message, mandatory.

        @param properties: by their AMQP names.
        @return: fires when the broker has confirmed it.  Fails with
            L{Unroutable <quebert.errors.Unroutable>} when no queue gets it,
            L{PublishRefused <quebert.errors.PublishRefused>} when the broker
            does not take it, and with another
            L{BrokerError <quebert.errors.BrokerError>} when nobody knows.
        """
        coroutine = self._publish(exchange, routing_key, body, properties or {})
        return Deferred.fromCoroutine(coroutine)

    async def _publish(
        self, exchange: str, key: str, body: bytes, properties: Mapping[str, Any]
    ) -> None:
        encoded = encode_properties(properties)
        if self._publisher is None or self._publisher.closed:
            await self._publisher_opened()
        assert self._publisher is not None
        await self._publisher.publish(exchange, key, body, encoded)

    def _publisher_opened(self) -> Deferred[None]:
        """
        Fires once there is a channel to publish on; one attempt for all that
        wait for it.
        """
        waiter: Deferred[None] = Deferred()
        self._publishers_waiting.append(waiter)
        if len(self._publishers_waiting) == 1:
            opening = Deferred.fromCoroutine(self._open_publisher())
            opening.addBoth(self._tell_publishers)
        return waiter

    async def _open_publisher(self) -> None:
        wire = await self.connected(self.connectTimeout)
        self._publisher = await wire.open_channel()

    def _tell_publishers(self, result: Any) -> None:
        waiters, self._publishers_waiting = self._publishers_waiting, []
        for waiter in waiters:
            waiter.callback(result)

    # -- The connection

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
        return RETRY_REFUSED if self._refused else _retry_soon(attempt)

    def attempted(self, problem: Exception | None) -> None:
        """
        Called by the endpoint with what became of an attempt to connect.
        """
        self._refused = isinstance(problem, BrokerRefused) and problem.final
        if problem is None:
            self._let_in = True
        elif self._let_in or not self._refused:  # else watch() tells
            self.log.warn("{client}: {problem}", client=self, problem=problem)

    def _give_up(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            # Not from within a callback of the service's own.
            self.reactor.callLater(0, service.stopService)

    def stop(self, grace: float = DRAIN) -> Deferred[None]:
        """
        End all watches, then the connection.

        @param grace: seconds that running callbacks get to finish; what is
            not finished then goes back to its queue.
        """
        return Deferred.fromCoroutine(self._stop(grace))

    async def _stop(self, grace: float) -> None:
        await gatherResults([each.stop(grace) for each in list(self.watchers)])
        service, self._service = self._service, None
        if service is None:
            return
        try:
            link: Any = await service.whenConnected(1).addTimeout(0, self.reactor)
            await link.wire.shut()
        except Exception:
            self.log.debug("Stopped {client} with no connection.", client=self)
        await service.stopService()
