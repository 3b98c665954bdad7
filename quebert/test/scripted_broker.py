"""
A broker of one page that does as a test tells it, over real sockets, in threads of its
own: so that code which blocks can be tested against it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from ssl import SSLContext
from types import TracebackType
from typing import Any

import attrs

from quebert._protocol.content import CONTENT_HEADER, content_head, whole_content
from quebert._protocol.frames import (
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_MAX,
    FRAME_METHOD,
    MAX_PAYLOAD,
    PROTOCOL_HEADER,
    FrameReader,
)
from quebert._protocol.methods import METHODS, METHODS_BY_INDEX, method_frame
from quebert._protocol.properties import decode_properties

__all__ = [
    "Publication",
    "ScriptedBroker",
    "closing",
    "confirm",
    "refuse",
    "returned",
]


@attrs.frozen
class Publication:
    """
    What was published.
    """

    tag: int
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes

    @property
    def uuid(self) -> Any:
        """
        Its message-id.
        """
        return decode_properties(self.properties).get("message-id")


#: What the broker sends when something was published; C{None} ends the connection.
Script = Callable[[Publication], "bytes | None"]


def confirm(publication: Publication) -> bytes:
    """
    Take it.
    """
    return method_frame(1, "basic.ack", (publication.tag, False))


def refuse(publication: Publication) -> bytes:
    """
    Refuse it.
    """
    return method_frame(1, "basic.nack", (publication.tag, False, False))


def returned(publication: Publication) -> bytes:
    """
    Return it, and confirm it.
    """
    place = publication.exchange, publication.routing_key
    method = METHODS["basic.return"].encode((312, "NO_ROUTE", *place))
    body = publication.body
    head = content_head(1, method, publication.properties, len(body))
    return whole_content(head, 1, body) + confirm(publication)


def closing(code: int, text: str) -> Script:
    """
    Close the channel because of it.
    """
    return lambda _: method_frame(1, "channel.close", (code, text, 60, 40))


class ScriptedBroker:
    """
    A broker.

    @param script: called with each publication.
    @param most: bytes that each connection sends before it is closed.
    @param greeting: sent in the place of AMQP, and then the connection is closed.
    @param heartbeat: what it proposes.
    @param tls: has its certificate.
    @ivar published: what came.
    @ivar connections: how many there were.
    @ivar farewells: how many ended with C{connection.close}.
    @ivar heartbeats: how many came.
    @ivar silent: set, it answers nothing any more.
    @ivar reading: cleared, it reads one piece of what comes, and no more.
    @ivar sent: bytes that the last connection has sent.
    """

    def __init__(
        self,
        script: Script = confirm,
        *,
        most: int | None = None,
        greeting: bytes | None = None,
        heartbeat: int = 0,
        tls: SSLContext | None = None,
    ) -> None:
        self.script = script
        self.most = most
        self.greeting = greeting
        self.heartbeat = heartbeat
        self._tls = tls
        self.published: list[Publication] = []
        self.connections = 0
        self.farewells = 0
        self.heartbeats = 0
        self.silent = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self.sent = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        port = self._listening.getsockname()[1]
        scheme = "amqp" if tls is None else "amqps"
        self.url = f"{scheme}://guest:hunter2@127.0.0.1:{port}/"

    def __enter__(self) -> ScriptedBroker:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.reading.set()
        for each in (self._listening, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def send(self, data: bytes) -> None:
        """
        Send something over the last connection.
        """
        with suppress(OSError):
            self._sockets[-1].sendall(data)

    def cut(self) -> None:
        """
        End all connections.
        """
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                self._sockets.append(connected)
                self.connections += 1
                self._start(self._serve, connected)

    def _serve(self, connected: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_side=True)
                self._sockets.append(connected)
            with connected:
                _Session(self, connected).run()


class _Session:
    """
    One connection.
    """

    def __init__(self, broker: ScriptedBroker, connected: socket.socket) -> None:
        self._broker = broker
        self._socket = connected
        self._sent = 0
        self._tag = 0

    def run(self) -> None:
        """
        Do as told, to the end.
        """
        broker = self._broker
        header = self._socket.recv(len(PROTOCOL_HEADER))
        if broker.greeting is not None:
            self._socket.sendall(broker.greeting)
            return
        if header != PROTOCOL_HEADER:
            return  # it was interrupted
        self._send(method_frame(0, "connection.start", (0, 9, {}, "PLAIN", "en_US")))
        for name, answer in self._received():
            if answer is None:
                return
            if name == "connection.close":
                broker.farewells += 1
                return
            self._send(answer)

    def _send(self, data: bytes) -> None:
        most = self._broker.most
        if most is not None:
            data = data[: most - self._sent]
        if not self._broker.silent.is_set():
            self._socket.sendall(data)
        self._sent += len(data)
        self._broker.sent = self._sent
        if self._sent == most:
            raise OSError("cut")

    def _received(self) -> Iterator[tuple[str, bytes | None]]:
        reader = FrameReader(MAX_PAYLOAD)
        method, properties, body, size = b"", b"", b"", 0
        while data := self._socket.recv(65_536):
            self._broker.reading.wait()
            for kind, _, payload in reader.read(data):
                if kind == FRAME_METHOD:
                    method = payload
                    name = METHODS_BY_INDEX[payload[:4]].name
                    if name != "basic.publish":
                        yield name, self._answer(name)
                    continue
                if kind == FRAME_HEADER:
                    _, _, size = CONTENT_HEADER.unpack_from(payload)
                    properties, body = payload[CONTENT_HEADER.size :], b""
                elif kind == FRAME_BODY:
                    body += payload
                else:
                    self._broker.heartbeats += 1
                    continue
                if len(body) == size:
                    yield "basic.publish", self._publish(method, properties, body)

    def _answer(self, name: str) -> bytes:
        limits = 2_047, FRAME_MAX, self._broker.heartbeat
        return {
            "connection.start-ok": method_frame(0, "connection.tune", limits),
            "connection.open": method_frame(0, "connection.open-ok", ("",)),
            "channel.open": method_frame(1, "channel.open-ok", (b"",)),
            "confirm.select": method_frame(1, "confirm.select-ok"),
        }.get(name, b"")

    def _publish(self, method: bytes, properties: bytes, body: bytes) -> bytes | None:
        self._tag += 1
        _, exchange, key, *_ = METHODS["basic.publish"].decode(method)
        publication = Publication(self._tag, exchange, key, properties, body)
        self._broker.published.append(publication)
        return self._broker.script(publication)
