"""
Tests for L{quebert.mediator._target}: what a queue has in place of parts of a request.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from quebert import task as tasks
from quebert.errors import BadTask
from quebert.guard import Guard
from quebert.mediator import PolicyMediator
from quebert.mediator._target import RequestTarget, retargeted
from quebert.outcome import FORBIDDEN, POISON, Bury
from quebert.policy import LAST_ANSWER, RetryPolicy
from quebert.task import IDTokenWanted, Request
from quebert.test.checks import refusal
from quebert.test.doubles import MemoryReactor
from quebert.test.mediating import NOW, URL, Case, FakeHTTP, message, returning
from quebert.test.test_task_cloud_tasks import ACCOUNT, FIELD

#: A URL, what replaces parts of it, and what comes of it: always, and where the part is
#: missing alone.
URLS: list[tuple[str, dict[str, Any], str, str]] = [
    ("http://a/b?c", {}, "http://a/b?c", "http://a/b?c"),
    ("http://a/b", {"scheme": "https"}, "https://a/b", "http://a/b"),
    ("http://a:8/b", {"host": "x.example"}, "http://x.example:8/b", "http://a:8/b"),
    ("http://a/b", {"port": 123}, "http://a:123/b", "http://a:123/b"),
    ("http://a:8/b", {"port": 123}, "http://a:123/b", "http://a:8/b"),
    ("http://a:8/b", {"port": 0}, "http://a/b", "http://a:8/b"),
    ("http://[::1]/b", {"port": 9}, "http://[::1]:9/b", "http://[::1]:9/b"),
    ("http://[::1]:8/b", {"host": "a"}, "http://a:8/b", "http://[::1]:8/b"),
    ("http://a/b?c=1", {"path": "/x/y"}, "http://a/x/y?c=1", "http://a/b?c=1"),
    ("http://a/?c=1", {"path": "x"}, "http://a/x?c=1", "http://a/x?c=1"),
    ("http://a", {"path": "x"}, "http://a/x", "http://a/x"),
    ("http://a/b?c", {"path": ""}, "http://a/?c", "http://a/b?c"),
    ("http://a/b", {"path": "/x?y#z"}, "http://a/x%3Fy%23z", "http://a/b"),
    ("http://a/b?c", {"query": "d=1&e"}, "http://a/b?d=1&e", "http://a/b?c"),
    ("http://a/b", {"query": "d#e"}, "http://a/b?d%23e", "http://a/b?d%23e"),
    ("http://a/b?c", {"query": ""}, "http://a/b", "http://a/b?c"),
    ("http://a/b", {"path": "/é"}, "http://a/%C3%A9", "http://a/b"),
    (
        "http://a:8/b?c",
        {"scheme": "https", "host": "x", "port": 9, "path": "/y", "query": "z"},
        "https://x:9/y?z",
        "http://a:8/b?c",
    ),
]


class TargetedTests(Case):
    """
    A mediator with a target.
    """

    def test_requested(self) -> None:
        """
        It requests what comes of a task and the target; the guard sees that, hooks may
        change the task, and a secret of the target is hidden as one of the task is.
        """
        self.http = FakeHTTP(500, b"your s3cret is wrong")
        headers = {"X-Token": "s3cret", "X-CloudTasks-TaskName": "43"}
        target = RequestTarget(host="b.example", headers=headers)
        mediator = PolicyMediator(
            http=self.http,
            clock=self.clock,
            now=returning(NOW),
            policy=RetryPolicy(max_attempts=1),
            target=target,
        )
        mediator.add_prehook(lambda task: task.update(method="PUT"))
        outcome = self.outcome(mediator, message(cloud_tasks=FIELD))
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.headers[LAST_ANSWER], "your ... is wrong")
        [request] = self.http.requests
        self.assertEqual((request.method, request.url), ("PUT", "http://b.example/run"))
        self.assertEqual(request.headers["X-Token"], "s3cret")
        self.assertEqual(request.headers["X-CloudTasks-TaskName"], "42")
        mediator.target = None
        self.outcome(mediator, message())
        self.assertEqual(self.http.requests[-1].url, URL)

    def test_guarded(self) -> None:
        """
        A target cannot lead past the guard.
        """
        guard = Guard(deny=["b.example"])
        mediator = PolicyMediator(
            reactor=MemoryReactor(),
            clock=self.clock,
            guard=guard,
            target=RequestTarget(host="b.example"),
        )
        outcome = self.outcome(mediator, message())
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.kind, FORBIDDEN)

    def test_impossible(self) -> None:
        """
        A task that cannot be requested with the target is a bad one.
        """
        mediator = self.mediator(target=RequestTarget(host="-b"), bury=True)
        outcome = self.outcome(mediator, message())
        assert isinstance(outcome, Bury)
        self.assertEqual(outcome.kind, POISON)


class TargetTests(SynchronousTestCase):
    """
    L{retargeted}.
    """

    def asked(self, target: RequestTarget, **fields: Any) -> Request:
        """
        The request of a task, with such a target.
        """
        task = {"url": "http://a/b", **fields}
        return retargeted(tasks.request(task, ""), target)

    def test_urls(self) -> None:
        """
        Parts of the URL are replaced, always, or if they are missing.
        """
        for url, parts, always, missing in URLS:
            for only_missing, expected in ((False, always), (True, missing)):
                target = RequestTarget(only_missing=only_missing, **parts)
                self.assertEqual(
                    self.asked(target, url=url).url, expected, (url, parts)
                )

    def test_wrong_urls(self) -> None:
        """
        A URL that cannot be requested any more makes a bad task.
        """
        wrong: tuple[dict[str, Any], ...] = (
            {"host": "-a"},
            {"port": 65_536},
            {"path": "a b"},
        )
        for parts in wrong:
            target = RequestTarget(**parts)
            text = refusal(BadTask, self.asked, target)
            self.assertIn("url cannot be requested with the target of its queue", text)

    def test_method(self) -> None:
        """
        Another method has the body of the task, or its payload; GET and HEAD have none.
        """
        for given, has_body in (("PUT", True), ("GET", False), ("DELETE", False)):
            for method in ("POST", "GET"):
                asked = self.asked(RequestTarget(method=given), method=method)
                self.assertEqual((asked.method, asked.sends_task), (given, has_body))
        for given, payload in (("DELETE", b"x"), ("HEAD", None)):
            for field in (None, FIELD):
                asked = self.asked(
                    RequestTarget(method=given), payload="eA==", cloud_tasks=field
                )
                self.assertEqual((asked.payload, asked.sends_task), (payload, False))

    def test_headers(self) -> None:
        """
        Headers take the place of those of the same names, but for those that are not
        to be set; a host of the task goes with its URL.
        """
        own = {"X-A": "1", "x-b": "2", "Host": "a"}
        given = {"x_a": "3", "X-C": "4", "Host": "b", "X-CloudTasks-TaskName": "c"}
        asked = self.asked(RequestTarget(headers=given, host="c"), headers=own)
        wanted = {
            "Content-Type": "application/json",
            "x-b": "2",
            "x_a": "3",
            "X-C": "4",
        }
        self.assertEqual(asked.headers, wanted)

    def test_wrong_headers(self) -> None:
        """
        A header that cannot be sent makes a bad task, and is not sent again and again.
        """
        for name, value in (("X\r\nA", "b"), ("X-A", "b\r\nC: d"), ("", "b")):
            target = RequestTarget(headers={name: value})
            text = refusal(BadTask, self.asked, target)
            self.assertTrue(text.startswith("headers: "), text)

    def test_id_token(self) -> None:
        """
        A token of the queue comes before one of the task.
        """
        wanted = IDTokenWanted("queue@example", "https://a.example")
        target = RequestTarget(id_token=wanted)
        field = {**FIELD, "oidc": {"service_account_email": ACCOUNT}}
        for cloud_tasks in (None, FIELD, field):
            asked = self.asked(target, cloud_tasks=cloud_tasks)
            self.assertEqual(asked.id_token, wanted)
        asked = self.asked(RequestTarget(), cloud_tasks=field)
        self.assertEqual(asked.id_token, IDTokenWanted(ACCOUNT))
