"""
One HTTP/1.1 connection: a request goes out, an answer comes in, the next.

Nobody is told anything while an answer is being parsed, since who is told may
make the next request on this very connection.  Knows no pool and no URLs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from quebert.errors import ExecutorError
from quebert.http._reader import Reader
from quebert.http._response import HEAD_LIMIT, Response

__all__ = ["HTTPConnection", "HTTPExchange"]

# Bytes that are read at once: of an answer's beginning, which mostly is all of it,
# and of a large one.  A buffer for more than there is costs microseconds.  These many
# bytes in tiny chunks take a millisecond, in which nothing else is done.
_READ, _READ_MORE = 4_096, 16_384
# Bytes of a request that may be unsent when its answer is there, for the
# connection to be used again.
_SMALL = 65_536

# Seconds from the writing of a request in which a server that closes the connection
# cannot have meant the request: it had waited for too long.  Measured with ten
# servers, this takes 22 ms at most.
_RACE = 1.0
# The status of a server that has waited for too long (RFC 9110, section 15.5.9).
_TIMEOUT = 408


def socket_below(transport: Any) -> Any:
    """
    The transport that has the socket: below TLS, where there is TLS.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


class HTTPExchange:
    """
    A request, and who waits for the answer's head.

    @ivar data: the request, head and body; nothing yet if there is C{finish}.
    @ivar finish: gives C{data}, called once there is a connection for the first time.
        It must not raise an exception.
    @ivar bodiless: whether the answer has no body whatever it says (HEAD).
    @ivar answered: fires with the L{Response}.
    @ivar connection: where it is, once it is somewhere.
    @ivar give_up: called when C{answered} is cancelled before that.
    """

    __slots__ = (
        "answered",
        "bodiless",
        "connection",
        "data",
        "finish",
        "give_up",
        "tried",
    )

    def __init__(
        self, data: bytes, bodiless: bool, finish: Callable[[], bytes] | None = None
    ) -> None:
        self.data = data
        self.finish = finish
        self.bodiless = bodiless
        self.answered: Deferred[Response] = Deferred(self._cancel)
        self.connection: HTTPConnection | None = None
        self.give_up: Any = None
        self.tried = False

    def _cancel(self, answered: Deferred[Response]) -> None:
        if self.connection is not None:
            self.connection.abort()
        elif self.give_up is not None:
            self.give_up(self)


class Owner:
    """
    Who is told what becomes of a connection.
    """

    __slots__ = ()

    def released(self, connection: HTTPConnection) -> None:
        """
        It may be used again.
        """

    def lost(self, connection: HTTPConnection) -> None:
        """
        It is gone.
        """

    def write_soon(self, connection: HTTPConnection) -> None:
        """
        Its L{HTTPConnection.write} is to be called at the end of the reactor's turn:
        many writes in a row take half of the time that they take one by one,
        with the work for a task between them.
        """

    def body_begins(self, connection: HTTPConnection) -> None:
        """
        The head of an answer is there, and its body is not.
        """

    def body_is_late(self, connection: HTTPConnection) -> None:
        """
        See whether the rest of the body comes quickly enough.
        """

    def body_ends(self, connection: HTTPConnection) -> None:
        """
        The rest of the body is there, or will not come.
        """

    def seconds(self) -> float:
        """
        The time.
        """
        return 0.0

    def missed(self, exchange: HTTPExchange) -> None:
        """
        The server was closing the connection when the request came, which is to be
        made over another one.
        """


