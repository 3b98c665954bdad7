"""
Writes the requests of a connection that its socket does not take at once.

Theory of operation: of a large request, the transport asks for no more while much is
unsent.  The writer is in one of these states::

            write              clog
     FREE --------> WRITING <--------> CLOGGED
      ^                |      drain
      +----------------+
            finish

 - FREE: no large request is on its way.
 - WRITING: one is, or was a moment ago.
 - CLOGGED: the transport has much of it still.
 - REFUSED: the server does not want the rest of a request, and gets none.  It has told
   so (reject), or the socket takes no more (fail).  There is no way out: the connection
   is of no use for another request.

A server may answer before it has read a whole request, and close the connection then.
The next write would end the transport of Twisted, with most of the answer unread.  So
what the socket does not take any more is dropped, and the transport goes on reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.protocols.policies import ProtocolWrapper

from quebert._machine import Machine

__all__ = ["SMALL", "RequestWriter", "socket_below"]

#: Bytes of a request that may be unsent when its answer is there, for the
#: connection to be used again.
SMALL = 65_536
#: Bytes of a larger request that the transport is given at once.
PIECE = 131_072


class WriterState(IntEnum):
    """
    Where a writer stands.
    """

    FREE = auto()
    WRITING = auto()
    CLOGGED = auto()
    REFUSED = auto()


class WriterEvent(IntEnum):
    """
    What happens to a writer.
    """

    WRITE = auto()
    CLOG = auto()
    DRAIN = auto()
    FINISH = auto()
    REJECT = auto()
    FAIL = auto()


#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[WriterEvent, Mapping[WriterState, WriterState]] = {
    WriterEvent.WRITE: {
        WriterState.FREE: WriterState.WRITING,
        # The socket failed behind the last request, which was answered.
        WriterState.REFUSED: WriterState.REFUSED,
    },
    WriterEvent.CLOG: {
        WriterState.WRITING: WriterState.CLOGGED,
        WriterState.CLOGGED: WriterState.CLOGGED,
        WriterState.REFUSED: WriterState.REFUSED,
    },
    WriterEvent.DRAIN: {
        WriterState.WRITING: WriterState.WRITING,
        WriterState.CLOGGED: WriterState.WRITING,
        WriterState.REFUSED: WriterState.REFUSED,
    },
    WriterEvent.FINISH: {
        WriterState.FREE: WriterState.FREE,
        WriterState.WRITING: WriterState.FREE,
    },
    # RFC 9112, section 9.5.  A small request is with the server.
    WriterEvent.REJECT: {
        WriterState.FREE: WriterState.FREE,
        WriterState.WRITING: WriterState.REFUSED,
        WriterState.CLOGGED: WriterState.REFUSED,
        WriterState.REFUSED: WriterState.REFUSED,
    },
    WriterEvent.FAIL: dict.fromkeys(WriterState, WriterState.REFUSED),
}


def socket_below(transport: Any) -> Any:
    """
    The transport that has the socket: below TLS, where there is TLS.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


class RequestWriter:
    """
    Writes behind what the transport has not sent yet.
    """

    def __init__(self, transport: Any) -> None:
        self._machine = Machine(TABLE, WriterState.FREE)
        self._transport = transport
        self._rest = memoryview(b"")  # of a large request, not yet with the transport
        socket: Any = socket_below(transport)
        if isinstance(socket, FileDescriptor):
            self._write_some = socket.writeSomeData
            socket.writeSomeData = self._written  # type: ignore[method-assign]

    @property
    def is_ready(self) -> bool:
        """
        Whether it may be told to L{finish}, and write another request.
        """
        return self._machine.state in (WriterState.FREE, WriterState.WRITING)

    @property
    def is_refused(self) -> bool:
        """
        Whether the server has refused the rest of a request.
        """
        return self._machine.state is WriterState.REFUSED

    def write(self, data: bytes, body: bytes = b"") -> None:
        """
        Write a request, or what is left of one.

        @param body: follows C{data}, a part in each turn.
        """
        if len(data) <= SMALL and not body:
            self._transport.write(data)
            return
        self._machine.move(WriterEvent.WRITE)
        if self.is_refused:
            return
        self._rest = memoryview(body)
        self._transport.registerProducer(self, True)
        self._transport.write(data)
        self._write_rest()

    def _write_rest(self) -> None:
        """
        Write as much as the transport has room for.  Given all of it, the transport
        would copy it at once: that takes 1.5 ms for 3 MiB, in which all else waits.
        """
        while self._rest and self._machine.state is WriterState.WRITING:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._transport.write(bytes(piece))

    def finish(self) -> None:
        """
        The request is answered.
        """
        if self._machine.state is WriterState.WRITING:
            self._transport.unregisterProducer()
        self._machine.move(WriterEvent.FINISH)

    def reject(self) -> None:
        """
        The answer says no: of a large request that is still on its way, the rest is
        not wanted.
        """
        self._machine.move(WriterEvent.REJECT)

    def _written(self, data: bytes) -> int:
        """
        Write some; that it cannot be is told by reading, after all that has come.
        """
        if not self.is_refused:
            written = self._write_some(data)
            if isinstance(written, int):
                return written
            self._machine.move(WriterEvent.FAIL)
        return len(data)

    def pauseProducing(self) -> None:
        """
        Called by the transport when much is still to be sent.
        """
        self._machine.move(WriterEvent.CLOG)

    def resumeProducing(self) -> None:
        """
        Called by the transport when little is.
        """
        self._machine.move(WriterEvent.DRAIN)
        self._write_rest()

    stopProducing = pauseProducing
