"""
What clients can take of the web server's connections, and for how long, with a clock.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from quebert.executor import ExecutorLimits, Transit
from quebert.test.checks import QUICK
from quebert.test.fuzz.choices import pieces
from quebert.test.test_executor import FakeReactor, Reply
from quebert.test.test_executor_limits import HERE, MIB, THERE, Client
from quebert.web._exchange import APIAnswer, json_answer
from quebert.web._head import RequestHead
from quebert.web._site import WebSite

HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\n"
SMALL = HEAD + b"Content-Length: 2\r\n\r\n{}"
#: Seconds after which what is under way may be stopped, where memory is short.
DUE = 10.0


def announced(length: int, more: bytes = b"") -> bytes:
    """
    The head of a request with such a body.
    """
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % length


class Requests:
    """
    Keeps requests, and answers when it is told to.

    @ivar asked: the requests that were not answered yet.
    @ivar given_up: the methods of those that were given up.
    @ivar refused: the reasons why clients were refused.
    """

    def __init__(self, limits: ExecutorLimits) -> None:
        self.limits = limits
        self.transit: Transit[Any] = Transit(limits.memory)
        self.asked: list[tuple[RequestHead, bytes, Deferred[Any]]] = []
        self.refused: list[str] = []
        self.given_up: list[str] = []
        self.log_refused = self.refused.append

    def date(self) -> str:
        """
        The time of day.
        """
        return "Thu, 01 Jan 1970 00:00:00 GMT"

    def in_form_of(self, head: RequestHead, answer: APIAnswer) -> APIAnswer:
        """
        The answer as it is: there is no other API.
        """
        return answer

    def answer(self, head: RequestHead, body: bytes, address: str) -> Deferred[Any]:
        """
        Keep a request.
        """

        def give_up(answer: Deferred[Any]) -> None:
            self.given_up.append(head.method)
            answer.callback(json_answer(""))

        answer: Deferred[Any] = Deferred(give_up)
        self.asked.append((head, body, answer))
        return answer

    def give(self, text: str = "") -> bytes:
        """
        Answer the first request, and give its body.
        """
        _, body, answer = self.asked.pop(0)
        answer.callback(json_answer(text))
        return body


class ChannelCase(SynchronousTestCase):
    """
    Has a site.
    """

    def start(self, **limits: Any) -> None:
        """
        Begin, within such limits.
        """
        self.reactor = FakeReactor()
        self.requests = Requests(ExecutorLimits(**limits))
        resource: Any = self.requests
        self.site: Any = WebSite(resource, self.reactor)
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        See that no connection leaves anything behind.
        """
        for each in list(self.site._connections):
            each.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.site._crowd._networks), 0)
        self.assertEqual(self.site._transit._taken, 0)
        self.assertFalse(self.site.deadlines._ends)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def connect(self, address: str = HERE) -> Client:
        """
        A new connection.
        """
        return Client(self.site, address)

    def turn(self, seconds: float = 0.0) -> None:
        """
        Let time go by.
        """
        self.reactor.advance(seconds)


