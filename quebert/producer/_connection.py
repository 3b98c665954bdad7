"""
A connection with one channel in confirm mode, and the tasks that wait there for their
confirms.

One call at a time has a connection.  A call that was interrupted, wherever that was, by
a signal handler or a C{gevent.Timeout}, closes the connection: what the broker sends
next may be about its task.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile

import attrs

from quebert._protocol.basic import SETTLEMENT, publish_mandatory
from quebert._protocol.content import (
    CONTENT_HEADER,
    content_head,
    content_pieces,
    whole_content,
)
from quebert._protocol.frames import FRAME_HEADER, FRAME_METHOD, WholeFrame
from quebert._protocol.methods import METHODS, method_frame
from quebert._protocol.properties import decode_properties, encode_properties
from quebert._protocol.values import CodecError
from quebert.config import Broker
from quebert.errors import (
    BrokerError,
    ConfigError,
    PublishRefused,
    Unroutable,
)
from quebert.producer._deadline import Deadline, StreamEnded
from quebert.producer._frame_stream import CHANNEL, FrameStream, log_in, read_method
from quebert.producer._letter import Letter
from quebert.producer._stream import BlockingStream

__all__ = ["Answer", "PublishingConnection"]

_ACK, _NACK = METHODS["basic.ack"].index, METHODS["basic.nack"].index
_GOODBYE = method_frame(0, "connection.close", (200, "Normal shutdown", 0, 0))


@attrs.define(eq=False)
class _Sent:
    """
    A letter that has no answer yet.
    """

    letter: Letter
    where: str
    problem: BrokerError | None = None


#: The tag of a letter; and C{None} if the broker has confirmed it, else why it has not.
Answer = tuple[int, "BrokerError | None"]


class PublishingConnection:
    """
    A connection.  After an exception nothing may be done with it but L{close}.

    @ivar blocked: whether the broker reads nothing for now, as RabbitMQ does when its
        memory or disk is full.
    """

    def __init__(self, frames: FrameStream) -> None:
        self._frames = frames
        self._pid = os.getpid()
        self._used_at = time.monotonic()
        self._tag = 0
        self._sent: dict[int, _Sent] = {}
        self._answers: list[Answer] = []
        self._ended: StreamEnded | None = None
        self._returned: str | None = None
        self.blocked = False

    @classmethod
    def open(cls, broker: Broker, deadline: Deadline) -> PublishingConnection:
        """
        Connect to the first node of the broker that lets us in.

        @raise StreamEnded: none does.
        @raise ConfigError: a file for TLS, or the URL, is wrong.
        """
        ended = StreamEnded()
        for place, address in enumerate(broker.addresses):
            share = deadline.share(len(broker.addresses) - place)
            try:
                stream = BlockingStream.connect(address, broker.tls, share)
            except StreamEnded as e:
                ended = e
                continue
            frames = FrameStream(stream)
            try:
                since = log_in(frames, broker, share)
                connection = cls(frames)
                connection._take_in(since)
            except StreamEnded as e:
                stream.close()
                ended = _during_login(e, broker, frames)
            except CodecError as e:  # such as a virtual host that is too long
                stream.close()
                raise ConfigError(f"the AMQP URL: {e}") from None
            except BaseException:
                stream.close()
                raise
            else:
                return connection
        try:
            raise ended
        finally:
            del ended  # it has this frame in its traceback

    @property
    def is_ours(self) -> bool:
        """
        Whether this process made the connection.  After a fork, the connections of the
        parent are not to be used by the child.
        """
        return self._pid == os.getpid()

    @property
    def is_old(self) -> bool:
        """
        Whether it was not used for so long that the broker may have given it up.
        """
        return time.monotonic() - self._used_at >= self._frames.heartbeat

    def when_unblocked(self, deadline: Deadline) -> None:
        """
        Take in what has come, and wait while the broker reads nothing.

        @raise StreamEnded: it does so for longer than C{deadline}, or the connection is
            lost.
        """
        self._check()
        while came := self._frames.peek():
            self._take_in(came)
            deadline.left()  # or they come faster than we read
        while self.blocked:
            self._take_in(self._frames.read(deadline))

    def publish(self, exchange: str, letter: Letter, deadline: Deadline) -> int:
        """
        Send a letter.

        @return: its tag.
        @raise StreamEnded: the broker does not have it.
        """
        self._check()
        method = publish_mandatory(exchange, letter.routing_key)
        properties = encode_properties(letter.properties)
        body, most = letter.body, self._frames.max_payload
        head = content_head(CHANNEL, method, properties, len(body))
        if len(body) <= most:
            self._frames.send(whole_content(head, CHANNEL, body), deadline)
        else:
            for piece in content_pieces(head, CHANNEL, body, most):
                self._frames.send(piece, deadline)
        self._used_at = time.monotonic()
        self._tag += 1
        where = f"exchange {exchange!r}, key {letter.routing_key!r}"
        self._sent[self._tag] = _Sent(letter, where)
        return self._tag

    def answers(self, deadline: Deadline) -> list[Answer]:
        """
        Wait for the next answers, if there are none yet.

        @raise StreamEnded: nobody knows whether the broker has the letters that have no
            answer.
        """
        self._check()
        while self._sent and not self._answers:
            try:
                self._take_in(self._frames.read(deadline))
            except StreamEnded as e:
                self._ended = e.with_traceback(None)
                self._check()
        return self.answered()

    def answered(self) -> list[Answer]:
        """
        The answers that have been taken in.
        """
        answers, self._answers = self._answers, []
        return answers

    def _check(self) -> None:
        if self._ended is not None and not self._answers:
            raise self._ended

    def _take_in(self, frames: Iterable[WholeFrame]) -> None:
        try:
            for kind, _, payload in frames:
                if kind == FRAME_METHOD:
                    self._method_received(payload)
                elif kind == FRAME_HEADER:
                    self._header_received(payload)
                # The body of a returned letter is one that we have.
        except (CodecError, struct.error) as e:
            raise StreamEnded(f"the broker sent what is not AMQP: {e}") from None

    def _method_received(self, payload: bytes) -> None:
        index = payload[:4]
        if index in (_ACK, _NACK):
            tag, bits = SETTLEMENT.unpack_from(payload)
            self._settle(tag, bits & 1 == 1, index == _ACK)
            return
        name, arguments = read_method(payload)
        if name == "basic.return":
            self._returned = arguments["routing_key"]
        elif name in ("connection.blocked", "connection.unblocked"):
            self.blocked = name == "connection.blocked"
        elif name == "connection.close-ok":  # RabbitMQ leaves the rest to us
            raise StreamEnded("the connection is closed")

    def _header_received(self, payload: bytes) -> None:
        """
        The broker tells of a return before it confirms, but not of which letter: that
        is the one with the same uuid.
        """
        if self._returned is None:
            return
        key, self._returned = self._returned, None
        uuid = decode_properties(payload[CONTENT_HEADER.size :]).get("message-id")
        for each in self._sent.values():
            letter = each.letter
            if (
                each.problem is None
                and letter.routing_key == key
                and letter.uuid == uuid
            ):
                each.problem = Unroutable(f"no queue takes this task ({each.where})")
                return

    def _settle(self, tag: int, multiple: bool, taken: bool) -> None:
        tags = [tag]
        if multiple:
            tags = list(takewhile(lambda each: each <= tag, self._sent))
        for each in tags:
            sent = self._sent.pop(each, None)
            if sent is None:
                continue
            problem = sent.problem
            if problem is None and not taken:
                text = f"the broker did not take the task ({sent.where})"
                problem = PublishRefused(text)
            self._answers.append((each, problem))

    def leave(self) -> None:
        """
        Take leave of the broker, without waiting, if this process made the connection.
        RabbitMQ writes a warning into its log if the connection is closed before it has
        answered.
        """
        if self.is_ours:
            self._frames.send_at_once(_GOODBYE)

    def wait(self, deadline: Deadline) -> None:
        """
        Wait for the answer to that.
        """
        with suppress(StreamEnded):
            while self.is_ours:
                self._take_in(self._frames.read(deadline))

    def close(self) -> None:
        """
        Close the connection, without waiting.
        """
        self._frames.close()


def _during_login(
    ended: StreamEnded, broker: Broker, frames: FrameStream
) -> StreamEnded:
    """
    What it means that the connection ended before it was open.
    """
    if type(ended) is not StreamEnded or ended.distrust is not None:
        return ended
    why = f"{ended}, during the login"
    if broker.tls is not None and not frames.greeted:
        # A server tells so after the handshake of TLS 1.3, when we may write already,
        # and not come to read it.
        why += "; perhaps it does not accept our certificate, or wants one"
    return StreamEnded(why)
