"""
The API, without a socket: each route, each field, and each way to go wrong.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert.operations import Progress
from quebert.test.fake_cluster import QUEUES, WAITING, waiting_uuid
from quebert.test.web.doubles import MemoryAPI
from quebert.web._api import MOST_ASKED
from quebert.web._exchange import PROBLEM

#: The fields of each object, as the documentation has them.
FIELDS = {
    "overview": "at queues hosts mediators problems history may_operate",
    "queue": "name exists ready delayed running retrying dead consumers paused rate_in"
    " rate_out oldest p50 p99 series breakers problems",
    "attempt": "uuid queue url number added due started ended status outcome reason"
    " answer retry_at mediator",
    "task": "uuid queue url state added due attempts last retry_at",
    "dead": "uuid url kind reason attempts first last status answer",
    "host": "origin breaker open_until limit in_flight rate mediators",
    "mediator": "name host pid version started at lag cpu memory reconnects"
    " unconfirmed queues settings lost",
    "history": "ok problem behind gaps dropped",
    "why": "reason text until position rate by",
    "operation": "operation kind queue done count total problem",
}


class ReadingTests(SynchronousTestCase):
    """
    What is read.
    """

    def _check(self, kind: str, found: Any, more: str = "") -> None:
        self.assertEqual(set(found), {*FIELDS[kind].split(), *more.split()}, kind)

    def test_overview(self) -> None:
        """
        The overview has all that the page begins with.
        """
        api = MemoryAPI()
        for _ in range(30):
            api.cluster.tick()
        found = api.get("/v1/overview")
        self._check("overview", found)
        self.assertEqual([each["name"] for each in found["queues"]], list(QUEUES))
        for each in found["queues"]:
            self._check("queue", each)
            self.assertEqual(len(each["series"]["in"]), 60)
            self.assertEqual(len(each["series"]["out"]), 60)
        for each in found["hosts"]:
            self._check("host", each)
        for each in found["mediators"]:
            self._check("mediator", each)
        self._check("history", found["history"])
        self.assertFalse(found["may_operate"])
        self.assertTrue(api.get("/v1/overview", token="operator")["may_operate"])
        self.assertEqual(api.get("/v1/hosts")["hosts"], found["hosts"])
        self.assertEqual(api.get("/v1/mediators")["mediators"], found["mediators"])

    def test_queue(self) -> None:
        """
        A queue, whatever it is called, has its latency, what is due and its attempts.
        """
        for name in QUEUES:
            api = MemoryAPI()
            api.cluster.attempt(name, 60)
            found = api.get(f"/v1/queues/{quote(name, safe='')}")
            self._check("queue", found, "latency due attempts")
            self.assertEqual(found["name"], name)
            buckets = found["latency"]["buckets"]
            for column in found["latency"]["columns"]:
                self.assertEqual(len(column["counts"]), len(buckets) + 1)
            for each in found["attempts"]:
                self._check("attempt", each)

    def test_no_queue(self) -> None:
        """
        There are not all queues.
        """
        api = MemoryAPI()
        for target in ("/v1/queues/none", "/v1/queues/mail:pause", "/v1/queues/"):
            answer = api.ask("GET", target)
            self.assertEqual((answer.status, answer.content_type), (404, PROBLEM))

    def test_dead(self) -> None:
        """
        Dead letters come in pages, grouped, and those alone that match.
        """
        api = MemoryAPI()
        target = "/v1/queues/mail/dead?match=kind%3Dexhausted&match=status%3D404"
        found = api.get(f"{target}&page_size=20")
        self.assertEqual(found["count"], 46)
        self.assertEqual(len(found["dead"]), 20)
        group = {"kind": "exhausted", "reason": "404 Not Found", "count": 46}
        self.assertEqual(found["groups"], [group])
        for each in found["dead"]:
            self._check("dead", each)
        seen = [each["uuid"] for each in found["dead"]]
        while found["next_page_token"]:
            token = found["next_page_token"]
            found = api.get(f"{target}&page_size=20&page_token={token}")
            seen += [each["uuid"] for each in found["dead"]]
        self.assertEqual((len(seen), len(set(seen))), (46, 46))

    def test_tasks(self) -> None:
        """
        Tasks are searched for by the beginning of a uuid, and by the rest.
        """
        api = MemoryAPI()
        api.cluster.attempt("mail", 30)
        found = api.get("/v1/tasks?q=0badc0de&page_size=500")["tasks"]
        self.assertEqual(len(found), len(WAITING))
        for each in found:
            self._check("task", each)
        found = api.get("/v1/tasks?queue=mail&outcome=done&page_size=3")
        self.assertEqual(len(found["tasks"]), 3)
        self.assertTrue(found["next_page_token"])
        self._check("attempt", found["tasks"][0]["last"])

    def test_task(self) -> None:
        """
        A task has its attempts, and the gaps in what is known.
        """
        api = MemoryAPI()
        found = api.get(f"/v1/tasks/{waiting_uuid('behind')}")
        self._check("task", found, "gaps created")
        self.assertEqual(set(found["gaps"][0]), {"mediator", "from", "to", "count"})
        self.assertEqual(api.ask("GET", "/v1/tasks/unknown").status, 404)

    def test_why(self) -> None:
        """
        Each reason to wait is told.
        """
        api = MemoryAPI()
        for reason in WAITING:
            found = api.get(f"/v1/tasks/{waiting_uuid(reason)}/why?queue=slow")
            self._check("why", found, "all queue unseen")
            self.assertEqual(found["reason"], reason)
            self._check("why", found["all"][0])
            # Nobody needs to know the queue.
            again = api.get(f"/v1/tasks/{waiting_uuid(reason)}/why")
            self.assertEqual(again, found)
        found = api.get("/v1/tasks/unknown/why")
        self.assertEqual(found["reason"], "not_found")

    def test_metrics(self) -> None:
        """
        Metrics have their own type.
        """
        answer = MemoryAPI().ask("GET", "/metrics")
        self.assertTrue(answer.content_type.startswith("application/openmetrics"))

    def test_health(self) -> None:
        """
        Health is a status and the reasons.
        """
        api = MemoryAPI()
        self.assertTrue(api.get("/readyz")["ready"])
        api.cluster.broken = "RabbitMQ is away"
        answer = api.ask("GET", "/readyz")
        self.assertEqual(answer.status, 503)
        self.assertEqual(json.loads(answer.body)["reasons"], ["RabbitMQ is away"])
        self.assertEqual(api.ask("GET", "/healthz").status, 200)


class WrongTests(SynchronousTestCase):
    """
    Requests that are wrong.
    """

    def test_fields(self) -> None:
        """
        A field that is wrong is named.
        """
        api = MemoryAPI()
        table = {
            "/v1/tasks?page_size=0": "page_size",
            "/v1/tasks?page_size=501": "page_size",
            "/v1/tasks?page_size=%D9%A3": "page_size",
            "/v1/tasks?status=x": "status",
            "/v1/tasks?after=yesterday": "after",
            "/v1/tasks?before=nan": "before",
            "/v1/tasks?before=-1": "before",
            "/v1/tasks?q=a&q=b": "q",
            "/v1/tasks?q=%00": "q",
            f"/v1/tasks?url={'x' * 3000}": "url",
            "/v1/tasks?page_token=stale": "page_token",
            "/v1/queues/mail/dead?match=nothing": "match",
            "/v1/queues/mail/dead?page_token=99999": "page_token",
            f"/v1/queues/mail/dead?{'match=kind%3Dx&' * 21}": "match",
        }
        for target, field in table.items():
            answer = api.ask("GET", target)
            self.assertEqual(answer.status, 400, target)
            self.assertEqual(answer.content_type, PROBLEM)
            problem = json.loads(answer.body)
            self.assertEqual(problem["field"], field, target)
            self.assertEqual(
                (problem["status"], problem["title"]), (400, "Bad Request")
            )

    def test_bodies(self) -> None:
        """
        So is one of a body, which must be an object of JSON.
        """
        target = "/v1/queues/mail/dead:redrive"
        table = {
            b"{": (400, None),
            b"[]": (400, None),
            b"\xff": (400, None),
            b"[" * 100_000: (400, None),
            b"{}": (400, "match"),
            b'{"match": "kind=poison"}': (400, "match"),
            b'{"match": [1]}': (400, "match"),
            b'{"match": ["odd"]}': (400, "match"),
            b'{"match": [], "more": 1}': (400, "more"),
            b'{"match": [' + b"[]," * 2**17 + b"1]}": (413, None),
        }
        dead = b'{"queue": "mail", "match": ["kind!=exhausted"]}'
        answer = MemoryAPI().ask("POST", "/v1/tasks:cancel", dead, token="operator")
        found = json.loads(answer.body)
        self.assertEqual((answer.status, found["field"]), (400, "match"))
        self.assertIn("tasks that wait have uuid, url", found["detail"])
        for body, (status, field) in table.items():
            answer = MemoryAPI().ask("POST", target, body, token="operator")
            self.assertEqual(answer.status, status, body[:50])
            self.assertEqual(json.loads(answer.body).get("field"), field, body[:50])
        answer = MemoryAPI().ask(
            "POST", target, b"{}", token="operator", content_type="text/plain"
        )
        self.assertEqual(answer.status, 415)
        target = "/v1/tasks/u:run"
        for wrong in ({}, {"queue": 1}, {"queue": ""}):
            answer = MemoryAPI().ask("POST", target, wrong, token="operator")
            self.assertEqual(json.loads(answer.body)["field"], "queue")
        answer = MemoryAPI().ask("DELETE", "/v1/tasks/u", token="operator")
        self.assertEqual(json.loads(answer.body)["field"], "queue")

    def test_targets(self) -> None:
        """
        What is not there is 404, and another method 405 with those that are.
        """
        api = MemoryAPI()
        table = {
            ("GET", "/v1"): (404, None),
            ("GET", "/v1/nothing"): (404, None),
            ("POST", "/v1/queues/mail:explode"): (404, None),
            ("POST", "/v1/queues/mail"): (405, "GET, HEAD"),
            ("PUT", "/v1/tasks/u"): (405, "DELETE, GET, HEAD"),
            ("OPTIONS", "/v1/overview"): (405, "GET, HEAD"),
            ("TRACE", "/metrics"): (405, "GET, HEAD"),
            ("PUT", "/v1/queues/mail:pause"): (405, "POST"),
            ("OPTIONS", "/v1/queues/mail:pause"): (405, "POST"),
            ("TRACE", "/v1/tasks:batch"): (405, "POST"),
            ("GET", "/v1/tasks:batch"): (405, "POST"),
            ("DELETE", "/v1/queues/mail/dead:redrive"): (405, "POST"),
            ("GET", "/v1/tasks:explode"): (404, None),
            ("GET", "/v1/tasks:"): (404, None),
            ("GET", "/v1/tasks/%FF"): (400, None),
            ("GET", "/v1/tasks?%FF=1"): (400, None),
            ("GET", f"/v1/tasks?{'a=1&' * 101}"): (400, None),
        }
        for (method, target), (status, allow) in table.items():
            answer = api.ask(method, target)
            self.assertEqual(answer.status, status, (method, target))
            self.assertEqual(dict(answer.headers).get("Allow"), allow, (method, target))

    def test_long_names(self) -> None:
        """
        No queue has a name that AMQP does not let it have.
        """
        name = "ä" * 128
        encoded = quote(name)
        for method, target, body in (
            ("GET", f"/v1/queues/{encoded}", None),
            ("GET", f"/v1/queues/{encoded}/dead", None),
            ("GET", f"/v1/tasks/u/why?queue={encoded}", None),
            ("GET", f"/v1/tasks?queue={encoded}", None),
            ("GET", f"/v1/events?queue={encoded}", None),
            ("POST", f"/v1/queues/{encoded}:pause", None),
            ("POST", f"/v1/queues/{encoded}/dead:redrive", {"match": []}),
            ("POST", "/v1/tasks/u:run", {"queue": "half a character: \ud800"}),
            ("POST", "/v1/tasks/u:run", {"queue": "x" * 256}),
            ("DELETE", f"/v1/tasks/u?queue={encoded}", None),
            ("POST", "/v1/tasks:cancel", {"queue": "\udcff", "match": []}),
        ):
            answer = MemoryAPI().ask(method, target, body, token="operator")
            self.assertEqual(answer.status, 404, target)
            self.assertIn(b"1 to 255 bytes", answer.body)

    def test_reserved(self) -> None:
        """
        No token changes queues of quebert's own, such as that of leased tasks, which a
        purge would lose, or of RabbitMQ's.
        """
        match: dict[str, Any] = {"match": []}
        for name in ("quebert.leases", "quebert.delay.5", "amq.gen-1"):
            for method, target, body in (
                ("POST", f"/v1/queues/{name}:pause", None),
                ("POST", f"/v1/queues/{name}:resume", None),
                ("POST", f"/v1/queues/{name}:purge", None),
                ("POST", f"/v1/queues/{name}/dead:redrive", match),
                ("POST", f"/v1/queues/{name}/dead:discard", match),
                ("POST", "/v1/tasks/u:run", {"queue": name}),
                ("DELETE", f"/v1/tasks/u?queue={name}", None),
                ("POST", "/v1/tasks:cancel", {"queue": name, **match}),
            ):
                answer = MemoryAPI().ask(method, target, body, token="operator")
                self.assertEqual(answer.status, 403, (method, target))
                self.assertIn(b"for itself", answer.body)

    def test_away(self) -> None:
        """
        Without the broker, or the history, what needs it is 503, and the overview says
        so.
        """
        api = MemoryAPI()
        api.cluster.broken = "RabbitMQ is away"
        api.cluster.history_broken = "the disk is full"
        found = api.get("/v1/overview")
        self.assertEqual(found["problems"], ["RabbitMQ is away"])
        self.assertEqual(found["history"]["problem"], "the disk is full")
        self.assertFalse(found["history"]["ok"])
        for target in ("/v1/queues/mail/dead", "/v1/tasks", "/v1/tasks/u"):
            answer = api.ask("GET", target)
            self.assertEqual(answer.status, 503, target)
            self.assertIn("Retry-After", dict(answer.headers))
        answer = api.ask("POST", "/v1/queues/mail:pause", token="operator")
        self.assertEqual(answer.status, 503)
        self.assertEqual(api.audit.lines[-1]["result"], "failed: RabbitMQ is away")
        self.assertEqual(api.ask("GET", "/v1/queues/mail").status, 200)

    def test_fault(self) -> None:
        """
        A fault of ours is 500, and its text stays in the log.
        """
        api = MemoryAPI()

        async def fail(uuid: str) -> None:
            raise RuntimeError("with a secret")

        api.cluster.task = fail  # type: ignore[method-assign]
        answer = api.ask("GET", "/v1/tasks/u")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_slow(self) -> None:
        """
        Nobody waits for ever.
        """
        api = MemoryAPI()
        api.cluster.task = lambda uuid: Deferred()  # type: ignore[method-assign,assignment,return-value]
        found: list[Any] = []
        api.begin("GET", "/v1/tasks/u").addCallback(found.append)
        self.assertEqual(found, [])
        api.clock.advance(30)
        self.assertEqual(found[0].status, 503)

    def test_flood(self) -> None:
        """
        So many requests wait for the history, or the broker, and no more; the overview
        does not need them.
        """
        api = MemoryAPI()
        waiting: list[Deferred[None]] = []

        def ask(uuid: str) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        api.cluster.task = ask  # type: ignore[method-assign,assignment]
        for _ in range(MOST_ASKED):
            api.begin("GET", "/v1/tasks/u")
        self.assertEqual(api.ask("GET", "/v1/tasks/u").status, 503)
        self.assertEqual(api.ask("GET", "/v1/overview").status, 200)
        waiting[0].callback(None)
        self.assertEqual(len(waiting), MOST_ASKED)
        api.begin("GET", "/v1/tasks/u")
        self.assertEqual(len(waiting), MOST_ASKED + 1)


class ChangingTests(SynchronousTestCase):
    """
    What is changed.
    """

    def test_queue(self) -> None:
        """
        A queue is paused, resumed and purged, and the audit log has who did so.
        """
        api = MemoryAPI()
        api.cluster.tick()
        for verb in ("pause", "resume", "purge"):
            answer = api.ask("POST", f"/v1/queues/mail:{verb}", token="operator")
            self.assertEqual(answer.status, 200)
            self.assertTrue(json.loads(answer.body)["done"])
            line = api.audit.lines[-1]
            self.assertEqual((line["who"], line["action"]), ("operator", verb))
            self.assertEqual(line["queue"], "mail")
        self.assertEqual(api.cluster.done[0], "pause mail by operator")

    def test_some_purged(self) -> None:
        """
        A purge that takes long tells that some tasks are left.
        """
        api = MemoryAPI()
        some = Progress(total=9, done=5)
        self.patch(api.cluster, "purge", lambda queue: succeed(some))
        answer = api.ask("POST", "/v1/queues/mail:purge", token="operator")
        self.assertEqual(json.loads(answer.body), {"done": False, "count": 5})
        self.assertEqual(api.audit.lines[-1]["result"], "5 dropped; some are left")

    def test_task(self) -> None:
        """
        A task is run now, or cancelled, or it is told why not.
        """
        api = MemoryAPI()
        uuid, other = waiting_uuid("not_due"), waiting_uuid("done")
        body = {"queue": "slow"}
        table = [
            ("POST", f"/v1/tasks/{uuid}:run", body, "running"),
            ("POST", f"/v1/tasks/{other}:run", body, "not_delayed"),
            ("POST", "/v1/tasks/none:run", body, "not_found"),
            ("DELETE", f"/v1/tasks/{uuid}?queue=slow", None, "too_late"),
            (
                "DELETE",
                f"/v1/tasks/{waiting_uuid('paused')}?queue=slow",
                None,
                "cancelled",
            ),
        ]
        for method, target, given, result in table:
            answer = api.ask(method, target, given, token="operator")
            self.assertEqual(json.loads(answer.body)["result"], result, target)
            self.assertEqual(api.audit.lines[-1]["result"], result)

    def test_background(self) -> None:
        """
        What takes long goes on in the background, with progress, and the audit log has
        its begin and its end.
        """
        api = MemoryAPI()
        body = {"match": ["kind=poison"]}
        target = "/v1/queues/mail/dead:redrive"
        answer = api.ask("POST", target, body, token="operator")
        self.assertEqual(answer.status, 202)
        name = json.loads(answer.body)["operation"]
        found = api.get(f"/v1/operations/{name}")
        self.assertEqual(set(found), set(FIELDS["operation"].split()))
        self.assertEqual((found["done"], found["total"]), (False, 230))
        api.clock.pump([0.1] * 30)
        found = api.get(f"/v1/operations/{name}")
        self.assertEqual((found["done"], found["count"]), (True, 46))
        results = [each["result"] for each in api.audit.lines]
        self.assertEqual(results, ["begun", "46 done"])
        self.assertEqual(api.audit.lines[1]["match"], ["kind=poison"])
        counts = [each.count for each in api.told]
        self.assertEqual(counts, sorted(counts))
        self.assertTrue(api.told[-1].done)
        self.assertLess(len(counts), 10)
        self.assertEqual(api.ask("GET", "/v1/operations/none").status, 404)
        self.assertEqual(api.get(f"/v1/operations/{name}", token="mailer"), found)

    def test_background_fails(self) -> None:
        """
        Why it has failed half-way is told.
        """
        api = MemoryAPI()
        target = "/v1/queues/mail/dead:discard"
        answer = api.ask("POST", target, {"match": []}, token="operator")
        name = json.loads(answer.body)["operation"]
        api.clock.pump([0.1] * 5)
        api.cluster.broken = "RabbitMQ is away"
        api.clock.pump([0.1] * 5)
        found = api.get(f"/v1/operations/{name}")
        self.assertEqual(found["problem"], "RabbitMQ is away")
        self.assertTrue(0 < found["count"] < 230)
        self.assertIn("then failed: RabbitMQ", api.audit.lines[-1]["result"])

    def test_too_many(self) -> None:
        """
        A few go on at a time.
        """
        api = MemoryAPI()
        target = "/v1/queues/mail/dead:redrive"
        body: dict[str, list[str]] = {"match": []}
        statuses = [
            api.ask("POST", target, body, token="operator").status for _ in range(4)
        ]
        self.assertEqual(statuses, [202, 202, 202, 429])

    def test_cancel_many(self) -> None:
        """
        Many tasks are cancelled in the same way.
        """
        api = MemoryAPI()
        body = {"queue": "mail", "match": []}
        answer = api.ask("POST", "/v1/tasks:cancel", body, token="operator")
        self.assertEqual(answer.status, 202)
        api.clock.pump([0.1] * 100)
        self.assertTrue(api.told[-1].done)
        self.assertEqual(api.told[-1].count, 40)

    def test_stop(self) -> None:
        """
        What goes on when the server is stopped is stopped, and told as such.
        """
        api = MemoryAPI()
        target = "/v1/queues/mail/dead:redrive"
        body: dict[str, list[str]] = {"match": []}
        api.ask("POST", target, body, token="operator")
        Deferred.fromCoroutine(api.background.stop())
        self.assertIn("stopped half-way", api.audit.lines[-1]["result"])
        self.assertEqual(api.clock.getDelayedCalls(), [])
