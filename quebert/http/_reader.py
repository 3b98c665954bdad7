"""
How an answer is read: by llhttp, by way of httptools, which calls back while it
is given bytes.

A reader is taken for an answer and given back after it, so that a few are enough
for thousands of connections, which are the smaller for it.  Knows no requests
and no sockets.
"""

from __future__ import annotations

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from quebert.http._response import INTERIM, Fields, Reading, Response

__all__ = ["Reader"]

# Pieces in which a head is kept: many small ones take much more memory than the
# bytes that are in them.
_PIECES = 64


class Reader:
    """
    Reads one answer after the other.

    @ivar bodiless: whether the answer has no body, whatever it says.
    @ivar response: the answer, once there is its head, and until it is complete.
    @ivar complete: whether all of it is there.
    @ivar size: how many bytes of it have come.
    @ivar keeps_alive: whether its connection may be used again, as it says.
    @ivar has_excess: whether anything came after it.
    @ivar error: why no more of it can be read; C{None} where it can.
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.response: Response | None = None
        self._connection: Any = None
        self._head: list[bytes] = []
        self._body: list[bytes] = []  # what comes of it with the head

    def begin(self, connection: Reading, bodiless: bool, limit: int) -> None:
        """
        Read an answer from its beginning.

        @param connection: what the response may ask for more, or for no more.
        @param bodiless: as the attribute.
        @param limit: bytes of its body that are kept.
        """
        self._connection = connection
        self.bodiless = bodiless
        self._limit = limit
        self.complete = self.keeps_alive = self.has_excess = False
        self.size = 0
        self.error: str | None = None
        self._code = 0  # until there is the head
        self._interim = False

    def feed(self, data: bytes) -> Response | None:
        """
        Read some.

        @return: the answer, once there is its head.  Of one that is complete nothing is
            held: there may be none to be read for long.
        """
        self.size += len(data)
        if not self._code:
            self._head.append(data)
            if len(self._head) == _PIECES:
                self._head = [b"".join(self._head)]
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.has_excess = True
        except HttpParserError as e:
            # Its traceback refers to the answer.
            self.has_excess, self.error = True, str(e)
        response = self.response
        if response is None and self._code:
            response = Response(
                self._code,
                self._head,
                self._connection,
                self._limit,
                b"".join(self._body),
                self.complete,
            )
            self._connection, self._head = None, []
            self._body.clear()
        self.response = None if self.complete else response
        return response

    def forget(self) -> None:
        """
        Hold nothing of an answer that is not read to its end.
        """
        self.response = self._connection = None
        self._head = []

    @property
    def is_dense(self) -> bool:
        """
        Whether half of what has come is the body, as far as is known: many small pieces
        take long to read.
        """
        return self.response is None or 2 * self.response.size >= self.size

    @property
    def until_close(self) -> bool:
        """
        Whether the answer, of which there is the head, ends with its connection.
        """
        assert self.response is not None
        return not self.keeps_alive and not _has_length(self.response.fields)

    # -- What the parser tells

    def on_message_begin(self) -> None:
        if self.complete:
            self.has_excess = True

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        code = self._parser.get_status_code()
        if code in INTERIM:
            self._interim = True
            return
        self._code = code
        self.keeps_alive = self._parser.should_keep_alive()
        self.complete = self.bodiless

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.has_excess = True
        elif self.response is not None:
            self.response.received(data)
        elif self._code:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.complete:
            self.complete = True
            self.keeps_alive = self._parser.should_keep_alive()


def _has_length(fields: Fields) -> bool:
    for name, value in fields:
        name = name.lower()
        if name == b"content-length":
            return True
        if name == b"transfer-encoding" and b"chunked" in value.lower():
            return True
    return False
