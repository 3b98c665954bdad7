"""
L{Client} and its connections, over sockets, with a server whose answers are made up.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any

from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from quebert.client import APIError, Client
from quebert.errors import NameTaken, TaskUnknown
from quebert.producer import TaskResult
from quebert.test.client.test_client_calls import ROW

#: Instead of an answer: the connection is closed, within the answer or before.
CUT, LOST = object(), object()


class ScriptedAPI:
    """
    A server that gives the answers of a list; the last one again and again.

    @ivar asked: the method, path, port of the client, header and body of each request.
    """

    def __init__(self, case: SynchronousTestCase, authority: CA | None = None) -> None:
        self.answers: deque[Any] = deque()
        self.asked: list[tuple[str, str, int, Any, bytes]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                api.answer(self)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if authority is not None:
            context, scheme = SSLContext(PROTOCOL_TLS_SERVER), "https"
            authority.issue_cert("127.0.0.1").configure_cert(context)
            listening = self._server.socket
            self._server.socket = context.wrap_socket(listening, server_side=True)
            self._server.handle_error = lambda *of: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        case.addCleanup(self.close)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """
        Serve no more.
        """
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """
        Answer a request.
        """
        size = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(size)
        place = handler.command, handler.path, handler.client_address[1]
        self.asked.append((*place, handler.headers, body))
        told = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if told is LOST:
            handler.close_connection = True
            return
        if told is CUT:
            handler.send_response(200)
            handler.send_header("Content-Length", "99")
            handler.end_headers()
            handler.close_connection = True
            return
        status, fields, closes = told
        content = json.dumps(fields).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = closes  # without a word


CREATED = (201, ROW, False)


class ClientTests(SynchronousTestCase):
    """
    Tests for L{Client}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.api = ScriptedAPI(self)
        self.client = Client(self.api.url, "secret", patience=60)
        self.addCleanup(self.client.close)

    def ports(self) -> list[int]:
        """
        Which connection each request came over.
        """
        return [each[2] for each in self.api.asked]

    def test_kept(self) -> None:
        """
        A connection is kept for the next request.
        """
        self.api.answers.append(CREATED)
        self.assertEqual(self.client.add_task("/", {"to": 1}, name="n"), "u")
        self.client.add_task("/")
        self.assertEqual(len(set(self.ports())), 1)
        method, path, _, headers, body = self.api.asked[0]
        self.assertEqual((method, path), ("POST", "/v1/tasks"))
        self.assertEqual(headers["Authorization"], "Bearer secret")
        self.assertRegex(headers["User-Agent"], "^quebert/")
        fields = {"url": "/", "params": {"to": 1}, "name": "n"}
        self.assertEqual(json.loads(body), fields)

    def test_closed(self) -> None:
        """
        A connection that the server has closed meanwhile is not used, not even for what
        is asked for once.
        """
        self.api.answers.extend(
            [(201, ROW, True), (200, {"result": "cancelled"}, False)]
        )
        self.client.add_task("/")
        [kept] = next(iter(self.client._connections._kept.values()))
        while kept.is_usable(0):  # until the server has closed it
            pass
        self.assertEqual(self.client.delete("u").result, "cancelled")
        self.assertEqual(len(set(self.ports())), 2)

    def test_lost(self) -> None:
        """
        An answer that does not come, or not whole, is asked for again where that is
        safe, with the same key.
        """
        self.api.answers.extend([LOST, CUT, CREATED])
        self.assertEqual(self.client.add_task("/"), "u")
        keys = {each[3]["Idempotency-Key"] for each in self.api.asked}
        self.assertEqual((len(self.api.asked), len(keys)), (3, 1))
        self.api.answers.extend([LOST, CREATED])
        self.api.answers.popleft()
        with self.assertRaises(APIError) as caught:
            self.client.run("u")
        self.assertIsNone(caught.exception.done)
        self.assertEqual(len(self.api.asked), 4)

    def test_problems(self) -> None:
        """
        A problem is an exception of its class.
        """
        kind, text = "/problems/name-taken", "there is one"
        told = {"type": kind, "detail": text, "field": "name"}
        self.api.answers.extend([(409, told, False)])
        with self.assertRaisesRegex(NameTaken, text) as caught:
            self.client.add_task("/", name="n")
        error = caught.exception
        assert isinstance(error, APIError)
        self.assertEqual((error.status, error.type, error.field), (409, kind, "name"))
        self.api.answers[0] = (404, {"type": "/problems/no-task"}, False)
        with self.assertRaises(TaskUnknown):
            self.client.task("u")

    def test_refused(self) -> None:
        """
        Where nobody listens, nothing is done; the call ends within its time.
        """
        self.api.close()
        # Else the time might be over after a pause, before anybody was asked.
        self.patch(time, "sleep", lambda seconds: None)
        client = Client(self.api.url, patience=3)
        with self.assertRaises(APIError) as caught:
            client.add_task("/")
        self.assertFalse(caught.exception.done)
        self.assertIsNotNone(caught.exception.idempotency_key)
        self.assertRegex(str(caught.exception), r"the API: 127.0.0.1:\d+: .*refused")

    def test_tls(self) -> None:
        """
        Connections of TLS are kept, too; a certificate that is not accepted is told at
        once.
        """
        authority = CA()
        api = ScriptedAPI(self, authority)
        api.answers.append(CREATED)
        context = create_default_context()
        authority.configure_trust(context)
        with Client(api.url, context=context, patience=60) as client:
            client.add_task("/")
            client.add_task("/")
        self.assertEqual(len({each[2] for each in api.asked}), 1)
        with (
            self.assertRaisesRegex(APIError, "its certificate is not accepted: "),
            Client(api.url, patience=1e6) as stranger,
        ):
            stranger.add_task("/")

    def test_many(self) -> None:
        """
        Many tasks are added, each with its result.
        """
        created = {"status": 201, "task": ROW}
        refused = {"status": 409, "problem": {"type": "/problems/name-taken"}}
        self.api.answers.append((200, {"results": [created, refused]}, False))
        told: list[TaskResult] = []
        items = [{"url": "/", "name": "n"}] * 2
        self.assertEqual(self.client.add_tasks(items, told.append), 1)
        self.assertIsInstance(told[1].error, NameTaken)
        self.api.answers[0] = (401, {}, False)
        with self.assertRaises(APIError):
            self.client.add_tasks(items, told.append)
        self.assertEqual(len(told), 4)

    def test_pages(self) -> None:
        """
        Pages are asked for as they are needed.
        """
        for token in ("7", None):
            page = {"tasks": [ROW], "next_page_token": token}
            self.api.answers.append((200, page, False))
        found = self.client.tasks(states=["ended"])
        self.assertEqual(next(found).uuid, "u")
        self.assertEqual(len(self.api.asked), 1)
        self.assertEqual(len([*found]), 1)
        self.assertIn("page_token=7", self.api.asked[1][1])

    def test_lease(self) -> None:
        """
        A lease may be of another server, which does not get the token.
        """
        self.api.answers.append((200, {"state": "held", "until": 7.0}, False))
        lease = Client("http://elsewhere", "secret").lease(
            f"{self.api.url}/v1/leases/x"
        )
        self.assertEqual(lease.renew(5), 7.0)
        lease.complete()
        lease.fail(9)
        paths = [each[1].rpartition(":")[2] for each in self.api.asked]
        self.assertEqual(paths, ["renew", "complete", "fail"])
        for each in self.api.asked:
            self.assertNotIn("Authorization", each[3])

    def test_threads(self) -> None:
        """
        Threads may share one.
        """
        self.api.answers.append(CREATED)

        def add() -> None:
            for _ in range(20):
                found.append(self.client.add_task("/"))

        found: list[str] = []
        self._all([threading.Thread(target=add) for _ in range(4)])
        self.assertEqual(found, ["u"] * 80)

    def _all(self, threads: list[threading.Thread]) -> None:
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def test_fork(self) -> None:
        """
        A child does not use a connection of its parent.
        """
        self.api.answers.append(CREATED)
        self.client.add_task("/")
        [kept] = next(iter(self.client._connections._kept.values()))
        self.assertTrue(kept.is_usable(kept.since))
        parent = os.getpid()
        self.patch(os, "getpid", lambda: parent + 1)
        self.client.add_task("/")
        self.assertEqual(len(set(self.ports())), 2)

    def test_interrupted(self) -> None:
        """
        A connection whose request was interrupted is not used again.
        """

        class Interrupted(BaseException):
            pass

        def interrupt(*arguments: Any) -> Any:
            raise Interrupted

        self.api.answers.append(CREATED)
        self.client.add_task("/")
        connections = self.client._connections
        answer: Callable[..., Any] = connections._answer
        self.patch(connections, "_answer", interrupt)
        with self.assertRaises(Interrupted):
            self.client.add_task("/")
        self.patch(connections, "_answer", answer)
        self.client.add_task("/")
        self.assertEqual(len(set(self.ports())), 2)
