"""
Doubles of Twisted's reactor and its resolver of names, and of what brings back delayed
messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer


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
