"""
What the broker writes to one channel of a client.
"""

from __future__ import annotations

from typing import Any, Protocol

from quebert._protocol.frames import BODY, CONTENT_HEADER, HEADER, METHOD, frame
from quebert.broker.protocol._methods import method_frame
from quebert.broker.state import PublishedMessage, VirtualHost

__all__ = ["CLASS_BASIC", "Confirming", "Line", "Peer"]

CLASS_BASIC = 60


class Confirming(Protocol):
    """
    One that has something to confirm.
    """

    def confirm_all(self) -> None:
        """
        What was published so far is where it is to be: say so.
        """


class Peer(Protocol):
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


class Line:
    """
    @ivar number: the channel's.
    """

    def __init__(self, number: int, peer: Peer) -> None:
        self.number = number
        self.peer = peer

    def call(self, name: str, *arguments: Any) -> None:
        """
        Send the client a method.
        """
        self.peer.write(method_frame(self.number, name, arguments))

    def write_content(self, method: bytes, message: PublishedMessage) -> None:
        """
        Send a method that a message belongs to.
        """
        number, body, most = self.number, message.body, self.peer.max_payload
        header = CONTENT_HEADER.pack(CLASS_BASIC, 0, len(body)) + message.properties
        pieces = [frame(METHOD, number, method), frame(HEADER, number, header)]
        if len(body) <= most:
            if body:
                pieces.append(frame(BODY, number, body))
        else:
            starts = range(0, len(body), most)
            pieces += [frame(BODY, number, body[at : at + most]) for at in starts]
        self.peer.write(b"".join(pieces))
