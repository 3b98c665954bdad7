"""
The Cloud Tasks API over REST, as the clients of Google speak it.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert.test.web.cloud_tasks.doubles import LOCATION, QUEUE, MemoryCloudTasks
from quebert.test.web.cloud_tasks.recorded import task
from quebert.web._exchange import JSON, APIProblem, problem_answer
from quebert.web.cloud_tasks import in_googles_form

TASK = f"{QUEUE}/tasks/t"
#: How clients ask for numbers: google-cloud-tasks for Python, and for Node.
PYTHON = "%24alt=json%3Benum-encoding%3Dint"
NODE = "$alt=json%3Benum-encoding=int"


class RESTTests(SynchronousTestCase):
    """
    Requests of HTTP.
    """

    def setUp(self) -> None:
        self.api = MemoryCloudTasks()

    def _ok(self, method: str, target: str, body: object = None) -> Any:
        answer = self.api.http(method, f"/v2/{target}", body)
        self.assertEqual((answer.status, answer.content_type), (200, JSON), answer)
        return json.loads(answer.body)

    def _error(self, method: str, target: str, body: object = None) -> dict[str, Any]:
        answer = self.api.http(method, f"/v2/{target}", body)
        error: dict[str, Any] = json.loads(answer.body)["error"]
        self.assertEqual(error["code"], answer.status)
        return error

    def test_numbers(self) -> None:
        """
        Enums are numbers where a client asks for that, in either way, also within an
        operation; else they are names.
        """
        fields = {"task": task(name=TASK), "responseView": 2}
        for query in (PYTHON, NODE):
            self.setUp()
            found = self._ok("POST", f"{QUEUE}/tasks?{query}", fields)
            self.assertEqual(found["httpRequest"]["httpMethod"], 1)
            self.assertEqual(found["view"], 2)
            found = self._ok("GET", f"{TASK}?{query}&responseView=1")
            self.assertEqual(found["view"], 1)
            batch = {"requests": [{"parent": QUEUE, "task": task()}]}
            found = self._ok("POST", f"{QUEUE}/tasks:batchCreate?{query}", batch)
            self.assertEqual(found["metadata"]["state"], 2)
            [created] = found["response"]["tasks"]
            self.assertEqual(created["view"], 1)
        self.assertEqual(self._ok("GET", f"{TASK}?alt=json")["view"], "BASIC")

    def test_empty_answer(self) -> None:
        """
        What is deleted is answered by an empty object, which Node's client needs.
        """
        self._ok("POST", f"{QUEUE}/tasks", {"task": task(name=TASK)})
        self.assertEqual(self._ok("DELETE", TASK), {})
        self.assertEqual(self._ok("DELETE", QUEUE), {})

    def test_masks(self) -> None:
        """
        A mask comes in the query, in the spelling of either client; the body has no
        name.
        """
        body = {"rateLimits": {"maxDispatchesPerSecond": 5}}
        for mask in ("rateLimits.maxDispatchesPerSecond%2CretryConfig", "rate_limits"):
            found = self._ok("PATCH", f"{QUEUE}?updateMask={mask}&{PYTHON}", body)
            self.assertEqual(found["rateLimits"]["maxDispatchesPerSecond"], 5.0)
            self.assertEqual(found["state"], 1)

    def test_lists(self) -> None:
        """
        Size and token of a page come in the query; a body of a GET is not looked at.
        """
        for each in "ab":
            name = f"{QUEUE}/tasks/{each}"
            self._ok("POST", f"{QUEUE}/tasks", {"task": task(name=name)})
        found = self._ok("GET", f"{QUEUE}/tasks?pageSize=1", {"x": 1})
        token = found["nextPageToken"]
        found = self._ok("GET", f"{QUEUE}/tasks?page_size=1&pageToken={token}")
        self.assertEqual(found["tasks"][0]["name"], f"{QUEUE}/tasks/b")
        found = self._ok("GET", f"{LOCATION}/queues?filter=state%3A%20RUNNING")
        self.assertEqual(len(found["queues"]), 1)

    def test_head(self) -> None:
        """
        A HEAD is answered as a GET.
        """
        self.assertEqual(self.api.http("HEAD", f"/v2/{QUEUE}").status, 200)

    def test_no_body(self) -> None:
        """
        A verb needs no body.
        """
        bodies: list[object] = [None, {}]
        for body in bodies:
            self.assertEqual(
                self._ok("POST", f"{QUEUE}:pause", body)["state"], "PAUSED"
            )

    def test_wrong_body(self) -> None:
        """
        A body that is no object of JSON is refused in a sentence.
        """
        for body, text in (
            (b"{", "It is not JSON in UTF-8"),
            (b"\xff", "It is not JSON in UTF-8"),
            (b"[" * 500, "It is JSON nested too deeply"),
            (b"[]", "It is no object."),
        ):
            error = self._error("POST", f"{QUEUE}/tasks", body)
            self.assertIn(f"Invalid JSON payload received. {text}", error["message"])
            self.assertEqual(
                (error["code"], error["status"]), (400, "INVALID_ARGUMENT")
            )

    def test_unknown_paths(self) -> None:
        """
        A path that is none, or a method that it has not, is not found; a slash within a
        name makes no other path.
        """
        for method, target in (
            ("GET", ""),
            ("GET", "projects"),
            ("GET", f"{QUEUE}/"),
            ("GET", f"{QUEUE}/tasks/t/u"),
            ("PUT", QUEUE),
            ("POST", QUEUE),
            ("POST", f"{QUEUE}:explode"),
            ("POST", f"{QUEUE}/tasks:run"),
            ("PATCH", f"{QUEUE}:pause"),
            ("GET", QUEUE.replace("/queues/", "%2Fqueues%2F")),
            ("GET", f"{QUEUE}%2Ftasks"),
            ("GET", f"{QUEUE}/tasks/{'t' * 5_000}"),
        ):
            error = self._error(method, target)
            self.assertEqual(
                (error["code"], error["status"]), (404, "NOT_FOUND"), target
            )

    def test_unknown_field(self) -> None:
        """
        A field of the query that no method has is refused, but those that any API of
        Google's may have are let through.
        """
        error = self._error("GET", f"{QUEUE}?nothing=1")
        self.assertIn('Unknown name "nothing"', error["message"])
        self.assertEqual(
            error["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest"
        )
        self._ok("GET", f"{QUEUE}?key=x&prettyPrint=false&$.xgafv=1&fields=name")


class GooglesFormTests(SynchronousTestCase):
    """
    What the server refuses by itself.
    """

    def test_statuses(self) -> None:
        """
        Each status that the server gives has a code, and keeps its headers.  When to
        try again is told in the details, too.
        """
        for status, name in (
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (405, "UNIMPLEMENTED"),
            (413, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (431, "INVALID_ARGUMENT"),
            (500, "INTERNAL"),
            (501, "UNIMPLEMENTED"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ):
            later = ("Retry-After", "2")
            found = in_googles_form(problem_answer(status, "it is so", later))
            self.assertEqual((found.status, found.headers), (status, (later,)))
            self.assertEqual(
                json.loads(found.body),
                {
                    "error": {
                        "code": status,
                        "message": "it is so",
                        "status": name,
                        "details": [
                            {
                                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                                "retryDelay": "2s",
                            }
                        ],
                    }
                },
            )

    def test_no_time(self) -> None:
        """
        Where nobody says when to try again, or not in seconds, there are no details.
        """
        date = "Retry-After", "Sun, 29 Nov 2026 12:00:00 GMT"
        for headers in [(), (date,)]:
            found = in_googles_form(problem_answer(503, "it is so", *headers))
            self.assertNotIn("details", json.loads(found.body)["error"])

    def test_others(self) -> None:
        """
        Another answer stays as it is, and so does Google's form.
        """
        answer = in_googles_form(APIProblem(404, "no").answer)
        self.assertIs(in_googles_form(answer), answer)
