"""
The web server's connections: within the limits that an executor's have.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from quebert.executor import Connections
from quebert.web._channel import WebChannel
from quebert.web._resource import WebResource

__all__ = ["WebSite"]


@implementer(IProtocolNegotiationFactory)
class WebSite(Connections[WebChannel], Factory):
    """
    Serves HTTP/1.1.

    @param resource: answers all requests.
    @param reactor: keeps the time.
    """

    noisy = False

    def __init__(self, resource: WebResource, reactor: Any) -> None:
        super().__init__(resource, reactor)
        self._resource = resource

    def buildProtocol(self, addr: Any) -> WebChannel:
        """
        One more connection.
        """
        return WebChannel(self, self._resource)

    def acceptableProtocols(self) -> list[bytes]:
        """
        What clients can choose from where they connect by TLS.
        """
        return [b"http/1.1"]
