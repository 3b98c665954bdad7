"""
What is being published over a channel, and what of it is confirmed.
"""

from __future__ import annotations

import attrs

from quebert._protocol.frames import BODY, CONTENT_HEADER, HEADER, METHOD, ack
from quebert.broker.protocol._line import CLASS_BASIC, Line
from quebert.broker.protocol._methods import method_frame
from quebert.broker.state import (
    AMQPConnectionError,
    PublishedMessage,
    access_refused,
    precondition_failed,
    read_properties,
)

__all__ = ["Publishing"]

#: Bytes that the body of a message may have: the default of RabbitMQ 3.13; 4.0 to 4.3
#: have 16 MiB.
MOST_BODY = 2**27
_NO_ROUTE = (312, "NO_ROUTE")


@attrs.define
class _IncomingPublication:
    """
    What is being published: its method, its header, and what there is of its
    body.
    """

    exchange: str
    routing_key: str
    mandatory: bool
    properties: bytes | None = None
    size: int = 0
    body: bytearray | bytes = b""


class Publishing:
    """
    The publications of one channel.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._vhost = line.peer.vhost
        self._publication: _IncomingPublication | None = None
        self._confirms = False
        self._last = 0  # the number of the last one, since they are confirmed
        self._last_confirmed = 0

    def confirm(self) -> None:
        """
        C{confirm.select}: confirm every publication from now on.
        """
        self._confirms = True

    def publish(self, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        """
        A message is about to come.
        """
        self._publication = _IncomingPublication(exchange, routing_key, mandatory)

    @property
    def expects(self) -> int:
        """
        What kind of frame is to come next.
        """
        publication = self._publication
        if publication is None:
            return METHOD
        return HEADER if publication.properties is None else BODY

    def header_received(self, payload: bytes) -> None:
        """
        The header of the message.

        @raise AMQPError: it is not as it should be.
        """
        klass, _, size = CONTENT_HEADER.unpack_from(payload)
        publication = self._publication
        assert publication is not None
        if klass != CLASS_BASIC:
            text = f"expected content header for class 60, got one for class {klass}"
            raise AMQPConnectionError(505, f"UNEXPECTED_FRAME - {text} instead")
        if size > MOST_BODY:
            text = f"message size {size} is larger than configured max size {MOST_BODY}"
            raise precondition_failed(text)
        publication.properties, publication.size = payload[12:], size
        if not size:
            self._published(publication)

    def body_received(self, payload: bytes) -> None:
        """
        Some of its body.

        @raise AMQPError: it is too much, or the message cannot be published.
        """
        publication = self._publication
        assert publication is not None
        there = len(publication.body) + len(payload)
        if there > publication.size:
            text = f"{there} bytes of a body came where {publication.size} were to"
            raise AMQPConnectionError(501, f"FRAME_ERROR - {text}")
        if publication.body:
            assert isinstance(publication.body, bytearray)
            publication.body += payload
        elif there < publication.size:
            publication.body = bytearray(payload)
        else:
            publication.body = payload
        if there == publication.size:
            self._published(publication)

    def _published(self, publication: _IncomingPublication) -> None:
        self._publication = None
        exchange = self._vhost.exchanges.named(publication.exchange)
        if exchange.internal:
            text = f"cannot publish to internal exchange '{exchange.name}'"
            raise access_refused(f"{text} in vhost '{self._vhost.name}'")
        assert publication.properties is not None
        properties = read_properties(publication.properties)
        user = properties.user
        if user is not None and user != self._line.peer.user:
            text = f"user_id property set to '{user}' but authenticated user was"
            raise precondition_failed(f"{text} '{self._line.peer.user}'")
        if self._confirms:
            self._last += 1
        key, body = publication.routing_key, bytes(publication.body)
        message = PublishedMessage(exchange.name, key, properties.encoded, body)
        keys = (key, *properties.further_keys)
        queues = self._vhost.route(exchange, keys, properties.headers)
        if publication.mandatory and not queues:
            self._return(message)
        taken = self._vhost.router.publish(queues, message, properties)
        if self._confirms and taken:
            self._line.peer.confirming(self)
        elif self._confirms:
            self._confirm_up_to(self._last - 1)
            self._line.call("basic.nack", self._last, False, False)
            self._last_confirmed = self._last

    def _return(self, message: PublishedMessage) -> None:
        method = method_frame(
            self._line.number,
            "basic.return",
            (*_NO_ROUTE, message.exchange, message.routing_key),
        )
        self._line.write_content(method[7:-1], message)

    def end(self) -> None:
        """
        The channel is closed.
        """
        self._publication = None
        self.confirm_all()

    def confirm_all(self) -> None:
        """
        What was published so far is where it is to be.
        """
        self._confirm_up_to(self._last)

    def _confirm_up_to(self, last: int) -> None:
        if (count := last - self._last_confirmed) > 0:
            self._line.peer.write(ack(self._line.number, last, multiple=count > 1))
            self._last_confirmed = last