class HTTPTests(ChannelCase):
    """
    What is read, and written.
    """

    def test_answer(self) -> None:
        """
        An answer has its length and the time of day, and the connection stays open.
        """
        self.start()
        client = self.connect()
        for _ in range(3):
            client.send(SMALL)
            self.assertEqual(self.requests.give("a"), b"{}")
            reply = Reply.read(client.received())
            self.assertEqual((reply.code, reply.text), (200, '"a"'))
            self.assertEqual(reply.headers["Content-Length"], "3")
            self.assertEqual(reply.headers["Date"], self.requests.date())
            self.assertNotIn("Connection", reply.headers)
            self.assertEqual(client.protocol._head.fields, {})  # it takes memory
        self.assertFalse(client.closing)

    def test_no_body(self) -> None:
        """
        An answer to a HEAD, and one that has no body, end with their heads.
        """
        self.start()
        client = self.connect()
        client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.requests.give("long")
        data = client.received()
        self.assertIn(b"\r\nContent-Length: 6\r\n", data)
        self.assertTrue(data.endswith(b"\r\n\r\n"))
        for status in (204, 304):
            client.send(SMALL)
            self.requests.asked.pop()[2].callback(APIAnswer(status=status, body=b"x"))
            data = client.received()
            self.assertTrue(data.endswith(b"\r\n\r\n"))
            self.assertNotIn(b"Content-Length", data)

    def test_odd_answers(self) -> None:
        """
        An answer may have a status that has no name, and no line break in a header.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        odd = ("X-Odd", "a\r\nSet-Cookie: b\0\u20ac")
        self.requests.asked[0][2].callback(APIAnswer(status=499, headers=(odd,)))
        data = client.received()
        self.assertTrue(data.startswith(b"HTTP/1.1 499 \r\n"))
        self.assertIn(b"\r\nX-Odd: a  Set-Cookie: b \xe2\x82\xac\r\n", data)

    def test_last(self) -> None:
        """
        A connection is closed where its client wants that, or has HTTP/1.0.
        """
        self.start()
        for lines in (b"GET / HTTP/1.0\r\n\r\n", HEAD + b"Connection: close\r\n\r\n"):
            client = self.connect()
            client.send(lines)
            self.requests.give()
            self.assertEqual(
                Reply.read(client.received()).headers["Connection"], "close"
            )
            self.assertTrue(client.closing)
            client.send(SMALL)
            self.assertEqual(self.requests.asked, [])

    def test_go_on(self) -> None:
        """
        A client that waits for that is asked to send its body, once, unless it has
        begun, or the body is too large.
        """
        self.start(body=100)
        client, expect = self.connect(), b"Expect: 100-continue\r\n"
        client.send(announced(2, expect))
        self.assertEqual(client.received(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.send(b"{")
        client.send(b"}")
        self.assertEqual(self.requests.give(), b"{}")
        self.assertEqual(client.status, 200)
        client.send(announced(2, expect) + b"{")
        client.send(b"}")
        self.assertEqual(client.received(), b"")
        self.requests.give()
        self.assertEqual(client.status, 200)
        client.send(announced(101, expect))
        self.assertEqual(client.status, 413)

    def test_empty_lines(self) -> None:
        """
        Empty lines before a request are none, as RFC 9112 asks for, in whatever pieces
        they come.
        """
        self.start()
        client = self.connect()
        client.send(SMALL + b"\r\n")
        self.requests.give()
        self.turn()
        for pieces_sent in (
            [SMALL],
            [b"\r\n\r\n" + SMALL],
            [b"\r", b"\n" + SMALL],
            [b"\r\n", b"\r\n\r", b"\n", SMALL],
        ):
            for each in pieces_sent:
                client.send(each)
            self.assertEqual(self.requests.give(), b"{}")
        self.assertFalse(client.closing)

    def test_unreadable(self) -> None:
        """
        What cannot be read is refused with a problem, and nothing behind it is read.
        """
        self.start()
        for data in (b"GET /\r\n\r\n", HEAD + b"Transfer-Encoding: x\r\n\r\n"):
            client = self.connect()
            client.send(data + SMALL)
            client.send(SMALL)
            reply = Reply.read(client.received())
            self.assertIn(reply.code, (400, 501))
            self.assertEqual(json.loads(reply.text)["status"], reply.code)
            self.assertEqual(reply.headers["Connection"], "close")
            self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(self.requests.asked, [])
        self.assertEqual(len(self.requests.refused), 2)
        self.assertTrue(self.requests.refused[0].startswith(f"{HERE}: the request"))

    def test_pipelined(self) -> None:
        """
        Requests that come together are answered one in a turn, in their order.
        """
        self.start()
        client = self.connect()
        client.send(
            b"".join(HEAD + b"Content-Length: 1\r\n\r\n%d" % n for n in range(9))
        )
        for number in range(9):
            self.assertEqual(len(self.requests.asked), 1)
            self.assertEqual(self.requests.give(str(number)), b"%d" % number)
            self.assertEqual(Reply.read(client.received()).text, f'"{number}"')
            self.assertEqual(self.requests.asked, [])
            self.turn()

    def test_ahead(self) -> None:
        """
        A client that sends more and more requests, and waits for no answer, is not
        read.
        """
        self.start()
        client = self.connect()
        for _ in range(16_384 // len(SMALL) + 2):
            client.send(SMALL)
        self.assertEqual(client.transport.producerState, "paused")
        self.requests.give()
        self.turn()
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(len(self.requests.asked), 1)

    def test_far_ahead(self) -> None:
        """
        What a client has sent ahead is answered before more is read: else a client that
        sends requests without end has the server keep them, and copy them each time.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        ahead = 65_536 // len(SMALL)
        client.send(SMALL * ahead)
        while ahead * len(SMALL) > 16_384:
            self.assertEqual(client.transport.producerState, "paused")
            self.requests.give()
            self.turn()
            ahead -= 1
        self.assertEqual(client.transport.producerState, "producing")

    def test_far_ahead_unfinished(self) -> None:
        """
        More is read where the next request is not there whole.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        client.send(announced(100_000) + bytes(50_000))
        self.assertEqual(client.transport.producerState, "paused")
        self.requests.give()
        self.turn()
        self.assertEqual(client.transport.producerState, "producing")
        client.send(bytes(50_000))
        self.assertEqual(self.requests.give(), bytes(100_000))

    def test_hangs_up(self) -> None:
        """
        A request that only reads is given up when its client hangs up; a change is not.
        A request that has not had its turn is none.
        """
        self.start()
        for method in (b"GET", b"POST"):
            client = self.connect()
            self.requests.asked.clear()
            client.send(SMALL.replace(b"POST", method) * 2)
            client.gone()
            self.turn()
            self.assertEqual(len(self.requests.asked), 1)
            if not self.requests.asked[0][2].called:
                self.requests.give()
            self.assertEqual(client.received(), b"")
        self.assertEqual(self.requests.given_up, ["GET"])

    def test_cannot_be_sent(self) -> None:
        """
        An answer that cannot be sent is logged, and ends the connection.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        self.requests.asked[0][2].callback(None)
        self.assertTrue(client.cut)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    @QUICK
    @given(st.lists(st.integers(0, 60), max_size=40))
    def test_pieces(self, sizes: list[int]) -> None:
        """
        It makes no difference in which pieces requests come.
        """
        self.start()
        client = self.connect()
        sent = [SMALL, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", announced(5) + b"12345"]
        for piece in pieces(b"".join(sent), sizes):
            client.send(piece)
        bodies = []
        while self.requests.asked:
            bodies.append(self.requests.give())
            self.turn()
        self.assertEqual(bodies, [b"{}", b"", b"12345"])
        self.assertEqual(client.received().count(b"HTTP/1.1 200 OK"), 3)
        client.gone()


class WaitTests(ChannelCase):
    """
    How long clients are waited for.
    """

    def wait(self, client: Client, seconds: float, data: bytes) -> None:
        """
        Send C{data} twice a second, for so long.
        """
        for _ in range(round(seconds * 2)):
            client.send(data)
            self.turn(0.5)

    def test_slow_head(self) -> None:
        """
        A head that comes a byte at a time is refused when its time is over.
        """
        self.start(head_time=20.0)
        client = self.connect()
        client.send(HEAD + b"X: ")
        self.wait(client, 19, b"y")
        self.assertEqual(client.status, 0)
        self.wait(client, 2, b"y")
        self.assertEqual(client.status, 408)
        why = "the client was too slow with the head of its request: 20 s"
        self.assertEqual(self.requests.refused, [f"{HERE}: {why}"])

    def test_slow_second_head(self) -> None:
        """
        The head of a second request has its own time, from its first byte on.
        """
        self.start(head_time=20.0, idle=60.0)
        client = self.connect()
        self.turn(15)
        client.send(SMALL)
        self.requests.give()
        self.turn(59)
        self.assertEqual((client.status, client.closing), (200, False))
        client.send(b"P")
        self.turn(19)
        self.assertEqual(client.status, 0)
        self.turn(2)
        self.assertEqual(client.status, 408)

    def test_nothing(self) -> None:
        """
        A new connection on which nothing comes is closed without a word, and so is one
        on which no other request comes, or only empty lines.
        """
        self.start(head_time=20.0, idle=60.0)
        new, used, odd = self.connect(), self.connect(), self.connect()
        used.send(SMALL)
        self.requests.give()
        self.assertEqual(used.status, 200)
        self.wait(odd, 21, b"\r\n")
        self.assertEqual((new.closing, odd.closing, used.closing), (True, True, False))
        self.turn(40)
        for each in (new, used, odd):
            self.assertEqual((each.received(), each.closing), (b"", True))

    def test_slow_body(self) -> None:
        """
        A body that comes more slowly than it must is refused.
        """
        self.start(slowest=100.0, grace=10.0)
        client = self.connect()
        client.send(announced(MIB))
        self.wait(client, 50, b" " * 51)
        self.assertEqual(client.status, 0)
        self.wait(client, 21, b" " * 49)
        self.assertEqual(client.status, 408)

    def test_answer_takes_its_time(self) -> None:
        """
        An answer may take as long as it does.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        self.turn(10_000)
        self.requests.give()
        self.assertEqual(client.status, 200)

    def test_answer_is_not_taken(self) -> None:
        """
        A client that does not take its answer has so much time as the answer is long.
        """
        self.start(slowest=100_000.0, grace=10.0)
        for more in (b"", b"Connection: close\r\n"):
            client = self.connect()
            client.transport.clogged = True
            client.send(announced(0, more))
            self.requests.give("x" * 1_000_000)
            self.turn(19)
            self.assertFalse(client.cut)
            self.turn(2)
            self.assertTrue(client.cut)
            client.gone()
        why = f"{HERE}: the answer was not taken in time"
        self.assertEqual(self.requests.refused, [why] * 2)

    def test_answer_is_taken_slowly(self) -> None:
        """
        One that does take it, within that time, may make another request.
        """
        self.start(slowest=100_000.0, grace=10.0)
        client = self.connect()
        client.transport.clogged = True
        client.send(SMALL)
        self.requests.give("x" * 1_000_000)
        client.send(SMALL)
        self.turn(19)
        self.assertEqual(self.requests.asked, [])
        self.assertGreater(len(client.take()), 1_000_000)
        self.turn()
        self.assertEqual(len(self.requests.asked), 1)
        self.turn(30)
        self.assertFalse(client.cut)

    def test_refused_is_cut(self) -> None:
        """
        A client that has been refused is listened to for a while, and for as many bytes
        as a body may have.
        """
        self.start(body=1000, grace=10.0)
        talking, silent = self.connect(), self.connect()
        for client in (talking, silent):
            client.send(announced(10**9))
            self.assertEqual(client.status, 413)
        talking.send(b" " * 1000)
        self.assertFalse(talking.cut)
        talking.send(b" ")
        self.assertTrue(talking.cut)
        self.turn(9)
        self.assertFalse(silent.closing)
        self.turn(2)
        self.assertTrue(silent.closing)
        self.turn(11)
        self.assertTrue(silent.cut)


class BoundTests(ChannelCase):
    """
    How much there may be.
    """

    def _refused(self, *sent: bytes) -> int:
        """
        The status with which something is refused.
        """
        client = self.connect()
        for each in sent:
            client.send(each)
        status = client.status
        client.send(SMALL)
        self.assertEqual((client.received(), self.requests.asked), (b"", []))
        return status

    def test_head(self) -> None:
        """
        A head of too many bytes or fields is refused with 431, and a request line with
        414, whether the line ends or not.
        """
        self.start(head=30_000, fields=10)
        line = b"X: " + b"y" * 9_000 + b"\r\n"
        self.assertEqual(self._refused(HEAD, line, line, line, line), 431)
        self.assertEqual(self._refused(HEAD, b"X: y\r\n" * 10 + b"\r\n"), 431)
        for end in (b"", b" HTTP/1.1", b" HTTP/1.1\r\nHost: h\r\n\r\n"):
            self.assertEqual(self._refused(b"POST /" + b"y" * 16_385 + end), 414)
        client = self.connect()
        client.send(HEAD + line * 3 + b"\r\n")
        self.assertEqual(len(self.requests.asked), 1)

    def test_bodies(self) -> None:
        """
        Bodies beyond the memory are refused with 503, to be sent again; those that have
        been coming for too long give way.  Memory is given back.
        """
        self.start(memory=3 * MIB, body=MIB, slowest=0)

        def begin(count: int) -> list[Client]:
            clients = [self.connect() for _ in range(count)]
            for each in clients:
                each.send(announced(MIB) + b" " * (MIB - 2))
            return clients

        *clients, beyond = begin(4)
        reply = Reply.read(beyond.received())
        self.assertEqual((reply.code, reply.headers["Retry-After"]), (503, "2"))
        self.turn(DUE)
        (latest,) = begin(1)
        self.assertEqual([each.status for each in (*clients, latest)], [503, 0, 0, 0])
        for each in (*clients[1:], latest):
            each.send(b"{}")
        self.assertEqual(len(self.requests.asked), 3)
        self.assertEqual(
            begin(1)[0].status, 503
        )  # they hold it until they are answered
        self.requests.give()
        (latest,) = begin(1)
        self.assertEqual(latest.status, 0)

    def test_tiny_pieces(self) -> None:
        """
        A body that comes in pieces of two bytes takes no more memory than is counted
        for it, and some for making it longer.
        """
        self.start()
        client = self.connect()
        client.send(announced(MIB))
        tracemalloc.start()
        try:
            for _ in range(100_000):
                client.send(bytes(2))
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(most, 2 * 200_000)
        client.send(bytes(MIB - 200_000))
        self.assertEqual(self.requests.give(), bytes(MIB))

    def test_all_at_work(self) -> None:
        """
        Where there are too many connections, one that waits goes for a new one; if none
        waits, the new one is refused.
        """
        self.start(connections=2, connections_per_address=2)
        clients = [self.connect(), self.connect(THERE)]
        clients[1].send(SMALL)
        clients.append(self.connect())
        self.assertTrue(clients[0].cut)
        clients[0].gone()
        clients[2].send(SMALL)
        self.assertEqual(self.connect().status, 503)
        why = f"{HERE}: the server has too many connections"
        self.assertEqual(self.requests.refused, [why])
