"""
Makes a connection to the broker, and negotiates it, in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol as Role

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert import _tls
from quebert.amqp.wire import Wire
from quebert.config import Broker
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    CertificateRefused,
)

__all__ = ["CONNECT_TIMEOUT", "Link", "NegotiatedEndpoint", "QuietFactory"]

#: Seconds in which the host's name must have been looked up, and the host have accepted
#: a connection.  Twisted has no limit for the look-up, which never ends if it fails in
#: a way that Twisted does not know, such as for want of a file.
FINDING = 60.0
#: Seconds in which a host must have accepted a connection.
CONNECT_TIMEOUT = 5.0
#: Seconds in which it must then have said something: a host that is frozen, or cut off,
#: accepts connections all the same, and another host may answer.
GREETING = 5.0
#: Seconds in which a connection that was accepted must have been negotiated.
NEGOTIATION = 15.0


class Connecting(Role):
    """
    Who is told what becomes of an attempt.
    """

    broker: Broker
    name: str

    def endpoint(self) -> IStreamClientEndpoint:
        """
        Where the next attempt connects to.
        """

    def failed(self, problem: Exception) -> None:
        """
        An attempt has failed.
        """

    def made(self, wire: Wire) -> None:
        """
        There is a connection, which can be used.
        """

    def lost(self, wire: Wire, why: BrokerError) -> None:
        """
        It is lost.
        """


class Link(Protocol):
    """
    What the C{ClientService} holds: a connection that can be used.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire


@implementer(IProtocolFactory)
@attrs.define(eq=False)
class QuietFactory:
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
class NegotiatedEndpoint:
    """
    Connects once the broker has let us in.

    It stands in for C{prepareConnection}: C{ClientService} logs a traceback
    when a connection is lost while that runs, and a broker that refuses a
    password does just that.
    """

    _connection: Connecting
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
            problem = _certificate_refused(e.__cause__) or self._explained(e)
            self._connection.failed(problem)
            raise problem from None
        self._connection.made(wire)
        link: Any = factory.buildProtocol(wire)
        link.makeConnection(wire.transport)
        wire.lost.addCallback(self._lost, link)
        negotiated: IProtocol = link
        return negotiated

    def _explained(self, problem: Exception) -> Exception:
        """
        A refusal of the login, with who is refused and where that stands.
        """
        if not isinstance(problem, BrokerRefused):
            return problem
        broker = self._connection.broker
        whence = f" (from {broker.source})" if broker.source else ""
        who = f"{self._connection} refuses user {broker.username!r}{whence}"
        return BrokerRefused(problem.code, f"{who}: {problem}")

    def _lost(self, why: BrokerError, link: Link) -> None:
        link.connectionLost(Failure(why))
        self._connection.lost(link.wire, why)

    async def _negotiated(self) -> Wire:
        broker = self._connection.broker
        wires = QuietFactory(
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
            text = f"the broker did not finish the login within {NEGOTIATION:g} s"
            raise BrokerUnreachable(text) from None
        except BaseException:
            wire.transport.abortConnection()
            raise
        finally:
            if greeting.active():
                greeting.cancel()
        negotiated: Wire = wire
        return negotiated


def _end_if_silent(wire: Wire) -> None:
    if not wire.greeted:
        wire.why = BrokerUnreachable(f"the host sent nothing within {GREETING:g} s")
        wire.transport.abortConnection()


def _certificate_refused(reason: BaseException | None) -> CertificateRefused | None:
    why = _tls.distrust(reason)
    return None if why is None else CertificateRefused(f"no TLS with the broker: {why}")
