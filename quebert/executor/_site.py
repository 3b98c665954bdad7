"""
The executor's site: HTTP by Twisted, on connections that are within limits.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import Site

from quebert._reactor import given_or_global
from quebert.executor._channel import ExecutorChannel
from quebert.executor._connections import BoundedResource, Connections
from quebert.executor._request import ExecutorRequest

__all__ = ["ExecutorSite"]


class ExecutorSite(Connections[ExecutorChannel], Site):
    """
    A site of an executor alone, for any endpoint.  It logs no requests, keeps its
    clients within the limits of C{resource}, and can close their connections.

    @param resource: answers whatever is requested.
    @param reactor: keeps the time; the global one by default.
    """

    noisy = False
    displayTracebacks = False
    requestFactory = ExecutorRequest
    protocol = ExecutorChannel  # type: ignore[assignment]

    def __init__(self, resource: BoundedResource, reactor: Any = None) -> None:
        reactor = given_or_global(reactor)
        leaf: IResource = resource  # type: ignore[assignment]
        Site.__init__(self, leaf, timeout=None, reactor=reactor)
        Connections.__init__(self, resource, reactor)

    def startFactory(self) -> None:
        """
        Open no log of requests, nor begin to keep its time.
        """

    def getContentFile(self, length: int | None) -> BytesIO:
        """
        Bodies are kept in memory, as they are bounded.
        """
        return BytesIO()

    def acceptableProtocols(self) -> list[bytes]:
        """
        What clients can choose from where they connect by TLS: not HTTP/2, even if
        Twisted can speak it.
        """
        return [b"http/1.1"]
