"""
How an answer is read: by llhttp, by way of httptools, which calls back while it
is given bytes.

A reader is taken for an answer and given back after it, so that a few are enough
for thousands of connections, which are the smaller for it.  Knows no requests
and no sockets.
"""

from __future__ import annotations

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
    @ivar response: the answer, once there is its head.
    @ivar complete: whether all of it is there.
    @ivar size: how many bytes of it have come.
    @ivar keeps_alive: whether its connection may be used again, as it says.
    @ivar until_close: whether it ends with its connection.
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)

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
        self.response: Response | None = None
        self.complete = False
        self.size = 0
        self.until_close = False
        self._head: list[bytes] = []
        self._interim = False
        self.keeps_alive = False
        self._excess = False

    def feed(self, data: bytes) -> HttpParserError | None:
        """
        Read some; what is returned says why that cannot be read.
        """
        self.size += len(data)
        if self.response is None:
            self._head.append(data)
            if len(self._head) == _PIECES:
                self._head = [b"".join(self._head)]
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._excess = True
        except HttpParserError as e:
            self._excess = True
            return e
        return None

    @property
    def is_dense(self) -> bool:
        """
        Whether half of what has come is the body, as far as is known: many small pieces
        take long to read.
        """
        return self.response is None or 2 * self.response.size >= self.size

    def finish(self) -> bool:
        """
        The answer is complete, or will never be: hold nothing of it any more.  There
        may be none to be read for long.

        @return: whether the connection may be used again: the answer says so, and
            nothing came after it.  So may the reader, unless it waits for the body of
            an answer that is C{bodiless}.
        """
        self.response = None
        self._head = []
        del self._connection
        return self.keeps_alive and not self._excess

    # -- What the parser tells

    def on_message_begin(self) -> None:
        if self.complete:
            self._excess = True

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        code = self._parser.get_status_code()
        if code in INTERIM:
            self._interim = True
            return
        response = Response(code, self._head, self._connection, self._limit)
        self.response = response
        self.keeps_alive = self._parser.should_keep_alive()
        self.until_close = not self.keeps_alive and not _has_length(response.fields)
        self.complete = self.bodiless

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self._excess = True
        elif self.response is not None:
            self.response.received(data)

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
