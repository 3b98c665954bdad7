"""
The frames of one client: they are read as they come, and written at the end of a turn
of the reactor.

A client must wait while its password is not looked at yet, and while it has not read
megabytes of what it asked for.  What it sends meanwhile is kept, and is read later.
"""

from __future__ import annotations

import enum
import typing
from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.frames import (
    FRAME_OVERHEAD,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
    FrameError,
    FrameReader,
    WholeFrame,
)
from quebert._protocol.heartbeat import Heartbeat
from quebert.broker.protocol._channel_writer import Confirming
from quebert.broker.protocol._output import Output
from quebert.broker.state import AMQPConnectionError
from quebert.errors import ReplyCode, StoreError

__all__ = ["FrameConnection", "Incoming", "TurnOwner"]

#: Bytes that a frame has at most before a client has logged in, as in RabbitMQ 4.1:
#: what is in it is decoded for anybody.
INITIAL_FRAME_MAX = 8_192
#: Bytes that may be kept for a client whose password is not looked at yet.
MOST_WAITING_BYTES = 131_072

#: That of AMQP 0-9, too: it is safely taken for 0-9-1, as RabbitMQ does, and all
#: that txamqp says of itself.
_HEADERS = (PROTOCOL_HEADER, b"AMQP\1\1\0\x09")
#: Octets of a frame beyond what was agreed that are taken: some clients count so.
_TOLERATED = 8


class Incoming(enum.Enum):
    """
    What becomes of the bytes that a client sends.
    """

    #: They are taken for the protocol header.
    HEADER = enum.auto()
    #: They are taken for frames.
    FRAMES = enum.auto()
    #: They are kept: the client must wait.
    KEEP = enum.auto()
    #: They are dropped.
    DROP = enum.auto()


# Python looks up members of an Enum slowly, and each frame needs this one.
_FRAMES = Incoming.FRAMES


class TurnOwner(typing.Protocol):
    """
    The turns of the reactor, as the broker knows them.

    @ivar clock: the broker's clock.
    """

    clock: IReactorTime

    def begin_turn(self) -> None:
        """
        Something came, or its time did.
        """

    def rely(self) -> None:
        """
        What was done in this turn is to be safe before its end.
        """

    def ends_turn(self, connection: FrameConnection) -> None:
        """
        A connection has something to say at the end of this turn.
        """

    def fail(self, error: StoreError) -> None:
        """
        What is durable cannot be read or written.
        """


