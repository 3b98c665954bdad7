"""
Tests for L{quebert.http._response}: what of an answer is kept, and what is asked of the
connection that it comes over.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.testing import AccumulatingProtocol
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH

from quebert.errors import IncompleteAnswer
from quebert.http._response import Response

HEAD = b"HTTP/1.1 200 All right\r\nContent-Length: 25\r\nX-Other: 1\r\n\r\n"
#: Bytes around a body that may come, whatever its size.
FRAMING = 32 * 1024


class FakeReading:
    """
    A connection.

    @ivar asked: what it was asked for.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def abort(self) -> None:
        """
        Note it.
        """
        self.asked.append("abort")

    def pause(self) -> None:
        """
        Note it.
        """
        self.asked.append("pause")

    def resume(self) -> None:
        """
        Note it.
        """
        self.asked.append("resume")


class ResponseTests(SynchronousTestCase):
    """
    An answer of which ten bytes of the body are kept.
    """

    def setUp(self) -> None:
        self.connection = FakeReading()
        self.response = self.answer(HEAD)

    def answer(self, *head: bytes) -> Response:
        """
        An answer with this head.
        """
        return Response(200, list(head), self.connection, 10)

    def check(self, *asked: str) -> None:
        """
        The connection was asked for this, and nothing else.
        """
        self.assertEqual(self.connection.asked, list(asked))

    def read(self) -> Any:
        """
        Have a protocol read the body.
        """
        protocol = AccumulatingProtocol()
        self.response.deliverBody(protocol)
        return protocol

    # -- The head

    def test_head(self) -> None:
        for head in ([HEAD], [HEAD[:30], HEAD[30:]]):
            response = self.answer(*head)
            self.assertEqual(response.version, (b"HTTP", 1, 1))
            self.assertEqual(response.phrase, b"All right")
            self.assertEqual(response.length, 25)
            self.assertEqual(response.headers.getRawHeaders("x-other"), ["1"])
            self.assertTrue(response.may_have(b"x-other"))
            self.assertFalse(response.may_have(b"x-another"))

    def test_other_head(self) -> None:
        """
        What goes before the answer is not the answer's.
        """
        response = self.answer(
            b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\nHTTP/1.0 200 OK\r\n\r\n"
        )
        self.assertEqual(response.version, (b"HTTP", 1, 0))
        self.assertEqual(response.phrase, b"OK")
        self.assertEqual(response.fields, [])
        self.assertIs(response.length, UNKNOWN_LENGTH)

    def test_next_head(self) -> None:
        """
        What comes after it is not, either.
        """
        response = self.answer(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            b"HTTP/1.0 404 Gone\r\nX-Next: 1\r\n\r\n"
        )
        self.assertEqual(response.version, (b"HTTP", 1, 1))
        self.assertEqual(response.phrase, b"OK")
        self.assertEqual(response.fields, [(b"Content-Length", b"0")])

    def test_cookies(self) -> None:
        self.assertEqual(self.response.cookies(), [])

    def test_redirect_is_remembered(self) -> None:
        first = self.answer(HEAD)
        self.response.setPreviousResponse(first)
        self.assertIs(self.response.previousResponse, first)

    # -- The body

    def test_pieces(self) -> None:
        """
        The body is joined of its pieces, up to the limit.
        """
        for pieces, body in (
            ((b"abc",), b"abc"),
            ((b"abc", b"def"), b"abcdef"),
            ((b"abc", b"def", b"ghij"), b"abcdefghij"),
            ((b"abc", b"def", b"ghijk"), b"abcdefghij"),
            ((b"abcdefghijk",), b"abcdefghij"),
            ((), b""),
        ):
            self.response = self.answer(HEAD)
            asked = self.response.content()
            for each in pieces:
                self.response.received(each)
            self.assertIsNone(self.response.whole)
            self.assertNoResult(asked)
            self.response.end()
            for found in (asked, self.response.content()):
                self.assertEqual(self.successResultOf(found), body)
            self.assertEqual(self.response.whole, body)
            self.assertEqual(self.response.size, len(b"".join(pieces)))

    def test_made_whole(self) -> None:
        """
        One that is made with all of its body is as one that has ended, and asks its
        connection for nothing.
        """
        for body in (b"", b"abc", b"0123456789x"):
            response = Response(200, [HEAD], self.connection, 10, body, complete=True)
            self.assertEqual(response.whole, body[:10])
            self.assertEqual(response.size, len(body))
            self.assertEqual(self.successResultOf(response.content()), body[:10])
            response.pause()
            response.resume()
            response.abort()
            self.response = response
            reader = self.read()
            self.assertEqual(reader.data, body)
            self.assertIsInstance(reader.closedReason.value, ResponseDone)
        self.check()

    def test_made_with_some(self) -> None:
        """
        One that is made with some of its body gets the rest.
        """
        self.response = Response(200, [HEAD], self.connection, 10, b"ab")
        self.assertIsNone(self.response.whole)
        self.response.received(b"cd")
        self.assertEqual(self.response.size, 4)
        self.response.end()
        self.assertEqual(self.response.whole, b"abcd")

    def test_text_and_json(self) -> None:
        self.response.received(b"[1]")
        self.response.end()
        self.assertEqual(self.successResultOf(self.response.text()), "[1]")
        self.assertEqual(self.successResultOf(self.response.json()), [1])

    def test_cut_short(self) -> None:
        """
        Who asks gets the part that has come, with the error; also later.
        """
        early = self.response.content()
        self.response.received(b"abc")
        self.response.cut_short()
        for each in (early, self.response.content()):
            error: Any = self.failureResultOf(each, IncompleteAnswer).value
            text = "the answer's body was cut short after 3 bytes"
            self.assertEqual(str(error), text)
            self.assertEqual(error.body, b"abc")
        self.assertIsNone(self.response.whole)

    def test_first_end_counts(self) -> None:
        self.response.end()
        self.response.cut_short()
        self.assertEqual(self.response.whole, b"")
        self.response = self.answer(HEAD)
        self.response.cut_short()
        self.response.end()
        self.failureResultOf(self.response.content(), IncompleteAnswer)

    def test_given_up(self) -> None:
        """
        The connection is closed once all who asked have given up.
        """
        first, second = self.response.content(), self.response.content()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.check()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.check("abort")
        error = self.failureResultOf(self.response.content(), IncompleteAnswer).value
        self.assertIn("its reader has given it up", str(error))

    # -- Pausing

    def test_paused_once(self) -> None:
        """
        The connection is told when something changes, and not after the end.
        """
        response = self.response
        response.resume()
        self.check()
        for _ in range(2):
            response.pause()
        self.assertTrue(response.paused)
        for _ in range(2):
            response.resume()
        self.assertFalse(response.paused)
        self.check("pause", "resume")
        response.pause()
        response.end()
        response.resume()
        self.check("pause", "resume", "pause")
        ended = self.answer(HEAD)
        ended.end()
        ended.pause()
        ended.abort()
        self.check("pause", "resume", "pause")

    def test_paused_until_asked(self) -> None:
        """
        Nothing is read beyond the limit while nobody asks; the bytes that are there
        will do then.
        """
        self.response.received(b"0123456789")
        self.response.check_size(100)
        self.response.check_size(100)
        self.check()
        self.response.received(b"x")
        self.response.check_size(101)
        self.check("pause")
        asked = self.response.content()
        self.assertEqual(self.successResultOf(asked), b"0123456789")
        self.check("pause", "abort")

    def test_asked_at_the_limit(self) -> None:
        """
        A body of just the limit may be all.
        """
        self.response.received(b"0123456789")
        self.response.pause()
        asked = self.response.content()
        self.assertNoResult(asked)
        self.check("pause", "resume")

    def test_more_than_asked_for(self) -> None:
        """
        Where somebody waits, the connection is closed with the first byte too many;
        what comes yet is not kept.
        """
        asked = self.response.content()
        self.response.check_size(100)
        self.response.received(b"0123456789x")
        for _ in range(2):
            self.response.check_size(111)
        self.check("abort")
        self.response.received(b"y")
        self.assertEqual(self.successResultOf(asked), b"0123456789")
        self.assertEqual(self.response.whole, b"0123456789")

    def test_framing(self) -> None:
        """
        Bytes around the body, beside the head, may be 32 KiB, or twice the body.
        """
        for body, most in ((b"", FRAMING), (bytes(FRAMING), 2 * FRAMING)):
            for more, asked in ((most, []), (most + 1, ["abort"])):
                self.setUp()
                protocol = self.read()
                self.response.check_size(100)
                self.response.received(body)
                self.response.check_size(100 + len(body) + more)
                self.check(*asked)
                self.assertEqual(bool(protocol.closed), bool(asked))

    def test_framing_that_nobody_reads(self) -> None:
        """
        Where too much is around the body, the status decides.
        """
        asked = self.response.content()
        self.response.check_size(100)
        self.response.received(b"abc")
        self.response.check_size(103 + FRAMING + 1)
        self.assertEqual(self.successResultOf(asked), b"abc")
        self.check("abort")

    def test_framing_is_told(self) -> None:
        """
        A protocol that reads is told how many bytes there were, once.
        """
        protocol = self.read()
        self.response.check_size(100)
        for _ in range(2):
            self.response.check_size(101 + FRAMING)
        error = protocol.closedReason.value
        self.assertIn("only 0 of 32869 bytes are of its body", str(error))
        self.check("abort")

    # -- Protocols that read

    def test_delivered(self) -> None:
        """
        A protocol gets what has come before, and the rest as it comes, without a limit.
        """
        self.response.received(b"before ")
        self.response.pause()
        protocol = self.read()
        self.check("pause", "resume")
        self.assertEqual(protocol.data, b"before ")
        self.response.received(b"and after")
        self.response.check_size(200)
        self.response.check_size(200)
        self.assertEqual(protocol.data, b"before and after")
        self.assertFalse(protocol.closed)
        self.response.end()
        self.assertIsInstance(protocol.closedReason.value, ResponseDone)
        self.check("pause", "resume")

    def test_delivered_late(self) -> None:
        """
        One that comes after the end is told at once, of an error, too.
        """
        for error in (None, IncompleteAnswer("cut", b"")):
            self.setUp()
            self.response.received(b"all")
            self.response.end(error)
            protocol = self.read()
            self.assertEqual(protocol.data, b"all")
            kind = IncompleteAnswer if error else ResponseDone
            self.assertIsInstance(protocol.closedReason.value, kind)

    def test_much_delivered_late(self) -> None:
        """
        One that comes after the end gets all of the body, whatever the limit.
        """
        body = bytes(range(15))
        for piece in (body[:7], body[7:]):
            self.response.received(piece)
        self.response.end()
        self.assertEqual(self.response.whole, body[:10])
        self.assertEqual(self.read().data, body)
        self.assertEqual(self.response.whole, b"")

    def test_reader_pauses(self) -> None:
        """
        A protocol that reads has a transport that can be paused and closed.
        """
        protocol = self.read()
        transport = protocol.transport
        transport.pauseProducing()
        transport.resumeProducing()
        for close in ("stopProducing", "loseConnection", "abortConnection"):
            getattr(transport, close)()
        self.check("pause", "resume", "abort", "abort", "abort")
        self.assertFalse(protocol.closed)

    def test_reader_fails(self) -> None:
        """
        A protocol that fails as a body ends is logged, and harms nobody.
        """
        protocol = self.read()
        protocol.connectionLost = lambda reason: 1 / 0
        self.response.end()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
