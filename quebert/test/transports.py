"""
Transports in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection as TCPConnection
from twisted.internet.testing import StringTransport

__all__ = ["FullTransport", "SocketTransport"]


class FullTransport(StringTransport):
    """
    A transport that has enough after each write.
    """

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class SocketTransport(StringTransport, TCPConnection):  # type: ignore[misc]
    """
    A transport with a socket, which takes as much at once as the test says.
    """

    def __init__(self) -> None:
        StringTransport.__init__(self, lenient=True)
        self.room: int | OSError = 1_000_000
        self.sent = b""

    def getHandle(self) -> Any:
        """
        Its socket.
        """
        return self

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Nothing here is slow.
        """

    def startReading(self) -> None:
        """
        The test says what comes.
        """

    stopReading = startReading

    def send(self, data: bytes) -> int:
        """
        What a socket does.
        """
        if isinstance(self.room, OSError):
            raise self.room
        self.sent += data[: self.room]
        return len(data[: self.room])
