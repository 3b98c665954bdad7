"""
What is being published over a channel, and what of it is confirmed.
"""

from __future__ import annotations

import attrs

from quebert._protocol.basic import ONE, UP_TO, acks_on
from quebert._protocol.content import ContentReader, ContentTooLarge
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_METHOD,
    UnexpectedFrame,
)
from quebert._protocol.methods import encode_method
from quebert.broker.protocol._channel_writer import ChannelWriter
from quebert.broker.state import (
    AMQPConnectionError,
    PublishedMessage,
    access_refused,
    precondition_failed,
    read_properties,
)
from quebert.errors import ReplyCode

__all__ = ["Publishing"]

#: Bytes that the body of a message may have: the default of RabbitMQ 3.13; 4.0 to 4.3
#: have 16 MiB.
MOST_BODY = 2**27


@attrs.define
class _IncomingPublication:
    """
    What is being published: as its method says, with its content.
    """

    exchange: str
    routing_key: str
    mandatory: bool
    encoded_properties: bytes = b""
    body: bytes = b""


class Publishing:
    """
    The publications of one channel.
    """

    def __init__(self, writer: ChannelWriter) -> None:
        self._writer = writer
        self._vhost = writer.connection.vhost
        self._content = ContentReader()
        self._ack = acks_on(writer.number)
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
        publication = _IncomingPublication(exchange, routing_key, mandatory)
        self._content.expect(publication, MOST_BODY, self._published)

    @property
    def expects(self) -> int:
        """
        What kind of frame is to come next.
        """
        if self._content.content is None:
            return FRAME_METHOD
        return FRAME_BODY if self._content.missing else FRAME_HEADER

    def header_received(self, payload: bytes) -> None:
        """
        The header of the message.

        @raise AMQPError: it is not as it should be.
        """
        try:
            self._content.header_received(payload)
        except ContentTooLarge as e:
            text = f"message size {e.size} is larger than configured max size"
            raise precondition_failed(f"{text} {MOST_BODY}") from None
        except UnexpectedFrame as e:
            raise AMQPConnectionError(ReplyCode.UNEXPECTED_FRAME, str(e)) from None

    def body_received(self, payload: bytes) -> None:
        """
        Some of its body.

        @raise AMQPError: it is too much, or the message cannot be published.
        """
        try:
            self._content.body_received(payload)
        except UnexpectedFrame as e:
            raise AMQPConnectionError(ReplyCode.FRAME_ERROR, str(e)) from None

    def _published(self, publication: _IncomingPublication) -> None:
        exchange = self._vhost.exchanges.named(publication.exchange)
        if exchange.internal:
            text = f"cannot publish to internal exchange '{exchange.name}'"
            raise access_refused(f"{text} in vhost '{self._vhost.name}'")
        properties = read_properties(publication.encoded_properties)
        user = properties.user
        if user is not None and user != self._writer.connection.user:
            text = f"user_id property set to '{user}' but authenticated user was"
            raise precondition_failed(f"{text} '{self._writer.connection.user}'")
        if self._confirms:
            self._last += 1
        key = publication.routing_key
        message = PublishedMessage(
            exchange.name, key, properties.encoded, publication.body
        )
        keys = (key, *properties.further_keys)
        queues = self._vhost.route(exchange, keys, properties.headers)
        if publication.mandatory and not queues:
            self._return(message)
        taken = self._vhost.router.publish(queues, message, properties)
        if self._confirms and taken:
            self._writer.connection.confirming(self)
        elif self._confirms:
            self._confirm_up_to(self._last - 1)
            self._writer.call("basic.nack", self._last, False, False)
            self._last_confirmed = self._last

    def _return(self, message: PublishedMessage) -> None:
        why, place = ReplyCode.NO_ROUTE, (message.exchange, message.routing_key)
        method = encode_method("basic.return", (why, why.name, *place))
        self._writer.write_content(method, message)

    def end(self) -> None:
        """
        The channel is closed: let go of what has come of a body.
        """
        self._content.end()
        self.confirm_all()

    def confirm_all(self) -> None:
        """
        What was published so far is where it is to be.
        """
        self._confirm_up_to(self._last)

    def _confirm_up_to(self, last: int) -> None:
        if (count := last - self._last_confirmed) > 0:
            frame = self._ack(last, UP_TO if count > 1 else ONE)
            self._writer.connection.write(frame)
            self._last_confirmed = last
