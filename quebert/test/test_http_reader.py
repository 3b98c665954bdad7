"""
Tests for C{quebert.http._reader}: how an answer is put together, and what of it is
held.
"""

from __future__ import annotations

from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from quebert.http._reader import Reader
from quebert.http._response import Response
from quebert.test.test_response import FakeReading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
ODD = b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nno"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class AnswerTests(SynchronousTestCase):
    """
    An answer of which ten bytes of the body are kept.
    """

    def setUp(self) -> None:
        self.reader = Reader()
        self.begin()

    def begin(self, bodiless: bool = False) -> None:
        """
        Read the next answer, over another connection.
        """
        self.connection = FakeReading()
        self.reader.begin(self.connection, bodiless, 10)

    def feed(self, data: bytes) -> Response:
        """
        The answer, of which this is enough to know the head.
        """
        response = self.reader.feed(data)
        assert response is not None
        return response

    def test_whole(self) -> None:
        """
        An answer that comes at once is whole as soon as it is there, one after the
        other.
        """
        for data, body in (
            (HEAD + b"abcd", b"abcd"),
            (CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
            (CHUNKED + b"c\r\n0123456789xy\r\n0\r\n\r\n", b"0123456789"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
            (b"HTTP/1.1 103 Early\r\n\r\n" + HEAD + b"abcd", b"abcd"),
            (ODD + HEAD + b"abcd", b"abcd"),
        ):
            self.begin()
            response = self.feed(data)
            self.assertEqual(response.whole, body)
            self.assertTrue(self.reader.complete)
            self.assertTrue(self.reader.keeps_alive)
            self.assertFalse(self.reader.has_excess)
            self.assertEqual(self.reader.size, len(data))

    def test_pieces(self) -> None:
        """
        One that comes in pieces is the same all the time, and ended by who feeds.
        """
        self.assertIsNone(self.reader.feed(HEAD[:20]))
        response = self.feed(HEAD[20:] + b"a")
        self.assertEqual(response.size, 1)
        self.assertIs(self.feed(b"bc"), response)
        self.assertEqual(response.size, 3)
        self.assertFalse(self.reader.complete)
        self.assertIs(self.feed(b"d"), response)
        self.assertTrue(self.reader.complete)
        self.assertIsNone(response.whole)
        response.end()
        self.assertEqual(response.whole, b"abcd")

    def test_bodiless(self) -> None:
        """
        An answer to HEAD is complete with its head.
        """
        self.begin(bodiless=True)
        self.assertEqual(self.feed(HEAD).whole, b"")
        self.assertTrue(self.reader.complete)
        self.assertFalse(self.reader.has_excess)

    def test_excess(self) -> None:
        """
        Whatever comes after an answer is noticed, and is no part of it.
        """
        for data, bodiless in (
            (HEAD + b"abcdX", False),
            (HEAD + b"abcdHTTP/1.1 2", False),
            (HEAD + b"abcd" + HEAD + b"efgh", False),
            (HEAD + b"a", True),
            (
                b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nX",
                False,
            ),
        ):
            self.setUp()
            self.begin(bodiless)
            response = self.feed(data)
            self.assertTrue(self.reader.has_excess, data)
            self.assertIn(response.whole, (b"abcd", b""))

    def test_error(self) -> None:
        """
        What came before an error is there.
        """
        response = self.feed(CHUNKED + b"2\r\nokX")
        self.assertIsNotNone(self.reader.error)
        self.assertFalse(self.reader.complete)
        self.assertEqual(response.size, 2)
        self.setUp()
        self.assertIsNone(self.reader.feed(b"SMTP\r\n\r\n"))
        self.assertIsNotNone(self.reader.error)

    def test_until_close(self) -> None:
        """
        An answer ends with its connection if nothing else tells its end.
        """
        for head, ends in (
            (b"HTTP/1.1 200 OK\r\n\r\n", True),
            (b"HTTP/1.0 200 OK\r\n\r\n", True),
            (HEAD, False),
            (HEAD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), False),
            (CHUNKED, False),
            (CHUNKED.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), False),
        ):
            self.setUp()
            self.feed(head)
            self.assertEqual(self.reader.until_close, ends, head)

    def test_nothing_is_held(self) -> None:
        """
        Nothing is held of an answer that is complete, or given up.
        """
        for pieces, complete in (
            ([HEAD + b"abcd"], True),
            ([HEAD + b"ab", b"cd"], True),
            ([HEAD + b"abcdX"], True),
            ([CHUNKED + b"2\r\nokX"], False),
            ([HEAD + b"ab"], False),
            ([HEAD[:20]], False),
        ):
            self.setUp()
            response = None
            for each in pieces:
                response = self.reader.feed(each)
            connection = ref(self.connection)
            answer = None if response is None else ref(response)
            self.assertEqual(self.reader.complete, complete)
            if not complete:
                self.reader.forget()
            del response, self.connection
            self.assertIsNone(connection())
            self.assertIsNone(answer and answer())
            self.assertEqual(self.reader._head, [])