class HTTPConnection(Protocol):
    """
    A connection to one origin.

    @param limit: bytes of an answer's body that are kept.
    @param readers: some that are free, to take one from and give it back.
    @ivar idle_until: when it is closed, if nobody uses it.
    """

    # There may be thousands, and the less of them there is to find in memory the
    # quicker that goes.
    __slots__ = (
        "_clogged",
        "_closed",
        "_exchange",
        "_limit",
        "_owner",
        "_producing",
        "_reader",
        "_readers",
        "_refused",
        "_send_some",
        "_tcp",
        "_unwritten",
        "_used",
        "_write_some",
        "_written_at",
        "connected",
        "idle_until",
        "transport",
    )

    def __init__(self, owner: Owner, limit: int, readers: list[Reader]) -> None:
        self._owner = owner
        self._limit = limit
        self._readers = readers
        self._reader: Reader | None = None  # of the answer that is coming
        self._exchange: HTTPExchange | None = None  # until there is a head
        self._used = False  # an answer has come over it
        self._unwritten = False  # there is a request which is to be written
        self._written_at = 0.0  # when it was
        self._closed = False
        self._producing = False  # a large request, which may be
        self._clogged = False  # on its way still
        self._refused = False  # the rest of a request has nowhere to go
        self._send_some: Any = None
        self._write_some: Any = None  # of the transport, once that is needed
        self._tcp: Any = None
        self.connected = 0
        self.idle_until = 0.0

    @property
    def _response(self) -> Response | None:
        return None if self._reader is None else self._reader.response

    @property
    def closed(self) -> bool:
        """
        Whether it is of no use any more.
        """
        return self._closed

    # -- The request

    def connectionMade(self) -> None:
        tcp: Any = self.transport
        if hasattr(tcp, "setTcpNoDelay"):
            tcp.setTcpNoDelay(True)
        if isinstance(tcp, TCPConnection) and not tcp.TLS:
            # Straight into the socket: nearly always that is all, and the
            # reactor need not be asked to tell when it can be written to.
            self._send_some = tcp.getHandle().send
            self._tcp = tcp
            tcp.bufferSize = _READ
            tcp.protocol = self  # and not what an endpoint has put in between

    def send(self, exchange: HTTPExchange) -> None:
        """
        Make a request; there must be none yet.
        """
        if exchange.finish is not None:
            exchange.data, exchange.finish = exchange.finish(), None
        exchange.connection = self
        self._exchange = exchange
        if self._send_some is None:
            self._written_at = self._owner.seconds()
            self._write(exchange.data)
        else:
            self._unwritten = True
            self._owner.write_soon(self)

    def write(self, now: float) -> None:
        """
        Write the request, if it is wanted still.
        """
        if self._closed or self._exchange is None:
            return
        self._unwritten = False
        self._written_at = now
        data = self._exchange.data
        try:
            sent = self._send_some(data) if len(data) <= _SMALL else 0
        except OSError:  # it is full, or lost, as writing will find out
            sent = 0
        if sent < len(data):
            self._send_some = None  # from now on, behind what waits there
            self._write(data[sent:])  # a part in each turn

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        if self._write_some is None:
            self._outlive_writing(socket_below(transport))
        if len(data) > _SMALL:
            transport.registerProducer(self, True)
            self._producing = True
        transport.write(data)

    def _outlive_writing(self, tcp: Any) -> None:
        """
        See that the transport goes on reading when nothing more can be written.

        A server may answer before it has read a whole request, and close the
        connection then.  The next write would end the transport of Twisted, with most
        of the answer unread.
        """
        self._write_some = getattr(tcp, "writeSomeData", None)
        if self._write_some is not None:
            tcp.writeSomeData = self._written

    def _written(self, data: bytes) -> int:
        """
        Write some; that it cannot be is told by reading, after all that has come.
        """
        if not self._refused:
            written = self._write_some(data)
            if isinstance(written, int):
                return written
            self._refused = True
        return len(data)

    def pauseProducing(self) -> None:
        """
        Called by the transport when much is still to be sent.
        """
        self._clogged = True

    def resumeProducing(self) -> None:
        """
        Called by the transport when little is.
        """
        self._clogged = False

    stopProducing = pauseProducing

    def _stop_producing(self) -> None:
        transport: Any = self.transport
        transport.unregisterProducer()
        self._producing = False

    # -- The answer, as it comes

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        exchange, reader = self._exchange, self._reader
        if reader is None:
            if exchange is None or self._unwritten:
                self._unasked()
                return
            reader = self._reader = self._readers.pop() if self._readers else Reader()
            reader.begin(self, exchange.bodiless, self._limit)
        error = reader.feed(data)
        if len(data) == _READ and self._tcp is not None and reader.is_dense:
            self._tcp.bufferSize = _READ_MORE
        if reader.complete:
            self._end_answer(reader)
        elif error is not None:
            self._fail(f"the answer is not HTTP: {error}")
        elif reader.response is not None:
            self._tell(reader, reader.response)
        elif reader.size > HEAD_LIMIT:
            self._fail(f"the answer's head is longer than {HEAD_LIMIT} bytes")

    def _unasked(self) -> None:
        """
        Nobody has asked, or not yet: this answers something else.
        """
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            self._not_answered(exchange, "the server spoke before it was asked")

    def _not_answered(self, exchange: HTTPExchange, why: str) -> None:
        """
        There is no answer, not a byte of one or not a whole head.
        """
        if exchange.answered.called:
            return
        if self._reader is None and self._was_missed(exchange):
            self._make_again(exchange)
        else:
            text = f"the connection failed before an answer: {why}"
            exchange.answered.errback(ExecutorError(text))

    def _was_missed(self, exchange: HTTPExchange) -> bool:
        """
        Whether the server was closing the connection, which it had kept for the next
        request, when this one came.  So it was if that is heard soon; for whatever
        comes later the request may be the reason, and it is not made again.
        """
        if not self._used or exchange.tried:
            return False
        since = self._owner.seconds() - self._written_at
        return self._unwritten or 0 <= since <= _RACE

    def _make_again(self, exchange: HTTPExchange) -> None:
        exchange.tried = True
        self._owner.missed(exchange)

    def _waited_for_too_long(
        self, exchange: HTTPExchange | None, reader: Reader
    ) -> bool:
        """
        Whether a 408 is about the time before the request, and not an answer to it.
        Then the request is made again.
        """
        if exchange is None or reader.keeps_alive or not self._was_missed(exchange):
            return False
        self._exchange = self._reader = None
        self.abort()
        self._make_again(exchange)
        return True

    def _tell(self, reader: Reader, response: Response) -> None:
        """
        There is a head.
        """
        exchange = self._exchange
        if response.code == _TIMEOUT and self._waited_for_too_long(exchange, reader):
            return
        self._exchange = None
        if exchange is not None:
            reader.size_checked = reader.size
            self._owner.body_begins(self)
            if self._producing and response.code >= 400:
                self._refused = True  # RFC 9112, section 9.5
            if not exchange.answered.called:
                exchange.answered.callback(response)
        response.check_size(reader.size)

    def body_is_late(self) -> None:
        """
        See whether the rest of an answer comes quickly enough.
        """
        self._owner.body_is_late(self)

    def check_speed(self, least: float, seconds: float) -> bool:
        """
        Close the connection unless C{least} bytes of an answer have come since the
        last check, or nobody has wanted more.

        @param seconds: how long ago that check was.
        @return: whether the answer is to be checked again.
        """
        reader = self._reader
        if reader is None or reader.response is None or self._closed:
            return False
        if reader.response.paused or reader.size - reader.size_checked >= least:
            reader.size_checked = reader.size
            return True
        self._fail(f"fewer than {least:g} bytes came in {seconds:g} s")
        return False

    def _end_answer(self, reader: Reader) -> None:
        """
        The answer is complete.
        """
        exchange, response = self._exchange, reader.response
        assert response is not None
        if response.code == _TIMEOUT and self._waited_for_too_long(exchange, reader):
            return
        self._exchange = self._reader = None
        if exchange is None:
            self._owner.body_ends(self)
        fit = reader.fit and not (self._clogged or self._refused or self._closed)
        if reader.reusable:
            reader.forget()
            self._readers.append(reader)
        self._used = True
        if response.paused:
            response.resume()  # whatever comes next is not for it
        if fit:
            if self._producing:
                self._stop_producing()
            if self._tcp is not None:
                self._tcp.bufferSize = _READ
            self._owner.released(self)
        else:
            self.abort()
        response.end()
        if exchange is not None and not exchange.answered.called:
            exchange.answered.callback(response)

    def _fail(self, text: str) -> None:
        """
        The answer that is being read cannot be read to its end.
        """
        exchange, response = self._exchange, self._response
        self._exchange = self._reader = None
        self.abort()
        if response is not None:
            response.cut_short(text)
        if exchange is not None and not exchange.answered.called:
            if response is not None:
                exchange.answered.callback(response)
            else:
                exchange.answered.errback(ExecutorError(text))

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
        if not self._closed:
            transport: Any = self.transport
            transport.resumeProducing()

    def abort(self) -> None:
        """
        Close it at once: it is of no use any more.
        """
        if not self._closed:
            self._closed = True
            self._owner.body_ends(self)
            transport: Any = self.transport
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._owner.body_ends(self)
        exchange, response = self._exchange, self._response
        ends_here = self._reader is not None and self._reader.until_close
        self._exchange = None
        if response is not None:
            if ends_here and reason.check(ConnectionDone) and not self._refused:
                response.end()
            else:
                response.cut_short()
        elif exchange is not None:
            self._not_answered(exchange, str(reason.value))
        self._reader = None
        self._owner.lost(self)
