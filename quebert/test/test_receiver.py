"""
Tests for L{quebert.functions.Receiver}, and for the two web servers that have it:
L{quebert.functions.wsgi} and L{quebert.functions.asgi}, without sockets.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.functions import (
    AnsweredError,
    ExecutorAnswer,
    Functions,
    GiveUp,
    ReceivedTask,
    Receiver,
    RequestRefused,
)
from quebert.functions.asgi import ASGIExecutor
from quebert.functions.calling import log
from quebert.functions.wsgi import WSGIExecutor
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task import Task

SECRET = SharedSecret(b"r" * 32)
BODY = b'{"url":"/x","uuid":"u-1","params":[1]}'
JSON = {"Content-Type": "application/json", "Host": "localhost:8000"}
#: How much a small receiver takes.
MOST = 100


def echo(task: ReceivedTask) -> object:
    """
    Its params, and what the request told.
    """
    return [task.get("params"), task.path, task.attempt]


async def echo_async(task: ReceivedTask) -> object:
    """
    Likewise.
    """
    await asyncio.sleep(0)
    return echo(task)


def functions() -> Functions:
    """
    Of some paths.
    """
    found = Functions()
    found.add(echo, "/x")
    found.add(echo_async, "/a/é")
    return found


class ReceiverTests(SynchronousTestCase):
    """
    L{Receiver.receive}.
    """

    def refused(
        self, status: int, said: str, method: str, headers: Any, body: bytes = BODY
    ) -> ExecutorAnswer:
        """
        Expect a request to be refused.
        """
        receiver = Receiver(max_body=MOST)
        error = self.assertRaises(
            RequestRefused, receiver.receive, method, headers, body
        )
        self.assertEqual(error.answer.status, status)
        self.assertIn(said, str(error))
        answer: ExecutorAnswer = error.answer
        return answer

    def test_received(self) -> None:
        """
        Headers may be a mapping or pairs; capitals make no difference.
        """
        receiver = Receiver()
        capitals = {k.upper(): v for k, v in JSON.items()}
        for headers in (JSON, list(JSON.items()), capitals):
            for method in ("POST", "PUT", "PATCH"):
                given = receiver.receive(method, headers, BODY, "/x")
                self.assertEqual((given["params"], given.path), ([1], "/x"))

    def test_refused(self) -> None:
        """
        Each reason has its status and its sentence.
        """
        answer = self.refused(405, "not by GET", "GET", JSON)
        self.assertIn(("Allow", "POST, PUT, PATCH"), answer.headers)
        self.refused(413, "larger than 100 bytes", "POST", JSON, b"[" * 101)
        self.refused(415, "Content-Type: application/json", "POST", {})
        page = {**JSON, "Origin": "http://x"}
        self.refused(403, "comes from a web page", "POST", page)
        site = {**JSON, "Host": "evil.example"}
        self.refused(421, "evil.example: hosts=[NAME] allows", "POST", site)
        self.refused(400, "is not JSON", "POST", JSON, b"{")
        self.refused(400, "a task is an object", "POST", JSON, b"[]")
        self.refused(405, "not by " + "X" * 20, "X" * 10_000, JSON)

    def test_hosts(self) -> None:
        """
        The names of hosts can be allowed.
        """
        receiver = Receiver(hosts=["tasks.example"])
        receiver.receive("POST", {**JSON, "Host": "tasks.example:80"}, BODY)

    def test_signed(self) -> None:
        """
        With secrets, in a file or not, or a verifier, a signature is needed, and does.
        """
        path = Path(self.mktemp())
        path.write_text(f"{SECRET.text}\n")
        for receiver in (
            Receiver(secrets_file=path),
            Receiver(secrets=[SECRET.text]),
            Receiver(verifier=Verifier([SECRET])),
        ):
            error = self.assertRaises(
                RequestRefused, receiver.receive, "POST", JSON, BODY
            )
            scheme = ("WWW-Authenticate", "Standard-Webhooks")
            self.assertEqual(error.answer.status, 401)
            self.assertIn(scheme, error.answer.headers)
            headers = Signer([SECRET]).headers("u-1", BODY)
            given = receiver.receive("POST", headers, BODY)
            self.assertEqual(given["uuid"], "u-1")
            again = self.assertRaises(
                RequestRefused, receiver.receive, "POST", headers, BODY
            )
            self.assertIn("was here before", str(again))

    def test_settings(self) -> None:
        """
        They are checked when it is made.
        """
        self.assertRaises(ConfigError, Receiver, secrets_file="/nowhere/secret")
        self.assertRaises(ConfigError, Receiver, secrets=[])
        self.assertRaises(ConfigError, Receiver, secrets=[SECRET], secrets_file="x")
        self.assertRaises(ConfigError, Receiver, hosts="tasks.example")
        self.assertRaises(ConfigError, Receiver, hosts=["x"], secrets=[SECRET])
        for wrong in (-1, True, "1"):
            error = self.assertRaises(ConfigError, Receiver, max_body=wrong)
            self.assertIn("max_body must be", str(error))

    def test_answer(self) -> None:
        """
        What comes of a request is one answer, be it refused, done or given up; what is
        refused is logged.
        """

        def given_up(task: Task) -> None:
            raise GiveUp("never")

        receiver, headers = Receiver(), list(JSON.items())
        for function, body, status in (
            (echo, BODY, 200),
            (given_up, BODY, 422),
            (echo, b"{", 400),
        ):
            asked = (function, "POST", headers, body)
            with self.assertLogs("quebert.functions") as logged:
                log.info("so that there is one")
                one = receiver.answer(*asked)
                other = asyncio.run(receiver.answer_async(*asked))
            self.assertEqual((one, one.status), (other, status))
            lines = [r.getMessage() for r in logged.records if r.levelname != "INFO"]
            self.assertEqual(len(lines), 2 if status == 400 else 0)
            for line in lines:
                self.assertIn("A request was refused: 400: the body is not", line)

    def test_where(self) -> None:
        """
        In a loop, large bodies are read and functions called in threads, and coroutine
        functions in the loop.
        """
        threads: list[threading.Thread] = []

        def function(task: Task) -> None:
            threads.append(threading.current_thread())

        async def coroutine(task: Task) -> None:
            threads.append(threading.current_thread())

        body = b'{"params":"%b"}' % (b"x" * 2**19)
        for each in (function, coroutine):
            answering = Receiver().answer_async(each, "POST", JSON, body)
            self.assertEqual(asyncio.run(answering).status, 204)
        main = [each is threading.main_thread() for each in threads]
        self.assertEqual(main, [False, True])


class Cases:
    """
    Requests, whatever the server.
    """

    receiver = Receiver(max_body=MOST)

    def ask(
        self,
        path: str = "/x",
        body: bytes = BODY,
        headers: Iterable[tuple[str, str]] = tuple(JSON.items()),
        method: str = "POST",
    ) -> ExecutorAnswer:
        """
        The answer to a request.
        """
        raise NotImplementedError

    def check(self, answer: ExecutorAnswer, status: int, body: str) -> None:
        """
        Expect an answer, with the length of its body.
        """
        case: Any = self
        case.assertEqual((answer.status, answer.body.decode()), (status, body))
        lengths = [v for k, v in answer.headers if k.lower() == "content-length"]
        expected = [] if status == 204 else [str(len(answer.body))]
        case.assertEqual(lengths, expected)

    def setUp(self) -> None:
        """
        Refusals are not of interest here.
        """
        case: Any = self
        case.patch(log, "disabled", True)

    def test_done(self) -> None:
        """
        A function, and a coroutine function, with the path and the attempt.
        """
        headers = [*JSON.items(), ("Quebert-Attempt", "3")]
        answer = self.ask("/x", BODY, headers)
        self.check(answer, 200, '[[1],"/x",3]')
        self.check(self.ask("/a/é"), 200, '[[1],"/a/é",1]')

    def test_refused(self) -> None:
        """
        A path without a function, a wrong type, no JSON, and a method that brings no
        tasks.
        """
        said = "no function does tasks at /y: there is /a/é, /x"
        self.check(self.ask("/y"), 404, said)
        plain = [("Content-Type", "text/plain")]
        answer = self.ask(headers=plain)
        said = "a task must have the header Content-Type: application/json"
        self.check(answer, 415, said)
        said = "a task comes by POST, PUT or PATCH, not by GET"
        answer = self.ask(body=b"", method="GET")
        self.check(answer, 405, said)

    def test_large(self) -> None:
        """
        A body that is too large is read on, so that the client gets its answer, but not
        for ever.
        """
        said = "the body is larger than 100 bytes, the most that is taken"
        self.check(self.ask(body=b"x" * 100), 400, self.ask(body=b"x").body.decode())
        for size in (101, 150, 201, 1_000):
            self.check(self.ask(body=b"x" * size), 413, said)


class WSGITests(Cases, SynchronousTestCase):
    """
    L{WSGIExecutor}.
    """

    def ask(
        self,
        path: str = "/x",
        body: bytes = BODY,
        headers: Iterable[tuple[str, str]] = tuple(JSON.items()),
        method: str = "POST",
        **environ: Any,
    ) -> ExecutorAnswer:
        """
        The answer to a request, which keeps to the standard.
        """
        executor = WSGIExecutor(self.receiver, functions())
        return self.answered(executor, path, body, headers, method, **environ)

    def answered(
        self,
        executor: WSGIExecutor,
        path: str,
        body: bytes,
        headers: Iterable[tuple[str, str]],
        method: str,
        **more: Any,
    ) -> ExecutorAnswer:
        """
        The answer of an executor.
        """
        self.stream = io.BytesIO(body)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "PATH_INFO": path.encode().decode("latin-1"),
            "SERVER_NAME": "h",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self.stream,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        environ |= more
        started: list[Any] = []

        def start(status: str, fields: Any, error: Any = None) -> Any:
            started.extend([int(status.split()[0]), tuple(fields)])
            return lambda data: None

        # The validator does not know that a HEAD has headers of a body, and none.
        is_odd = method == "HEAD" or not re.fullmatch(r"\d*", environ["CONTENT_LENGTH"])
        checked: Any = executor if is_odd else validator(executor)
        pieces = checked(environ, start)
        found = b"".join(pieces)
        if hasattr(pieces, "close"):
            pieces.close()
        return ExecutorAnswer(started[0], found, started[1])

    def test_bodies(self) -> None:
        """
        One in chunks is read to its end; one that has no length is none; one that is
        shorter than it says is refused.
        """
        chunked: dict[str, Any] = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
        self.check(self.ask(**chunked), 200, '[[1],"/x",1]')
        self.assertEqual(self.ask(CONTENT_LENGTH="").status, 400)
        for length in ("-1", "\u0663", "x"):
            self.assertEqual(self.ask(CONTENT_LENGTH=length).status, 400)
        said = "the body is shorter than its Content-Length, or was read before"
        self.check(self.ask(CONTENT_LENGTH="50"), 400, said)
        self.check(self.ask(CONTENT_LENGTH="9" * 4_000), 400, said)

    def test_read_on(self) -> None:
        """
        Of a body that is too large, as many bytes again are read.
        """
        self.ask(body=b"x" * 10_000)
        self.assertEqual(self.stream.tell(), 10_000)
        many = Receiver(max_body=100_000)
        executor = WSGIExecutor(many, functions())
        self.answered(executor, "/x", b"x" * 10**6, JSON.items(), "POST")
        self.assertTrue(200_000 < self.stream.tell() < 300_000)

    def test_broken(self) -> None:
        """
        A connection that breaks is no error, nor are chunks that are none.
        """

        class Broken(io.BytesIO):
            error: Exception

            def read(self, size: Any = None) -> bytes:
                raise self.error

        for Broken.error in (ConnectionResetError("gone"), ValueError("of a server")):
            broken: dict[str, Any] = {"wsgi.input": Broken()}
            said = f"the body cannot be read: {type(Broken.error).__name__}"
            self.check(self.ask(**broken), 400, said)

    def test_odd_status(self) -> None:
        """
        A function may answer with a status that has no name.
        """
        given = ExecutorAnswer(299, b"x", (("Content-Type", "text/plain"),))
        executor = WSGIExecutor(self.receiver, lambda task: AnsweredError(given))
        answer = self.answered(executor, "/x", BODY, tuple(JSON.items()), "POST")
        self.assertEqual((answer.status, answer.body), (299, b"x"))

    def test_head(self) -> None:
        """
        A HEAD has no body.
        """
        answer = self.ask(body=b"", method="HEAD")
        self.assertEqual((answer.status, answer.body), (405, b""))

    def test_prefix(self) -> None:
        """
        In a view, the path begins with that of the view.
        """
        for prefix in ("/tasks", "/tasks/"):
            executor = WSGIExecutor(self.receiver, functions(), prefix=prefix)
            for path, status in (
                ("/tasks/x", 200),
                ("/tasks", 404),
                ("/tasks/", 404),
                ("/tasksx/x", 404),
            ):
                answer = self.answered(executor, path, BODY, JSON.items(), "POST")
                self.assertEqual(answer.status, status, path)


class ASGITests(Cases, SynchronousTestCase):
    """
    L{ASGIExecutor}.
    """

    def ask(
        self,
        path: str = "/x",
        body: bytes = BODY,
        headers: Iterable[tuple[str, str]] = tuple(JSON.items()),
        method: str = "POST",
        root: str = "",
    ) -> ExecutorAnswer:
        """
        The answer to a request whose body comes in pieces.
        """
        pieces = [body[n : n + 7] for n in range(0, len(body), 7)] or [b""]
        events = [
            {"type": "http.request", "body": p, "more_body": True} for p in pieces
        ]
        events[-1]["more_body"] = False
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": root,
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        }
        start, end = self.run_app(scope, events)
        fields = [(k.decode(), v.decode("latin-1")) for k, v in start["headers"]]
        self.assertTrue(all(name.islower() for name, _ in fields))
        return ExecutorAnswer(start["status"], end["body"], tuple(fields))

    def run_app(self, scope: Any, events: Iterable[Any]) -> list[Any]:
        """
        What is sent.
        """
        self.coming = iter(events)
        sent: list[Any] = []

        async def receive() -> Any:
            return next(self.coming)

        async def send(event: Any) -> None:
            sent.append(event)

        executor = ASGIExecutor(self.receiver, functions())
        asyncio.run(executor(scope, receive, send))
        return sent

    def test_read_on(self) -> None:
        """
        Of a body that is too large, as many bytes again are read.
        """
        self.ask(body=b"x" * 1_000)
        rest = sum(len(each["body"]) for each in self.coming)
        self.assertTrue(700 < rest < 800, rest)

    def test_mounted(self) -> None:
        """
        The path is that below the mount.
        """
        for root, path, status in (
            ("/tasks", "/tasks/x", 200),
            ("/tasks/", "/tasks/x", 200),
            ("/tasks", "/x", 200),  # as older servers have it
            ("/tasks", "/tasks", 404),
            ("/tasks", "/tasksx/x", 404),
        ):
            self.assertEqual(self.ask(path, root=root).status, status, (root, path))

    def test_gone(self) -> None:
        """
        A client that hangs up before its body has come gets no answer.
        """
        gone = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]
        scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
        self.assertEqual(self.run_app(scope, gone), [])

    def test_lifespan(self) -> None:
        """
        Alone in a server, it starts and ends.
        """
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = self.run_app({"type": "lifespan"}, events)
        kinds = [each["type"] for each in sent]
        expected = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        self.assertEqual(kinds, expected)

    def test_other_scopes(self) -> None:
        """
        A web socket is closed; anything else is an error of the server.
        """
        sent = self.run_app({"type": "websocket"}, [])
        self.assertEqual(sent, [{"type": "websocket.close"}])
        self.assertRaises(ValueError, self.run_app, {"type": "other"}, [])
