"""
The connection to the broker: made, lost and made again.

Theory of operation: a connection is in one of these states::

              want               make
     UNWANTED ------> CONNECTING <------> CONNECTED
        ^                 |        lose       |
        +-----------------+-------------------+
                         end

 - UNWANTED: nobody has asked for it, or not since it was ended.
 - CONNECTING: one host after the other is tried, until told to end.
 - CONNECTED: a host has let us in.

A connection is ended for one of two reasons: it is stopped, or all hosts refuse and
none has ever let us in.  What was connected then is lost a moment later, when somebody
may want a connection again, or have another one already.

Knows no queues and no messages: those are the watchers' and publishers'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, auto
from typing import Any, TypeVar

from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater

from quebert import _tls
from quebert._log import Logger
from quebert._machine import Machine
from quebert._repeated import RepeatedWarning
from quebert.amqp.link._hosts import Hosts
from quebert.amqp.link._negotiation import (
    CONNECT_TIMEOUT,
    Link,
    NegotiatedEndpoint,
    QuietFactory,
)
from quebert.amqp.wire import Wire
from quebert.config import Broker
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ProtocolError,
)

__all__ = ["BrokerConnection"]

T = TypeVar("T")


class LinkState(IntEnum):
    """
    Where a connection stands.
    """

    UNWANTED = auto()
    CONNECTING = auto()
    CONNECTED = auto()


class LinkEvent(IntEnum):
    """
    What happens to a connection.
    """

    WANT = auto()
    MAKE = auto()
    LOSE = auto()
    END = auto()


#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[LinkEvent, Mapping[LinkState, LinkState]] = {
    LinkEvent.WANT: {LinkState.UNWANTED: LinkState.CONNECTING},
    LinkEvent.MAKE: {
        LinkState.CONNECTING: LinkState.CONNECTED,
        # It was ended just now, and is lost in a moment.
        LinkState.UNWANTED: LinkState.UNWANTED,
    },
    LinkEvent.LOSE: {
        LinkState.CONNECTED: LinkState.CONNECTING,
        LinkState.UNWANTED: LinkState.UNWANTED,
        # The one before: it was ended, and is wanted again.
        LinkState.CONNECTING: LinkState.CONNECTING,
    },
    LinkEvent.END: dict.fromkeys(LinkState, LinkState.UNWANTED),
}


class BrokerConnection:
    """
    One connection to one broker, made when it is first wanted, and made again
    whenever it is lost, to one host after the other.

    @param broker: its hosts, and who we are there.
    @param tls: as for L{TxAMQPClient<quebert.amqp.TxAMQPClient>}.
    @param reactor: gives the reactor, when it is needed.
    @param name: the name of the connection, which the broker is told.
    @param on_lost: called with the reason when it was there and is lost.
    @param sibling: another connection to the same broker; it knows which host answers.
        If that was ever accepted, this one tries again after a refusal.
    @param optional: give up after a refusal even if the sibling was accepted: the
        broker may let a user have no more connections.
    @param patient: whether to try again where there is no broker yet.
    @ivar times_made: how often there was a connection.
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
        patient: bool = True,
    ) -> None:
        self.broker = broker
        self.name = name
        self._machine = Machine(TABLE, LinkState.UNWANTED)
        self._tls = tls
        self._get_reactor = reactor
        self._on_lost = on_lost
        self._patient = patient
        self._service: ClientService | None = None  # unless it is unwanted
        self._wire: Wire | None = None
        self._problem: Exception | None = None  # of the last attempt
        self._stops = 0  # how often it was stopped
        self.times_made = 0
        self._hosts: Hosts = Hosts(
            broker.addresses,
            None if sibling is None else sibling._hosts,
            optional=optional,
        )
        self._not_connected = RepeatedWarning(
            self.log,
            reactor,
            "There is no connection to the broker ({name}) for now",
            "There is a connection to the broker ({name}) again",
            name=name,
        )

    def __str__(self) -> str:
        return f"the broker at {self._hosts.address}, vhost {self.broker.vhost!r}"

    @property
    def state(self) -> LinkState:
        """
        Where it stands.
        """
        return self._machine.state

    @property
    def is_connected(self) -> bool:
        """
        Whether a host has let us in, and is there, as far as we know.
        """
        return self.state is LinkState.CONNECTED

    @property
    def reactor(self) -> Any:
        """
        The reactor.
        """
        return self._get_reactor()

    @property
    def blocked(self) -> str | None:
        """
        Why the broker reads nothing that is published here, or C{None}.
        """
        return None if self._wire is None else self._wire.blocked

    @property
    def unconfirmed(self) -> int:
        """
        How many publications wait for their confirm.
        """
        return 0 if self._wire is None else self._wire.unconfirmed

    # -- Waiting for it

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
            try:
                connecting: Deferred[Any] = service.whenConnected(1)
                link: Link = await self._until(end, connecting)
                if not link.wire.closed:
                    return link.wire
                self._problem = link.wire.why
                await self._until(end, link.wire.disconnected.wait())
            except TimeoutError:
                assert timeout is not None
                raise self.unreachable(timeout) from None
            except CancelledError:
                if self._stops == stops and self._service is service:
                    raise  # it is the caller who has given up
            except Exception as e:
                if self._hosts.refuse:
                    if self._service is service:
                        # Not from within a callback of the service's own.
                        self.reactor.callLater(0, self._end().stopService)
                    if isinstance(e, BrokerError) and type(e) is not BrokerUnreachable:
                        raise
                    text = f"{self._named} was not reached: {e}"
                    raise BrokerUnreachable(text) from None
            # The service cannot be asked again from within its own callback.
            await deferLater(self.reactor, 0)
            if self._stops != stops:
                raise ChannelLost(f"the client has ended its connection to {self}")

    def _until(self, end: float | None, event: Deferred[T]) -> Deferred[T]:
        if end is not None:
            event.addTimeout(max(0.0, end - self.reactor.seconds()), self.reactor)
        return event

    def unreachable(self, seconds: float) -> BrokerUnreachable:
        """
        What to tell who has waited so long in vain.
        """
        problem = self._problem or "no answer"
        return BrokerUnreachable(
            f"{self._named} was not reached in {seconds} s: {problem}"
        )

    @property
    def _named(self) -> str:
        whence = f" (from {self.broker.source})" if self.broker.source else ""
        return f"{self}{whence}"

    def _running(self) -> ClientService:
        if self._service is None:
            self._machine.move(LinkEvent.WANT)
            self._hosts.begin()
            self._service = ClientService(
                NegotiatedEndpoint(self, self.reactor),
                QuietFactory(Link),
                retryPolicy=self._hosts.delay,
                clock=self.reactor,
            )
            self._service.startService()
        return self._service

    # -- Called by the endpoint

    def endpoint(self) -> IStreamClientEndpoint:
        """
        Where the next attempt connects to.
        """
        host, port = self._hosts.address.host, self._hosts.address.port
        plain = HostnameEndpoint(self.reactor, host, port, timeout=CONNECT_TIMEOUT)
        if not self._tls:
            return plain
        return wrapClientTLS(_tls.creator(self._tls, host), plain)

    def failed(self, problem: Exception) -> None:
        """
        An attempt to connect has failed.
        """
        if isinstance(problem, CancelledError):
            return  # given up here, which is no problem of the broker's
        self._problem = problem
        place = str(self)
        final = isinstance(problem, BrokerError) and problem.final
        self._hosts.failed(refused=final or not self._patient)
        # Where all refuse, watch() tells.
        if not self._hosts.refuse and self.state is not LinkState.UNWANTED:
            told = isinstance(problem, BrokerRefused)  # with the place
            self._not_connected.met(problem if told else f"{place}: {problem}")

    def made(self, wire: Wire) -> None:
        """
        There is a connection.
        """
        self._machine.move(LinkEvent.MAKE)
        self._wire = wire
        self.times_made += 1
        self._not_connected.succeeded()
        self._problem = None
        self._hosts.succeeded()

    def lost(self, wire: Wire, why: BrokerError) -> None:
        """
        The connection is lost.
        """
        if wire is self._wire:
            self._machine.move(LinkEvent.LOSE)
            self._wire = None
        self._hosts.lost()
        if isinstance(why, ProtocolError) and self.state is not LinkState.UNWANTED:
            self._not_connected.met(f"{self}: {why}")
        self._on_lost(why)

    # -- The end

    async def stop(self) -> None:
        """
        End it, politely where that can be done at once.
        """
        self._stops += 1
        if self._service is None:
            return
        service = self._end()
        if self._wire is not None:
            await self._wire.shut()
        await service.stopService()

    def _end(self) -> ClientService:
        """
        Nobody wants it any more.

        @return: what is to be stopped.
        """
        service, self._service = self._service, None
        assert service is not None
        self._machine.move(LinkEvent.END)
        self._not_connected.end()
        return service
