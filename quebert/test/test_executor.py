"""
Tests for L{quebert.executor}: what tasks are answered, and the service's life.
"""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from pathlib import Path
from typing import Any
from unittest import skipUnless

import attrs
from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import (
    AccumulatingProtocol,
    EventLoggingObserver,
)
from twisted.logger import globalLogPublisher
from twisted.python.usage import UsageError
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert import executor
from quebert.executor import (
    ExecutorLimits,
    ExecutorResource,
    ExecutorService,
    InReactor,
    Options,
    _options,
    makeService,
)
from quebert.executor._options import ProcessService
from quebert.functions import Function
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task import Task
from quebert.test.doubles import MemoryReactor

EXAMPLE = Path(quebert.__file__).parents[1] / "examples" / "executor.py"
JSON = "application/json"
AS_JSON = {"Content-Type": JSON}
TEXT = "text/plain; charset=utf-8"

# -- Doubles


@attrs.frozen
class Reply:
    """
    A response that has come.
    """

    code: int
    body: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, data: bytes) -> Reply:
        """
        Read one response, whole.
        """
        head, body = data.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return cls(int(status.split()[1]), body, headers)

    @property
    def kind(self) -> str | None:
        """
        The body's type.
        """
        return self.headers.get("Content-Type")

    @property
    def text(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8")


class FakePort:
    """
    A listening port that tells whether it still listens.
    """

    def __init__(self, host: IPv4Address) -> None:
        self._host = host
        self.listening = True

    def getHost(self) -> IPv4Address:
        """
        Where it listens.
        """
        return self._host

    def stopListening(self) -> Deferred[None]:
        """
        Listen no more.
        """
        self.listening = False
        return succeed(None)


class FakeReactor(MemoryReactor):
    """
    A reactor whose port 0 becomes 54321.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        """
        Pretend to listen.
        """
        super().listenTCP(port, factory, backlog, interface)
        self.ports.append(FakePort(IPv4Address("TCP", interface, port or 54321)))
        return self.ports[-1]


class Wire:
    """
    A client's connection to what C{reactor} listens for, in memory.
    """

    def __init__(self, reactor: FakeReactor) -> None:
        factory = reactor.tcpServers[-1][1]
        server = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 31337))
        self.client = AccumulatingProtocol()
        self._transport = FakeTransport(self.client, isServer=False)
        self._pump = connect(
            server, FakeTransport(server, isServer=True), self.client, self._transport
        )

    def send(self, data: bytes) -> None:
        """
        Send, and let the server see it.
        """
        self._transport.write(data)
        self._pump.flush()

    def post(self, body: bytes = b"{}", *headers: bytes) -> None:
        """
        Send a request.
        """
        if not any(each.lower().startswith(b"content-type:") for each in headers):
            headers = (b"Content-Type: application/json", *headers)
        lines = (b"POST /run HTTP/1.1", b"Host: executor", *headers)
        length = b"Content-Length: %d" % (len(body),)
        self.send(b"\r\n".join((*lines, length, b"", body)))

    def received(self) -> bytes:
        """
        What has come since this was last called.
        """
        self._pump.flush()
        data, self.client.data = self.client.data, b""
        return bytes(data)

    def reply(self) -> Reply:
        """
        The response that has come since.
        """
        return Reply.read(self.received())

    def hang_up(self) -> None:
        """
        Close the connection.
        """
        self._transport.loseConnection()
        self._pump.flush()

    @property
    def closed(self) -> bool:
        """
        Whether the server has closed it.
        """
        self._pump.flush()
        return bool(self.client.closed)


class Waiting:
    """
    A function whose results the test gives.
    """

    def __init__(self) -> None:
        self.results: list[Deferred[Any]] = []
        self.cancelled = 0

    def __call__(self, task: Task) -> Deferred[Any]:
        self.results.append(Deferred(self._cancel))
        return self.results[-1]

    def _cancel(self, result: Deferred[Any]) -> None:
        self.cancelled += 1


def returning(result: Any) -> Function:
    """
    A function with this result.
    """
    return lambda task: result


class Case(SynchronousTestCase):
    """
    Asks resources.
    """

    def ask(
        self,
        function: Function,
        body: bytes = b"{}",
        method: str = "POST",
        path: str = "/run",
        **options: Any,
    ) -> Reply:
        """
        Make one request, which is answered at once.
        """
        stub: Any = StubTreq(ExecutorResource(function, **options))
        url = f"http://executor{path}"
        requested = stub.request(method, url, data=body, headers=AS_JSON)
        return self.reply(stub, requested)

    def reply(self, stub: Any, requested: Deferred[Any]) -> Reply:
        """
        The response that has come.
        """
        response = self.successResultOf(requested)
        headers = {
            name.decode(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        content = self.successResultOf(stub.content(response))
        return Reply(response.code, content, headers)

    def logged(self) -> EventLoggingObserver:
        """
        What is logged from now on.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return observer


# -- The resource


class ResultTests(Case):
    """
    What a function returns is the answer.
    """

    def test_json(self) -> None:
        """
        A result is answered with 200, as compact JSON in UTF-8.
        """
        reply = self.ask(lambda task: {"name": "é", "list": [1, None]})
        self.assertEqual((reply.code, reply.kind), (200, JSON))
        self.assertEqual(reply.text, '{"name":"é","list":[1,null]}')

    def test_json_beyond_utf8(self) -> None:
        """
        Half a surrogate pair, which UTF-8 has not, is escaped.
        """
        reply = self.ask(lambda task: ["\ud83d"])
        self.assertEqual((reply.code, reply.body), (200, b'["\\ud83d"]'))

    def test_none(self) -> None:
        """
        None is answered with 204 and nothing else.
        """
        reply = self.ask(lambda task: None)
        self.assertEqual((reply.code, reply.body, reply.kind), (204, b"", None))

    def test_falsy(self) -> None:
        """
        What is false but not None is a result as any other.
        """
        for result, body in ((0, b"0"), (False, b"false"), ([], b"[]"), ("", b"")):
            reply = self.ask(returning(result))
            self.assertEqual((reply.code, reply.body), (200, body))

    def test_text(self) -> None:
        """
        A str is sent as it is, in UTF-8.
        """
        reply = self.ask(lambda task: '"é')
        self.assertEqual((reply.code, reply.kind, reply.text), (200, TEXT, '"é'))

    def test_bytes(self) -> None:
        """
        Bytes are sent as they are.
        """
        reply = self.ask(lambda task: b"\x00\xff")
        self.assertEqual((reply.code, reply.body), (200, b"\x00\xff"))
        self.assertEqual(reply.kind, "application/octet-stream")

    def test_task(self) -> None:
        """
        The function gets the task as a dict, whatever the path.
        """
        seen: list[Any] = []
        self.ask(seen.append, '{"url": "/é", "params": [1]}'.encode(), path="/a/b?c=d")
        self.assertEqual(seen, [{"url": "/é", "params": [1]}])

    def test_methods(self) -> None:
        """
        PUT and PATCH bring tasks as POST does.
        """
        for method in ("POST", "PUT", "PATCH"):
            reply = self.ask(lambda task: task, b'{"a": 1}', method)
            self.assertEqual((reply.code, reply.body), (200, b'{"a":1}'))

    def test_deferred(self) -> None:
        """
        A Deferred's result is waited for, and counted as active until then.
        """
        function = Waiting()
        resource = ExecutorResource(function)
        stub: Any = StubTreq(resource)
        requested = stub.post("http://executor/", data=b"{}", headers=AS_JSON)
        self.assertNoResult(requested)
        self.assertEqual(resource.active, 1)
        function.results[0].callback({"late": True})
        stub.flush()
        self.assertEqual(self.reply(stub, requested).body, b'{"late":true}')
        self.assertEqual(resource.active, 0)

    def test_coroutine(self) -> None:
        """
        So is a coroutine's.
        """

        async def function(task: Task) -> Any:
            return await succeed(task["params"])

        self.assertEqual(self.ask(function, b'{"params": 7}').body, b"7")


class _Lazy(dict[str, Any]):
    """
    A result that is looked up where it is written.
    """

    def items(self) -> Any:
        """
        It is not there.
        """
        raise KeyError("it is gone")


class FailureTests(Case):
    """
    A function that fails is answered with 500.
    """

    def ask_failing(self, error: BaseException) -> Reply:
        """
        Ask for what raises C{error}, and see it logged.
        """

        def function(task: Task) -> None:
            raise error

        reply = self.ask(function, b'{"uuid": "e2c6"}')
        (logged,) = self.flushLoggedErrors(type(error))
        self.assertIn("in function", logged.getTraceback())
        return reply

    def test_raises(self) -> None:
        """
        The error is logged with its traceback; the client gets one line of it.
        """
        reply = self.ask_failing(ValueError("the message"))
        self.assertEqual((reply.code, reply.kind), (500, TEXT))
        self.assertEqual(reply.text, "ValueError: the message")

    def test_named_in_log(self) -> None:
        """
        The log tells which task it was.
        """
        logged = self.logged()
        self.ask_failing(ValueError())
        (event,) = (e for e in logged if e.get("log_failure"))
        self.assertEqual(event["name"], "e2c6")

    def test_one_line(self) -> None:
        """
        An error's text of many lines becomes one, and a long one is cut.
        """
        reply = self.ask_failing(ValueError("one\ntwo\r\n  three"))
        self.assertEqual(reply.text, "ValueError: one two three")
        self.assertLess(len(self.ask_failing(ValueError("x" * 9999)).body), 1100)

    def test_no_text(self) -> None:
        """
        An error without text is named by its type alone.
        """
        self.assertEqual(self.ask_failing(KeyError()).text, "KeyError")

    def test_text_beyond_utf8(self) -> None:
        """
        An error's text that UTF-8 has no form for is escaped.
        """
        reply = self.ask_failing(LookupError("\ud83d"))
        self.assertEqual(reply.text, "LookupError: \\ud83d")
        # The log of the tests may fail to write it.
        self.flushLoggedErrors(UnicodeEncodeError)

    def test_unprintable(self) -> None:
        """
        An error that cannot even be shown is answered, too.
        """

        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        reply = self.ask_failing(Unprintable())
        self.assertEqual(reply.text, "Unprintable: (its text cannot be had)")

    def test_exit(self) -> None:
        """
        A function that exits, or was cancelled, has failed; the server goes on.
        """
        self.assertEqual(self.ask_failing(SystemExit(3)).text, "SystemExit: 3")
        reply = self.ask_failing(asyncio.CancelledError())
        self.assertEqual((reply.code, reply.text), (500, "CancelledError"))
        reply = self.ask_failing(GeneratorExit())
        self.assertEqual((reply.code, reply.text), (500, "GeneratorExit"))

    def test_deferred(self) -> None:
        """
        A Deferred that fails is a function that raises.
        """
        reply = self.ask(lambda task: fail(ValueError("late")))
        self.assertEqual((reply.code, reply.text), (500, "ValueError: late"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_result_has_no_form(self) -> None:
        """
        A result that JSON or UTF-8 cannot hold is answered with what it is.
        """
        circular: list[Any] = []
        circular.append(circular)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        results: list[tuple[Any, str]] = [
            (object(), "TypeError: Object of type object is not JSON serializable"),
            (float("nan"), "ValueError: Out of range float values"),
            (circular, "ValueError: Circular reference detected"),
            (deep, "ValueError: it is nested too deeply"),
            ("\ud83d", "UnicodeEncodeError: "),
            (_Lazy(a=1), "KeyError: 'it is gone'"),
        ]
        for result, why in results:
            reply = self.ask(returning(result))
            self.assertEqual((reply.code, reply.kind), (500, TEXT))
            expected = f"the function's result cannot be sent: {why}"
            self.assertEqual(reply.text[: len(expected)], expected)

    def test_counted(self) -> None:
        """
        A failed call is no longer active.
        """
        resource = ExecutorResource(lambda task: fail(ValueError()))
        stub: Any = StubTreq(resource)
        stub.post("http://executor/", data=b"{}", headers=AS_JSON)
        self.flushLoggedErrors(ValueError)
        self.assertEqual(resource.active, 0)


class RefusalTests(Case):
    """
    What is no task does not reach the function.
    """

    def refused(self, *args: Any, **options: Any) -> Reply:
        """
        The answer to a request that must not call the function.
        """
        called: list[Task] = []
        reply = self.ask(called.append, *args, **options)
        self.assertEqual(called, [])
        return reply

    def test_not_json(self) -> None:
        """
        A body that is not JSON is answered with 400, and what is wrong with it.
        """
        for body in (b"", b"[1", b'"\xff"', b"[NaN]"):
            reply = self.refused(body)
            self.assertEqual((reply.code, reply.kind), (400, TEXT))
            self.assertTrue(reply.text.startswith("the body is not JSON in UTF-8: "))

    def test_too_deep(self) -> None:
        """
        So is JSON nested too deeply to be read.
        """
        reply = self.refused(b"[" * 100_000)
        self.assertEqual(reply.code, 400)
        self.assertEqual(
            reply.text, "the body is JSON nested too deeply: more than 400 levels"
        )

    def test_no_object(self) -> None:
        """
        So is JSON that is no object.
        """
        for body in (b"[]", b"1", b"null", b'"text"'):
            reply = self.refused(body)
            self.assertEqual((reply.code, reply.kind), (400, TEXT))
            self.assertIn("a task is an object", reply.text)

    def test_method(self) -> None:
        """
        Another method is answered with 405 and the ones that are right.
        """
        for method in ("GET", "DELETE", "OPTIONS", "BREW"):
            reply = self.refused(method=method)
            self.assertEqual(reply.code, 405)
            self.assertEqual(reply.headers["Allow"], "POST, PUT, PATCH")
            self.assertIn(method, reply.text)

    def test_head(self) -> None:
        """
        HEAD is answered likewise, without a body.
        """
        reply = self.refused(b"", "HEAD")
        self.assertEqual((reply.code, reply.body), (405, b""))

    def test_too_large(self) -> None:
        """
        A body beyond the limit is answered with 413 by any site.
        """
        limits = ExecutorLimits(body=7)
        self.assertEqual(self.ask(len, b'{"a":1}', limits=limits).code, 200)
        reply = self.refused(b'{"a": 1}', limits=limits)
        self.assertEqual((reply.code, reply.kind), (413, TEXT))
        self.assertIn("larger than 7 bytes", reply.text)


# -- The service


class ServiceCase(Case):
    """
    Starts services.
    """

    def setUp(self) -> None:
        """
        There is a reactor.
        """
        self.reactor = FakeReactor()

    def start(self, function: Function, **options: Any) -> ExecutorService:
        """
        A service that listens.
        """
        service = ExecutorService(function, reactor=self.reactor, **options)
        service.startService()
        return service


class HangUpTests(ServiceCase):
    """
    A client that hangs up before the answer.
    """

    def setUp(self) -> None:
        """
        A task is running whose client is gone.
        """
        super().setUp()
        self.function = Waiting()
        self.service = self.start(self.function)
        wire = Wire(self.reactor)
        wire.post(b'{"uuid": "e2c6"}')
        wire.hang_up()

    def test_goes_on(self) -> None:
        """
        The function goes on, and is counted, until it ends.
        """
        self.assertEqual(self.function.cancelled, 0)
        self.assertEqual(self.service.resource.active, 1)
        self.function.results[0].callback({"sum": 3})
        self.assertEqual(self.service.resource.active, 0)

    def test_logged(self) -> None:
        """
        That a result goes nowhere is logged.
        """
        logged = self.logged()
        self.function.results[0].callback({"sum": 3})
        (event,) = (e for e in logged if "Nobody waits" in (e["log_format"] or ""))
        self.assertEqual(event["name"], "e2c6")

    def test_fails(self) -> None:
        """
        When the function fails then, its error is logged, once.
        """
        self.function.results[0].errback(ValueError("late"))
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.service.resource.active, 0)


class BodyTests(ServiceCase):
    """
    How the executor's own site takes bodies.
    """

    def setUp(self) -> None:
        """
        At most ten bytes are taken.
        """
        super().setUp()
        self.tasks: list[Task] = []
        self.start(self.tasks.append, limits=ExecutorLimits(body=10))
        self.wire = Wire(self.reactor)

    def test_within(self) -> None:
        """
        A body of as many bytes as the limit is taken, and the connection kept.
        """
        for _ in range(2):
            self.wire.post(b'{"abc": 1}')
            self.assertEqual(self.wire.reply().code, 204)
        self.assertEqual(self.tasks, [{"abc": 1}] * 2)
        self.assertFalse(self.wire.closed)

    def test_announced(self) -> None:
        """
        One that is announced to be longer is refused before it comes.
        """
        self.wire.send(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n")
        reply = self.wire.reply()
        self.assertEqual((reply.code, reply.kind), (413, TEXT))
        self.assertEqual(reply.headers["Connection"], "close")
        self.assertIn("larger than 10 bytes", reply.text)

    def test_read_to_its_end(self) -> None:
        """
        It may still be sent, unseen; then the connection is closed.
        """
        self.wire.send(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n")
        self.wire.received()
        self.wire.send(b'{"abc":')
        self.assertFalse(self.wire.closed)
        self.wire.send(b" 12}")
        self.assertTrue(self.wire.closed)
        self.assertEqual((self.wire.received(), self.tasks), (b"", []))

    def test_not_continued(self) -> None:
        """
        A client that asks first is not told to go on.
        """
        lines = b"POST / HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
        self.wire.send(lines % (11,))
        data = self.wire.received()
        self.assertEqual(Reply.read(data).code, 413)
        self.assertNotIn(b"100 Continue", data)
        other = Wire(self.reactor)
        other.send(lines % (10,))
        self.assertEqual(other.reply().code, 100)

    def test_chunked(self) -> None:
        """
        One whose length is not announced is refused once it is too long.
        """
        self.wire.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.wire.send(b"8\r\n{       \r\n")
        self.assertEqual(self.wire.received(), b"")
        self.wire.send(b"3\r\n   \r\n")
        self.assertEqual(self.wire.reply().code, 413)
        self.wire.send(b"9\r\n         \r\n0\r\n\r\n")
        self.assertTrue(self.wire.closed)
        self.assertEqual((self.wire.received(), self.tasks), (b"", []))

    def test_refused_client_hangs_up(self) -> None:
        """
        A client that is refused may hang up without more ado.
        """
        self.wire.send(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n")
        self.wire.hang_up()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_never_a_form(self) -> None:
        """
        A body is read as JSON also when its type says it were a form, which is refused
        unless it is signed.
        """
        secret = SharedSecret.generate()
        self.start(self.tasks.append, verifier=Verifier([secret]))
        signed = Wire(self.reactor)
        headers = Signer([secret]).headers("u", b'{"abc": 1}').items()
        lines = [f"{name}: {value}".encode() for name, value in headers]
        for kind in (b"multipart/form-data", b"application/x-www-form-urlencoded"):
            self.wire.post(b'{"abc": 1}', b"Content-Type: " + kind)
            self.assertEqual(self.wire.reply().code, 415)
        signed.post(b'{"abc": 1}', b"Content-Type: " + kind, *lines)
        self.assertEqual(signed.reply().code, 204)
        self.assertEqual(self.tasks, [{"abc": 1}])


class StartTests(ServiceCase):
    """
    L{ExecutorService} begins.
    """

    def test_listens(self) -> None:
        """
        It listens where it is told, and tells the port it got.
        """
        service = self.start(len, port=0, interface="192.0.2.1")
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (0, "192.0.2.1"))
        self.assertEqual(service.port_number, 54321)

    def test_only_here(self) -> None:
        """
        Unless told otherwise it listens at port 8000, for this machine alone.
        """
        self.start(len)
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8000, "127.0.0.1"))

    def test_privileged(self) -> None:
        """
        It listens before privileges are given up, and only once.
        """
        service = ExecutorService(len, reactor=self.reactor)
        service.privilegedStartService()
        self.assertEqual(len(self.reactor.ports), 1)
        service.startService()
        self.assertEqual(len(self.reactor.ports), 1)

    def test_quiet(self) -> None:
        """
        Neither the start of its factory nor a request is logged.
        """
        self.start(len)
        factory: Any = self.reactor.tcpServers[-1][1]
        logged = self.logged()
        factory.doStart()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        wire = Wire(self.reactor)
        wire.post()
        self.assertEqual(wire.reply().body, b"0")
        factory.doStop()
        self.assertEqual(list(logged), [])

    def test_idle_connection(self) -> None:
        """
        A connection on which nothing comes is closed after a minute.
        """
        self.start(len)
        wire = Wire(self.reactor)
        self.reactor.advance(61)
        self.assertTrue(wire.closed)


class StopTests(ServiceCase):
    """
    L{ExecutorService} ends.
    """

    def setUp(self) -> None:
        """
        A service runs one call; another connection is idle.
        """
        super().setUp()
        self.function = Waiting()
        self.service = self.start(self.function, grace=30.0)
        self.busy, self.idle = Wire(self.reactor), Wire(self.reactor)
        self.busy.post()

    def end(self, stopped: Deferred[None]) -> None:
        """
        Answer the running call, which the service has waited for.

        A service that is still stopping must not be left to the garbage collector: a
        call that ends as garbage wakes it, and it may be garbage already.
        """
        self.assertNoResult(stopped)
        self.function.results[0].callback(None)
        self.assertEqual(self.busy.reply().code, 204)
        self.assertTrue(self.busy.closed)
        self.assertTrue(self.idle.closed)
        self.successResultOf(stopped)

    def test_idle_service(self) -> None:
        """
        With nothing to wait for it stops at once.
        """
        service = self.start(len)
        self.successResultOf(service.stopService())
        self.assertFalse(self.reactor.ports[-1].listening)
        self.assertEqual(service.running, 0)

    def test_finishes(self) -> None:
        """
        It listens no more, and waits for the running call to be answered.
        """
        stopped = self.service.stopService()
        self.assertFalse(self.reactor.ports[-1].listening)
        self.reactor.advance(29)
        self.assertNoResult(stopped)
        self.function.results[0].callback({"sum": 3})
        reply = self.busy.reply()
        self.assertEqual((reply.code, reply.body), (200, b'{"sum":3}'))
        self.assertEqual(reply.headers["Connection"], "close")
        self.assertTrue(self.idle.closed)
        self.successResultOf(stopped)

    def test_sent(self) -> None:
        """
        It waits until the answer is on its way, not only written.
        """
        stopped = self.service.stopService()
        self.function.results[0].callback(None)
        self.assertNoResult(stopped)
        self.assertTrue(self.busy.closed)
        self.assertTrue(self.idle.closed)
        self.successResultOf(stopped)

    def test_refuses(self) -> None:
        """
        A new request is answered with 503, and its connection closed.
        """
        stopped = self.service.stopService()
        self.idle.post()
        reply = self.idle.reply()
        self.assertEqual((reply.code, reply.kind), (503, TEXT))
        self.assertEqual(reply.headers["Connection"], "close")
        self.assertTrue(self.idle.closed)
        self.assertEqual(len(self.function.results), 1)
        self.end(stopped)

    def test_grace(self) -> None:
        """
        A call that does not end in time is left behind, which is logged.
        """
        logged = self.logged()
        stopped = self.service.stopService()
        self.reactor.advance(30)
        self.successResultOf(stopped)
        (event,) = (e for e in logged if "still running" in (e["log_format"] or ""))
        self.assertEqual((event["active"], event["grace"]), (1, 30.0))
        self.function.results[0].callback(None)
        self.assertEqual(self.busy.reply().code, 204)

    def test_client_gone(self) -> None:
        """
        A call whose client is gone is waited for like any other.
        """
        self.busy.hang_up()
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.function.results[0].callback(None)
        self.assertTrue(self.idle.closed)
        self.successResultOf(stopped)

    def test_again(self) -> None:
        """
        It can be started again, at the same port.
        """
        stopped = self.service.stopService()
        self.end(stopped)
        self.service.startService()
        self.assertEqual(self.reactor.tcpServers[-1][0], 8000)
        wire = Wire(self.reactor)
        wire.post()
        self.function.results[-1].callback("back")
        self.assertEqual(wire.reply().text, "back")

    def test_again_meanwhile(self) -> None:
        """
        Started again before its calls have ended, it closes the connections that it had
        when it was stopped, and no others.
        """
        stopped = self.service.stopService()
        self.service.startService()
        wire = Wire(self.reactor)
        self.end(stopped)
        wire.post()
        self.function.results[-1].callback("back")
        self.assertEqual((wire.reply().text, wire.closed), ("back", False))


# -- The twistd plugin


class OptionsTests(SynchronousTestCase):
    """
    What C{twistd quexecutor} takes.
    """

    def parse(self, *args: str) -> Options:
        """
        Parse these, and a function.
        """
        options = Options()
        options.parseOptions([*args, "--function=json.dumps"])
        return options

    def wrong(self, *args: str) -> str:
        """
        What is said of options that are wrong.
        """
        return str(self.assertRaises(UsageError, Options().parseOptions, args))

    def test_defaults(self) -> None:
        """
        The function is enough.
        """
        options = self.parse()
        self.assertIsInstance(options["runner"], InReactor)
        self.assertEqual((options["port"], options["grace"]), (8000, 30.0))
        self.assertEqual(options["interface"], "127.0.0.1")
        self.assertIsNone(options["with_syslog_prefix"])

    def test_given(self) -> None:
        """
        What is given is used.
        """
        options = self.parse(
            "--port=80", "--interface=::", "--grace=1.5", "--with_syslog_prefix=exe"
        )
        self.assertEqual((options["port"], options["grace"]), (80, 1.5))
        self.assertEqual(options["interface"], "::")
        self.assertEqual(options["with_syslog_prefix"], "exe")

    def test_no_function(self) -> None:
        """
        Without a function one is told what is missing.
        """
        self.assertIn("--function is missing", self.wrong())

    def test_wrong_function(self) -> None:
        """
        A function that is not there, or is none, is named with its option.
        """
        said = self.wrong("--function=json.no_such")
        self.assertEqual(said, "--function=json.no_such: json has no no_such")
        said = self.wrong("--function=json.__name__")
        self.assertEqual(said, "--function=json.__name__ must be a function, not str")

    def test_wrong_port(self) -> None:
        """
        A port that is none is named, and what would be right.
        """
        for port in ("http", "-1", "65536", "²", ""):
            said = self.wrong(f"--port={port}", "--function=json.dumps")
            self.assertEqual(said, f"--port={port} must be a number from 0 to 65535")

    def test_wrong_grace(self) -> None:
        """
        So is a grace that is no time.
        """
        for grace in ("soon", "-1", "nan", "inf"):
            said = self.wrong(f"--grace={grace}", "--function=json.dumps")
            expected = f"--grace={grace} must be a number of seconds, 0 or more"
            self.assertEqual(said, expected)

    def test_help(self) -> None:
        """
        The help names each option as it is to be written.
        """
        text = str(Options())
        for option in ("function", "port", "interface", "grace", "with_syslog_prefix"):
            self.assertIn(f"--{option}=", text)


class MakeServiceTests(SynchronousTestCase):
    """
    What C{twistd quexecutor} starts.
    """

    def setUp(self) -> None:
        """
        SIGTERM's handler is put back in the end.
        """
        handler = signal.getsignal(signal.SIGTERM)
        self.addCleanup(signal.signal, signal.SIGTERM, handler)
        self.options = Options()

    def start(self, *args: str) -> ProcessService:
        """
        Start what these options ask for.
        """
        self.options.parseOptions([*args, "--function=json.dumps"])
        before = signal.getsignal(signal.SIGTERM)
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        service = ProcessService(self.options, FakeReactor())
        service.privilegedStartService()
        service.startService()
        self.addCleanup(maybeDeferred, service.stopService)
        return service

    def test_makes(self) -> None:
        """
        It makes a service, and touches no reactor.
        """
        self.options.parseOptions(["--function=json.dumps", "--port=0"])
        service = makeService(self.options)
        self.assertFalse(service.running)
        self.assertEqual(service.executor.port_number, 0)

    def test_starts(self) -> None:
        """
        Its executor listens as the options say, and answers.
        """
        service = self.start("--port=8123", "--interface=::1")
        reactor = service.executor.reactor
        ((port, _, _, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (8123, "::1"))
        wire = Wire(reactor)
        wire.post(b'{"a": 1}')
        self.assertEqual(wire.reply().text, '{"a": 1}')

    def test_sigterm(self) -> None:
        """
        It sees to the end of the process when it listens, and again when the reactor
        has put its own handler in place.
        """
        before = signal.getsignal(signal.SIGTERM)
        reactor = self.start().executor.reactor
        self.assertNotEqual(signal.getsignal(signal.SIGTERM), before)
        signal.signal(signal.SIGTERM, before)
        reactor.run()
        self.assertNotEqual(signal.getsignal(signal.SIGTERM), before)

    def test_syslog(self) -> None:
        """
        It logs to syslog, too, if asked, from its start on.
        """
        begun: list[str] = []
        log = staticmethod(lambda prefix, level: begun.append(prefix))
        self.patch(_options, "log_to_syslog", log)
        self.start()
        self.assertEqual(begun, [])
        self.start("--with_syslog_prefix=exe")
        self.assertEqual(begun, ["exe"])


class FaceTests(SynchronousTestCase):
    """
    What L{quebert.executor} offers.
    """

    def test_exports(self) -> None:
        """
        It offers what it says, and what twistd looks for.
        """
        for name in executor.__all__:
            self.assertTrue(hasattr(executor, name), name)
        self.assertLessEqual({"Options", "makeService"}, set(executor.__all__))


def imported(path: Path) -> Any:
    """
    The module in a file.
    """
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@skipUnless(EXAMPLE.exists(), "without its examples")
class ExampleTests(Case):
    """
    The example does what it says.
    """

    def setUp(self) -> None:
        """
        Import it.
        """
        self.example = imported(EXAMPLE)
        self.example.print = lambda *args: None

    def test_hello(self) -> None:
        """
        It greets.
        """
        body = b'{"url": "http://localhost:8000/hello", "params": {"name": "you"}}'
        reply = self.ask(self.example.execute, body)
        self.assertEqual((reply.code, reply.body), (200, b'{"said":"hello, you"}'))

    def test_nap(self) -> None:
        """
        It sleeps as long as it is told, without the others.
        """
        clock, task = Clock(), {"params": {"seconds": 5}}
        one = self.example.nap(task, clock)
        two = Deferred.fromCoroutine(self.example.two_naps(task, clock))
        clock.advance(5)
        self.assertEqual(self.successResultOf(one), "slept well\n")
        self.assertNoResult(two)
        clock.advance(5)
        self.successResultOf(two)

    def test_fail(self) -> None:
        """
        It fails.
        """
        reply = self.ask(self.example.execute, b'{"url": "/fail", "failures": 1}')
        self.assertEqual(reply.text, "RuntimeError: this is failure number 2")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
