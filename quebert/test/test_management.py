"""
Tests for RabbitMQ's management API: where it is, and what is read of it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.config import Broker, guessed_management, management_url
from quebert.config._management import management_place
from quebert.errors import ConfigError, ExecutorError
from quebert.operations._management import (
    PATIENCE,
    Figures,
    Management,
    ManagementAPI,
)
from quebert.test.doubles import MemoryReactor
from quebert.test.test_dispatch import FakeServer

URL = "http://rabbit.example:15672"
OVERVIEW = {"cluster_name": "rabbit@here", "disable_stats": False}
#: As RabbitMQ 3.10.8, 4.0.5 and 4.3.6 answer for a queue in use.
BUSY = {
    "messages_unacknowledged": 5,
    "message_stats": {
        "ack": 20,
        "ack_details": {"rate": 2.5},
        "publish": 144,
        "publish_details": {"rate": 9.6},
    },
}


class PlaceTests(SynchronousTestCase):
    """
    Where the API is.
    """

    def test_url(self) -> None:
        """
        It is a URL with no more than a host, a port and a path.
        """
        for url in (
            "http://h",
            "https://h.example:15671",
            "http://[::1]:15672",
            "http://h/rabbit",
        ):
            self.assertEqual(management_url(f"{url}/"), url)
            self.assertEqual(management_url(url), url)
        for wrong in (
            *("", "h:1", "amqp://h", "http://", "http://u:p@h", "http://h?a", "//h"),
            *("http://h#a", "http://h:0", "http://h:65536", "http://h h", "http://h\n"),
        ):
            error = self.assertRaises(ConfigError, management_url, wrong)
            self.assertIn("must be like http://rabbit", str(error))

    def test_place(self) -> None:
        """
        No task may request it.
        """
        for url, port in (
            ("http://h.example", 80),
            ("https://h.example/x", 443),
            (URL, 15672),
        ):
            place = management_place(url)
            self.assertEqual(place.port, port)
            self.assertIn("example", str(place.where))

    def test_guess(self) -> None:
        """
        It is on the usual port beside the usual port of AMQP, and nowhere else; with
        TLS if AMQP has it.
        """
        for amqp, expected in (
            ("amqp://h/", ["http://h:15672"]),
            ("amqp://h,i:5672,j:1/", ["http://h:15672", "http://i:15672"]),
            ("amqp://[::1]/", ["http://[::1]:15672"]),
            ("amqps://h/", ["https://h:15671"]),
            ("amqp://h:5671/", []),
            ("amqps://h:5672/", []),
            ("amqp://h:1234/", []),
        ):
            self.assertEqual(guessed_management(Broker.from_url(amqp)), expected)


@attrs.frozen
class Answer:
    """
    An answer that is there whole.
    """

    code: int
    body: bytes

    def content(self) -> Deferred[bytes]:
        """
        Its body.
        """
        return succeed(self.body)


class FakeManagement:
    """
    Answers requests of the API.

    @ivar answers: by the beginning of the path; an object is written as JSON.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/api/overview?": OVERVIEW}
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    def send(
        self, method: str, url: str, fields: Iterable[tuple[str, str]]
    ) -> Deferred[Any]:
        """
        Answer.
        """
        assert method == "GET"
        self.asked.append((url, list(fields)))
        path = "/" + url.split("/", 3)[3]
        found = [v for k, v in self.answers.items() if path.startswith(k)]
        answer = found[0] if found else Answer(404, b'{"error": "Object Not Found"}')
        if isinstance(answer, dict):
            answer = Answer(200, json.dumps(answer).encode())
        if isinstance(answer, Exception):
            return fail(answer)
        return answer if isinstance(answer, Deferred) else succeed(answer)


