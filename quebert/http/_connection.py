"""
One HTTP/1.1 connection: a request goes out, an answer comes in, the next.

L{quebert.http._states} tells in which states it is, one after the other.

Nobody is told anything while an answer is being parsed, since who is told may
make the next request on this very connection.  Knows no pool and no URLs.
"""

from __future__ import annotations

from typing import Any, assert_never
from typing import Protocol as Role

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure

from quebert._machine import rows
from quebert.errors import ExecutorError
from quebert.http._exchange import HTTPExchange
from quebert.http._reader import Reader
from quebert.http._request_writer import SMALL, RequestWriter
from quebert.http._response import HEAD_LIMIT, Response
from quebert.http._second_try import WAITED_TOO_LONG, was_missed
from quebert.http._states import TABLE, HTTPEvent, HTTPState

__all__ = ["HTTPConnection", "HTTPConnectionOwner"]

# Bytes that are read at once: of an answer's beginning, which mostly is all of it,
# and of a large one.  A buffer for more than there is costs microseconds.  These many
# bytes in tiny chunks take a millisecond, in which nothing else is done.
_READ, _READ_MORE = 4_096, 16_384

# Python looks up a member of an Enum slowly.
_IDLE, _WAITING, _HEAD, _BODY, _CLOSING, _LOST = HTTPState
_SEND, _BEGIN, _TELL, _COMPLETE, _CLOSE, _LOSE = rows(HTTPEvent, TABLE)
_BEGUN = _BEGIN[_WAITING]  # where the state before is known


class HTTPConnectionOwner(Role):
    """
    Who is told what becomes of a connection.
    """

    def released(self, connection: HTTPConnection) -> None:
        """
        The answer is complete: keep the connection, send another request over it, or
        close it.
        """

    def lost(self, connection: HTTPConnection) -> None:
        """
        It is gone.
        """

    def read_together(self, tcp: TCPConnection) -> None:
        """
        Read a connection together with the other ones of the pool, where the reactor
        allows for that.
        """

    def withdraw(self, connection: HTTPConnection) -> HTTPExchange | None:
        """
        Send no request over it, as it is closed or lost while it is IDLE.

        @return: the one that was to be sent.
        """

    def body_begins(self, connection: HTTPConnection) -> None:
        """
        The head of an answer is there, and its body is not.
        """

    def body_ends(self, connection: HTTPConnection) -> None:
        """
        The rest of the body is there, or will not come.
        """

    def seconds(self) -> float:
        """
        The time.
        """

    def send_again(self, exchange: HTTPExchange) -> None:
        """
        Send a request again, over another connection: the server was closing this one
        when the request came.
        """


