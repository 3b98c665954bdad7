"""
What the broker writes to one channel of a client.
"""

from __future__ import annotations

from typing import Any, Protocol

from quebert._protocol.content import content_head, content_pieces, whole_content
from quebert._protocol.methods import method_frame
from quebert.broker.state import PublishedMessage, VirtualHost

__all__ = ["ChannelWriter", "Confirming", "ServerChannelOwner"]


class Confirming(Protocol):
    """
    One that has something to confirm.
    """

    def confirm_all(self) -> None:
        """
        What was published so far is where it is to be: say so.
        """


class ServerChannelOwner(Protocol):
    """
    What a channel knows of its connection.

    @ivar congested: whether what is written waits for the client to read.
    @ivar max_payload: the largest payload of a frame, in bytes.
    """

    vhost: VirtualHost
    user: str
    wants_cancels: bool

    @property
    def congested(self) -> bool: ...

    @property
    def max_payload(self) -> int: ...

    def write(self, data: bytes) -> None:
        """
        Send it at the end of this turn.
        """

    def confirming(self, who: Confirming) -> None:
        """
        Somebody has something to confirm at the end of this turn.
        """


class ChannelWriter:
    """
    @ivar number: the channel's.
    """

    def __init__(self, number: int, connection: ServerChannelOwner) -> None:
        self.number = number
        self.connection = connection

    def call(self, name: str, *arguments: Any) -> None:
        """
        Send the client a method.
        """
        self.connection.write(method_frame(self.number, name, arguments))

    def write_content(self, method: bytes, message: PublishedMessage) -> None:
        """
        Send a method that a message belongs to.
        """
        connection, number, body = self.connection, self.number, message.body
        head = content_head(number, method, message.properties, len(body))
        most = connection.max_payload
        if len(body) <= most:
            connection.write(whole_content(head, number, body))
        else:
            connection.write(b"".join(content_pieces(head, number, body, most)))