class FrameConnection(Protocol):
    """
    A connection that is told of each frame.

    @ivar incoming: what becomes of the bytes that come.
    @ivar max_payload: the largest payload of a frame, in bytes.
    """

    log = Logger()
    _output: Output

    def __init__(self, turns: TurnOwner) -> None:
        self._turns = turns
        self.incoming = Incoming.HEADER
        self.max_payload = INITIAL_FRAME_MAX - FRAME_OVERHEAD
        self._reader = FrameReader(self.max_payload + _TOLERATED)
        self._frames: deque[WholeFrame] = deque()  # read, but the client must wait
        self._going_on: IDelayedCall | None = None
        self._confirming: dict[Confirming, None] = {}
        self._heartbeat = Heartbeat(turns.clock, self._send_heartbeat, self.cut)

    def connectionMade(self) -> None:
        """
        Begin to gather what is to be written.
        """
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self._output = Output(transport, self._relieved)

    # -- What a subclass makes of it

    def header_received(self) -> None:
        """
        The client speaks AMQP.
        """
        raise NotImplementedError

    def frame_received(self, kind: int, number: int, payload: bytes) -> None:
        """
        A frame has come.
        """
        raise NotImplementedError

    def not_understood(self, error: FrameError) -> None:
        """
        What came is no frame, and nobody knows where the next one begins.
        """
        raise NotImplementedError

    def fail(self, error: AMQPConnectionError) -> None:
        """
        Close the connection, and tell the client why.
        """
        raise NotImplementedError

    def lose(self) -> None:
        """
        Close the transport, once all is written.
        """
        raise NotImplementedError

    def relieved(self) -> None:
        """
        The client has read what waited for it.

        @raise StoreError: what is durable cannot be read.
        """
        raise NotImplementedError

    # -- Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Read the frames in it, unless the client must wait.
        """
        self._heartbeat.heard = True
        if self.incoming is Incoming.KEEP:
            self._reader.buffer += data
            if len(self._reader.buffer) > MOST_WAITING_BYTES:
                self.cut()
        elif self.incoming is Incoming.DROP:
            pass
        elif self._output.swamped:  # a frame of a few bytes may ask for megabytes
            self._reader.buffer += data
        else:
            self._turns.begin_turn()
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            if self.incoming is Incoming.HEADER:
                self._read_header(data)
            else:
                self._read_frames(data)
        except FrameError as e:
            self.not_understood(e)
        except StoreError as e:
            self._turns.fail(e)
        except Exception:
            self.log.failure("A connection is closed for a defect of the broker.")
            self.fail(
                AMQPConnectionError(ReplyCode.INTERNAL_ERROR, "a defect of the broker")
            )

    def _read_header(self, data: bytes) -> None:
        data = self._reader.buffer + data
        if data[:8] in _HEADERS:
            self._reader.buffer = b""
            self.header_received()
            self._read_frames(data[8:])
            return
        self._reader.buffer = data
        if not any(each.startswith(data[:8]) for each in _HEADERS):
            self.write(PROTOCOL_HEADER)  # what we do speak (section 2.2.4)
            self.lose()

    def _read_frames(self, data: bytes) -> None:
        """
        Take one frame after the other, until the client must wait; the others are kept.
        """
        frames = self._frames
        if frames:
            self._reader.buffer += data
        else:
            frames.extend(self._reader.read(data))
        while frames:
            self.frame_received(*frames.popleft())
            if self.incoming is not _FRAMES or self._output.swamped:
                return
            if not frames:  # or the next one is to be refused
                frames.extend(self._reader.read(b""))

    def _relieved(self) -> None:
        self._turns.begin_turn()
        try:
            self.relieved()
        except StoreError as e:
            self._turns.fail(e)
        there_is_more = self._frames or self._reader.buffer
        if there_is_more and self._going_on is None:
            self._going_on = self._turns.clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._going_on = None
        self.read_on()

    def read_on(self) -> None:
        """
        Read what was kept.
        """
        self.dataReceived(b"")

    def agree(self, frame_max: int, heartbeat: int) -> None:
        """
        The client has agreed to limits.

        @param frame_max: bytes of a frame, at most.
        @param heartbeat: seconds between two heartbeats; 0 for none.
        """
        self.max_payload = frame_max - FRAME_OVERHEAD
        self._reader.max_payload = self.max_payload + _TOLERATED
        self._heartbeat.start(heartbeat)

    # -- Writing

    @property
    def congested(self) -> bool:
        """
        Whether the client does not read as fast as we write.
        """
        return self._output.congested

    def write(self, data: bytes) -> None:
        """
        Send C{data} at the end of this turn.
        """
        self._output.gather(data)
        self._turns.ends_turn(self)

    def confirming(self, who: Confirming) -> None:
        """
        Somebody has something to confirm at the end of this turn.
        """
        self._confirming[who] = None
        self._turns.rely()
        self._turns.ends_turn(self)

    def finish_turn(self) -> None:
        """
        Say what there is to say: what it promises is committed.
        """
        for each in self._confirming:
            each.confirm_all()
        self._confirming.clear()
        if self.transport is not None:
            self._output.flush()

    def _send_heartbeat(self) -> None:
        if not self._output.wrote and self.transport is not None:
            self.transport.write(HEARTBEAT_FRAME)
        self._output.wrote = False

    # -- The end

    def cut(self) -> None:
        """
        End the connection at once, whatever is to be written.
        """
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Read and write nothing more.
        """
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        self._heartbeat.stop()
        self._output.discard()
        self.transport = None
