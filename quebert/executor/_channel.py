"""
One connection of an executor: how much its client may send, and how long it may take.

Theory of operation.  Twisted's channel reads HTTP.  This one looks at the bytes before,
and knows of each connection in which stage it is:

  - HEAD: a request begins, or a connection is new.  The head must be there in time.
  - BODY: so much of it must come in each span of time.
  - WORK: a function has the request, for as long as it likes.
  - ANSWER: the client has not taken the answer yet.  It is given time by its length.
  - IDLE: there may be another request.
  - REFUSED: an answer was written before all of the request had come.  To close the
    connection then would reset it, and the client could lose the answer (RFC 9112,
    section 9.6).  So what comes is dropped, for some time.
  - CLOSING: it is closed as soon as all that was written is on its way.

Each stage but WORK has its end, with one timer for all connections.  Bytes that come do
not put it off.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import HTTPChannel

from quebert._host import network_of
from quebert._listening import host_of
from quebert.executor._answer import response
from quebert.executor._connections import Connections, Stage
from quebert.functions import ExecutorAnswer

__all__ = ["ExecutorChannel"]

# Bytes around a body that are always allowed.
_FRAMING = 65_536
_REQUEST_URI_TOO_LONG = 414
_FIELDS_TOO_LARGE = 431
_SHORT = "the executor is short of memory"


class ExecutorChannel(HTTPChannel):
    """
    A connection that waits for its client within limits.

    @ivar network: where the client is.
    """

    site: Connections[ExecutorChannel]
    # These are looked at here, since Twisted says 400 to all of them.
    maxHeaders = totalHeadersSize = 2**31
    # Seconds: none of Twisted's.
    timeOut = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = ""
        self._stage = Stage.HEAD
        self._received = 0  # bytes of this request, or since it was refused
        self._received_before = 0  # the same when that was last looked at
        self._head = 0  # bytes
        self._lines = 0
        self._sent = 0  # bytes of the last answer
        self._clogged = False
        self._deaf = False  # nothing that comes is read
        # What came before the next request may begin.
        self._rest: bytes | None = None
        self._next: IDelayedCall | None = None

    @property
    def tcp(self) -> Any:
        """
        The transport.
        """
        return self.transport

    @property
    def is_at_work(self) -> bool:
        """
        Whether a function has the request.
        """
        return self._stage is Stage.WORK

    def connectionMade(self) -> None:
        """
        It is open.
        """
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.network = network_of(host_of(self.tcp.getPeer()))
        self._enter(Stage.HEAD, self.site.limits.head_time)
        self.site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is closed.
        """
        if self._next is not None:
            self._next.cancel()
        self.site.deadlines.end(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.lost(self)

    def _enter(self, stage: Stage, seconds: float | None) -> None:
        self._stage = stage
        if seconds is None:
            self.site.deadlines.end(self)
        else:
            self.site.deadlines.begin(self, seconds)
        self.site.entered(self, stage)

    # -- What comes

    def dataReceived(self, data: bytes) -> None:
        """
        Some bytes are there.
        """
        if self._rest is not None:
            self._rest += data
        elif self._stage is Stage.WORK:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        elif self._counts(len(data)):
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            if self._stage is Stage.BODY:
                self._check_framing()

    def _counts(self, size: int) -> bool:
        """
        Count bytes; gives whether they may be read.
        """
        if self._stage is Stage.IDLE:
            self._enter(Stage.HEAD, self.site.limits.head_time)
        self._received += size
        if self._stage is Stage.CLOSING:
            return False
        if self._stage is Stage.REFUSED:
            if self._received > self.site.limits.body:
                self.abort()
                return False
        elif not self.site.holds(self, self._received):
            self.refuse(ExecutorAnswer.unavailable(_SHORT))
        return not self._deaf

    def _check_framing(self) -> None:
        stored = self.requests[-1].stored
        if self._received - self._head - stored > max(stored, _FRAMING):
            text = "there is more around the body than in it: its chunks are too small"
            self.refuse(ExecutorAnswer.text(http.REQUEST_ENTITY_TOO_LARGE, text))

    def lineReceived(self, line: bytes) -> bool:
        """
        A line of a head is there.
        """
        limits = self.site.limits
        self._head += len(line) + 2
        self._lines += bool(line)
        if self._head > limits.head:
            self._refuse_head(f"{limits.head} bytes")
        elif self._lines > limits.fields + 1:
            self._refuse_head(f"{limits.fields} header fields")
        else:
            self._read_line(line)
        return self._deaf

    def _read_line(self, line: bytes) -> None:
        try:
            super().lineReceived(line)  # type: ignore[no-untyped-call]
        except ValueError:  # Python reads no number of so many digits
            text = "a header field of the request cannot be read"
            self.refuse(ExecutorAnswer.text(http.BAD_REQUEST, text))

    def lineLengthExceeded(self, line: bytes) -> bool:
        """
        A line of a head is too long.
        """
        if self._lines:
            self._refuse_head(f"{self.MAX_LENGTH} bytes in a line")
        else:
            text = f"the request line has more than {self.MAX_LENGTH} bytes"
            self.refuse(ExecutorAnswer.text(_REQUEST_URI_TOO_LONG, text))
        return True

    def _refuse_head(self, most: str) -> None:
        text = f"the head of the request has more than {most}"
        self.refuse(ExecutorAnswer.text(_FIELDS_TOO_LARGE, text))

    def allHeadersReceived(self) -> None:
        """
        The body begins.
        """
        self._received_before = self._head
        self._enter(Stage.BODY, self.site.limits.grace)
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        """
        The request is there.
        """
        if self._stage is Stage.BODY:
            if self.site.has_room():
                self._enter(Stage.WORK, None)
                self.site.holds(self, self._head)  # as long as the request is there
            else:
                self.refuse(ExecutorAnswer.unavailable(_SHORT))
        self._received = self._head = self._lines = 0
        super().allContentReceived()  # type: ignore[no-untyped-call]

    # -- The answer, and what comes after it

    def requestDone(self, request: Any) -> None:
        """
        The answer was written.
        """
        self._sent = request.sentLength
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def setLineMode(self, extra: bytes = b"") -> None:
        """
        There may be another request, once the answer is on its way.  The requests that
        came together with the last one let other events have their turn in between.

        @param extra: what has come already.
        """
        if self._clogged:
            self._send(Stage.ANSWER)
            self._keep(extra)
        else:
            self._enter(Stage.IDLE, self.site.limits.idle)
            if extra:
                self._keep(extra)
                self._go_on_later()
            else:
                super().setLineMode()  # type: ignore[no-untyped-call]

    def _keep(self, rest: bytes) -> None:
        self._rest = rest
        self._networkProducer.pauseProducing()

    def _go_on_later(self) -> None:
        if self._next is None:
            self._next = self.site.reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._next = None
        rest, self._rest = self._rest, None
        self._enter(Stage.IDLE, self.site.limits.idle)
        self._networkProducer.resumeProducing()
        super().setLineMode(rest or b"")  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """
        The client does not take what was written.
        """
        self._clogged = True
        # Where all that comes is dropped, go on reading: TLS writes nothing before it
        # has read what the client says in the handshake.
        if self._stage not in (Stage.REFUSED, Stage.CLOSING):
            super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:
        """
        The client has taken it.
        """
        self._clogged = False
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._stage is Stage.ANSWER:
            self._go_on_later()

    def _send(self, stage: Stage) -> None:
        """
        Wait until the client has taken the answer.
        """
        limits, left = self.site.limits, self._sent if self._clogged else 0
        seconds: float | None = limits.grace
        if left:
            rate = limits.slowest
            seconds = limits.grace + left / rate if rate else None
        self._enter(stage, seconds)
        self.site.holds(self, left)

    # -- The end

    def refuse(self, answer: ExecutorAnswer) -> None:
        """
        Answer now, whatever else is to come of the request.
        """
        self.site.refused(self, answer.sentence)
        self._received = 0
        in_body = self._stage is Stage.BODY
        self._enter(Stage.REFUSED, self.site.limits.grace)
        if in_body:
            self.requests[-1].refuse(answer)
        else:
            self._deaf = True
            self.tcp.write(response(answer))

    def late(self) -> None:
        """
        The time for this stage is over.
        """
        limits = self.site.limits
        if self._stage is Stage.HEAD and self._received:
            self._refuse_late(f"the head of its request: {limits.head_time:g} s")
        elif self._stage in (Stage.HEAD, Stage.IDLE, Stage.REFUSED):
            self.loseConnection()
        elif self._stage is not Stage.BODY:
            self.abort()
        elif self._came_fast_enough():
            self._received_before = self._received
            self.site.deadlines.begin(self, limits.grace)
        else:
            self._refuse_late(f"the body: {limits.slowest:g} bytes per second")

    def _came_fast_enough(self) -> bool:
        limits = self.site.limits
        came = self._received - self._received_before
        return came >= limits.slowest * limits.grace

    def _refuse_late(self, what: str) -> None:
        text = f"the client was too slow with {what}"
        self.refuse(ExecutorAnswer.text(http.REQUEST_TIMEOUT, text))

    def give_way(self) -> None:
        """
        Give back the memory that this connection holds.
        """
        if self._stage in (Stage.HEAD, Stage.BODY):
            self.refuse(ExecutorAnswer.unavailable(_SHORT))
        else:
            self.abort()

    def leave(self) -> None:
        """
        Make room for another connection.
        """
        if self._stage is Stage.IDLE:
            self.loseConnection()
        else:
            self.abort()

    def loseConnection(self) -> None:
        """
        Close it once all that was written is on its way.
        """
        self._send(Stage.CLOSING)
        super().loseConnection()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """
        Close it now.
        """
        if self._clogged:
            self.site.refused(self, "the answer was not taken in time")
        self._deaf = True
        self.tcp.abortConnection()
