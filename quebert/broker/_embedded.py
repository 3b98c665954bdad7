"""
A broker within a program: for people's own tests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.pollreactor import PollReactor
from twisted.internet.threads import blockingCallFromThread

from quebert._listening import listen
from quebert._reactor import given_or_global
from quebert.broker._broker import BrokerFactory
from quebert.clock import use_monotonic_clock

__all__ = ["EmbeddedBroker"]

T = TypeVar("T")

#: Seconds at the end for clients that are still connected: many tests end so, and
#: blocking clients do not answer while they do nothing.
PATIENCE = 0.1


class EmbeddedBroker:
    """
    A broker in memory, on a free port of the loopback.

    With Twisted, it runs on the reactor::

        async with EmbeddedBroker() as broker:
            client = TxAMQPClient.from_url(broker.url)

    In blocking programs, it runs in a thread of its own::

        with EmbeddedBroker() as broker:
            connection = pika.BlockingConnection(pika.URLParameters(broker.url))

    @param port: where it listens, or 0 for a free port.
    @param vhosts: its virtual hosts.
    @param reactor: for C{async with}; the global one, where it is left out.
    @ivar port: where it speaks AMQP.
    """

    def __init__(
        self, *, port: int = 0, vhosts: Iterable[str] = ("/",), reactor: Any = None
    ) -> None:
        self.port = port
        self._vhosts = tuple(vhosts)
        self._reactor = reactor
        self._thread: threading.Thread | None = None
        self._broker: BrokerFactory | None = None
        self._listening: Any = None

    @property
    def url(self) -> str:
        """
        Where it is, as an AMQP URL.
        """
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def advance(self, seconds: float) -> None:
        """
        Have C{seconds} pass in no time: TTLs of messages and queues run out, as
        they would.
        """
        self._run(lambda: self._running.advance(seconds))

    def depths(self, vhost: str = "/") -> dict[str, int]:
        """
        How many messages each queue holds, ready or delivered.
        """
        return self._run(lambda: self._running.depths(vhost))

    @property
    def _running(self) -> BrokerFactory:
        if self._broker is None:
            raise RuntimeError("the broker runs within a with statement only")
        return self._broker

    def _start(self) -> None:
        self._broker = BrokerFactory(self._reactor, vhosts=self._vhosts)
        self._listening = listen(self._reactor, self.port, self._broker, "127.0.0.1")
        self.port = self._listening.getHost().port

    async def _stop(self) -> None:
        broker, self._broker = self._running, None
        await maybeDeferred(self._listening.stopListening)
        await broker.stop(PATIENCE)

    # -- On the reactor

    async def __aenter__(self) -> EmbeddedBroker:
        self._reactor = given_or_global(self._reactor)
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    # -- In a thread

    def _run(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            return call()
        result: T = blockingCallFromThread(self._reactor, call)
        return result

    def __enter__(self) -> EmbeddedBroker:
        self._reactor = reactor = PollReactor()
        use_monotonic_clock(reactor, log_jumps=False)
        self._thread = threading.Thread(
            target=lambda: reactor.run(installSignalHandlers=False),
            name="quebert-broker",
            daemon=True,
        )
        self._thread.start()
        try:
            self._run(self._start)
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(lambda: Deferred.fromCoroutine(self._stop()))
        self._end_thread()

    def _end_thread(self) -> None:
        assert self._thread is not None
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join()
        self._thread = None
