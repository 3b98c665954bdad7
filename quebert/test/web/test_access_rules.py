"""
Which requests are let in.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert.history import PastAttempt, TaskSummary
from quebert.test.fake_cluster import waiting_uuid
from quebert.test.web.doubles import TOKENS, MemoryAPI
from quebert.web import TaskDetail

_UUID = waiting_uuid("not_due")
#: Each route, with a body if it has one, and the right that it asks for.
ROUTES: list[tuple[str, str, Any, str]] = [
    ("GET", "/metrics", None, "all"),
    ("GET", "/v1/overview", None, "read"),
    ("GET", "/v1/queues/mail", None, "read"),
    ("GET", "/v1/queues/mail/dead", None, "read"),
    ("GET", "/v1/tasks", None, "read"),
    ("GET", "/v1/hosts", None, "all"),
    ("GET", "/v1/mediators", None, "all"),
    ("GET", "/v1/events", None, "read"),
    ("GET", f"/v1/tasks/{_UUID}/why?queue=mail", None, "read"),
    ("POST", "/v1/queues/mail:pause", None, "operate"),
    ("POST", "/v1/queues/mail:resume", None, "operate"),
    ("POST", "/v1/queues/mail:purge", None, "operate"),
    ("POST", "/v1/queues/mail/dead:redrive", {"match": []}, "operate"),
    ("POST", "/v1/queues/mail/dead:discard", {"match": []}, "operate"),
    ("POST", f"/v1/tasks/{_UUID}:run", {"queue": "mail"}, "operate"),
    ("DELETE", f"/v1/tasks/{_UUID}?queue=mail", None, "operate"),
    ("POST", "/v1/tasks:cancel", {"queue": "mail", "match": []}, "operate"),
]


def _status(method: str, target: str, body: Any = None, **options: Any) -> int:
    """
    What a new API answers; a stream is 200.
    """
    found: list[Any] = []
    MemoryAPI().begin(method, target, body, **options).addCallback(found.append)
    return getattr(found[0], "status", 200)


class RightsTests(SynchronousTestCase):
    """
    Rights by route.
    """

    def test_matrix(self) -> None:
        """
        Each route asks for its right, of each kind of token.
        """
        for method, target, body, right in ROUTES:
            for name, grant in TOKENS.items():
                wanted = "read" if right == "all" else right
                allowed = wanted in grant.rights
                allowed = allowed and (right != "all" or grant.is_for_all)
                found = _status(method, target, body, token=name)
                self.assertEqual(
                    found in (200, 202), allowed, (method, target, name, found)
                )
                if not allowed:
                    self.assertEqual(found, 403, (method, target, name))

    def test_nobody(self) -> None:
        """
        Without a token this machine may read, and nobody else anything; nobody may
        change anything.
        """
        for method, target, body, right in ROUTES:
            here = _status(method, target, body)
            self.assertEqual(here, 401 if right == "operate" else 200, target)
            there = _status(method, target, body, address="192.0.2.7")
            self.assertEqual(there, 401, target)
            wrong = _status(method, target, body, token="nobody's")
            self.assertEqual(wrong, 401, target)

    def test_other_queues(self) -> None:
        """
        A token for some queues is for no others, wherever the queue is named.
        """
        for method, target, body, right in ROUTES:
            other = target.replace("mail", "reports")
            if isinstance(body, dict) and "queue" in body:
                body = {**body, "queue": "reports"}
            elif "mail" not in target:
                continue
            self.assertEqual(_status(method, other, body, token="mailer"), 403, other)
            self.assertIn(right, ("read", "operate"))

    def test_what_is_seen(self) -> None:
        """
        Such a token shows its own queues alone, no hosts, and no task of others.
        """
        api = MemoryAPI()
        api.cluster.attempt("mail", 3)
        api.cluster.attempt("webhooks", 3)
        found = api.get("/v1/overview", token="mailer")
        self.assertEqual([each["name"] for each in found["queues"]], ["mail"])
        self.assertEqual((found["hosts"], found["mediators"]), ([], []))
        tasks = api.get("/v1/tasks?page_size=500", token="mailer")["tasks"]
        self.assertEqual({each["queue"] for each in tasks}, {"mail"})
        target = "/v1/tasks?url=hooks&page_size=1"  # which only others have
        self.assertIsNotNone(api.get(target, token="reader")["next_page_token"])
        nothing: dict[str, Any] = {"tasks": [], "next_page_token": None}
        self.assertEqual(api.get(target, token="mailer"), nothing)
        other = api.get("/v1/tasks?queue=webhooks", token="reader")["tasks"][0]
        answer = api.ask("GET", f"/v1/tasks/{other['uuid']}", token="mailer")
        self.assertEqual(answer.status, 404)
        answer = api.ask("GET", f"/v1/tasks/{other['uuid']}/why", token="mailer")
        self.assertEqual(answer.status, 400)

    def test_shared_uuid(self) -> None:
        """
        Of a task whose uuid another one has, too, such a token shows its own attempts.
        """
        api = MemoryAPI()
        shown: Any = {"url": "http://x/", "number": 1, "started": 1.0, "ended": 2.0}
        attempts = tuple(
            PastAttempt(uuid="u", queue=queue, outcome="done", **shown)
            for queue in ("webhooks", "mail")
        )
        task = TaskSummary(uuid="u", queue="mail", url="http://x/", state="done")
        detail = TaskDetail(task=task, attempts=attempts)
        self.patch(api.cluster, "task", lambda uuid: succeed(detail))
        for token, count in (("mailer", 1), ("reader", 2)):
            found = api.get("/v1/tasks/u", token=token)["attempts"]
            self.assertEqual((len(found), found[-1]["queue"]), (count, "mail"))

    def test_health(self) -> None:
        """
        Whoever supervises processes needs no token, and is told no reasons without one.
        """
        for target in ("/healthz", "/readyz"):
            self.assertEqual(_status("GET", target, address="192.0.2.7"), 200)
        api = MemoryAPI()
        api.cluster.broken = "rabbit.internal is away"
        for address, is_told in (("127.0.0.1", True), ("192.0.2.7", False)):
            answer = api.ask("GET", "/readyz", address=address)
            self.assertEqual(answer.status, 503)
            self.assertEqual(b"rabbit.internal" in answer.body, is_told)


class PagesTests(SynchronousTestCase):
    """
    What other pages can have a browser do.
    """

    def test_other_sites(self) -> None:
        """
        A request of another page is refused, with whatever token.
        """
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "http://localhost:8081"},
            {"origin": "https://localhost:8080", "host": "localhost"},
            {"origin": "null"},
            {"origin": "http://["},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"sec_fetch_site": "cross-site", "origin": "http://localhost:8080"},
        ):
            for method, target in (
                ("GET", "/v1/overview"),
                ("POST", "/v1/queues/mail:pause"),
                ("DELETE", f"/v1/tasks/{_UUID}?queue=slow"),
            ):
                found = _status(method, target, token="operator", **headers)
                self.assertEqual(found, 403, (headers, method))

    def test_own_page(self) -> None:
        """
        A request of our own page is not, whatever stands between.
        """
        for headers in (
            {"origin": "http://localhost:8080", "sec_fetch_site": "same-origin"},
            {"origin": "https://q.example", "host": "q.example"},
            {"origin": "https://q.example", "host": "q.example:443"},
            {"origin": "http://[::1]:8080", "host": "[::1]:8080"},
            {"sec_fetch_site": "none"},
        ):
            target = "/v1/queues/mail:pause"
            found = _status("POST", target, token="operator", **headers)
            self.assertEqual(found, 200, headers)

    def test_rebinding(self) -> None:
        """
        A page whose name leads to this machine may not read without a token.
        """
        table = {
            "localhost": 200,
            "LocalHost:8080": 200,
            "x.localhost": 200,
            "127.0.0.1:1": 200,
            "[::1]:8080": 200,
            "[::ffff:127.0.0.1]": 200,
            "10.0.0.7": 401,
            "0.0.0.0:8080": 401,
            "[::]:8080": 401,
            "localhost, evil.example": 401,
            "evil.example:8080": 401,
            "localhost.evil.example": 401,
            "127.0.0.1.evil.example": 401,
            "intranet": 401,
            "": 401,
            "a b": 401,
        }
        for host, status in table.items():
            found = _status("GET", "/v1/overview", host=host)
            self.assertEqual(found, status, host)

    def test_hosts(self) -> None:
        """
        Names can be allowed.
        """
        api = MemoryAPI()
        api.rules = attrs.evolve(api.rules, hosts=["Box.example"])
        found = api.ask("GET", "/v1/overview", host="box.example:8080")
        self.assertEqual(found.status, 200)

    def test_proxies(self) -> None:
        """
        What comes from this machine through a proxy comes from anywhere.
        """
        for name in (
            *("x_forwarded_for", "forwarded", "via", "x_real_ip"),
            *("x_forwarded_proto", "cf_connecting_ip", "true_client_ip"),
        ):
            found = _status("GET", "/v1/overview", **{name: "192.0.2.7"})
            self.assertEqual(found, 401, name)

    def test_old_proxies(self) -> None:
        """
        A request with HTTP/1.0 needs a token, since an nginx that adds no headers makes
        such requests.
        """
        for version, status in (("HTTP/1.1", 200), ("HTTP/1.0", 401)):
            found = _status("GET", "/v1/overview", version=version)
            self.assertEqual(found, status)

    def test_addresses(self) -> None:
        """
        This machine has several addresses.
        """
        table = {"127.0.0.9": 200, "::1": 200, "::ffff:127.0.0.1": 200, "": 200}
        table |= {"10.0.0.1": 401, "::ffff:10.0.0.1": 401, "odd": 401}
        for address, status in table.items():
            found = _status("GET", "/v1/overview", address=address)
            self.assertEqual(found, status, address)

    def test_closed(self) -> None:
        """
        Reading can need a token here, too.
        """
        api = MemoryAPI()
        api.rules = attrs.evolve(api.rules, open_reading=False)
        self.assertEqual(api.ask("GET", "/v1/overview").status, 401)
        self.assertEqual(api.ask("GET", "/v1/overview", token="reader").status, 200)

    def test_schemes(self) -> None:
        """
        Another scheme than Bearer, and a token that is none, are refused.
        """
        for given in (
            "Basic cmVhZGVy",
            "reader",
            "Bearer",
            "Bearer a b",
            "Bearer \xe4",
        ):
            found = MemoryAPI().ask("GET", "/v1/overview", authorization=given)
            self.assertEqual(found.status, 401, given)
            self.assertIn("Bearer", dict(found.headers)["WWW-Authenticate"])
        found = MemoryAPI().ask("GET", "/v1/overview", authorization="bearer  reader")
        self.assertEqual(found.status, 200)
