"""
A channel of the contract's raw client.

It hides nothing: a test sees each method that the broker sends, in the order it
came, and sends whatever it likes, nonsense too.  Its waiting blocks.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.frames import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, frame
from quebert._protocol.properties import encode_properties
from quebert._protocol.values import decode_arguments, encode_arguments, encode_longstr
from quebert.test.contract.methods import BY_NUMBER, METHODS, Close, Closed, Event
from quebert.test.contract.patience import PATIENCE, fresh, until

if TYPE_CHECKING:
    from quebert.test.contract.client import Client

__all__ = ["Channel"]

T = TypeVar("T")


class Channel:
    """
    A channel; a connection's own methods are on number 0.

    @ivar published: how many messages, since confirms were asked for.
    """

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self.published = 0
        self._closed: Closed | None = None
        self._events: deque[Event] = deque()
        self._partial: tuple[Event, int] | None = None

    # Sending

    def send(self, name: str, **arguments: Any) -> None:
        """
        Send a method that nothing answers, or whose answer can wait.
        """
        self.client.write(self.method_frame(name, **arguments))

    def method_frame(self, name: str, **arguments: Any) -> bytes:
        """
        The frame of a method.

        @param arguments: those that differ from the defaults.  A table of
            C{arguments} may be given as bytes, behind its size.
        """
        method = METHODS[name]
        assert not set(arguments) - set(method.defaults), (name, arguments)
        raw = arguments.get("arguments")
        if isinstance(raw, bytes):
            arguments["arguments"] = {}
        values = {**method.defaults, **arguments}
        payload = encode_arguments(method.types, list(values.values()))
        if isinstance(raw, bytes):  # a table is the last of the arguments
            payload = payload[:-4] + encode_longstr(raw)
        number = struct.pack(">HH", *method.number)
        return frame(FRAME_METHOD, self.number, number + payload)

    def content_frames(
        self, body: bytes, properties: Mapping[str, Any] | bytes = b"\0\0"
    ) -> bytes:
        """
        The frames of a message behind the method's.
        """
        if not isinstance(properties, bytes):
            properties = encode_properties(properties)
        header = CONTENT_HEADER.pack(60, 0, len(body)) + properties
        most = self.client.frame_max - 8
        pieces = (body[at : at + most] for at in range(0, len(body), most))
        bodies = (frame(FRAME_BODY, self.number, piece) for piece in pieces)
        return b"".join((frame(FRAME_HEADER, self.number, header), *bodies))

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes = b"",
        properties: Mapping[str, Any] | bytes = b"\0\0",
        **flags: bool,
    ) -> None:
        """
        Publish a message, and wait for nothing.

        @param properties: under their AMQP names, or encoded.
        """
        method = self.method_frame(
            "basic.publish", exchange=exchange, routing_key=key, **flags
        )
        self.client.write(method + self.content_frames(body, properties))
        self.published += 1

    # Receiving

    def frame_received(self, kind: int, payload: bytes) -> None:
        """
        Called by the connection for what comes.
        """
        if kind == FRAME_METHOD:
            self._method_received(payload)
        elif kind == FRAME_HEADER:
            assert self._partial is not None
            event, _ = self._partial
            _, _, size = CONTENT_HEADER.unpack_from(payload)
            event = attrs.evolve(event, encoded=payload[CONTENT_HEADER.size :])
            self._content_received(event, size)
        else:
            assert kind == FRAME_BODY
            assert self._partial is not None
            event, size = self._partial
            self._content_received(attrs.evolve(event, body=event.body + payload), size)

    def _method_received(self, payload: bytes) -> None:
        method = BY_NUMBER[struct.unpack_from(">HH", payload)]
        values = decode_arguments(method.types, payload, 4)
        event = Event(method.name, dict(zip(method.defaults, values, strict=True)))
        assert self._partial is None, "a method within a message"
        if method.has_content:
            self._partial = event, -1
        elif method.name in ("channel.close", "connection.close"):
            self._close_received(event)
        else:
            self._events.append(event)

    def _content_received(self, event: Event, size: int) -> None:
        assert len(event.body) <= size
        self._partial = event, size
        if len(event.body) == size:
            self._events.append(event)
            self._partial = None

    def _close_received(self, event: Event) -> None:
        what = event.name.partition(".")[0]
        number = event["class_id"], event["method_id"]
        name = BY_NUMBER[number].name if number in BY_NUMBER else ""
        close = Close(what, event["reply_code"], event["reply_text"], name)
        if what == "channel":
            self._closed = Closed(close)
        else:
            self.client.closed = Closed(close)
        self.send(f"{what}.close-ok")

    def _raise_if_closed(self) -> None:
        closed = self._closed or self.client.closed
        if closed is not None:
            raise closed

    def next(self) -> Event:
        """
        What the broker sends next on this channel.

        @raise Closed: it closes it.
        @raise Disconnected: it ends the TCP connection.
        """
        self._wait_for(lambda: bool(self._events))
        return self._events.popleft()

    def expect(self, *names: str) -> Event:
        """
        The first of these methods; what comes before it can still be had.

        @raise Closed: the broker closes the channel instead.
        """

        def found() -> Event | None:
            return next((e for e in self._events if e.name in names), None)

        event = self._wait_for(found)
        self._events.remove(event)
        return event

    def _wait_for(self, condition: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            self._raise_if_closed()
            self.client.read_frame(deadline)
        return value

    @property
    def waiting(self) -> list[str]:
        """
        Names of what has come and was not asked for.
        """
        return [event.name for event in self._events]

    # Calling

    def call(self, name: str, **arguments: Any) -> Event:
        """
        Send a method, and give what answers it.

        @raise Closed: it is refused.
        """
        self._raise_if_closed()
        self.send(name, **arguments)
        return self.expect(*METHODS[name].replies)

    def refusal(self, name: str, **arguments: Any) -> Close:
        """
        Send a method that is refused: how.
        """
        return self.refused(lambda: self.send(name, **arguments), name)

    def refused(self, action: Callable[[], object], name: str) -> Close:
        """
        Do something that is refused, with the method of that name: how.
        """
        try:
            action()
            self.expect(*METHODS[name].replies or self._ask_something())
        except Closed as e:
            return e.close
        raise AssertionError(f"{name} was not refused")

    def _ask_something(self) -> Collection[str]:
        self.send("basic.qos")
        return ("basic.qos-ok",)

    # What tests do often

    def close(self) -> None:
        """
        Close it as the protocol has it.
        """
        self.call("channel.close", reply_code=200, class_id=0, method_id=0)

    def queue(self, arguments: Mapping[str, Any] | None = None, **options: Any) -> str:
        """
        Declare a queue of a name of its own, and give the name.
        """
        options.setdefault("queue", fresh("queue"))
        reply = self.call("queue.declare", arguments=arguments or {}, **options)
        name: str = reply["queue"]
        return name

    def exchange(self, type: str = "direct", **options: Any) -> str:
        """
        Declare an exchange of a name of its own, and give the name.
        """
        name = fresh("exchange")
        self.call("exchange.declare", exchange=name, exchange_type=type, **options)
        return name

    def bind(
        self,
        queue: str,
        exchange: str,
        key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Bind a queue.
        """
        self.call(
            "queue.bind",
            queue=queue,
            exchange=exchange,
            routing_key=key,
            arguments=arguments or {},
        )

    def confirm(self) -> None:
        """
        Ask for confirms.
        """
        self.call("confirm.select")
        self.published = 0

    def put(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """
        Have the broker take messages into a queue: they are there on return.

        @param properties: with underscores.
        """
        named = {name.replace("_", "-"): value for name, value in properties.items()}
        channel = self.client.channel()
        channel.confirm()
        for body in bodies:
            channel.publish("", queue, body, named)
        channel.settled()
        channel.close()

    def settled(self) -> dict[int, str]:
        """
        Wait until all that was published is confirmed or refused: which how,
        by delivery tag.
        """
        verdicts: dict[int, str] = {}
        while len(verdicts) < self.published:
            event = self.expect("basic.ack", "basic.nack")
            last = event["delivery_tag"]
            first = 1 if event["multiple"] else last
            for tag in range(first, last + 1):
                verdicts.setdefault(tag, event.name.partition(".")[2])
        return verdicts

    def consume(self, queue: str, **options: Any) -> str:
        """
        Consume from a queue, and give the consumer's tag.
        """
        tag: str = self.call("basic.consume", queue=queue, **options)["consumer_tag"]
        return tag

    def deliveries(self, count: int) -> list[Event]:
        """
        As many deliveries as that.
        """
        return [self.expect("basic.deliver") for _ in range(count)]

    def get(self, queue: str, *, no_ack: bool = False) -> Event:
        """
        A message of a queue, or C{basic.get-empty}.
        """
        return self.call("basic.get", queue=queue, no_ack=no_ack)

    def take(self, queue: str) -> Event:
        """
        Wait for a message in a queue, and remove it.
        """
        return until(lambda: self._taken(queue))

    def _taken(self, queue: str) -> Event | None:
        event = self.get(queue, no_ack=True)
        return event if event.name == "basic.get-ok" else None

    def bodies(self, queue: str) -> list[bytes]:
        """
        Take all messages that are ready in a queue: their bodies.
        """
        events = iter(lambda: self._taken(queue), None)
        return [event.body for event in events if event is not None]

    def ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        """
        Acknowledge a delivery.
        """
        self.send("basic.ack", delivery_tag=delivery_tag, multiple=multiple)

    def reject(self, delivery_tag: int, *, requeue: bool) -> None:
        """
        Reject a delivery.
        """
        self.send("basic.reject", delivery_tag=delivery_tag, requeue=requeue)

    def count(self, queue: str) -> tuple[int, int]:
        """
        How many messages are ready in a queue, and its consumers.
        """
        reply = self.call("queue.declare", queue=queue, passive=True)
        return reply["message_count"], reply["consumer_count"]

    def until_ready(self, queue: str, count: int) -> None:
        """
        Wait until as many messages are ready in a queue.
        """
        until(lambda: self.count(queue)[0] == count)

    def exists(self, queue: str) -> bool:
        """
        Whether there is a queue of that name, asked on another channel.
        """
        return self._is_there("queue.declare", queue=queue)

    def exchange_exists(self, exchange: str) -> bool:
        """
        Whether there is an exchange of that name, asked on another channel.
        """
        return self._is_there("exchange.declare", exchange=exchange)

    def _is_there(self, method: str, **name: str) -> bool:
        channel = self.client.channel()
        try:
            channel.call(method, passive=True, **name)
        except Closed as e:
            if e.close.code != 404:
                raise
            return False
        channel.close()
        return True
