"""
Requests as bytes, and the answers to them, over a transport in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from quebert.executor import ExecutorLimits
from quebert.operations import Progress
from quebert.test.web.doubles import LOOPBACK, MemoryAPI
from quebert.web import Assets
from quebert.web._resource import MOST_STREAMS, WebResource
from quebert.web._site import WebSite
from quebert.web._stream import PATIENCE

_LIMITS = ExecutorLimits(body=1_000, head=2_000, fields=20, connections=1_000)


class Client:
    """
    A connection.
    """

    def __init__(self, site: WebSite) -> None:
        address = IPv4Address("TCP", LOOPBACK, 12_345)
        here = IPv4Address("TCP", LOOPBACK, 8_080)
        transport: Any = StringTransport(here, address)
        transport.abortConnection = self._abort
        self.transport = transport
        self.aborted = False
        self.protocol: Any = site.buildProtocol(address)
        self.protocol.makeConnection(self.transport)

    def _abort(self) -> None:
        self.aborted = True

    def send(self, *lines: str, body: bytes = b"") -> Client:
        """
        Send a request.
        """
        head = "\r\n".join([*lines, "Host: localhost", "", ""]).encode("latin-1")
        self.protocol.dataReceived(head + body)
        return self

    @property
    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """
        The first answer.
        """
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split()[1]), dict(e.split(": ", 1) for e in lines), body

    def lose(self) -> None:
        """
        Hang up.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))


