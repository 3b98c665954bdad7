"""
Frames and methods over a connection that blocks, its heartbeats, and the login.
"""

from __future__ import annotations

import math
import platform
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any

from quebert import __version__
from quebert._protocol.frames import (
    FRAME_MAX,
    FRAME_METHOD,
    FRAME_MIN,
    FRAME_OVERHEAD,
    FRAME_TYPES,
    HEARTBEAT_FRAME,
    MAX_PAYLOAD,
    PROTOCOL_HEADER,
    FrameError,
    FrameReader,
    WholeFrame,
)
from quebert._protocol.heartbeat import BEATS, SILENT_BEATS
from quebert._protocol.methods import METHODS_BY_INDEX, method_frame
from quebert._protocol.values import CodecError
from quebert._text import printable
from quebert.config import Broker
from quebert.producer._deadline import Deadline, StreamEnded, TimeIsUp
from quebert.producer._stream import BlockingStream

__all__ = ["CHANNEL", "ClosedByBroker", "FrameStream", "log_in", "read_method"]

#: The number of the only channel.
CHANNEL = 1
_CLIENT_PROPERTIES = {
    "product": "quebert",
    "version": __version__,
    "platform": f"Python {platform.python_version()}",
    "information": "an HTTP-push task queue on AMQP",
    "connection_name": "quebert.producer",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "publisher_confirms": True,
    },
}


class ClosedByBroker(StreamEnded):
    """
    The broker closed the channel or the connection, and said why.

    @ivar code: its reply code.
    @ivar method: the class and the method for which it did so, or zeros.
    """

    def __init__(self, code: int, text: str, method: tuple[int, int]) -> None:
        super().__init__(text)
        self.code = code
        self.method = method


class FrameStream:
    """
    Frames over a stream.

    @ivar max_payload: octets that a frame to the broker may carry.
    @ivar heartbeat: seconds; infinity for none.
    @ivar greeted: whether the broker has sent a frame.
    """

    def __init__(self, stream: BlockingStream) -> None:
        self._stream = stream
        self._reader = FrameReader(MAX_PAYLOAD)
        self.heartbeat = self._beat_after = math.inf
        self.greeted = False
        self._silent = 0
        self.max_payload = FRAME_MIN - FRAME_OVERHEAD

    def agree(self, max_payload: int, heartbeat: float) -> None:
        """
        Keep to what was negotiated.

        @param heartbeat: seconds; 0 for none.
        """
        self.max_payload = max_payload
        if heartbeat:
            self.heartbeat = heartbeat
            self._beat_after = heartbeat / BEATS

    def send(self, data: bytes, deadline: Deadline) -> None:
        """
        Send bytes.

        @raise StreamEnded: not all of them could be sent.
        """
        self._stream.send(data, deadline)

    def read(self, deadline: Deadline) -> list[WholeFrame]:
        """
        Wait for the next frames.  Meanwhile heartbeats are sent.

        @raise TimeIsUp: none has come in time.
        @raise StreamEnded: none will come, or nothing has come for two heartbeat
            intervals.
        """
        while True:
            left = deadline.left()
            try:
                data = self._stream.receive(min(left, self._beat_after))
            except TimeIsUp:
                if left <= self._beat_after:
                    raise
                self._silent += 1
                if self._silent >= SILENT_BEATS:
                    text = "nothing came from the broker for two heartbeats"
                    raise StreamEnded(text) from None
                self.send(HEARTBEAT_FRAME, deadline)
                continue
            except StreamEnded as e:
                raise self._ended(e) from None
            frames = self._frames(data)
            if frames:
                return frames

    def peek(self) -> list[WholeFrame]:
        """
        The first frames that have come, without waiting.

        @raise StreamEnded: there are none, and none will come any more.
        """
        while data := self._stream.peek():
            if frames := self._frames(data):
                return frames
        return []

    def _frames(self, data: bytes) -> list[WholeFrame]:
        self._silent = 0
        try:
            frames = self._reader.read(data)
        except FrameError as e:
            raise StreamEnded(f"what is there does not speak AMQP: {e}") from None
        self.greeted = self.greeted or bool(frames)
        return frames

    def _ended(self, why: StreamEnded) -> StreamEnded:
        """
        What the end of the connection means during the login.
        """
        if self.greeted or type(why) is not StreamEnded or why.distrust:
            return why
        begun = self._reader.buffer[:1]
        if begun and begun[0] not in FRAME_TYPES:  # such as an alert of TLS
            return StreamEnded("what is there does not speak AMQP")
        return why

    def send_at_once(self, data: bytes) -> None:
        """
        As of L{BlockingStream}.
        """
        self._stream.send_at_once(data)

    def close(self) -> None:
        """
        Close the connection, without waiting.
        """
        self._stream.close()


