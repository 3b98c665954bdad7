"""
The Cloud Tasks API as one that the web server has beside its own: tokens, and what the
server says by itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.executor import ExecutorLimits
from quebert.test.web.cloud_tasks.doubles import QUEUE, MemoryCloudTasks
from quebert.test.web.cloud_tasks.recorded import task
from quebert.test.web.doubles import MemoryAPI
from quebert.test.web.test_resource import Client
from quebert.web import Assets
from quebert.web._exchange import PROBLEM, APIAnswer
from quebert.web._resource import WebResource
from quebert.web._site import WebSite

TASKS = f"/v2/{QUEUE}/tasks"


class BesideTheAPITests(SynchronousTestCase):
    """
    Requests to the whole server.
    """

    def setUp(self) -> None:
        self.cloud_tasks = MemoryCloudTasks()
        self.api = MemoryAPI(others={"v2": self.cloud_tasks.rest})

    def _error(self, answer: APIAnswer) -> dict[str, Any]:
        self.assertEqual(answer.content_type, "application/json")
        error: dict[str, Any] = json.loads(answer.body)["error"]
        self.assertEqual(error["code"], answer.status)
        self.assertEqual(error["message"], answer.why)
        return error

    def test_tokens(self) -> None:
        """
        A token comes as a bearer's, or as an API key; where both are there, the first
        one counts.
        """
        body = {"task": task()}
        for headers, status in (
            ({"authorization": "Bearer adder"}, 200),
            ({"x_goog_api_key": "adder"}, 200),
            ({"authorization": "Bearer adder", "x_goog_api_key": "none"}, 200),
            ({"authorization": "Bearer none", "x_goog_api_key": "adder"}, 401),
            ({"x_goog_api_key": "none"}, 401),
            ({"x_goog_api_key": "a b"}, 401),
            ({"x_goog_api_key": "reader"}, 403),
            ({}, 401),
        ):
            answer = self.api.ask("POST", TASKS, body, **headers)
            self.assertEqual(answer.status, status, headers)
            if status != 200:
                names = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
                self.assertEqual(self._error(answer)["status"], names[status])

    def test_own_api_has_no_keys(self) -> None:
        """
        An API key is no token for our own API.
        """
        answer = self.api.ask("POST", "/v1/queues/a:pause", x_goog_api_key="operator")
        self.assertEqual((answer.status, answer.content_type), (401, PROBLEM))

    def test_reading_from_here(self) -> None:
        """
        Without a token, programs of this machine may read, as with our own API, but
        for tasks, whose headers may hold secrets; others may do nothing.
        """
        queue = f"/v2/{QUEUE}"
        self.assertEqual(self.api.ask("GET", queue).status, 200)
        self.assertEqual(self.api.ask("GET", TASKS).status, 401)
        self.assertEqual(self.api.ask("GET", f"{TASKS}/t").status, 401)
        self.assertEqual(self.api.ask("GET", queue, address="192.0.2.1").status, 401)
        self.assertEqual(self.api.ask("GET", queue, origin="http://evil").status, 403)

    def test_header_of_refusals(self) -> None:
        """
        A refusal keeps the header by which a client learns what is missing.
        """
        answer = self.api.ask("GET", TASKS, address="192.0.2.1")
        self.assertIn("WWW-Authenticate", dict(answer.headers))

    def test_unknown_paths(self) -> None:
        """
        A path of ours that is none is a problem, and one of Google's an error of
        Google's.
        """
        answer = self.api.ask("GET", "/v3/x", token="reader")
        self.assertEqual(answer.content_type, PROBLEM)
        answer = self.api.ask("GET", "/v2/x", token="reader")
        self.assertEqual(self._error(answer)["status"], "NOT_FOUND")

    def test_server_fault(self) -> None:
        """
        A fault of the server is logged, and told without its text.
        """
        self.cloud_tasks.queues.problem = ZeroDivisionError("secret")  # type: ignore[assignment]
        error = self._error(self.api.ask("GET", f"/v2/{QUEUE}", token="reader"))
        self.assertEqual((error["code"], error["status"]), (500, "INTERNAL"))
        self.assertNotIn("secret", error["message"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_silence(self) -> None:
        """
        Where RabbitMQ does not answer in time, that is told.
        """
        self.cloud_tasks.broker.silent = True
        asked: list[Any] = []
        doing: Deferred[Any] = self.api.begin(
            "POST", TASKS, {"task": task()}, token="adder"
        )
        doing.addCallback(asked.append)
        self.assertEqual(asked, [])
        self.api.clock.advance(30)
        [answer] = asked
        self.assertEqual(self._error(answer)["status"], "UNAVAILABLE")

    def test_connections(self) -> None:
        """
        A request that is refused before it is read whole is answered in Google's form,
        if it is for Google's API.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        resource = WebResource(
            self.api.clock,
            self.api.api,
            Assets(folder),
            self.api.hub,
            limits=ExecutorLimits(body=1_000),
        )
        self.addCleanup(resource.stop)
        site = WebSite(resource, self.api.clock)
        for target, kind in ((TASKS, "application/json"), ("/v1/tasks", PROBLEM)):
            client = Client(site)
            client.send(f"POST {target} HTTP/1.1", "Content-Length: 1001")
            status, headers, body = client.answer
            self.assertEqual((status, headers["Content-Type"]), (413, kind))
            found = json.loads(body)
            if target == TASKS:
                self.assertEqual(found["error"]["status"], "INVALID_ARGUMENT")
            client = Client(site).send(f"GET {target}/%ff HTTP/1.1")
            status, headers, body = client.answer
            self.assertEqual((status, headers["Content-Type"]), (400, kind))
