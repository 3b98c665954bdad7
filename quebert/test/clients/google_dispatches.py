"""
A suite for google-cloud-tasks, as C{google_python} is: tasks reach their handler.

The handler is a web server of this suite, which the mediators of the server reach.
"""

from __future__ import annotations

import os
import threading
import time
import unittest
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from google.api_core import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from google_python import Google  # type: ignore[import-not-found]

#: Seconds: far more than anything takes.
PATIENCE = 60.0
_GONE = (
    "The task no longer exists, though a task with this name existed recently. The task"
    " either successfully completed or was deleted."
)
#: Headers that say which attempt it is, and their names in a test.
_ATTEMPT = {
    "retry": "X-CloudTasks-TaskRetryCount",
    "execution": "X-CloudTasks-TaskExecutionCount",
    "previous": "X-CloudTasks-TaskPreviousResponse",
    "reason": "X-CloudTasks-TaskRetryReason",
}


class Arrival:
    """
    A request that has come to the handler.

    @ivar at: when, in seconds since the epoch.
    @ivar headers: by their names in lower case.
    """

    def __init__(self, request: BaseHTTPRequestHandler) -> None:
        self.at = time.time()
        self.method = request.command
        self.headers = {k.lower(): v for k, v in request.headers.items()}
        length = int(self.headers.get("content-length", 0))
        self.body = request.rfile.read(length)

    @property
    def attempt(self) -> dict[str, str]:
        """
        Which attempt it is.
        """
        headers = self.headers
        return {
            k: headers[v.lower()] for k, v in _ATTEMPT.items() if v.lower() in headers
        }


class Handler:
    """
    A web server, which answers paths as C{answers} says.

    @ivar answers: what is called for the requests of a path, and gives the status; 200
        for others.
    @ivar arrivals: the requests of each path.
    @ivar now: how many requests of a path are under way, and C{most} at most.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], int]] = {}
        self.arrivals: dict[str, list[Arrival]] = {}
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self._lock = threading.Lock()
        handler = self

        class Answering(BaseHTTPRequestHandler):
            def answer(self) -> None:
                """
                Answer a request.
                """
                status = handler.answer(self.path, Arrival(self))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                """
                No access log.
                """

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                """
                A client that has gone is none.
                """

        self._server = Server(("127.0.0.1", 0), Answering)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """
        Where it is, without a slash at the end.
        """
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, arrival: Arrival) -> int:
        """
        The status of the answer.
        """
        with self._lock:
            self.arrivals.setdefault(path, []).append(arrival)
            self.now[path] = self.now.get(path, 0) + 1
            self.most[path] = max(self.most.get(path, 0), self.now[path])
        status = self.answers.get(path, lambda: 200)()
        with self._lock:
            self.now[path] -= 1
        return status

    def wait(self, path: str, count: int = 1) -> list[Arrival]:
        """
        The requests of a path, once there are so many.
        """
        until(lambda: len(self.arrivals.get(path, ())) >= count)
        return self.arrivals[path]


def until(condition: Callable[[], Any]) -> Any:
    """
    Wait until a condition is true, and give what it returned.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return found


