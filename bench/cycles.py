"""
A raw AMQP client that costs little, so that a broker beside it is not held up: it
publishes, has that confirmed, consumes and acknowledges, and does no more.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from pamqp import base, commands, frame, header
from pamqp.body import ContentBody
from web import StageError

QUEUE = "bench-cycles"
#: Seconds without a word from the broker.
PATIENCE = 60.0
_START = struct.Struct(">BHI")
_TAG = struct.Struct(">Q")
_CONFIRM = struct.Struct(">QB")
_ACK = struct.Struct(">BHIHHQBB")
_METHOD, _END = 1, 0xCE
_CONFIRMED = struct.pack(">HH", 60, 80)
_DELIVERED = struct.pack(">HH", 60, 60)
# What is published goes over one channel, what is delivered comes over another.
_OUT, _IN = 1, 2


class Client:
    """
    A connection to a broker on the loopback, with an empty durable queue.

    @param size: bytes of the body of each message, which is persistent.
    @param window: how many may be unconfirmed, and unacknowledged.
    """

    def __init__(self, port: int, size: int, window: int) -> None:
        self._window = window
        self._published = 0
        self._below = 0  # all up to this tag are confirmed, and these:
        self._above: set[int] = set()
        self._message = _message(size)
        self._rest = b""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._open()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    # -- Calls

    def _open(self) -> None:
        self._socket.sendall(b"AMQP\0\0\x09\1")
        self._answer(commands.Connection.Start)
        start = commands.Connection.StartOk(
            mechanism="PLAIN", response="\0guest\0guest"
        )
        self._call(start, commands.Connection.Tune, channel=0)
        self._send(commands.Connection.TuneOk(2047, 131072, 0), 0)
        self._call(commands.Connection.Open(), commands.Connection.OpenOk, channel=0)
        for channel in (_OUT, _IN):
            self._call(commands.Channel.Open(), commands.Channel.OpenOk, channel)
        self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        qos = commands.Basic.Qos(prefetch_count=self._window)
        self._call(qos, commands.Basic.QosOk, _IN)

    def _send(self, method: base.Frame, channel: int) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _call(
        self, method: base.Frame, answer: type[base.Frame], channel: int = _OUT
    ) -> Any:
        self._send(method, channel)
        return self._answer(answer)

    def _answer(self, wanted: type[base.Frame]) -> Any:
        while True:
            for data, at, end in self._received():
                _, _, method = frame.unmarshal(data[at - _START.size : end + 1])
                if not isinstance(method, wanted):
                    raise StageError(f"{method!r} where {wanted.name} was to come")
                return method

    def declare(self) -> int:
        """
        Have the queue, and say how many messages are ready in it.
        """
        declare = commands.Queue.Declare(queue=QUEUE, durable=True)
        answer = self._call(declare, commands.Queue.DeclareOk)
        return int(answer.message_count)

    def delete(self) -> None:
        """
        Delete the queue.
        """
        self._call(commands.Queue.Delete(queue=QUEUE), commands.Queue.DeleteOk)

    def consume(self) -> None:
        """
        Consume, from now on.
        """
        self._send(commands.Basic.Consume(queue=QUEUE, consumer_tag="c"), _IN)

    # -- Many messages

    def _received(self) -> Iterator[tuple[bytes, int, int]]:
        """
        The methods in what came at once: where they begin and end.
        """
        more = self._socket.recv(2**18)
        if not more:
            raise StageError("the broker has closed the connection")
        data, at = self._rest + more, 0
        there = len(data)
        while there - at > _START.size:
            kind, _, size = _START.unpack_from(data, at)
            end = at + _START.size + size
            if end >= there:
                break
            if kind == _METHOD:
                yield data, at + _START.size, end
            at = end + 1
        self._rest = data[at:]

    def _confirmed(self, tag: int, multiple: bool) -> int:
        """
        How many are confirmed now; RabbitMQ may confirm some before those that
        were published earlier.
        """
        if multiple:
            self._below = max(self._below, tag)
            self._above = {each for each in self._above if each > self._below}
        else:
            self._above.add(tag)
        while self._below + 1 in self._above:
            self._below += 1
            self._above.remove(self._below)
        return self._below + len(self._above)

    def run(self, publish: int, take: int) -> None:
        """
        Publish so many messages, and acknowledge so many deliveries.
        """
        sent = confirmed = taken = 0
        before, self._published = self._published, self._published + publish
        out: list[bytes] = []
        while True:
            more = min(publish, confirmed + self._window) - sent
            if more or out:
                self._socket.sendall(b"".join(out) + self._message * more)
            if confirmed >= publish and taken >= take:
                return
            sent += more
            out = []
            for data, at, _ in self._received():
                index = data[at : at + 4]
                if index == _CONFIRMED:
                    confirmed = self._confirmed(*_CONFIRM.unpack_from(data, at + 4))
                    confirmed -= before
                elif index == _DELIVERED:
                    (tag,) = _TAG.unpack_from(data, at + 5 + data[at + 4])
                    out.append(_ACK.pack(_METHOD, _IN, 13, 60, 80, tag, 0, _END))
                    taken += 1


def _message(size: int) -> bytes:
    """
    The frames of a message.
    """
    properties = commands.Basic.Properties(
        content_type="application/json", delivery_mode=2
    )
    return b"".join(
        frame.marshal(each, _OUT)
        for each in (
            commands.Basic.Publish(routing_key=QUEUE),
            header.ContentHeader(0, size, properties),
            ContentBody(b"x" * size),
        )
    )
