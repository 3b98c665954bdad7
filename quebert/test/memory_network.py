"""
A network in memory on which clients reach an embedded broker: no sockets, no threads,
and time passes as the test says.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp import TxAMQPClient
from quebert.amqp.link import BrokerConnection
from quebert.amqp.wire import Channel, Unconfirmed, Wire
from quebert.broker import BrokerFactory
from quebert.config import Broker
from quebert.errors import BrokerRefused
from quebert.test.doubles import MemoryReactor

__all__ = ["MemoryNetwork", "NetworkTestCase", "RefusingWire"]

T = TypeVar("T")
#: Seconds of the network, which pass in no time.
PATIENCE = 60.0


class MemoryNetwork(MemoryReactor):
    """
    A reactor whose TCP connections all lead to one broker.

    @ivar broker: the broker.
    @ivar is_down: whether connections are left without an answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broker = BrokerFactory(self)
        self.is_down = False
        self._pumps: list[IOPump] = []

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> Any:
        """
        Connect to the broker, soon.
        """
        connector = super().connectTCP(host, port, factory, timeout, bindAddress)
        if not self.is_down:
            self.callLater(0, self._connect, connector, factory)
        return connector

    def _connect(self, connector: Any, factory: Any) -> None:
        if connector.stoppedConnecting:
            return
        client, server = factory.buildProtocol(None), self.broker.buildProtocol(None)
        ends = FakeTransport(server, True), FakeTransport(client, False)
        self._pumps.append(connect(server, ends[0], client, ends[1]))

    def settle(self, seconds: float = 0.0) -> None:
        """
        Let time pass, and happen what happens at once then.
        """
        self.advance(seconds)
        for _ in range(1_000):
            self.advance(0)
            if sum(bool(pump.pump()) for pump in self._pumps) == 0:
                break

    def step(self) -> None:
        """
        One turn of the reactor: what was sent before comes.
        """
        self.advance(0)
        for pump in self._pumps:
            pump.pump()

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """
        Let time pass in steps.
        """
        for _ in range(round(seconds / step)):
            self.settle(step)

    def cut(self) -> None:
        """
        All connections are lost.
        """
        pumps, self._pumps = self._pumps, []
        for pump in pumps:
            client, server = pump.clientIO, pump.serverIO
            # A pump tells an end once the other one is disconnected.
            to_tell = [
                end
                for end, other in ((client, server), (server, client))
                if not other.disconnected
            ]
            client.disconnected = server.disconnected = True
            for each in to_tell:
                each.reportDisconnect()


class RefusingWire:
    """
    A connection whose user lacks the permissions on some names.

    @ivar published: what becomes of all publications, if that is not what the broker
        makes of them.
    """

    def __init__(
        self, wire: Wire, *names: str, published: Deferred[None] | None = None
    ) -> None:
        self.wire = wire
        self.names = names
        self.published = published

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)

    async def open_channel(self, *, confirms: bool = True) -> RefusingChannel:
        """
        A channel of it.
        """
        return RefusingChannel(self, await self.wire.open_channel(confirms=confirms))


class RefusingChannel:
    """
    A channel of a L{RefusingWire}.
    """

    def __init__(self, wire: RefusingWire, channel: Channel) -> None:
        self._wire = wire
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("on_"):
            setattr(self._channel, name, value)
        else:
            super().__setattr__(name, value)

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method, or refuse that.
        """
        for value in arguments.values():
            if isinstance(value, str) and value in self._wire.names:
                raise _refused(value)
        return await self._channel.call(method, **arguments)

    def publish(self, exchange: str, *rest: Any, **options: Any) -> Any:
        """
        Publish, or refuse that.
        """
        if self._wire.published is not None:
            return self._wire.published
        if exchange in self._wire.names:
            return fail(Unconfirmed(_refused(exchange)))
        return self._channel.publish(exchange, *rest, **options)


def _refused(name: str) -> BrokerRefused:
    return BrokerRefused(403, f"ACCESS_REFUSED - access to '{name}' refused")


class _Client(TxAMQPClient):
    """
    A client whose time of day is that of its network.
    """

    def now(self) -> float:  # type: ignore[override]
        """
        The time of the network, which began at some time.
        """
        seconds: float = self.reactor.seconds()
        return 1_700_000_000 + seconds


class NetworkTestCase(SynchronousTestCase):
    """
    An embedded broker, and clients of it.
    """

    def setUp(self) -> None:
        """
        Begin with a broker on which there is nothing.
        """
        self.network = MemoryNetwork()
        self.wire = self.connect()

    def connect(self) -> Wire:
        """
        One more connection.
        """
        broker = Broker.from_url("amqp://guest:guest@rabbit.example/?heartbeat=0")
        connection = BrokerConnection(broker, None, lambda: self.network, "test")
        self.addCleanup(lambda: self.result(connection.stop()))
        return self.result(connection.connected())

    def client(self, **options: Any) -> TxAMQPClient:
        """
        One more client; it is stopped at the end.
        """
        settings: dict[str, Any] = {"reactor": self.network, "heartbeat": 0, **options}
        client = _Client("rabbit.example", "guest", "guest", **settings)
        self.addCleanup(lambda: self.result(client.stop(0)))
        return client

    def result(self, work: Coroutine[Any, Any, T] | Deferred[T]) -> T:
        """
        What comes of some work; time passes until that is known.
        """
        done = self.begin(work)
        self.network.settle()
        end = self.network.seconds() + PATIENCE
        while not done.called and self.network.seconds() < end:
            self.network.settle(0.05)
        return self.successResultOf(done)

    def failure(
        self, work: Coroutine[Any, Any, Any] | Deferred[Any], kind: type[T]
    ) -> T:
        """
        The error in which some work ends.
        """
        done = self.begin(work)
        self.network.pass_time(10)
        error = self.failureResultOf(done).value
        assert isinstance(error, kind), repr(error)
        return error

    def begin(self, work: Coroutine[Any, Any, T] | Deferred[T]) -> Deferred[T]:
        """
        Some work as a Deferred.
        """
        return work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)

    def call(self, method: str, **arguments: Any) -> Any:
        """
        Call an AMQP method on a channel of its own.
        """

        async def called() -> Any:
            channel = await self.wire.open_channel(confirms=False)
            try:
                return await channel.call(method, **arguments)
            finally:
                await channel.shut()

        return self.result(called())

    def depths(self) -> dict[str, int]:
        """
        How many messages each queue holds.
        """
        return self.network.broker.depths()