class ManagementTests(SynchronousTestCase):
    """
    What is read of it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.http = FakeManagement()

    def api(self, amqp: str = "amqp://me:s%c3%a9@h/", url: str | None = URL) -> Any:
        """
        The API, as an operation has it.
        """
        api = ManagementAPI(self.clock, Broker.from_url(amqp), url)
        api._agent = self.http  # type: ignore[assignment]
        return api

    def told(self, *queues: str, cluster: object = "rabbit@here") -> Management:
        """
        What it tells of queues.
        """
        telling = self.api().told(queues, cluster)
        found = self.successResultOf(Deferred.fromCoroutine(telling))
        assert isinstance(found, Management)
        return found

    def figures(self, told: Any) -> Figures:
        """
        What an answer for a queue tells.
        """
        self.http.answers["/api/queues/%2F/q?"] = told
        return self.told("q").figures["q"]

    def test_queue(self) -> None:
        """
        It tells what is not acknowledged, and the rates.
        """
        self.assertEqual(self.figures(BUSY), Figures(5, 9.6, 2.5))

    def test_login(self) -> None:
        """
        It is asked as the user of the AMQP connection.
        """
        self.told()
        (url, fields), _ = self.http.asked
        login = b64encode("me:sé".encode()).decode()
        self.assertTrue(url.startswith(f"{URL}/api/overview?"))
        self.assertEqual(fields, [("Authorization", f"Basic {login}")])

    def test_quiet(self) -> None:
        """
        A queue that nothing came to and nothing left has no statistics.
        """
        self.assertEqual(self.figures({"messages_unacknowledged": 0}), Figures(0, 0, 0))

    def test_not_counted_yet(self) -> None:
        """
        A queue that is new has not even a number.
        """
        self.assertEqual(self.figures({}), Figures())
        said = f"RabbitMQ has not counted it yet, says {URL}"
        self.assertEqual(self.told("q").why, said)

    def test_no_statistics(self) -> None:
        """
        A RabbitMQ that is told not to count has no rates.
        """
        for key, value in (("disable_stats", True), ("rates_mode", "none")):
            self.http.answers["/api/overview?"] = {**OVERVIEW, key: value}
            self.assertEqual(self.figures(BUSY), Figures(5))
            self.assertIn("does not count", self.told("q").why)

    def test_odd(self) -> None:
        """
        Values of other types are not told.
        """
        value: Any
        for value in (None, -1, "5", 1.5, True, [], {}):
            odd = {**BUSY, "messages_unacknowledged": value}
            self.assertEqual(self.figures(odd), Figures(), value)
        stats: Any
        for stats in (None, [], 5, "x"):
            odd = {**BUSY, "message_stats": stats}
            self.assertEqual(self.figures(odd), Figures(5), stats)
        details: Any
        rates = [{"rate": each} for each in ("9", True, 1e999, 10**400, -(10**400))]
        for details in (None, [], {}, *rates):
            odd = {**BUSY, "message_stats": {"publish_details": details}}
            self.assertEqual(self.figures(odd), Figures(5, None, 0.0), details)
        odd = {**BUSY, "message_stats": {"publish_details": {"rate": -0.1}}}
        self.assertEqual(self.figures(odd), Figures(5, 0.0, 0.0))

    def test_missing(self) -> None:
        """
        A queue that is not there has no figures.
        """
        self.assertEqual(self.told("nope").figures, {})

    def test_names(self) -> None:
        """
        Names are encoded, so that none leads elsewhere.
        """
        telling = self.api("amqp://h/a%2fb").told(["..", "é/x?y\udcff"], None)
        self.successResultOf(Deferred.fromCoroutine(telling))
        paths = [url.removeprefix(URL).partition("?")[0] for url, _ in self.http.asked]
        prefix = "/api/queues/a%2Fb"
        expected = [prefix, f"{prefix}/%2E%2E", f"{prefix}/%C3%A9%2Fx%3Fy%FF"]
        self.assertEqual(paths[1:], expected)

    def test_ladder(self) -> None:
        """
        It tells the queues of the delay ladder, if its answer is whole.
        """
        names = [f"quebert.delay.wait.{n}s" for n in (1, 2)]
        whole = {"items": [{"name": each} for each in names], "page_count": 1}
        answers = self.http.answers
        for answer, expected in (
            (whole, frozenset(names)),
            ({"items": [], "page_count": 0}, frozenset()),
            ({**whole, "page_count": 2}, None),
            ({"items": ["x"], "page_count": 1}, None),
            ({"items": 5, "page_count": 1}, None),
            ({"items": [{}], "page_count": 1}, None),
            ({}, None),
        ):
            answers["/api/queues/%2F?columns=name&page=1&page_size=500"] = answer
            self.assertEqual(self.told("q").ladder, expected)
        self.assertIn(
            "name=%5Equebert%5C.delay%5C..%2Await%5C.", self.http.asked[-2][0]
        )

    def why(self, answer: Any, **options: Any) -> str:
        """
        Why nothing is told.
        """
        self.http.answers["/api/overview?"] = answer
        found = self.told("q", **options)
        self.assertEqual((found.url, found.figures), (None, {}))
        return found.why.removeprefix(f"the management API at {URL} ")

    def test_another_broker(self) -> None:
        """
        The API of another broker is not believed.
        """
        said = "is that of another broker, rabbit@here"
        self.assertEqual(self.why(OVERVIEW, cluster="rabbit@there"), said)
        self.http.answers["/api/overview?"] = OVERVIEW
        self.assertEqual(self.told(cluster=None).url, URL)

    def test_refusals(self) -> None:
        """
        A login that is refused is told with RabbitMQ's reason, and what is missing.
        """
        answer = Answer(401, b'{"error": "x", "reason": "Not management user"}')
        self.assertEqual(
            self.why(answer),
            "refuses user me with 401: Not management user; the user needs the tag"
            " monitoring or management",
        )
        self.assertIn("refuses user me with 403; the", self.why(Answer(403, b"no")))

    def test_no_api(self) -> None:
        """
        What answers otherwise, or not, is told.
        """
        said = "answers 200, and no JSON object as RabbitMQ does"
        for body in (b"<html>", b"[]", b"{", b"[" * 100_000, b"\xff"):
            self.assertEqual(self.why(Answer(200, body)), said)
        self.assertIn("answers 500", self.why(Answer(500, b"{}")))
        self.assertEqual(self.why({}), "is none of a RabbitMQ")
        self.assertEqual(self.why(Answer(404, b"{}")), "is none of a RabbitMQ")
        error = ExecutorError("no connection could be made")
        self.assertEqual(self.why(error), f"does not answer: {error}")

    def test_silent(self) -> None:
        """
        Silence is not waited for, and the request is cancelled.
        """
        cancelled: list[Any] = []
        self.http.answers["/api/overview?"] = Deferred(cancelled.append)
        telling = Deferred.fromCoroutine(self.api().told(["q"], None))
        self.assertNoResult(telling)
        self.clock.advance(PATIENCE)
        found = self.successResultOf(telling)
        self.assertIn("does not answer in 3 s", found.why)
        self.assertEqual(len(cancelled), 1)

    def test_unknown(self) -> None:
        """
        Where there is no guess, nothing is asked.
        """
        telling = self.api("amqp://h:1234/", None).told(["q"], None)
        found = self.successResultOf(Deferred.fromCoroutine(telling))
        self.assertIn("give --management-url", found.why)
        self.assertEqual(self.http.asked, [])

    def test_many(self) -> None:
        """
        An answer with as many queues as are asked for, whose names are as long as they
        may be, is read whole.
        """
        names = [f"quebert.delay.{n}".ljust(255, "x") for n in range(500)]
        ladder = {"items": [{"name": each} for each in names], "page_count": 1}
        reactor = MemoryReactor()
        api = ManagementAPI(reactor, Broker.from_url("amqp://h/"), "http://192.0.2.1")
        telling = Deferred.fromCoroutine(api.told([], None))
        for answer in OVERVIEW, ladder:
            body = json.dumps(answer).encode()
            server = FakeServer(reactor.tcpClients.pop()[2])
            server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            server.send(body)
        self.assertEqual(self.successResultOf(telling).ladder, frozenset(names))

    def test_nodes(self) -> None:
        """
        Each node is asked until one answers.
        """
        telling = self.api("amqp://h,i/", None).told([], "rabbit@here")
        found = self.successResultOf(Deferred.fromCoroutine(telling))
        self.assertEqual(found.url, "http://h:15672")
        self.http.answers["/api/overview?"] = ExecutorError("no")
        telling = self.api("amqp://h,i/", None).told([], "rabbit@here")
        found = self.successResultOf(Deferred.fromCoroutine(telling))
        self.assertIn("http://i:15672 does not answer: no", found.why)
        self.assertEqual(len(self.http.asked), 4)