class Dispatches(Google):  # type: ignore[misc]  # mypy does not find it
    """
    Tasks that run.
    """

    handler: ClassVar[Handler]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Make a client and a handler for all.
        """
        super().setUpClass()
        cls.handler = Handler()

    def path(self) -> str:
        """
        A path of the handler that no other test has.
        """
        return f"/{self.id()}"

    def add(self, queue: str, name: str = "", **fields: Any) -> Any:
        """
        Create a task for the path of this test that runs at once.
        """
        request = {"url": self.handler.url + self.path(), **fields.pop("request", {})}
        return self.make_task(
            queue, name, http_request=request, **{"schedule_time": None, **fields}
        )

    def until_gone(self, name: str) -> None:
        """
        Wait until a task is no more.
        """

        def gone() -> bool:
            try:
                self.client.get_task(name=name)
            except exceptions.NotFound as e:
                return str(e.message).endswith(_GONE)
            return False

        until(gone)

    def test_retries(self) -> None:
        """
        A task is tried again with the recorded headers, its attempts are told, and once
        it is done it is gone.
        """
        statuses = iter([503, 404, 200])
        go_on = threading.Event()
        self.handler.answers[self.path()] = lambda: self._next(statuses, go_on)
        queue = self.make_queue(retry_config={"min_backoff": timedelta(seconds=0.1)})
        headers = {
            "X-Mixed-Case": "b",
            "Content-Type": "text/plain",
            "X-CloudTasks-X": "no",
        }
        request = {"headers": headers, "body": b"\x00\xff", "http_method": "PUT"}
        made = self.add(queue.name, "t", request=request)
        self.handler.wait(self.path(), 3)
        self._check_attempts(made, queue)
        go_on.set()
        self.until_gone(made.name)
        first, second, third = self.handler.wait(self.path(), 3)
        self.assertEqual(first.attempt, {"retry": "0", "execution": "0"})
        told = {"retry": "1", "execution": "0", "previous": "503", "reason": ""}
        self.assertEqual(second.attempt, told)
        told = {"retry": "2", "execution": "1", "previous": "404", "reason": ""}
        self.assertEqual(third.attempt, told)
        for each in (first, second, third):
            self.assertEqual((each.method, each.body), ("PUT", b"\x00\xff"))
            headers = each.headers
            self.assertEqual(headers["user-agent"], "Google-Cloud-Tasks")
            self.assertEqual(headers["x-mixed-case"], "b")
            self.assertEqual(headers["content-type"], "text/plain")
            self.assertEqual(
                headers["x-cloudtasks-queuename"], queue.name.rpartition("/")[2]
            )
            self.assertEqual(headers["x-cloudtasks-taskname"], "t")
            eta = float(headers["x-cloudtasks-tasketa"])
            self.assertLess(abs(eta - each.at), PATIENCE)
            self.assertNotIn("x-cloudtasks-x", headers)
        text = "Requested entity already exists"
        again = {"queue": queue.name, "name": "t"}
        self.refused("AlreadyExists", "Conflict", text, self.add, **again)

    def _next(self, statuses: Any, go_on: threading.Event) -> int:
        status = next(statuses)
        if status == 200:
            go_on.wait(PATIENCE)
        return int(status)

    def _check_attempts(self, made: Any, queue: Any) -> None:
        """
        See how a task is told that runs for the third time.
        """

        def told() -> Any:
            found = self.client.get_task(name=made.name)
            return found if found.dispatch_count == 2 else None

        found = until(told)
        self.assertEqual(found.response_count, 2)
        first, last = found.first_attempt, found.last_attempt
        self.assertLessEqual(made.create_time, first.dispatch_time)
        self.assertLess(first.dispatch_time, last.dispatch_time)
        self.assertFalse(first.response_time)
        self.assertLessEqual(last.dispatch_time, last.response_time)
        self.assertLessEqual(last.schedule_time, last.dispatch_time)
        status = last.response_status
        text = "NOT_FOUND(5): HTTP status code 404"
        self.assertEqual((status.code, status.message), (5, text))
        [listed] = self.client.list_tasks(parent=queue.name)
        self.assertEqual(listed, found)

    def test_no_content_type(self) -> None:
        """
        A task without headers has those of Google alone.
        """
        queue = self.make_queue().name
        self.add(queue, request={"body": b"{}"})
        [found] = self.handler.wait(self.path())
        self.assertNotIn("content-type", found.headers)
        self.assertEqual((found.method, found.body), ("POST", b"{}"))

    def test_batch(self) -> None:
        """
        The tasks of a batch run.
        """
        queue = self.make_queue().name
        target = {"url": self.handler.url + self.path()}
        request = {"parent": queue, "task": {"http_request": target}}
        operation = self.client.batch_create_tasks(
            request={"parent": queue, "requests": [request] * 20}
        )
        names = {each.name.rpartition("/")[2] for each in operation.result().tasks}
        found = self.handler.wait(self.path(), 20)
        header = "x-cloudtasks-taskname"
        self.assertEqual({each.headers[header] for each in found}, names)

    def test_schedule(self) -> None:
        """
        A task does not run before its time.
        """
        queue = self.make_queue().name
        at = datetime.now(UTC) + timedelta(seconds=2)
        self.add(queue, schedule_time=at)
        [found] = self.handler.wait(self.path())
        self.assertGreaterEqual(found.at, at.timestamp())
        eta = float(found.headers["x-cloudtasks-tasketa"])
        self.assertAlmostEqual(eta, at.timestamp(), places=3)

    def test_run(self) -> None:
        """
        A task that waits for its time runs when it is told to, and one that is deleted
        never runs.
        """
        queue = self.make_queue().name
        at = datetime.now(UTC) + timedelta(hours=1)
        first, second = (self.add(queue, name, schedule_time=at) for name in "ab")
        self.client.delete_task(name=second.name)
        self.client.run_task(name=first.name)
        [found] = self.handler.wait(self.path())
        self.assertEqual(found.headers["x-cloudtasks-taskname"], "a")
        self.until_gone(first.name)

    def test_delete(self) -> None:
        """
        A task that is deleted while its queue is paused does not run, and others do.
        """
        queue = self.make_queue().name
        self.client.pause_queue(name=queue)
        deleted, other = (self.add(queue, name) for name in "ab")
        self.client.delete_task(name=deleted.name)
        self.client.resume_queue(name=queue)
        self.until_gone(other.name)
        [found] = self.handler.arrivals[self.path()]
        self.assertEqual(found.headers["x-cloudtasks-taskname"], "b")

    def test_purge(self) -> None:
        """
        Tasks from before a purge do not run, and later ones do.
        """
        queue = self.make_queue().name
        self.client.pause_queue(name=queue)
        for name in "ab":
            self.add(queue, name)
        self.client.purge_queue(name=queue)
        self.assertEqual(list(self.client.list_tasks(parent=queue)), [])
        other = self.add(queue, "c")
        self.client.resume_queue(name=queue)
        self.until_gone(other.name)
        [found] = self.handler.arrivals[self.path()]
        self.assertEqual(found.headers["x-cloudtasks-taskname"], "c")

    def test_queue_deleted(self) -> None:
        """
        The tasks of a queue that is deleted do not run.
        """
        queue, other = self.make_queue().name, self.make_queue().name
        self.client.pause_queue(name=queue)
        self.add(queue, "a")
        self.client.delete_queue(name=queue)
        with self.assertRaises(exceptions.NotFound):
            self.client.get_task(name=f"{queue}/tasks/a")
        self.add(other, "b")
        [found] = self.handler.wait(self.path())
        self.assertEqual(found.headers["x-cloudtasks-taskname"], "b")

    def test_deadline(self) -> None:
        """
        An attempt that takes longer than its deadline ends, and the next one tells so.
        """
        over = threading.Event()
        patience = iter([PATIENCE, 0.0])

        def answer() -> int:
            over.wait(next(patience))
            return 200

        self.handler.answers[self.path()] = answer
        queue = self.make_queue().name
        made = self.add(queue, dispatch_deadline=timedelta(seconds=15))
        first, second = self.handler.wait(self.path(), 2)
        over.set()
        self.assertGreaterEqual(second.at - first.at, 14.9)
        told = {"retry": "1", "execution": "0", "previous": "504", "reason": ""}
        self.assertEqual(second.attempt, told)
        self.until_gone(made.name)

    def test_most_attempts(self) -> None:
        """
        A task that has had its attempts is gone.
        """
        self.handler.answers[self.path()] = lambda: 500
        queue = self.make_queue(
            retry_config={"max_attempts": 2, "min_backoff": timedelta(seconds=0.1)}
        )
        made = self.add(queue.name)
        self.until_gone(made.name)
        self.assertEqual(len(self.handler.arrivals[self.path()]), 2)

    def test_target(self) -> None:
        """
        The target of a queue takes the place of parts of the request.
        """
        port = int(self.handler.url.rpartition(":")[2])
        target = {
            "uri_override": {
                "scheme": "HTTP",
                "host": "127.0.0.1",
                "port": port,
                "path_override": {"path": self.path()},
            },
            "http_method": "PUT",
            "header_overrides": [{"header": {"key": "X-Queue", "value": "q"}}],
        }
        queue = self.make_queue(http_target=target).name
        self.add(queue, request={"url": "https://nowhere.example/other"})
        [found] = self.handler.wait(self.path())
        self.assertEqual((found.method, found.headers["x-queue"]), ("PUT", "q"))

    def test_id_token(self) -> None:
        """
        google-auth verifies the ID token of a task.
        """
        queue = self.make_queue().name
        token = {"service_account_email": "a@b.c", "audience": "us"}
        self.add(queue, request={"oidc_token": token})
        [found] = self.handler.wait(self.path())
        scheme, _, text = found.headers["authorization"].partition(" ")
        issuer = f"https://localhost:{os.environ['REST']}"
        claims = id_token.verify_token(
            text, Request(), "us", f"{issuer}/.well-known/jwks.json"
        )
        self.assertEqual((scheme, claims["iss"]), ("Bearer", issuer))
        self.assertEqual((claims["email"], claims["email_verified"]), ("a@b.c", True))
        with self.assertRaisesRegex(Exception, "[Aa]udience"):
            id_token.verify_token(
                text, Request(), "others", f"{issuer}/.well-known/jwks.json"
            )

    def test_rate(self) -> None:
        """
        No more tasks begin in a second than the queue allows, in all mediators.
        """
        queue = self.make_queue(rate_limits={"max_dispatches_per_second": 5}).name
        self.client.pause_queue(name=queue)
        for n in range(61):
            self.add(queue, str(n))
        self.client.resume_queue(name=queue)
        found = [each.at for each in self.handler.wait(self.path(), 61)]
        burst = self.client.get_queue(name=queue).rate_limits.max_burst_size
        self.assertGreater(max(found) - min(found), (60 - burst) / 5 * 0.9)

    def test_concurrency(self) -> None:
        """
        No more tasks are at work at once than the queue allows, in all mediators.
        """
        self.handler.answers[self.path()] = self._slowly
        for most in (1, 3):
            limits = {"max_concurrent_dispatches": most}
            queue = self.make_queue(rate_limits=limits).name
            begun = len(self.handler.arrivals.get(self.path(), ()))
            self.client.pause_queue(name=queue)
            for n in range(12):
                self.add(queue, str(n))
            self.client.resume_queue(name=queue)
            self.handler.wait(self.path(), begun + 12)
            until(lambda: not self.handler.now[self.path()])
            with self.subTest(most=most):
                self.assertEqual(self.handler.most[self.path()], most)

    def _slowly(self) -> int:
        time.sleep(0.2)
        return 200


if __name__ == "__main__":
    unittest.main()
