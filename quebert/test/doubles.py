"""
Doubles of Twisted's reactor, its threads and its resolver of names, of a connection to
RabbitMQ, and of what brings back delayed messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert.amqp.wire import Message
from quebert.errors import BrokerRefused, ChannelLost


@implementer(IHostResolution)
class Resolution:
    """
    The resolution of a name, which is over as soon as it has begun.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """
        There is nothing to cancel.
        """


@implementer(IHostnameResolver)
class Resolver:
    """
    Resolves each name to 127.0.0.1, at once.
    """

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Tell the receiver the address.
        """
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IReactorPluggableNameResolver)
class MemoryReactor(MemoryReactorClock):
    """
    Twisted's reactor in memory; in Twisted 24.11 it does not resolve names by itself.
    """

    nameResolver: IHostnameResolver = Resolver()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """
        Twisted's reactors, too, take no time that is over.
        """
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"
        delayed: IDelayedCall = super().callLater(delay, callable, *args, **kw)
        return delayed

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        Resolve names with another resolver from now on.
        """
        before, self.nameResolver = self.nameResolver, resolver
        return before


class ThreadClock(Clock):
    """
    A clock for L{WorkThreads}.
    """

    def callFromThread(
        self, work: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        """
        Do some work.
        """
        work(*args, **kwargs)


class WorkThreads:
    """
    Threads whose work is done at once, or when the test says so.

    @ivar working: what is not done yet.
    @ivar held: whether nothing is done by itself.
    @ivar stopped: whether they have ended.
    """

    def __init__(self) -> None:
        self.working: list[Callable[[], object]] = []
        self.held = self.stopped = False

    def start(self) -> None:
        """
        Nothing has to begin.
        """

    def stop(self) -> None:
        """
        End.
        """
        self.stopped = True

    def callInThreadWithCallback(
        self, told: Callable[..., object], work: Callable[..., object], *args: Any
    ) -> None:
        """
        Do some work.
        """

        def do() -> None:
            try:
                result = work(*args)
            except Exception:
                told(False, Failure())
            else:
                told(True, result)

        if self.held:
            self.working.append(do)
        else:
            do()

    def let_go(self) -> None:
        """
        Do what was held.
        """
        self.held = False
        while self.working:
            self.working.pop(0)()


class FakeForwarder:
    """
    What would bring back delayed messages.
    """

    def __init__(self, *arguments: object) -> None:
        """
        Take what the real one takes.
        """

    def begin(self) -> None:
        """
        Nothing is delayed.
        """

    def declared(self) -> None:
        """
        So nothing comes to the queue.
        """

    async def end(self) -> None:
        """
        It did nothing.
        """


RABBITMQ = {"product": "RabbitMQ", "platform": "Erlang/OTP 25", "version": "4.3.6"}


class FakeWire:
    """
    A connection on which a channel may be had later.

    @ivar calls: the methods called, and on what.
    @ivar refused: names, and why the broker refuses calls about them.
    @ivar counts: how many messages there are in queues.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.opening: list[Deferred[None]] = []
        self.calls: list[tuple[str, Any]] = []
        self.refused: dict[str, BrokerRefused] = {}
        self.server_properties: dict[str, Any] = {}
        self.client = self  # it is its own channel, too
        self.there: set[str] = set()
        self.closed = False
        self.counts: dict[str, int] = {}
        self.opens = True

    async def open_channel(self, *, confirms: bool) -> FakeWire:
        """
        A channel: itself.
        """
        if self.closed:
            raise ChannelLost("gone")
        self.opening.append(Deferred())
        if self.opens:
            self.opening[-1].callback(None)
        await self.opening[-1]
        return self

    def open(self) -> None:
        """
        Open those that are wanted.
        """
        self.opens = True
        for each in self.opening:  # which may want others
            if not each.called:
                each.callback(None)

    async def call(self, method: str, **arguments: Any) -> Any:
        """
        Call a method.
        """
        name = arguments.get("queue") or arguments.get("exchange")
        self.calls.append((method, name))
        if name is None:  # it is about the channel
            return Answer(0)
        if name in self.refused:
            raise self.refused[name]
        if arguments.get("passive") and name not in self.there:
            raise BrokerRefused(404, f"NOT_FOUND - no {name}")
        self.there.add(name)
        return Answer(self.counts.get(name, 0))

    async def get(self, queue: str) -> Any:
        """
        The first message, or none.
        """
        self.calls.append(("basic_get", queue))
        return Message("", 1, False, "", "") if self.counts.get(queue) else None

    def give_back(self, delivery_tag: int) -> None:
        """
        Put it at the end of the queue.
        """
        self.calls.append(("basic_nack", delivery_tag))

    def made(self, method: str) -> list[Any]:
        """
        What a method was called with.
        """
        return [name for each, name in self.calls if each == method]

    async def shut(self) -> None:
        """
        It is not needed any more.
        """


@attrs.frozen
class Answer:
    """
    An answer to C{queue.declare}.
    """

    message_count: int
    consumer_count: int = 0
