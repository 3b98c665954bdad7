"""
An answer that is being read: C{IResponse}, and what treq's responses have.

Its body is kept until somebody asks for it, up to a limit: beyond it nothing
more is read until then.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from quebert._log import Logger
from quebert._waiters import Waiters
from quebert.errors import ExecutorError, IncompleteAnswer

__all__ = ["HEAD_LIMIT", "INTERIM", "Reading", "Response"]

#: Bytes of an answer's head, interim ones included.
HEAD_LIMIT = 65_536
#: The status of a head that goes before the answer (RFC 9110, section 15.2).
INTERIM = frozenset(range(200)) - {101}
# Bytes that may come around a small body after the head; there may be twice as many as
# in a large one.
_FRAMING = 32_768

Fields = list[tuple[bytes, bytes]]


class Reading(Protocol):
    """
    What a response may ask of the connection that it comes over.
    """

    def abort(self) -> None:
        """
        Read no more, ever.
        """

    def pause(self) -> None:
        """
        Read no more for now.
        """

    def resume(self) -> None:
        """
        Read on.
        """


class _HeadReader:
    """
    Reads a head again, for what few ask for: each field costs a call, and there
    are many answers.
    """

    def __init__(self, head: list[bytes]) -> None:
        self.version = "1.1"
        self.phrase = b""
        self.fields: Fields = []
        self._found = False
        self._parser = HttpResponseParser(self)
        with suppress(
            HttpParserError, HttpParserUpgrade
        ):  # what comes after it may be anything
            self._parser.feed_data(b"".join(head))

    def on_message_begin(self) -> None:
        if not self._found:
            self.phrase, self.fields = b"", []

    def on_status(self, phrase: bytes) -> None:
        if not self._found:
            self.phrase = phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._found:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        if not self._found:
            self.version = self._parser.get_http_version()
        if self._parser.get_status_code() not in INTERIM:
            self._found = True


@implementer(IResponse)
class Response:
    """
    An answer, of which there is the head, and as much of the body as has come.

    @param head: the bytes that its head is in, and what else came with it.
    @param limit: bytes of the body that are kept; what L{content} gives at
        most.
    @param body: what has come of the body.
    @param complete: whether that is all of it.
    @ivar code: the HTTP status.
    @ivar size: bytes of the body that have come.
    @ivar whole: what L{content} would fire with, if it would do so at once.
    @ivar paused: whether nothing is read for now.
    """

    log = Logger()

    request: Any = None
    previousResponse: Any = None

    # Attributes of the class, since most responses set none of these.
    whole: bytes | None = None
    _around: int | None = None  # bytes that came around the body with the head
    paused = False
    _error: ExecutorError | None = None
    _asked: Waiters[bytes] | None = None
    _reader: IProtocol | None = None

    def __init__(
        self,
        code: int,
        head: list[bytes],
        connection: Reading,
        limit: int,
        body: bytes = b"",
        complete: bool = False,
    ) -> None:
        self.code = code
        self.size = len(body)
        self._head = head
        self._connection = connection
        self._limit = limit
        self._kept: bytes | bytearray = body
        self._ended = complete
        if complete:
            self.whole = body[:limit]

    def __repr__(self) -> str:
        return f"<Response {self.code}, {self.size} bytes so far>"

    # -- For those who get it

    @property
    def version(self) -> tuple[bytes, int, int]:
        """
        The protocol of the answer, as C{IResponse} has it.
        """
        major, minor = self._read_head.version.split(".")
        return (b"HTTP", int(major), int(minor))

    @cached_property
    def _read_head(self) -> _HeadReader:
        return _HeadReader(self._head)

    @property
    def fields(self) -> Fields:
        """
        The header fields as they came.
        """
        return self._read_head.fields

    @property
    def phrase(self) -> bytes:
        """
        What the status line says beside the status.
        """
        return self._read_head.phrase

    @property
    def headers(self) -> Headers:
        """
        The header fields.
        """
        headers = Headers()
        for name, value in self.fields:
            headers.addRawHeader(name, value)
        return headers

    def may_have(self, name: bytes) -> bool:
        """
        Whether there may be a header field of this name, in lower case: nearly
        always there is none, and that is quicker told than by reading the head.
        """
        return name in b"".join(self._head).lower()

    @property
    def length(self) -> Any:
        """
        The size of the body, where a field tells it.
        """
        for name, value in self.fields:
            if name.lower() == b"content-length":
                return int(value)
        return UNKNOWN_LENGTH

    def content(self) -> Deferred[bytes]:
        """
        The body, or its first bytes up to the limit.  Fails with
        L{IncompleteAnswer<quebert.errors.IncompleteAnswer>} when the peer cut
        it short.  The connection is closed when all who asked have cancelled.
        """
        if self.whole is not None:
            return succeed(self.whole)
        if self._error is not None:
            return fail(self._error)
        if self._asked is None:
            self._asked = Waiters(self.abort)
        asked = self._asked.wait()
        if self.size > self._limit:
            self._cut()
        else:
            self.resume()
        return asked

    def text(self, encoding: str = "utf-8") -> Deferred[str]:
        """
        The body as text.
        """
        return self.content().addCallback(bytes.decode, encoding)

    def json(self) -> Deferred[Any]:
        """
        The body, read as JSON.
        """
        return self.content().addCallback(lambda body: json.loads(body))

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Have the body delivered to C{protocol}, all of it.
        """
        self._reader = protocol
        transport: Any = _Transport(self)
        protocol.makeConnection(transport)
        kept, self._kept = bytes(self._kept), b""
        if self.whole:
            self.whole = b""
        if kept:
            protocol.dataReceived(kept)
        if self._ended:
            self._end_reader()
        else:
            self.resume()

    def setPreviousResponse(self, response: Any) -> None:
        """
        Remember the redirect that led here.
        """
        self.previousResponse = response

    def cookies(self) -> list[Any]:
        """
        None are kept.
        """
        return []

    # -- What its reader may ask for; the connection is its own until the end

    def pause(self) -> None:
        """
        Read no more for now.
        """
        if not (self.paused or self._ended):
            self.paused = True
            self._connection.pause()

    def resume(self) -> None:
        """
        Read on.
        """
        if self.paused and not self._ended:
            self.paused = False
            self._connection.resume()

    def abort(self) -> None:
        """
        Read no more, ever.  A protocol that reads is told once the connection is gone.
        """
        if not self._ended:
            if self._reader is None:
                self.cut_short("its reader has given it up")
            self._connection.abort()

    # -- For the connection

    def received(self, data: bytes) -> None:
        """
        More of the body.
        """
        self.size += len(data)
        if self._reader is not None:
            self._reader.dataReceived(data)
        elif not self._ended:  # else it was cut
            if not self._kept:
                self._kept = data  # nearly always all of it
            elif isinstance(self._kept, bytearray):
                self._kept += data
            else:
                self._kept = bytearray(self._kept) + data

    def check_size(self, received: int) -> None:
        """
        Called when nothing more is there at the moment.

        @param received: bytes that have come, with the head.
        """
        size, limit = self.size, self._limit
        if self._around is None:
            self._around = received - size
        elif received - size - self._around > max(2 * size, _FRAMING):
            self._refuse_framing(received)
        elif size > limit and self._reader is None:
            if self._asked is None:
                self.pause()
            elif not self._ended:
                self._cut()

    def end(self, error: ExecutorError | None = None) -> None:
        """
        That was all, or, with an error, not all.
        """
        if self._ended:
            return
        self._ended = True
        self._error = error
        result: bytes | Failure
        if error is None:
            self.whole = result = self._body()
        else:
            result = Failure(error)
        if self._reader is not None:
            self._end_reader()
        elif self._asked is not None:
            asked, self._asked = self._asked, None  # which refers to this
            asked.fire(result)

    def cut_short(self, why: str = "") -> None:
        """
        There will be no more, although that was not all.
        """
        text = f"the answer's body was cut short after {self.size} bytes"
        self.end(IncompleteAnswer(f"{text}: {why}" if why else text, self._body()))

    def _body(self) -> bytes:
        kept, limit = self._kept, self._limit
        if len(kept) > limit:  # a protocol that comes late gets all of it
            return bytes(memoryview(kept)[:limit])
        if not isinstance(kept, bytes):
            kept = self._kept = bytes(kept)
        return kept

    def _refuse_framing(self, received: int) -> None:
        """
        There is more around the body than can be meant well: tiny chunks, what is
        said beside their sizes, fields after the last one.
        """
        if self._reader is None:
            self._cut()
        elif not self._ended:
            text = f"only {self.size} of {received} bytes are of its body"
            self._connection.abort()
            self.cut_short(text)

    def _cut(self) -> None:
        """
        The status decides: the rest is not read.
        """
        self.end()
        self._connection.abort()

    def _end_reader(self) -> None:
        assert self._reader is not None
        why: Exception = ResponseDone() if self._error is None else self._error
        try:
            self._reader.connectionLost(Failure(why))
        except Exception:  # the connection is not its own
            self.log.failure("{reader} failed as a body ended", reader=self._reader)


class _Transport:
    """
    The transport of a protocol that reads a body.
    """

    def __init__(self, response: Response) -> None:
        self.pauseProducing = response.pause
        self.resumeProducing = response.resume
        self.stopProducing = self.loseConnection = response.abort
        self.abortConnection = response.abort
