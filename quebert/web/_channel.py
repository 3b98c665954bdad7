"""
One connection to the web server: HTTP/1.1, with bounds on what its client may send, and
how long it may take.

Theory of operation.  A request is read whole before it is answered, and answered before
the next one is read; what comes meanwhile waits, up to L{_AHEAD} bytes, behind which
the connection is not read.  An answer is written in one piece, except for a stream of
events, which is the last thing that a connection is for.  The stages are those of an
executor's connection, L{Stage}, with the same limits; a request that comes whole passes
from IDLE to WORK.

C{twisted.web} has done this before.  What a request takes of CPU beside its answer was
200 µs then, and is 25 with this.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from quebert._host import network_of
from quebert._listening import host_of
from quebert._log import Logger
from quebert.executor import Connections, Stage
from quebert.functions import ExecutorAnswer
from quebert.web._api import Reply, Streaming
from quebert.web._exchange import APIAnswer, APIProblem
from quebert.web._head import RequestHead, read_head
from quebert.web._resource import WebResource
from quebert.web._response import event_stream, response
from quebert.web._stream import EventStream

__all__ = ["WebChannel"]

#: Bytes of a request line.
LONGEST_LINE = 16_384
# Bytes of the next requests that are read while one is answered.
_AHEAD = 16_384
_NO_HEAD = RequestHead(method="", target="")
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
_SHORT = ExecutorAnswer.unavailable("the server is short of memory")


@implementer(IPushProducer)
class WebChannel(Protocol):
    """
    A connection that waits for its client within limits.

    @param site: has all connections.
    @param resource: answers all requests.
    @ivar network: where the client is.
    """

    log = Logger()

    def __init__(self, site: Connections[WebChannel], resource: WebResource) -> None:
        self._site = site
        self._limits = site.limits
        self._resource = resource
        self.network = self._address = ""
        self._tcp: Any = None
        self._stage = Stage.HEAD
        self._rest = b""  # what came and is not read yet
        self._looked = 0  # where in it the end of a head can be
        self._head = _NO_HEAD  # of the request that has begun
        self._body = BytesIO()  # pieces of a byte each would take 40 times as much
        self._received = 0  # bytes of the body, or since the request was refused
        self._received_before = 0  # the same when that was last looked at
        self._sent = 0  # bytes of the last answer
        self._clogged = False
        self._reads = True
        self._answering: Deferred[Reply] | None = None
        self._stream: EventStream | None = None
        self._next: IDelayedCall | None = None

    @property
    def is_at_work(self) -> bool:
        """
        Whether a request is being answered.
        """
        return self._stage is Stage.WORK

    def connectionMade(self) -> None:
        """
        It is open.
        """
        self._tcp = self.transport
        if ITCPTransport.providedBy(self._tcp):
            self._tcp.setTcpNoDelay(True)
        self._tcp.registerProducer(self, True)
        self._address = host_of(self._tcp.getPeer())
        self.network = network_of(self._address)
        self._enter(Stage.HEAD, self._limits.head_time)
        self._site.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is closed.  A request that only reads is given up; a change goes on.
        """
        self._stage = Stage.CLOSING
        if self._next is not None:
            self._next.cancel()
        self._site.deadlines.end(self)
        if self._stream is not None:
            self._stream.stopProducing()
        if self._answering is not None and self._head.method in ("GET", "HEAD"):
            self._answering.cancel()
        self._site.lost(self)

    def _enter(self, stage: Stage, seconds: float | None) -> None:
        self._stage = stage
        if seconds is None:
            self._site.deadlines.end(self)
        else:
            self._site.deadlines.begin(self, seconds)
        self._site.entered(self, stage)

    # -- What comes

    def dataReceived(self, data: bytes) -> None:
        """
        Some bytes are there.
        """
        stage = self._stage
        if stage is Stage.BODY:
            self._take(data)
        elif stage is Stage.REFUSED:
            self._received += len(data)
            if self._received > self._limits.body:
                self.abort()
        elif stage is not Stage.CLOSING:
            self._rest = self._rest + data if self._rest else data
            if stage is Stage.IDLE or stage is Stage.HEAD:
                self._read()
            elif len(self._rest) > _AHEAD and self._reads:
                self._reads = False
                self._tcp.pauseProducing()

    def _read(self) -> None:
        """
        Read a request, as far as it is there.
        """
        begin = 0
        while self._rest.startswith(b"\r\n", begin):  # RFC 9112, section 2.2
            begin += 2
        data = self._rest = self._rest[begin:] if begin else self._rest
        end = data.find(b"\r\n\r\n", self._looked)
        try:
            self._check_size(_size_so_far(data) if end < 0 else end)
            if end < 0:
                self._wait_for_head()
                return
            head = self._head = read_head(data[: end + 2], self._limits.fields)
        except APIProblem as e:
            self._refuse(e.answer, str(e))
            return
        self._looked = 0
        begin, end = end + 4, end + 4 + head.length
        if head.length > self._limits.body:
            self.refuse(ExecutorAnswer.too_large(self._limits.body))
        elif end <= len(data):
            self._rest = data[end:]
            self._begin(data[begin:end], end)
        else:
            self._rest = b""
            self._wait_for_body(data[begin:])

    def _check_size(self, size: int) -> None:
        """
        @raise APIProblem: the head has more bytes than there may be.
        """
        most = self._limits.head
        if size <= most and size <= LONGEST_LINE:
            return
        if size > LONGEST_LINE and self._rest.find(b"\r\n", 0, LONGEST_LINE + 2) < 0:
            text = f"the request line has more than {LONGEST_LINE} bytes"
            raise APIProblem(HTTPStatus.REQUEST_URI_TOO_LONG, text)
        if size > most:
            text = f"the head of the request has more than {most} bytes"
            raise APIProblem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    def _wait_for_head(self) -> None:
        if self._stage is Stage.IDLE:
            self._enter(Stage.HEAD, self._limits.head_time)
        self._looked = max(0, len(self._rest) - 3)
        if not self._site.holds(self, len(self._rest)):
            self.refuse(_SHORT)

    def _wait_for_body(self, begun: bytes) -> None:
        self._body, self._received, self._received_before = BytesIO(), 0, 0
        self._enter(Stage.BODY, self._limits.grace)
        if self._head.waits and not begun:
            self._tcp.write(_GO_ON)
        self._take(begun)

    def _take(self, data: bytes) -> None:
        """
        Take a piece of the body.
        """
        self._body.write(data)
        self._received += len(data)
        if not self._site.holds(self, self._received):
            self.refuse(_SHORT)
        elif self._received >= (length := self._head.length):
            whole, self._body = self._body.getvalue(), BytesIO()
            self._rest = whole[length:]
            self._begin(whole[:length], length)

    # -- The answer, and what comes after it

    def _begin(self, body: bytes, size: int) -> None:
        """
        Have a request answered, which took C{size} bytes.
        """
        if not self._site.holds(self, size):
            self.refuse(_SHORT)
            return
        self._enter(Stage.WORK, None)
        self._site.holds(self, size)  # as long as the request is there
        self._answering = self._resource.answer(self._head, body, self._address)
        self._answering.addCallback(self._answered).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("An answer of the web server could not be sent.", failure)
        self.abort()

    def _answered(self, reply: Reply) -> None:
        self._answering = None
        if self._stage is not Stage.WORK:  # the client has gone
            return
        head, date = self._head, self._resource.date()
        if isinstance(reply, Streaming):
            self._open(reply, date)
            return
        is_head = head.method == "HEAD"
        data = response(reply, date, is_last=head.is_last, without_body=is_head)
        self._sent = len(data)
        self._tcp.write(data)
        if head.is_last:
            self.loseConnection()
        elif self._clogged:
            self._send(Stage.ANSWER)
        else:
            self._rest_or_go_on()

    def _open(self, wanted: Streaming, date: str) -> None:
        """
        Begin a stream of events.
        """
        self._tcp.write(event_stream(date))
        if self._head.method == "HEAD":
            self.loseConnection()
        else:
            self._stream = self._resource.open(wanted, self)
            if self._clogged:
                self._stream.pauseProducing()

    def _rest_or_go_on(self) -> None:
        """
        Wait for another request.  One that has come already lets other events have
        their turn before.
        """
        self._head = _NO_HEAD
        self._enter(Stage.IDLE, self._limits.idle)
        if self._next is None and (self._rest or not self._reads):
            self._next = self._site.reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """
        Read the next request.  More is read from the connection where that one is not
        there whole, or when little is left: else each answer would let as much come as
        the kernel gives at a time.
        """
        self._next = None
        if self._rest and self._stage is Stage.IDLE:
            self._read()
        needs_more = self._stage in (Stage.HEAD, Stage.BODY, Stage.REFUSED)
        if not self._reads and (needs_more or len(self._rest) <= _AHEAD):
            self._reads = True
            self._tcp.resumeProducing()

    def write(self, data: bytes) -> None:
        """
        Write a part of a stream.
        """
        self._tcp.write(data)

    def pauseProducing(self) -> None:
        """
        The client does not take what was written.
        """
        self._clogged = True
        if self._stream is not None:
            self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """
        The client has taken it.
        """
        self._clogged = False
        if self._stream is not None:
            self._stream.resumeProducing()
        elif self._stage is Stage.ANSWER:
            self._rest_or_go_on()

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """

    def _send(self, stage: Stage) -> None:
        """
        Wait until the client has taken the answer.
        """
        limits, left = self._limits, self._sent if self._clogged else 0
        seconds: float | None = limits.grace
        if left:
            rate = limits.slowest
            seconds = limits.grace + left / rate if rate else None
        self._enter(stage, seconds)
        self._site.holds(self, left)

    # -- The end

    def refuse(self, answer: ExecutorAnswer) -> None:
        """
        Answer now, whatever else is to come of the request.
        """
        text = answer.sentence.replace("the executor", "the server")
        later = [pair for pair in answer.headers if pair[0] == "Retry-After"]
        problem = APIProblem(answer.status, text, *later)
        self._refuse(problem.answer, text)

    def _refuse(self, answer: APIAnswer, why: str) -> None:
        self._site.refused(self, why)
        self._rest, self._body, self._received = b"", BytesIO(), 0
        self._enter(Stage.REFUSED, self._limits.grace)
        answer = self._resource.in_form_of(self._head, answer)
        self._tcp.write(response(answer, self._resource.date(), is_last=True))

    def late(self) -> None:
        """
        The time for this stage is over.
        """
        limits = self._limits
        if self._stage is Stage.HEAD and self._rest:
            self._refuse_late(f"the head of its request: {limits.head_time:g} s")
        elif self._stage in (Stage.HEAD, Stage.IDLE, Stage.REFUSED):
            self.loseConnection()
        elif self._stage is not Stage.BODY:
            self.abort()
        elif self._came_fast_enough():
            self._received_before = self._received
            self._site.deadlines.begin(self, limits.grace)
        else:
            self._refuse_late(f"the body: {limits.slowest:g} bytes per second")

    def _came_fast_enough(self) -> bool:
        limits = self._limits
        came = self._received - self._received_before
        return came >= limits.slowest * limits.grace

    def _refuse_late(self, what: str) -> None:
        text = f"the client was too slow with {what}"
        self.refuse(ExecutorAnswer.text(HTTPStatus.REQUEST_TIMEOUT, text))

    def give_way(self) -> None:
        """
        Give back the memory that this connection holds.
        """
        if self._stage in (Stage.HEAD, Stage.BODY):
            self.refuse(_SHORT)
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
        if self._stage is not Stage.CLOSING:
            self._send(Stage.CLOSING)
            self._tcp.unregisterProducer()
            self._tcp.loseConnection()

    def abort(self) -> None:
        """
        Close it now.
        """
        if self._clogged:
            self._site.refused(self, "the answer was not taken in time")
        self._stage = Stage.CLOSING
        self._tcp.abortConnection()


def _size_so_far(begun: bytes) -> int:
    """
    How many bytes a head has at least that is not whole: its last ones may belong to
    the end.
    """
    for end in (b"\r\n\r", b"\r\n", b"\r"):
        if begun.endswith(end):
            return len(begun) - len(end)
    return len(begun)
