"""
Heads of requests: what is read, and what is refused.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.test.checks import QUICK
from quebert.test.fuzz import target
from quebert.web._exchange import APIProblem
from quebert.web._head import RequestHead, read_head

_GET, _HOST = b"GET / HTTP/1.1", b"Host: localhost"


def _read(*lines: bytes, most: int = 10) -> RequestHead:
    return read_head(b"".join(line + b"\r\n" for line in lines), most)


class HeadTests(SynchronousTestCase):
    """
    Tests for L{read_head}.
    """

    def _status(self, *lines: bytes) -> int:
        status: int = self.assertRaises(APIProblem, _read, *lines).status
        return status

    def test_read(self) -> None:
        """
        A head has a method, a target and fields.  A field that is there twice has both
        values.
        """
        head = _read(
            b"POST /v1/tasks?a=b HTTP/1.1",
            *(b"HOST: [::1]:8080", b"X-One:  \ta b\xff\t ", b"x-one:", b"E:x"),
            b"Content-Length: 07",
        )
        fields = {
            "host": "[::1]:8080",
            "x-one": "a b\xff, ",
            "e": "x",
            "content-length": "07",
        }
        wanted = RequestHead(
            method="POST", target="/v1/tasks?a=b", fields=fields, length=7
        )
        self.assertEqual(head, wanted)

    def test_smuggled(self) -> None:
        """
        A request whose end could be read in two ways is refused.
        """
        table: dict[int, list[tuple[bytes, ...]]] = {
            400: [
                (b"Content-Length: 5", b"Content-Length: 5"),
                (b"Content-Length: 5, 5",),
                (b"Content-Length: +5",),
                (b"Content-Length: 0x5",),
                (b"Content-Length: 5 5",),
                (b"Content-Length: \xb2",),
                (b"Content-Length:",),
                (b"Content-Length: 9" + b"9" * 20,),
                (b"Content-Length : 5",),
                (b"Content-Length\t: 5",),
                (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
                (b"X: y", b" Content-Length: 5"),
                (b"X: y", b"\tz"),
                (b"X: y\nContent-Length: 5",),
                (b"X: y\rContent-Length: 5",),
                (b"X: y\0",),
                (b"X: y\x7f",),
                (b": y",),
                (b"X",),
                (b"\xc3\xa4: y",),
            ],
            411: [(b"Transfer-Encoding: Chunked",)],
            417: [(b"Expect: more",)],
            501: [
                (b"Transfer-Encoding: gzip, chunked",),
                (b"Transfer-Encoding: identity",),
                (b"Transfer-Encoding:",),
            ],
        }
        for status, requests in table.items():
            for lines in requests:
                self.assertEqual(self._status(_GET, _HOST, *lines), status, lines)

    def test_request_line(self) -> None:
        """
        The request line has three parts, with one space between.
        """
        table: dict[int, list[bytes]] = {
            400: [
                *(
                    b"",
                    b"GET /",
                    b"GET  / HTTP/1.1",
                    b"GET /\tHTTP/1.1",
                    b" GET / HTTP/1.1",
                ),
                *(
                    b"GET / HTTP/1.1 ",
                    b"GET / http/1.1",
                    b"GET / HTTP/1.10",
                    b"G(T / HTTP/1.1",
                ),
                *(
                    b"GET /\xc3\xa4 HTTP/1.1",
                    b"GET /a#b HTTP/1.1",
                    b"GET /a b HTTP/1.1",
                ),
                b"GET http://other/ HTTP/1.1",
            ],
            501: [b"CONNECT localhost:80 HTTP/1.1"],
            505: [
                b"GET / HTTP/2.0",
                b"PRI * HTTP/2.0",
                b"GET / HTTP/1.2",
                b"GET / HTTP/0.9",
            ],
        }
        for status, lines in table.items():
            for line in lines:
                self.assertEqual(self._status(line, _HOST), status, line)

    def test_targets(self) -> None:
        """
        A target that is a whole URL is that within its host.
        """
        table = {
            b"http://localhost": "/",
            b"HTTP://LOCALHOST/a?b": "/a?b",
            b"https://localhost?b/c": "/?b/c",
            b"*": "*",
            b"x": "x",
            b"//other/a": "//other/a",
            b"http://user@localhost/": "http://user@localhost/",
        }
        for given_target, wanted in table.items():
            head = _read(b"GET %b HTTP/1.1" % given_target, _HOST)
            self.assertEqual(head.target, wanted)

    def test_hosts(self) -> None:
        """
        There is one Host, which can be one.
        """
        for lines in (
            (),
            (_HOST, _HOST),
            (b"Host: a b",),
            (b"Host: a/b",),
            (b"Host: a, b",),
            (b"Host: user@a",),
            (b"Host: \xff",),
        ):
            self.assertEqual(self._status(_GET, *lines), 400, lines)
        self.assertEqual(_read(_GET, b"Host:").fields, {"host": ""})
        self.assertEqual(_read(b"GET / HTTP/1.0").fields, {})

    def test_twice(self) -> None:
        """
        A field by which somebody is let in is there once.
        """
        for line in (b"Authorization: x", b"Origin: x", b"Content-Type: x"):
            self.assertEqual(self._status(_GET, _HOST, line, line), 400, line)

    def test_last(self) -> None:
        """
        A client may want the connection to be closed; one with HTTP/1.0 has it closed.
        """
        self.assertFalse(_read(_GET, _HOST).is_last)
        self.assertFalse(_read(_GET, _HOST, b"Connection: x-close, TE").is_last)
        self.assertTrue(_read(_GET, _HOST, b"Connection: TE ,\tClose").is_last)
        self.assertTrue(
            _read(_GET, _HOST, b"Connection: a", b"Connection: close").is_last
        )
        keep = b"Connection: keep-alive"
        self.assertTrue(_read(b"GET / HTTP/1.0", _HOST, keep).is_last)

    def test_waits(self) -> None:
        """
        A client may wait to be asked to go on; one with HTTP/1.0 does not.
        """
        expect = b"Expect: 100-Continue"
        self.assertTrue(_read(_GET, _HOST, expect).waits)
        self.assertFalse(_read(b"GET / HTTP/1.0", _HOST, expect).waits)

    def test_many(self) -> None:
        """
        There are not too many fields.
        """
        lines = [b"X%d: y" % number for number in range(9)]
        self.assertEqual(len(_read(_GET, _HOST, *lines).fields), 10)
        self.assertEqual(self._status(_GET, _HOST, *lines, b"Y: z"), 431)

    @QUICK
    @given(st.binary(max_size=200))
    def test_h11(self, data: bytes) -> None:
        """
        h11 reads in the same way whatever is read.
        """
        target("head")(data)