def read_method(payload: bytes) -> tuple[str, dict[str, Any]]:
    """
    The name and the arguments of a method.

    @raise StreamEnded: it is none.
    @raise ClosedByBroker: it closes the channel or the connection.
    """
    layout = METHODS_BY_INDEX.get(payload[:4])
    if layout is None:
        raise StreamEnded("the broker sent a method that AMQP does not have")
    try:
        arguments = dict(zip(layout.fields, layout.decode(payload), strict=True))
    except (CodecError, struct.error) as e:
        raise StreamEnded(f"the broker sent a malformed {layout.name}: {e}") from None
    if layout.name in ("channel.close", "connection.close"):
        raise ClosedByBroker(
            arguments["reply_code"],
            printable(arguments["reply_text"]),
            (arguments["class_id"], arguments["method_id"]),
        )
    return layout.name, arguments


# -- Logging in


def log_in(
    frames: FrameStream, broker: Broker, deadline: Deadline
) -> Iterable[WholeFrame]:
    """
    Open the connection, and its channel in confirm mode.

    @return: frames that have come since.
    @raise StreamEnded: the broker did not let us in.
    """
    came: deque[WholeFrame] = deque()

    def expect(name: str) -> dict[str, Any]:
        while True:
            while not came:
                came.extend(frames.read(deadline))
            kind, _, payload = came.popleft()
            if kind != FRAME_METHOD:
                continue  # a heartbeat
            found, arguments = read_method(payload)
            if found == name:
                return arguments
            if found not in ("connection.blocked", "connection.unblocked"):
                raise StreamEnded(f"the broker sent {found}, not {name}")

    frames.send(PROTOCOL_HEADER, deadline)
    mechanisms = expect("connection.start")["mechanisms"]
    if "PLAIN" not in str(mechanisms).split():
        text = f"the broker takes no password: it knows {mechanisms!r:.200}"
        raise StreamEnded(text)
    response = f"\0{broker.username}\0{broker.password}"
    answer = (_CLIENT_PROPERTIES, "PLAIN", response, "en_US")
    frames.send(method_frame(0, "connection.start-ok", answer), deadline)
    tune = expect("connection.tune")
    frame_max = min(tune["frame_max"] or FRAME_MAX, FRAME_MAX)
    if frame_max < FRAME_MIN:
        raise StreamEnded(f"the broker takes frames of {frame_max} bytes at most")
    heartbeat = min(tune["heartbeat"] or broker.heartbeat, broker.heartbeat)
    frames.send(
        method_frame(0, "connection.tune-ok", (CHANNEL, frame_max, heartbeat))
        + method_frame(0, "connection.open", (broker.vhost, "", False))
        + method_frame(CHANNEL, "channel.open", ("",))
        + method_frame(CHANNEL, "confirm.select", (False,)),
        deadline,
    )
    expect("connection.open-ok")
    frames.agree(frame_max - FRAME_OVERHEAD, heartbeat)
    expect("channel.open-ok")
    expect("confirm.select-ok")
    return came
