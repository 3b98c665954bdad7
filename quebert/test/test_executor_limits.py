"""
What clients can take of an executor, and for how long: tests for L{quebert.executor},
with a clock.  L{quebert.test.test_executor_attacks} has the same with real sockets.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from quebert._bounds import BOUNDS
from quebert.errors import ConfigError
from quebert.executor import ExecutorLimits, ExecutorOptions, ExecutorService
from quebert.executor._crowd import Crowd
from quebert.executor._memory import DUE, FREE, Transit, Turns
from quebert.executor._options import ProcessService
from quebert.test.checks import QUICK
from quebert.test.test_executor import FakeReactor, Reply, Waiting

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMALL = HEAD + b"Content-Length: 2\r\n\r\n{}"
MIB = 2**20
HERE, THERE = "192.0.2.1", "198.51.100.1"


def announced(length: int) -> bytes:
    """
    The head of a request with such a body.
    """
    return HEAD + b"Content-Length: %d\r\n\r\n" % length


class Transport(StringTransport):
    """
    A connection of which the test says when the client takes what was written.

    @ivar protocol: the executor's end.
    @ivar clogged: whether the client takes nothing.
    """

    protocol: Any
    clogged = False

    def write(self, data: bytes) -> None:
        """
        Have some bytes more to send.
        """
        super().write(data)
        if self.clogged and len(self.value()) > 65_536 and self.producer is not None:
            self.producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """
        It may be told twice.
        """
        if self.producer is not None:
            super().unregisterProducer()

    def _checkState(self) -> None:
        """
        Reading may be paused on a connection that is about to close.
        """


class Client:
    """
    A client whose every byte, and whose time, the test determines.
    """

    def __init__(self, factory: Any, address: str = HERE) -> None:
        peer = IPv4Address("TCP", address, 40_000)
        self.transport = Transport(peerAddress=peer)
        self.protocol = factory.buildProtocol(peer)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Send, as far as the executor reads.
        """
        self.protocol.dataReceived(data)

    def received(self) -> bytes:
        """
        What has come since this was last called.
        """
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    @property
    def status(self) -> int:
        """
        The status of the response that has come since; 0 for none.
        """
        data = self.received()
        return Reply.read(data).code if data else 0

    @property
    def closing(self) -> bool:
        """
        Whether the executor closes the connection when all is sent.
        """
        return bool(self.transport.disconnecting)

    @property
    def cut(self) -> bool:
        """
        Whether the executor has cut the connection.
        """
        return bool(self.transport.disconnected)

    def gone(self) -> None:
        """
        The connection is closed.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def take(self) -> bytes:
        """
        Take all that was written.
        """
        data, self.transport.clogged = self.received(), False
        if self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        return data


class LimitsCase(SynchronousTestCase):
    """
    Starts executors.
    """

    def setUp(self) -> None:
        """
        A function waits.
        """
        self.reactor = FakeReactor()
        self.function: Any = Waiting()

    def start(self, **limits: Any) -> None:
        """
        Start an executor with such limits.
        """
        service = ExecutorService(
            self.function, reactor=self.reactor, limits=ExecutorLimits(**limits)
        )
        service.startService()
        self.addCleanup(self.end, service)

    def end(self, service: ExecutorService) -> None:
        """
        Stop it, and see that no connection has left anything behind.
        """
        factory: Any = self.reactor.tcpServers[-1][1]
        for each in list(factory._connections):
            each.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(factory._crowd._networks), 0)
        self.assertEqual(factory._transit._taken, 0)
        self.assertFalse(factory.deadlines._ends)
        service.resource.forget_refused()

    def connect(self, address: str = HERE) -> Client:
        """
        A new connection.
        """
        return Client(self.reactor.tcpServers[-1][1], address)

    def turn(self, seconds: float = 0.0) -> None:
        """
        Let time go by, or else one turn: what is called later is called in the next.
        """
        if seconds:
            self.reactor.advance(seconds)
            return
        now = self.reactor.seconds()
        calls: list[Any] = list(self.reactor.getDelayedCalls())
        for call in [each for each in calls if each.getTime() <= now]:
            if call.active():
                function, args = call.func, call.args
                call.cancel()
                function(*args)


class TimeTests(LimitsCase):
    """
    How long an executor waits for its clients.
    """

    def wait(self, client: Client, seconds: float, every: float, data: bytes) -> None:
        """
        Send C{data} again and again, for so long.
        """
        for _ in range(round(seconds / every)):
            client.send(data)
            self.turn(every)

    def test_slow_head(self) -> None:
        """
        A head that comes a byte at a time is refused with 408 when its time is over.
        """
        self.start(head_time=20.0)
        client = self.connect()
        client.send(HEAD + b"X: ")
        self.wait(client, 19, 0.5, b"y")
        self.assertEqual(client.status, 0)
        self.wait(client, 2, 0.5, b"y")
        self.assertEqual(client.status, 408)

    def test_slow_second_head(self) -> None:
        """
        The head of a second request has its own time, from its first byte on.
        """
        self.start(head_time=20.0, idle=60.0)
        client = self.connect()
        self.turn(15)
        client.send(SMALL)
        self.function.results[0].callback(None)
        self.turn(59)
        self.assertEqual((client.status, client.closing), (204, False))
        client.send(b"P")
        self.turn(19)
        self.assertEqual(client.status, 0)
        self.turn(2)
        self.assertEqual(client.status, 408)

    def test_nothing(self) -> None:
        """
        A new connection on which nothing comes is closed without a word, and so is one
        on which no other request comes.
        """
        self.start(head_time=20.0, idle=60.0)
        new, used = self.connect(), self.connect()
        used.send(SMALL)
        self.function.results[0].callback(None)
        self.assertEqual(used.status, 204)
        self.turn(21)
        self.assertEqual((new.closing, used.closing), (True, False))
        self.turn(40)
        self.assertEqual((new.received(), used.received()), (b"", b""))
        self.assertTrue(used.closing)

    def test_slow_body(self) -> None:
        """
        A body that comes more slowly than it must is refused with 408, whether its
        length is announced or not.
        """
        self.start(slowest=100.0, grace=10.0)
        for head in (announced(MIB), CHUNKED + b"fffff\r\n"):
            client = self.connect()
            client.send(head)
            self.wait(client, 50, 0.5, b" " * 51)
            self.assertEqual(client.status, 0, head)
            self.wait(client, 21, 0.5, b" " * 49)
            self.assertEqual(client.status, 408, head)
            client.gone()

    def test_small_body(self) -> None:
        """
        However small it is, a body has the first span of time.
        """
        self.start(slowest=1000.0, grace=10.0)
        client = self.connect()
        client.send(announced(2))
        self.turn(9)
        client.send(b"{}")
        self.assertEqual(len(self.function.results), 1)

    def test_body_that_stops(self) -> None:
        """
        A body that had come quickly, and stops, is not waited for any longer.
        """
        self.start(slowest=100.0, grace=10.0)
        client = self.connect()
        client.send(announced(MIB) + b" " * (MIB - 1))
        self.turn(11)
        self.turn(10)
        self.assertEqual(client.status, 408)

    def test_function_takes_its_time(self) -> None:
        """
        A function may take as long as it likes.
        """
        self.start()
        client = self.connect()
        client.send(SMALL)
        self.turn(10_000)
        self.assertFalse(client.closing or client.cut)
        self.function.results[0].callback("late")
        self.assertEqual(client.status, 200)

    def test_answer_is_not_taken(self) -> None:
        """
        A client that does not take its answer has so much time as the answer is long.
        """
        self.start(slowest=100_000.0, grace=10.0)
        for head in (HEAD, HEAD + b"Connection: close\r\n"):
            client = self.connect()
            client.transport.clogged = True
            client.send(head + b"Content-Length: 2\r\n\r\n{}")
            self.function.results.pop().callback("x" * 1_000_000)
            self.turn(19)
            self.assertFalse(client.cut)
            self.turn(2)
            self.assertTrue(client.cut)
            client.gone()

    def test_answer_is_taken_slowly(self) -> None:
        """
        One that does take it, within that time, may make another request.
        """
        self.start(slowest=100_000.0, grace=10.0)
        client = self.connect()
        client.transport.clogged = True
        client.send(SMALL)
        self.function.results[0].callback("x" * 1_000_000)
        client.send(SMALL)
        self.turn(19)
        self.assertEqual(len(self.function.results), 1)
        self.assertGreater(len(client.take()), 1_000_000)
        self.turn()
        self.assertEqual(len(self.function.results), 2)
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

    def test_any_speed(self) -> None:
        """
        With C{slowest=0} a client may be as slow as it likes, once there is a head.
        """
        self.start(slowest=0)
        client = self.connect()
        client.send(announced(2))
        self.turn(10_000)
        client.transport.clogged = True
        client.send(b"{}")
        self.function.results[0].callback("x" * 1_000_000)
        self.turn(10_000)
        self.assertFalse(client.cut)


class SizeTests(LimitsCase):
    """
    How much a request may have.
    """

    def refused(self, *pieces: bytes) -> int:
        """
        The status that a connection is answered with, which reads nothing after that.
        """
        client = self.connect()
        for each in pieces:
            client.send(each)
        status = client.status
        client.send(SMALL)
        self.assertEqual((client.received(), self.function.results), (b"", []))
        return status

    def test_head(self) -> None:
        """
        A head of too many bytes, header fields or bytes in one line is refused with
        431, and a request line with 414, whether the line ends or not.
        """
        self.start(head=30_000, fields=10)
        line = b"X: " + b"y" * 9_000 + b"\r\n"
        self.assertEqual(self.refused(HEAD, line, line, line, line), 431)
        self.assertEqual(self.refused(HEAD, b"X: y\r\n" * 9), 431)
        self.assertEqual(self.refused(HEAD + b"X: " + b"y" * 16_385), 431)
        self.assertEqual(self.refused(HEAD + b"X: " + b"y" * 16_385 + b"\r\n"), 431)
        self.assertEqual(self.refused(b"POST /" + b"y" * 16_385), 414)
        self.assertEqual(self.refused(b"POST /" + b"y" * 16_385 + b" HTTP/1.1"), 414)

    def test_length(self) -> None:
        """
        A length of more digits than Python reads is refused with 400.
        """
        self.start()
        length = b"Content-Length: " + b"9" * 5_000 + b"\r\n"
        for end in (b"\r\n", b"X: y\r\n\r\n{}"):
            self.assertEqual(self.refused(HEAD + length + end), 400)

    def test_folded(self) -> None:
        """
        The lines of a folded field count.
        """
        self.start(fields=10)
        self.assertEqual(self.refused(HEAD, b"X: y\r\n", b" z\r\n" * 20), 431)

    def test_each_request(self) -> None:
        """
        Each request has its own head.
        """
        self.start(head=200, fields=5)
        client = self.connect()
        for _ in range(10):
            client.send(SMALL)
            self.function.results.pop().callback(None)
            self.assertEqual(client.status, 204)

    def test_most(self) -> None:
        """
        By default there is room for the head of any task, and what a mediator adds.
        """
        self.start()
        headers = [b"x-%04d: " % n + b"y" * 711 for n in range(BOUNDS.headers)]
        self.assertLess(sum(map(len, headers)), BOUNDS.all_headers)
        added = [b"webhook-signature: " + b"s" * 2_000]
        added += [b"ce-%d: " % n + b"v" * 255 for n in range(25)]
        line = b"POST /" + b"u" * (BOUNDS.url - 1) + b" HTTP/1.1"
        length = b"Content-Length: 2"
        kind = b"Content-Type: application/json"
        client = self.connect()
        lines = [line, b"Host: localhost", kind, length, *added, *headers, b"", b"{}"]
        client.send(b"\r\n".join(lines))
        self.assertEqual(len(self.function.results), 1)

    def test_framing(self) -> None:
        """
        More bytes around a body than in it are refused with 413, once there are many.
        """
        self.start()
        for chunk in (b"1\r\nx\r\n", b"1;" + b"e" * 900 + b"\r\nx\r\n"):
            client, sent = self.connect(), 0
            client.send(CHUNKED)
            while not (status := client.status):
                client.send(chunk * 50)
                sent += 50 * len(chunk)
                self.assertLess(sent, 100_000)
            self.assertEqual(status, 413)
            client.gone()

    def test_chunks(self) -> None:
        """
        Chunks of a reasonable size are no more than the body.
        """
        self.start()
        client = self.connect()
        client.send(CHUNKED)
        for _ in range(10_000):
            client.send(b"10\r\n" + b" " * 16 + b"\r\n")
        client.send(b"2\r\n{}\r\n0\r\n\r\n")
        self.assertEqual(len(self.function.results), 1)

    def test_trailers(self) -> None:
        """
        Trailers without end are refused, too.
        """
        self.start()
        client = self.connect()
        client.send(CHUNKED + b"0\r\n")
        for _ in range(100_000):
            client.send(b"X: y\r\n")
            if client.transport.disconnecting or client.cut:
                break
        self.assertTrue(client.closing)

    def test_pipelined(self) -> None:
        """
        Requests that come together are answered one in a turn, in their order.
        """
        self.function = lambda task: task
        self.start()
        client = self.connect()
        requests = [HEAD + b'Content-Length: 7\r\n\r\n{"n":%d}' % n for n in range(9)]
        client.send(b"".join(requests))
        for number in range(9):
            reply = Reply.read(client.received())
            self.assertEqual(reply.text, f'{{"n":{number}}}')
            client.send(b"")
            self.turn()

    def test_pipelined_in_pieces(self) -> None:
        """
        Not a byte is lost where a request comes before its turn.
        """
        self.function = lambda task: task
        self.start()
        client = self.connect()
        request = HEAD + b'Content-Length: 7\r\n\r\n{"n":5}'
        for cut in range(len(request)):
            client.send(request + request[:cut])
            client.send(request[cut:])
            self.turn()
            self.turn()
            self.assertEqual(client.received().count(b'{"n":5}'), 2, cut)

    def test_pipelined_hangs_up(self) -> None:
        """
        A client may hang up before its second request has its turn.
        """
        self.start()
        client = self.connect()
        client.send(SMALL * 2)
        self.function.results[0].callback(None)
        client.gone()
        self.turn()
        self.assertEqual(len(self.function.results), 1)

    def test_nothing_of_a_head_is_kept(self) -> None:
        """
        Cookies, queries and paths of thousands of parts are not taken to pieces.
        """
        seen: list[Any] = []
        self.start()
        client = self.connect()
        site = client.protocol.site

        def render(request: Any) -> int:
            seen.append(request)
            return NOT_DONE_YET

        self.patch(site.resource, "render", render)
        path = b"/" * 5_000 + b"?" + b"&".join(b"%d=" % n for n in range(1_500))
        cookies = b"Cookie: " + b";".join(b"%d=" % n for n in range(2_000))
        client.send(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n")
        client.send(cookies + b"\r\nContent-Length: 2\r\n\r\n{}")
        (request,) = seen
        self.assertEqual((request.args, request.received_cookies), ({}, {}))
        self.assertEqual(request.postpath, [b""])


class MemoryTests(LimitsCase):
    """
    How much memory requests may have together.
    """

    def setUp(self) -> None:
        """
        There is memory for three bodies.
        """
        super().setUp()
        self.start(memory=3 * MIB, body=MIB, patience=30.0, slowest=0)
        self.body = b" " * (MIB - 2)

    def begin(self, count: int, length: int = MIB) -> list[Client]:
        """
        Begin bodies that lack two bytes.
        """
        clients = [self.connect() for _ in range(count)]
        for each in clients:
            each.send(announced(length) + b" " * (length - 2))
        return clients

    def test_too_many_bodies(self) -> None:
        """
        A body beyond is refused with 503, to be sent again; the others, and small ones,
        are taken.
        """
        *clients, beyond = self.begin(3)
        reply = Reply.read(beyond.received())
        self.assertEqual(reply.code, 503)
        self.assertEqual(reply.headers["Retry-After"], "2")
        small = self.connect()
        small.send(SMALL)
        for each in clients:
            self.assertEqual(each.status, 0)
            each.send(b"{}")
        self.turn()
        self.assertEqual(len(self.function.results), 3)

    def test_given_back(self) -> None:
        """
        Memory is given back with an answer, a refusal and a lost connection.
        """
        for _ in range(10):
            one, other = self.begin(2)
            one.send(b"{}")
            self.function.results.pop().callback(None)
            self.assertEqual(one.status, 204)
            self.turn()
            other.gone()
            refused = self.connect()
            refused.send(CHUNKED + b"fffffff\r\n" + b" " * (MIB + 1))
            self.assertEqual(refused.status, 413)

    def test_slow_ones_give_way(self) -> None:
        """
        Bodies that have been coming for too long give way, the oldest first.
        """
        old, new = self.begin(1), self.begin(1)
        self.turn(DUE - 1)
        self.assertEqual(self.begin(1)[0].status, 503)
        self.turn(1)
        latest = self.begin(1)
        self.assertEqual([each.status for each in old + new + latest], [503, 0, 0])

    def test_answers_that_are_not_taken(self) -> None:
        """
        Answers that nobody takes leave no memory for bodies, until they have to give
        way.
        """
        clients = [self.connect() for _ in range(4)]
        for each in clients:
            each.transport.clogged = True
            each.send(SMALL)
            self.function.results.pop().callback("x" * MIB)
        small = self.connect()
        small.send(SMALL)
        self.assertEqual((small.status, self.function.results), (503, []))
        self.assertEqual(self.begin(1)[0].status, 503)
        self.turn(DUE)
        self.assertEqual(self.begin(1)[0].status, 0)
        self.assertEqual([each.cut for each in clients], [True, True, True, False])
        small = self.connect()
        small.send(SMALL)
        self.assertEqual(len(self.function.results), 1)

    def test_heads(self) -> None:
        """
        Heads count, too, and those of requests at work.
        """
        head = announced(2)[:-2] + (b"X: " + b"y" * 10_000 + b"\r\n") * 6
        count = 3 * MIB // 60_000
        for end in (b"\r\n{}", b""):
            clients = [self.connect() for _ in range(count + 2)]
            for each in clients:
                each.send(head + end)
            statuses = [each.status for each in clients]
            self.assertEqual(statuses.count(503), 2 if not end else statuses.count(503))
            self.assertGreater(statuses.count(503), 0)
            for each in clients:
                each.gone()

    def test_decoded(self) -> None:
        """
        A task that would take too much memory, decoded, waits for others.
        """
        text = b"[" + b"0," * 6_000 + b"0]"  # about 1.2 MiB
        body = b'{"a":' + text + b"}"
        clients = [self.connect() for _ in range(4)]
        for each in clients:
            each.send(announced(len(body)) + body)
            self.turn()
        self.assertEqual(len(self.function.results), 2)
        self.function.results[0].callback(None)
        self.turn()
        self.assertEqual(len(self.function.results), 3)
        self.turn(29)
        self.assertEqual([each.status for each in clients], [204, 0, 0, 0])
        self.turn(2)
        self.assertEqual([each.status for each in clients], [0, 0, 0, 503])
        small = self.connect()
        small.send(SMALL)
        self.assertEqual(len(self.function.results), 4)

    def test_waiting_hangs_up(self) -> None:
        """
        A task whose client hangs up while it waits is not begun.
        """
        body = b'{"a":[' + b"0," * 9_000 + b"0]}"
        clients = [self.connect() for _ in range(3)]
        for each in clients:
            each.send(announced(len(body)) + body)
            self.turn()
        self.assertEqual(len(self.function.results), 1)
        clients[1].gone()
        self.function.results[0].callback(None)
        self.turn()
        self.assertEqual(len(self.function.results), 2)
        self.assertEqual(clients[0].status, 204)
        self.function.results[1].callback(None)
        self.assertEqual(clients[2].status, 204)

    def test_one_large_in_a_turn(self) -> None:
        """
        Of large tasks that come at once, one is decoded in a turn.
        """
        clients = self.begin(2)
        begun = []
        for each in clients:
            each.send(b"{}")
        for _ in clients:
            begun.append(len(self.function.results))
            self.function.results[-1].callback(None)
            self.turn()
        self.assertEqual(begun, [1, 2])

    def test_many_values(self) -> None:
        """
        A body of too many values is refused with 400, and is not decoded.
        """
        bomb = b"[" + b"[]," * (BOUNDS.values // 2) + b"0]"
        self.assertLess(len(bomb), MIB)
        client = self.connect()
        client.send(announced(len(bomb)) + bomb)
        reply = Reply.read(client.received())
        self.assertEqual(reply.code, 400)
        self.assertIn(f"more than {BOUNDS.values} values", reply.text)


class ConnectionTests(LimitsCase):
    """
    How many connections there may be.
    """

    def test_idle_one_goes(self) -> None:
        """
        The one that has waited for longest goes for a new one, of the address that has
        most.
        """
        self.start(connections=4)
        mine = self.connect(HERE)
        theirs = [self.connect(THERE) for _ in range(3)]
        new = self.connect(HERE)
        self.assertTrue(theirs[0].cut)
        new.send(SMALL)
        self.assertEqual(len(self.function.results), 1)
        for each in (mine, *theirs[1:]):
            self.assertFalse(each.cut or each.closing)

    def test_kept_alive(self) -> None:
        """
        A connection that waits for another request is closed, not cut.
        """
        self.start(connections=1)
        client = self.connect()
        client.send(SMALL)
        self.function.results[0].callback(None)
        self.connect()
        self.assertEqual((client.closing, client.cut), (True, False))

    def test_all_at_work(self) -> None:
        """
        If none waits, the new one is refused with 503, and so is a second one.
        """
        self.start(connections=2, connections_per_address=2)
        clients = [self.connect(), self.connect()]
        for each in clients:
            each.send(SMALL)
        one = self.connect()
        self.assertEqual(one.status, 503)
        other = self.connect()
        self.assertEqual(other.status, 503)
        for each in clients:
            self.function.results.pop(0).callback(None)
            self.assertEqual(each.status, 204)

    def test_turned_away(self) -> None:
        """
        Of those that were refused, a hundred stay to read their answer, and none of
        them counts.
        """
        self.start(connections=1)
        self.connect().send(SMALL)
        refused = [self.connect() for _ in range(300)]
        self.assertEqual({each.status for each in refused}, {503})
        self.assertEqual([each.cut for each in refused], [True] * 200 + [False] * 100)
        self.function.results[0].callback(None)
        new = self.connect()
        new.send(SMALL)
        self.assertEqual(len(self.function.results), 2)

    def test_one_address(self) -> None:
        """
        One address may have a part of them; an IPv6 network of 64 bits is one.
        """
        self.start(connections=10, connections_per_address=2)
        one, two = self.connect("2001:db8::1"), self.connect("2001:db8::2")
        other = self.connect("2001:db8:0:1::1")
        self.assertFalse(one.cut or two.cut)
        three = self.connect("2001:db8::3")
        self.assertEqual([each.cut for each in (one, two, three)], [True, False, False])
        self.assertFalse(other.cut)

    def test_half_bodies_of_one_address(self) -> None:
        """
        One address takes half of the connections, however many there may be, and even
        if none of its connections can be closed for others.
        """
        self.start(connections=10)
        for _ in range(20):
            self.connect("192.0.2.1").send(announced(2) + b"{")
        other = self.connect("192.0.2.2")
        other.send(SMALL)
        self.assertEqual(len(self.function.results), 1)

    def test_slow_body_goes(self) -> None:
        """
        A body that has been coming for too long goes for a new connection.
        """
        self.start(connections=1)
        slow = self.connect()
        slow.send(announced(MIB) + b" " * 2 * FREE)
        self.assertEqual(self.connect().status, 503)
        self.turn(DUE)
        new = self.connect()
        self.assertEqual((slow.cut, new.status), (True, 0))

    def test_slow_body_of_another_address(self) -> None:
        """
        No body goes for an address that has its part already.
        """
        self.start(connections=10, connections_per_address=2)
        slow = self.connect("192.0.2.1")
        slow.send(announced(MIB) + b" " * 2 * FREE)
        self.turn(DUE)
        greedy = [self.connect("192.0.2.2") for _ in range(2)]
        for each in greedy:
            each.send(announced(2) + b"{")
        self.assertEqual(self.connect("192.0.2.2").status, 503)
        self.assertFalse(slow.cut)

    def test_slow_body_of_its_own(self) -> None:
        """
        A slow body of an address that has its part already goes for a new connection of
        this address, even if one of another address is slower.
        """
        self.start(connections=10, connections_per_address=1)
        slow = [self.connect(f"192.0.2.{each}") for each in (1, 2)]
        for each in slow:
            each.send(announced(MIB) + b" " * 2 * FREE)
        self.turn(DUE)
        new = self.connect("192.0.2.2")
        self.assertEqual(([each.cut for each in slow], new.status), ([False, True], 0))

    def test_flood(self) -> None:
        """
        A client that sends its request at once gets through a flood of connections.
        """
        self.start(connections=100, connections_per_address=100)
        flood = []
        for _ in range(10):
            flood += [self.connect() for _ in range(100)]
            good = self.connect()
            good.send(SMALL)
            self.function.results.pop().callback(None)
            self.assertEqual(good.status, 204)
        self.assertLess(sum(not (each.cut or each.closing) for each in flood), 101)


# -- The parts


class TransitTests(SynchronousTestCase):
    """
    L{Transit}.
    """

    def test_alone(self) -> None:
        """
        A holder alone may have more than all.
        """
        transit: Transit[str] = Transit(100_000)
        transit.hold("a", 200_000, 0)
        self.assertFalse(transit.is_too_much)
        transit.hold("b", FREE, 0)
        self.assertFalse(transit.is_too_much)
        transit.hold("b", FREE + 1, 0)
        self.assertTrue(transit.is_too_much)
        transit.release("a")
        self.assertFalse(transit.is_too_much)

    def test_overdue(self) -> None:
        """
        The oldest one is overdue after its time; who is at work never is.
        """
        transit: Transit[str] = Transit(100)
        transit.hold("at work", 50_000, float("inf"))
        transit.hold("a", 50_000, 0)
        transit.hold("b", 50_000, 1)
        transit.hold("a", 60_000, 5)
        self.assertEqual([*transit.overdue(DUE - 1)], [])
        self.assertEqual([*transit.overdue(DUE)], ["a"])
        transit.release("a")
        self.assertEqual([*transit.overdue(DUE)], [])
        self.assertEqual([*transit.overdue(DUE + 1)], ["b"])


class TurnsTests(SynchronousTestCase):
    """
    L{Turns}.
    """

    @QUICK
    @given(
        st.lists(st.tuples(st.integers(0, 3 * MIB), st.booleans()), max_size=30),
        st.randoms(use_true_random=False),
    )
    def test_any_order(self, sizes: list[tuple[int, bool]], order: Any) -> None:
        """
        Whatever comes, ends and is given up: no more than there may be is at work, or
        one alone; all others begin in the end, in the order in which they came; and
        one large task begins in a turn.
        """
        clock = Clock()
        turns = Turns(4 * MIB, clock.callLater)
        waiting: list[tuple[int, Deferred[None]]] = []
        running: list[int] = []
        begun: list[int] = []

        def begin(number: int, size: int) -> None:
            def started(_: None) -> None:
                running.append(size)
                begun.append(number)

            turn = turns.begin(size)
            waiting.append((number, turn))
            turn.addCallbacks(started, lambda f: f.trap(CancelledError) and None)

        given_up = set()
        for number, (size, gives_up) in enumerate(sizes):
            large = sum(each > MIB for each in running)
            begin(number, size)
            self.assertLessEqual(sum(each > MIB for each in running), large + 1)
            if gives_up and not waiting[-1][1].called:
                given_up.add(number)
                waiting[-1][1].cancel()
            counted = [each for each in running if each > FREE]
            self.assertTrue(sum(counted) <= 4 * MIB or len(counted) == 1)
            if running and order.random() < 0.5:
                turns.end(running.pop(order.randrange(len(running))))
            clock.advance(0)
        while running:
            turns.end(running.pop())
            clock.advance(0)
        self.assertEqual(set(begun) | given_up, set(range(len(sizes))))
        counted = [number for number in begun if sizes[number][0] > FREE]
        self.assertEqual(counted, sorted(counted))

    def test_tasks_that_end_at_once(self) -> None:
        """
        However many wait in the line, and end as soon as they begin, each one begins.
        """
        clock = Clock()
        turns = Turns(MIB, clock.callLater)
        self.successResultOf(turns.begin(MIB))
        ended = []

        async def work() -> None:
            await turns.begin(MIB)
            turns.end(MIB)
            ended.append(True)

        for _ in range(2_000):
            Deferred.fromCoroutine(work())
        turns.end(MIB)
        self.assertEqual(len(ended), 2_000)


class CrowdTests(SynchronousTestCase):
    """
    L{Crowd}.
    """

    def test_forgets(self) -> None:
        """
        Nothing is left of clients that have gone.
        """
        crowd: Crowd[int] = Crowd(10, 5)
        for number in range(100):
            leaves = crowd.add(number, str(number % 3))
            if leaves is not None:
                crowd.remove(leaves)
        for number in range(100):
            crowd.remove(number)
            crowd.waits(number)
        for table in (crowd._networks, crowd._counts, crowd._waiting):
            self.assertEqual(len(table), 0)

    def test_nobody_of_the_crowd_waits(self) -> None:
        """
        If all of the address that has most are at work, another one that waits goes.
        """
        crowd: Crowd[str] = Crowd(3, 10)
        for each in ("a1", "a2"):
            crowd.add(each, "a")
            crowd.works(each)
        self.assertIsNone(crowd.add("b1", "b"))
        self.assertEqual(crowd.add("c1", "c"), "b1")


class SettingsTests(SynchronousTestCase):
    """
    How limits are given.
    """

    def test_wrong(self) -> None:
        """
        What is no limit is refused, and named.
        """
        for name, wrong, said in (
            ("body", 0, "body must be 1 or more, not 0"),
            ("body", 1.5, "body must be a whole number, not 1.5"),
            ("memory", True, "memory must be a whole number, not True"),
            ("grace", 0, "grace must be 0.001 or more, not 0"),
            ("grace", "1", "grace must be a number, not '1'"),
            ("slowest", -1, "slowest must be 0 or more, not -1"),
            ("idle", float("inf"), "idle must be 0.001 or more, not inf"),
            ("patience", float("nan"), "patience must be 0.001 or more, not nan"),
        ):
            limits: Any = {name: wrong}
            error = self.assertRaises(ConfigError, ExecutorLimits, **limits)
            self.assertEqual(str(error), said)

    def test_options(self) -> None:
        """
        C{twistd quexecutor} has options for the limits that operators need.
        """
        options = ExecutorOptions()
        options.parseOptions(
            [
                "--function=json.dumps",
                "--max-body=1000",
                "--max-memory=2000",
                "--max-connections=30",
                "--max-connections-per-address=4",
            ]
        )
        service = ProcessService(options, FakeReactor())
        limits = service.executor.resource.limits
        self.assertEqual((limits.body, limits.memory), (1000, 2000))
        self.assertEqual((limits.connections, limits.connections_per_address), (30, 4))

    def test_defaults(self) -> None:
        """
        Without options there are the same limits as in code.
        """
        options = ExecutorOptions()
        options.parseOptions(["--function=json.dumps"])
        self.assertEqual(options.limits(), ExecutorLimits())

    def test_wrong_options(self) -> None:
        """
        An option that is no number is named.
        """
        for option in ("body", "memory", "connections", "connections-per-address"):
            for wrong in ("0", "-1", "1.5", "16MiB", ""):
                given = f"--max-{option}={wrong}"
                parse = ExecutorOptions().parseOptions
                error = self.assertRaises(
                    UsageError, parse, ["--function=json.dumps", given]
                )
                self.assertTrue(str(error).startswith(f"{given} must be a number"))
