"""
A raw AMQP 0-9-1 client that blocks, for the contract's tests: a connection and
its frames.  The face of what it is made of.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Self

from quebert._protocol.frames import (
    FRAME_END,
    FRAME_HEARTBEAT,
    FRAME_START,
    PROTOCOL_HEADER,
)
from quebert.test.contract.channel import Channel
from quebert.test.contract.methods import Close, Closed, Disconnected, Event
from quebert.test.contract.patience import PATIENCE, fresh, typed_table, until

__all__ = [
    "Channel",
    "Client",
    "Close",
    "Closed",
    "Disconnected",
    "Event",
    "fresh",
    "typed_table",
    "until",
    "version_of",
]

_DEFAULT_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Client:
    """
    A connection.

    @ivar control: its channel 0.
    @ivar frame_max: bytes that a frame may have: none that comes is larger.
    @ivar heartbeats: how many came.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.control = Channel(self, 0)
        self._channels = {0: self.control}
        self.closed: Closed | None = None
        self.frame_max = 131072
        self.heartbeats = 0

    # Opening and closing

    def start(self, header: bytes = PROTOCOL_HEADER) -> Event:
        """
        Send the protocol's header, and give C{connection.start}.
        """
        self.write(header)
        return self.control.next()

    def authenticate(
        self,
        user: str = "guest",
        password: str = "guest",
        *,
        mechanism: str = "PLAIN",
        response: bytes | None = None,
        capabilities: Mapping[str, bool] = _DEFAULT_CAPABILITIES,
    ) -> Event:
        """
        Say who we are, and give C{connection.tune}.
        """
        if response is None:
            response = f"\0{user}\0{password}".encode()
        self.control.send(
            "connection.start-ok",
            client_properties={"product": "test", "capabilities": dict(capabilities)},
            mechanism=mechanism,
            response=response,
        )
        return self.control.next()

    def tune(
        self, *, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0
    ) -> None:
        """
        Agree to the limits.
        """
        self.frame_max = frame_max
        self.control.send(
            "connection.tune-ok",
            channel_max=channel_max,
            frame_max=frame_max,
            heartbeat=heartbeat,
        )

    def open(self, vhost: str = "/", **limits: int) -> Self:
        """
        All of the opening, from the protocol's header on.
        """
        self.start()
        self.authenticate()
        self.tune(**limits)
        self.control.call("connection.open", virtual_host=vhost)
        return self

    def close(self) -> None:
        """
        Close it as the protocol has it.
        """
        self.control.call("connection.close", reply_code=200, class_id=0, method_id=0)
        self.drop()

    def drop(self) -> None:
        """
        End the TCP connection without a word.
        """
        self._socket.close()

    def channel(self, number: int | None = None) -> Channel:
        """
        Open a channel: the one of that number, or the next that is free.
        """
        channel = self.unopened_channel(number)
        channel.call("channel.open")
        return channel

    def unopened_channel(self, number: int | None = None) -> Channel:
        """
        A channel whose opening is left to the caller.
        """
        number = max(self._channels) + 1 if number is None else number
        self._channels[number] = Channel(self, number)
        return self._channels[number]

    # Bytes and frames

    def write(self, data: bytes) -> None:
        """
        Send any bytes.

        @raise Disconnected: the broker takes no more.
        """
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError as e:
            raise Disconnected from e

    def read(self, size: int, deadline: float) -> bytes:
        """
        As many bytes as that.

        @raise Disconnected: there are no more.
        """
        while len(self._buffer) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError as e:
                raise Disconnected from e
            if not data:
                raise Disconnected
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_frame(self, deadline: float | None = None) -> None:
        """
        Read a frame, and hand it to its channel.
        """
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline
        start = self.read(FRAME_START.size, deadline)
        kind, number, size = FRAME_START.unpack(start)
        if self.frame_max:
            assert size + 8 <= self.frame_max, "a frame larger than agreed"
        payload = self.read(size, deadline)
        assert self.read(1, deadline)[0] == FRAME_END
        if kind == FRAME_HEARTBEAT:
            assert (number, payload) == (0, b"")
            self.heartbeats += 1
        else:
            self._channels[number].frame_received(kind, payload)

    def rest(self) -> bytes:
        """
        All bytes up to the end of the connection, which must come.
        """
        rest, deadline = b"", time.monotonic() + PATIENCE
        try:
            while True:
                rest += self.read(1, deadline)
        except Disconnected:
            return rest


def version_of(port: int) -> str:
    """
    The version of the broker at a port, such as C{4.3.6}.
    """
    client = Client(port)
    version: str = client.start()["server_properties"]["version"]
    client.drop()
    return version