class WebCase(TestCase):
    """
    A web server.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "index.html").write_text("the page")
        self.memory = MemoryAPI()
        self.resource = WebResource(
            self.memory.clock,
            self.memory.api,
            Assets(folder),
            self.memory.hub,
            limits=_LIMITS,
        )
        self.site = WebSite(self.resource, self.memory.clock)
        self.addCleanup(self.resource.stop)

    def ask(self, *lines: str, body: bytes = b"") -> Any:
        """
        The answer to a request.
        """
        return Client(self.site).send(*lines, body=body).answer


class AnswerTests(WebCase):
    """
    What is answered.
    """

    def test_headers(self) -> None:
        """
        Each answer forbids browsers to do more with it than the page does.
        """
        for target in ("/", "/v1/overview", "/nothing"):
            _, headers, _ = self.ask(f"GET {target} HTTP/1.1")
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["X-Frame-Options"], "DENY")
            self.assertEqual(headers["Referrer-Policy"], "no-referrer")
            policy = headers["Content-Security-Policy"]
            self.assertTrue(policy.startswith("default-src 'none'"))
            self.assertNotIn("Access-Control-Allow-Origin", headers)
            self.assertEqual(headers["Server"], "quebert")
            is_page = target == "/"
            cached = "no-cache" if is_page else "no-store"
            self.assertEqual(headers["Cache-Control"], cached)

    def test_page(self) -> None:
        """
        The page is for everybody, and for a browser that has it, it is short.
        """
        status, headers, body = self.ask("GET /queues/a%2Fb HTTP/1.1")
        self.assertEqual((status, body), (200, b"the page"))
        tag = f"If-None-Match: {headers['ETag']}"
        status, headers, body = self.ask("GET / HTTP/1.1", tag)
        self.assertEqual((status, body), (304, b""))
        status, headers, body = self.ask("HEAD / HTTP/1.1")
        self.assertEqual((status, body, headers["Content-Length"]), (200, b"", "8"))

    def test_changes(self) -> None:
        """
        A token reaches the API.  The log says why a request without one is refused.
        """
        lines = ("POST /v1/queues/mail:pause HTTP/1.1", "Content-Length: 0")
        refused: list[str] = []
        self.patch(self.resource, "log_refused", refused.append)
        self.assertEqual(self.ask(*lines)[0], 401)
        why = "127.0.0.1: 401, a token is needed, as Authorization: Bearer TOKEN"
        self.assertEqual(refused, [why])
        status, _, body = self.ask(*lines, "Authorization: Bearer operator")
        self.assertEqual((status, json.loads(body)["done"]), (200, True))
        line = self.memory.audit.lines[-1]
        self.assertEqual(line["who"], "operator")

    def test_limits(self) -> None:
        """
        What is too large is refused, as a problem.
        """
        post = "POST /v1/tasks:cancel HTTP/1.1"
        table = [
            (413, (post, "Content-Length: 1001"), b""),
            (411, (post, "Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
            (431, ("GET / HTTP/1.1", f"X: {'x' * 3_000}"), b""),
            (431, ("GET / HTTP/1.1", *[f"X{n}: y" for n in range(30)]), b""),
            (414, (f"GET /{'x' * 20_000} HTTP/1.1",), b""),
        ]
        for wanted, lines, body in table:
            status, headers, answer = self.ask(*lines, body=body)
            self.assertEqual(status, wanted)
            self.assertEqual(headers["Content-Type"], "application/problem+json")
            problem = json.loads(answer)
            self.assertEqual(problem["status"], wanted)
            self.assertNotIn("executor", problem["detail"])

    def test_odd_targets(self) -> None:
        """
        A target without a slash, and a fault of our own, have their answer, too: a
        connection whose request waits counts among those that there may be.
        """
        for line in ("GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET x HTTP/1.1"):
            self.assertEqual(self.ask(line)[0], 404, line)
        self.patch(self.memory.api, "answer", lambda _: fail(ZeroDivisionError()))
        status, _, body = self.ask("GET /v1/overview HTTP/1.1")
        self.assertEqual((status, json.loads(body)["status"]), (500, 500))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unreadable(self) -> None:
        """
        What cannot be read is refused.
        """
        for target in ("/v1/queues/%ff", "/v1/tasks?q=%ff"):
            status, _, body = self.ask(f"GET {target} HTTP/1.1")
            self.assertEqual((status, json.loads(body)["status"]), (400, 400))

    def test_slow_head(self) -> None:
        """
        So is who is too slow.
        """
        client = Client(self.site)
        client.protocol.dataReceived(b"GET / HT")
        self.memory.clock.advance(_LIMITS.head_time + 1)
        self.assertEqual(client.answer[0], 408)

    def test_hung_up(self) -> None:
        """
        Whoever hangs up while it reads stops that, and what it changes goes on.
        """
        stopped: list[str] = []
        looking = Deferred[None](lambda _: stopped.append("look"))
        purging = Deferred[Progress](lambda _: stopped.append("purge"))
        self.memory.cluster.task = lambda uuid: looking  # type: ignore[method-assign,assignment,return-value]
        self.memory.cluster.purge = lambda queue: purging  # type: ignore[method-assign,assignment,return-value]
        client = Client(self.site).send("GET /v1/tasks/u HTTP/1.1")
        client.lose()
        self.assertEqual(stopped, ["look"])
        client = Client(self.site).send(
            "POST /v1/queues/mail:purge HTTP/1.1",
            "Content-Length: 0",
            "Authorization: Bearer operator",
        )
        client.lose()
        self.assertEqual(stopped, ["look"])
        purging.callback(Progress(7, 7, 7, ended=True))
        self.assertEqual(self.memory.audit.lines[-1]["result"], "7 dropped")
        self.assertEqual(client.transport.value(), b"")


class StreamTests(WebCase):
    """
    Streams of events.
    """

    def _listen(self, *lines: str) -> Client:
        return Client(self.site).send("GET /v1/events HTTP/1.1", *lines)

    def test_stream(self) -> None:
        """
        A stream has its type, and goes on.
        """
        client = self._listen()
        status, headers, body = client.answer
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        self.assertEqual(body.count(b"event: overview"), 1)
        self.memory.clock.pump([0.5] * 4)
        self.assertEqual(client.answer[2].count(b"event: overview"), 3)
        client.lose()
        self.assertEqual(len(self.memory.hub), 0)
        self.memory.clock.advance(5)

    def test_slow(self) -> None:
        """
        Nothing is written to who takes nothing, and after a while the connection is
        closed.
        """
        client = self._listen()
        client.protocol.pauseProducing()
        before = len(client.transport.value())
        self.memory.clock.pump([0.5] * 20)
        self.assertEqual(len(client.transport.value()), before)
        client.protocol.resumeProducing()
        self.memory.clock.pump([0.5] * 2)
        self.assertGreater(len(client.transport.value()), before)
        client.protocol.pauseProducing()
        self.memory.clock.advance(PATIENCE - 1)
        self.assertFalse(client.aborted)
        self.memory.clock.advance(1)
        self.assertTrue(client.aborted)
        client.lose()

    def test_too_many(self) -> None:
        """
        There are not too many of them; one token has no more than half.
        """
        reader = "Authorization: Bearer reader"
        half = MOST_STREAMS // 2
        clients = [self._listen(reader) for _ in range(half)]
        status, _, body = self._listen(reader).answer
        self.assertEqual(status, 503)
        self.assertIn(b"listen already with this token", body)
        clients += [self._listen() for _ in range(half)]
        status, _, body = self._listen("Authorization: Bearer operator").answer
        self.assertEqual(status, 503)
        self.assertIn(b'listen already"', body)
        clients[0].lose()
        self.assertEqual(self._listen(reader).answer[0], 200)

    def test_head(self) -> None:
        """
        Asked for its head alone, no stream begins.
        """
        client = Client(self.site).send("HEAD /v1/events HTTP/1.1")
        self.assertEqual((client.answer[0], client.answer[2]), (200, b""))
        self.assertEqual(len(self.memory.hub), 0)

    def test_closed(self) -> None:
        """
        A stream that was closed sends nothing more, also before its client hangs up.
        """
        client = self._listen()
        self.resource.close_streams()
        self.assertEqual(len(self.memory.hub), 0)
        client.transport.clear()
        self.memory.clock.pump([0.5] * 4)
        self.assertEqual(client.transport.value(), b"")

    def test_other_tokens(self) -> None:
        """
        When tokens change, streams are closed: whoever may still read comes back.
        """
        client = self._listen("Authorization: Bearer reader")
        self.memory.rules = attrs.evolve(self.memory.rules)
        self.resource.close_streams()
        self.assertTrue(client.transport.disconnecting)
