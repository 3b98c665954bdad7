"""
The connections and the clocks of a client, as its parts use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from quebert.amqp.link._publisher import Publisher
    from quebert.amqp.wire import Wire

__all__ = ["Session"]


class Session(Protocol):
    """
    Connections to one broker, made when they are first needed, and made again whenever
    they are lost.
    """

    @property
    def reactor(self) -> Any:
        """
        The reactor.
        """

    def now(self) -> float:
        """
        The time of day, in seconds since the epoch.
        """

    async def connected(self, timeout: float | None = None) -> Wire:
        """
        The connection that consumes, as soon as there is one.

        @param timeout: seconds; C{None} to wait for ever.
        @raise BrokerRefused: there never was one, and the broker said no.
        @raise CertificateRefused: the same, of a certificate.
        @raise BrokerUnreachable: there was none in time.
        """

    def make_publisher(self) -> Publisher:
        """
        A publisher with a channel of its own, so that an error on the channel of one
        does not disturb the others.
        """