class HTTPConnection(Protocol):
    """
    A connection to one origin.

    @param body_limit: bytes of an answer's body that are kept.
    @param readers: some that are free, to take one from and give it back.
    @ivar send_some: C{send} of its socket, as long as that takes requests at once.
    """

    # There may be thousands: small objects make good use of the processor's cache.
    __slots__ = (
        "_body_limit",
        "_exchange",
        "_has_answered",
        "_owner",
        "_reader",
        "_readers",
        "_state",
        "_tcp",
        "_writer",
        "_written_at",
        "connected",
        "send_some",
        "transport",
    )

    def __init__(
        self, owner: HTTPConnectionOwner, body_limit: int, readers: list[Reader]
    ) -> None:
        self._state = _IDLE
        self._owner = owner
        self._body_limit = body_limit
        self._readers = readers
        self._reader: Reader | None = None  # of the answer that is coming
        self._exchange: HTTPExchange | None = None  # until there is a head
        self._has_answered = False  # an answer has come over it
        self._written_at = 0.0  # when the request was
        self._writer: RequestWriter | None = None  # once that is needed
        self._tcp: Any = None
        self.connected = 0
        self.send_some: Any = None

    @property
    def state(self) -> HTTPState:
        """
        Where it stands.
        """
        return self._state

    @property
    def closed(self) -> bool:
        """
        Whether it is of no use any more.
        """
        return self._state >= _CLOSING

    # -- The request

    def connectionMade(self) -> None:
        tcp: Any = self.transport
        if ITCPTransport.providedBy(tcp):
            tcp.setTcpNoDelay(True)
        if isinstance(tcp, TCPConnection) and not tcp.TLS:
            # Straight into the socket: nearly always that is all, and the
            # reactor need not be asked to tell when it can be written to.
            self.send_some = tcp.getHandle().send
            self._tcp = tcp
            tcp.bufferSize = _READ
            tcp.protocol = self  # and not what an endpoint has put in between
            self._owner.read_together(tcp)

    def send(self, exchange: HTTPExchange, now: float) -> None:
        """
        Write a request.  The connection must be IDLE, and no other request may be
        chosen for it.

        @param now: the time.
        """
        self._state = _SEND[self._state]
        if exchange.finish is not None:
            exchange.data, exchange.finish = exchange.finish(), None
        exchange.owner = self
        self._exchange = exchange
        self._written_at = now
        data, sent = exchange.data, 0
        if self.send_some is not None and len(data) <= SMALL:
            try:
                sent = self.send_some(data)
            except OSError:  # it is full, or lost, as writing will find out
                sent = 0
        if sent < len(data) or exchange.large_body:
            self.send_some = None  # from now on, behind what waits there
            if self._writer is None:
                self._writer = RequestWriter(self.transport)
            self._writer.write(data[sent:], exchange.large_body)

    # -- The answer, as it comes

    def dataReceived(self, data: bytes) -> None:
        exchange, reader = self._exchange, self._reader
        if self._state is _WAITING and exchange is not None:
            self._state = _BEGUN
            reader = self._reader = self._readers.pop() if self._readers else Reader()
            reader.begin(self, exchange.bodiless, self._body_limit)
        elif reader is None or self._state >= _CLOSING:
            self._unasked()
            return
        response = reader.feed(data)
        if response is not None and reader.complete:
            self._complete(reader, response)
            return
        if len(data) == _READ and self._tcp is not None and reader.is_dense:
            self._tcp.bufferSize = _READ_MORE
        if reader.error is not None:
            self.end(f"the answer is not HTTP: {reader.error}")
        elif response is not None:
            self._more(reader, response)
        elif reader.size > HEAD_LIMIT:
            self.end(f"the answer's head is longer than {HEAD_LIMIT} bytes")

    def _unasked(self) -> None:
        """
        This answers nothing that was asked.
        """
        if not self.closed:
            why = "the server sent bytes before the request"
            self.end(f"the connection failed before an answer: {why}")

    def _more(self, reader: Reader, response: Response) -> None:
        """
        There is the head, which is told, and not all of the body.
        """
        exchange = self._exchange
        if exchange is not None:
            if response.code == WAITED_TOO_LONG and self._sends_again(exchange, reader):
                return
            self._state = _TELL[self._state]
            self._exchange = None
            self._owner.body_begins(self)
            if response.code >= 400 and self._writer is not None:
                self._writer.reject()
            exchange.succeed(response)
        response.check_size(reader.size)

    def _complete(self, reader: Reader, response: Response) -> None:
        """
        There is all of the answer: the connection is released, and the answer told.
        """
        exchange = self._exchange
        if exchange is None:  # its head was told
            self._owner.body_ends(self)
        elif response.code == WAITED_TOO_LONG and self._sends_again(exchange, reader):
            return
        else:  # to cancel it would close what may carry the next request
            exchange.owner = None
        self._state = _COMPLETE[self._state]
        self._exchange = self._reader = None
        self._has_answered = True
        fit, writer = reader.keeps_alive and not reader.has_excess, self._writer
        if fit and not reader.bodiless:
            self._readers.append(reader)
        if response.paused:
            response.resume()  # whatever comes next is not for it
        if fit and self._state is _IDLE and (writer is None or writer.is_ready):
            if writer is not None:
                writer.finish()
            if self._tcp is not None:
                self._tcp.bufferSize = _READ
            self._owner.released(self)
        else:
            self.abort()
        if exchange is None:
            response.end()
        elif not exchange.answered.called:  # as succeed() has it, without a call
            exchange.answered.callback(response)

    @property
    def paused(self) -> bool:
        """
        Whether nothing is read for now, since nobody wants more.
        """
        response = None if self._reader is None else self._reader.response
        return response is not None and response.paused

    @property
    def received(self) -> int:
        """
        How many bytes of the answer have come.
        """
        return 0 if self._reader is None else self._reader.size

    # -- A second try

    def _sends_again(self, exchange: HTTPExchange, reader: Reader) -> bool:
        """
        Send a request again, over another connection, if the server was closing this
        one, and has waited too long for any request.
        """
        if reader.keeps_alive or not self._was_missed(exchange):
            return False
        self._exchange = self._reader = None
        reader.forget()
        self.abort()
        self._send_again(exchange)
        return True

    def _was_missed(self, exchange: HTTPExchange) -> bool:
        unsent = self._state is _IDLE
        seconds = None if unsent else self._owner.seconds() - self._written_at
        return was_missed(
            seconds, used=self._has_answered, is_second_try=exchange.is_second_try
        )

    def _send_again(self, exchange: HTTPExchange) -> None:
        exchange.is_second_try = True
        self._owner.send_again(exchange)

    # -- Reading on, or not

    def pause(self) -> None:
        """
        Read no more for now.
        """
        transport: Any = self.transport
        transport.pauseProducing()

    def resume(self) -> None:
        """
        Read on.
        """
        if not self.closed:
            transport: Any = self.transport
            transport.resumeProducing()

    # -- The end

    def abandon(self, exchange: HTTPExchange) -> None:
        """
        Nobody waits for the answer any more.
        """
        self.abort()

    def abort(self) -> None:
        """
        Close it at once: it is of no use any more.  If an answer is coming, who reads
        it is told when the connection is gone.
        """
        if not self.closed:
            self._withdraw()
            self._state = _CLOSE[self._state]
            self._owner.body_ends(self)
            transport: Any = self.transport
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end(reason)
        self._owner.lost(self)

    def end(self, reason: Failure | str) -> None:
        """
        Tell whoever waits for an answer, or for the rest of one, that it will not come.

        @param reason: why the transport is gone, or what is wrong with the answer; then
            the connection is closed.
        """
        self._withdraw()
        exchange, reader = self._exchange, self._reader
        missed = reader is None and exchange is not None and self._was_missed(exchange)
        self._exchange = self._reader = None
        match reason:
            case Failure():
                self._state = _LOSE[self._state]
                self._owner.body_ends(self)
                text = f"the connection failed before an answer: {reason.value}"
            case str():
                self.abort()
                text = reason
            case _:
                assert_never(reason)
        if reader is not None and reader.response is not None:
            self._end_body(reader, reader.response, reason)
            if exchange is not None:
                exchange.succeed(reader.response)
        elif exchange is not None and missed and not exchange.is_over:
            self._send_again(exchange)
        elif exchange is not None:
            exchange.fail(ExecutorError(text))
        if reader is not None:
            reader.forget()

    def _withdraw(self) -> None:
        """
        Have no request sent over it any more.  The one that was to be sent is its own
        from now on, and is sent over another connection, or fails, as it ends.
        """
        if self._state is _IDLE:
            self._exchange = self._owner.withdraw(self)

    def _end_body(
        self, reader: Reader, response: Response, reason: Failure | str
    ) -> None:
        refused = self._writer is not None and self._writer.is_refused
        if isinstance(reason, str):
            response.cut_short(reason)
        elif reader.until_close and reason.check(ConnectionDone) and not refused:
            response.end()
        else:
            response.cut_short()
