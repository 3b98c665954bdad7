"""
Tasks that are created over the API: what is answered, and what is there then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from unittest import mock
from urllib.parse import quote
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import NEW, EndNote, _created_tasks
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    MessageRefused,
    PublishRefused,
    TaskStoreError,
    Unroutable,
)
from quebert.test.web.doubles import MemoryAPI
from quebert.web import _tasks
from quebert.web._creating import MOST_TASKS
from quebert.web._exchange import APIAnswer, json_answer
from quebert.web._tasks import created_view

_URL = "http://127.0.0.1:8000/"


class CreatingCase(SynchronousTestCase):
    """
    The API, with rows and a broker in memory.
    """

    def setUp(self) -> None:
        self.api = MemoryAPI()

    def post(
        self, body: Any, status: int = 201, token: str = "adder", **options: Any
    ) -> Any:
        """
        What there is of a task that a client asks for.
        """
        answer = self.api.ask("POST", "/v1/tasks", body, token=token, **options)
        self.assertEqual(answer.status, status, answer.body)
        return json.loads(answer.body)

    def batch(self, items: Any, status: int = 200, **options: Any) -> Any:
        """
        The results of a batch.
        """
        begun = self.api.begin(
            "POST", "/v1/tasks:batch", {"tasks": items}, token="adder", **options
        )
        found: list[Any] = []
        begun.addCallback(found.append)
        self.api.clock.advance(0)
        [answer] = found
        self.assertEqual(answer.status, status, answer.body)
        return json.loads(answer.body).get("results")

    def published(self, queue: str = "tasks") -> list[Any]:
        """
        The tasks that a queue has.
        """
        return [json.loads(each.body) for each in self.api.broker.queues.get(queue, ())]


class CreateTests(CreatingCase):
    """
    One task.
    """

    def test_answer(self) -> None:
        """
        A task has its row, is published, and its place is answered; then its end is
        told.
        """
        body = {"queue": "mail", "url": _URL, "params": {"to": 1}, "name": "a b"}
        answer = self.api.ask("POST", "/v1/tasks", body, token="all")
        self.assertEqual(answer.status, 201)
        told = json.loads(answer.body)
        now = self.api.clock.seconds()
        uuid = told["uuid"]
        wanted = {"uuid": uuid, "queue": "mail", "name": "a b", "state": "published"}
        more = {"added": now, "due": now, "end": None, "held_until": None}
        self.assertEqual(told, {**wanted, **more})
        self.assertEqual(dict(answer.headers), {"Location": f"/v1/tasks/{uuid}"})
        [task] = self.published("mail")
        self.assertEqual((task["uuid"], task["params"]), (uuid, {"to": 1}))
        place = dict(answer.headers)["Location"]
        found = self.api.get(place)
        self.assertEqual(found["created"], told)
        self.assertEqual((found["state"], found["url"]), ("waiting", _URL))
        note = EndNote(uuid=uuid, queue="mail", outcome="done", ended=now, status=200)
        self.successResultOf(Deferred.fromCoroutine(self.api.created.ended([note])))
        found = self.api.get(place)
        self.assertEqual((found["state"], found["url"]), ("done", ""))
        end = found["created"]["end"]
        self.assertEqual((end["outcome"], end["status"]), ("done", 200))
        self.assertNotIn("uuid", end)
        self.assertEqual(found["created"]["held_until"], now + 3_600)

    def test_view(self) -> None:
        """
        The first answer is the view of the row, which it writes by hand.
        """
        told = self.post({"url": _URL, "delay": 60})
        row = self.api.rows.rows[told["uuid"]][1]
        self.assertEqual(told, json.loads(json_answer(created_view(row)).body))
        self.assertEqual(told["due"], told["added"] + 60)

    def test_fields(self) -> None:
        """
        The task has each field; one that is null is as if it were not there.
        """
        fields = {
            "run_at": "2001-01-01T00:00:00Z",
            "ttl": 1e9,
            "timeout": 5,
            "method": "PUT",
            "headers": {"X-A": "b"},
            "payload": "aGk=",
            "retry": {"max_attempts": 3},
            "filter": True,
            "callback_url": "https://caller.example/ended",
            "uuid": "my/own",
        }
        nulls = dict.fromkeys(("queue", "name", "params", "delay", "extra"))
        told = self.post({"url": _URL, **fields, **nulls})
        [task] = self.published()
        self.assertEqual(
            {name: task[name] for name in fields},
            fields | {"run_at": "2001-01-01T00:00:00.000000Z"},
        )
        self.assertEqual((told["uuid"], told["queue"]), ("my/own", "tasks"))
        found = self.api.get(f"/v1/tasks/{quote('my/own', safe='')}")
        self.assertEqual(found["uuid"], "my/own")
        self.post({"url": _URL, "extra": {"mine": [1]}})
        self.assertEqual(self.published()[1]["mine"], [1])

    def test_callback_name(self) -> None:
        """
        A task with a name and a callback has the name, which its callback tells.
        """
        for fields, name in (
            ({"name": "order 7", "callback_url": "/ended"}, "order 7"),
            ({"name": "order 8"}, None),
            ({"callback_url": "/ended"}, None),
        ):
            self.post({"url": _URL, **fields})
            self.assertEqual(self.published()[-1].get("callback_name"), name)

    def test_bad(self) -> None:
        """
        A field that is wrong is named; one that is unknown is told the nearest.
        """
        table: list[tuple[Mapping[str, Any], str, str]] = [
            ({}, "url", "is missing"),
            ({"url": 5}, "url", "must be a string"),
            ({"url": "ftp://x"}, "url", "must begin with http"),
            ({"queue": 5}, "queue", "1 to 255 bytes"),
            ({"queue": ""}, "queue", "1 to 255 bytes"),
            ({"queue": "ä" * 128}, "queue", "1 to 255 bytes"),
            ({"queue": "\ud800"}, "queue", "1 to 255 bytes"),
            ({"queue": "quebert.ended"}, "queue", "for itself"),
            ({"queue": "amq.gen-1"}, "queue", "for itself"),
            ({"queue": "tasks.dead"}, "queue", "for itself"),
            ({"name": ""}, "name", "1 to 500"),
            ({"name": "x" * 501}, "name", "1 to 500"),
            ({"name": "a\x00"}, "name", "printable"),
            ({"name": ["a"]}, "name", "1 to 500"),
            ({"uuid": "a\nb"}, "uuid", "printable"),
            ({"uuid": ""}, "uuid", "1 to 255"),
            ({"uuid": 7}, "uuid", "1 to 255"),
            ({"delay": "soon"}, "delay", "a number of seconds"),
            ({"run_at": "soon"}, "run_at", "RFC 3339"),
            ({"run_at": 1, "delay": 1}, "run_at", "give one"),
            ({"ttl": "x"}, "ttl", "a number"),
            ({"timeout": -1}, "timeout", "0 or more"),
            ({"method": "BREW"}, "method", "one of"),
            ({"headers": {"a b": "c"}}, "headers", "not a name"),
            ({"payload": "a"}, "payload", "base64"),
            ({"payload": "aGk=\n"}, "payload", "base64"),
            ({"payload": "é"}, "payload", "base64"),
            ({"payload": 5}, "payload", "base64"),
            ({"payload": "aGk=", "method": "GET"}, "payload", ""),
            ({"retry": {"max": 1}}, "retry", "is not known"),
            ({"filter": 1}, "filter", "true or false"),
            ({"callback_url": "ftp://x"}, "callback_url", "must begin with http"),
            ({"callback_url": {"url": "/x"}}, "callback_url", "no callback of its own"),
            ({"callback_name": "n"}, "callback_name", "is not known"),
            ({"extra": 1}, "extra", "must be a dict"),
            ({"extra": {"url": 1}}, "extra", "give it by itself"),
            ({"countdown": 1}, "countdown", "did you mean delay?"),
            ({"header": {}}, "header", "did you mean headers?"),
            ({"max_attempts": 1}, "max_attempts", "did you mean retry?"),
            ({"priority": "high"}, "priority", "is not known"),
            ({"failures": []}, "failures", "is not known"),
        ]
        for fields, field, text in table:
            body = {"url": _URL, **fields} if fields else fields
            told = self.post(body, 422)
            self.assertEqual(told["type"], "/problems/bad-task")
            self.assertEqual(told["field"], field, told)
            self.assertIn(text, told["detail"])
        self.assertEqual(self.published(), [])
        self.assertEqual(self.post([1], 422)["type"], "/problems/bad-task")

    def test_bodies(self) -> None:
        """
        A body that is no JSON is told from a task that is wrong.
        """
        for body in (b"", b"{", b'{"url": NaN}', b"\xff", b"[" * 9_000):
            self.assertEqual(self.post(body, 400)["type"], "/problems/not-json")
        self.post(b"{}", 415, content_type="text/plain")

    def test_rights(self) -> None:
        """
        Who may not add to a queue, does not; nor does a program of this machine without
        a token.
        """
        self.post({"url": _URL}, 403, token="reader")
        self.post({"url": _URL}, 403, token="operator")
        self.assertEqual(self.api.ask("POST", "/v1/tasks", {"url": _URL}).status, 401)
        self.post({"url": _URL, "queue": "mail.a"}, token="mail-adder")
        told = self.post({"url": _URL, "queue": "tasks"}, 403, token="mail-adder")
        self.assertIn("'tasks'", told["detail"])

    def test_taken(self) -> None:
        """
        A name is taken once in a queue, and a uuid once.
        """
        self.post({"url": _URL, "name": "n"})
        told = self.post({"url": _URL, "name": "n"}, 409)
        self.assertEqual(told["type"], "/problems/name-taken")
        self.assertEqual(told["field"], "name")
        self.post({"url": _URL, "name": "n", "queue": "mail"})
        self.post({"url": _URL, "uuid": "u"})
        told = self.post({"url": _URL, "uuid": "u"}, 409)
        self.assertEqual(told["type"], "/problems/uuid-taken")
        self.assertEqual(told["field"], "uuid")
        self.assertEqual(len(self.published()), 2)

    def test_away(self) -> None:
        """
        What RabbitMQ or the database says is told, and whether the task may be carried
        out.
        """
        refused = BrokerError("the queue is full")
        table: list[tuple[BrokerError, int, str, int]] = [
            (Unroutable("there is no queue tasks"), 404, "no-queue", 0),
            (MessageRefused(406, "it is too large"), 413, "too-large", 0),
            (PublishRefused("nack"), 503, "queue-refuses", 0),
            (BrokerUnreachable("no connection"), 503, "rabbitmq-away", 0),
            (refused, 503, "in-doubt", 1),
        ]
        for error, status, kind, rows in table:
            self.api = MemoryAPI()
            self.api.broker.problem = error
            told = self.post({"url": _URL}, status)
            self.assertEqual(told["type"], f"/problems/{kind}")
            self.assertEqual("may be carried out" in told["detail"], bool(rows))
            self.assertEqual(len(self.api.rows.rows), rows)
        self.api.rows.problem = TaskStoreError("the disk is full")
        answer = self.api.ask("POST", "/v1/tasks", {"url": _URL}, token="adder")
        self.assertEqual(answer.status, 503)
        self.assertEqual(dict(answer.headers), {"Retry-After": "2"})
        self.assertIn(b"the disk is full; the task may be carried out", answer.body)

    def test_too_many(self) -> None:
        """
        While tasks that are being created have too many bytes, a client is told to try
        again later, and that nothing was created.
        """
        self.patch(_created_tasks, "MOST_BYTES", 10)
        self.api.broker.silent = True
        self.api.begin("POST", "/v1/tasks", {"url": _URL}, token="adder")
        told = self.post({"url": _URL}, 503)
        self.assertEqual(told["type"], "/problems/database-away")
        self.assertNotIn("may be carried out", told["detail"])
        self.assertEqual(len(self.api.rows.rows), 1)

    def test_confirm(self) -> None:
        """
        There is no answer before RabbitMQ has confirmed; and none is waited for for
        ever.
        """
        self.api.broker.silent = True
        found: list[APIAnswer] = []
        for _ in range(2):
            begun: Any = self.api.begin(
                "POST", "/v1/tasks", {"url": _URL}, token="adder"
            )
            begun.addCallback(found.append)
        self.assertEqual(found, [])
        self.api.broker.answer()
        self.assertEqual([each.status for each in found], [201])
        self.api.clock.advance(30)
        self.assertEqual([each.status for each in found], [201, 503])
        self.assertIn(b"/problems/in-doubt", found[1].body)


class IdempotencyTests(CreatingCase):
    """
    Requests with an C{Idempotency-Key}.
    """

    def test_repeat(self) -> None:
        """
        A repeat has the first answer, whatever has become of the task, and however its
        fields are sorted.
        """
        body = {"url": _URL, "params": {"a": 1, "b": 2}, "delay": 5}
        first = self.post(body, idempotency_key="k")
        self.api.clock.advance(7)
        again = dict(reversed(body.items()))
        self.assertEqual(self.post(again, idempotency_key='"k"'), first)
        note = EndNote(uuid=first["uuid"], queue="tasks", outcome="done", ended=1.0)
        self.successResultOf(Deferred.fromCoroutine(self.api.created.ended([note])))
        self.assertEqual(self.post(body, idempotency_key="k"), first)
        self.assertEqual(len(self.published()), 1)
        UUID(first["uuid"])

    def test_another(self) -> None:
        """
        The key of another request is refused; that of another token is another key.
        """
        first = self.post({"url": _URL}, idempotency_key="k")
        told = self.post({"url": _URL, "ttl": 1}, 422, idempotency_key="k")
        self.assertEqual(told["type"], "/problems/idempotency-key-reused")
        self.assertEqual(told["field"], "Idempotency-Key")
        other = self.post({"url": _URL}, token="all", idempotency_key="k")
        self.assertNotEqual(other["uuid"], first["uuid"])
        self.assertEqual(len(self.published()), 2)

    def test_meanwhile(self) -> None:
        """
        While the first request is under way, its repeat waits for the same answer.
        """
        self.api.broker.silent = True
        found: list[Any] = []
        for _ in range(2):
            begun: Any = self.api.begin(
                "POST", "/v1/tasks", {"url": _URL}, token="adder", idempotency_key="k"
            )
            begun.addCallback(found.append)
        self.assertEqual(len(self.api.broker.waiting), 1)
        self.api.broker.answer()
        self.assertEqual([each.status for each in found], [201, 201])
        self.assertEqual(found[0].body, found[1].body)

    def test_refused(self) -> None:
        """
        A request that was refused may be repeated with its key.
        """
        self.api.broker.problem = Unroutable("there is no queue tasks")
        self.post({"url": _URL}, 404, idempotency_key="k")
        self.api.broker.problem = None
        self.post({"url": _URL}, idempotency_key="k")

    def test_in_doubt(self) -> None:
        """
        One that was in doubt is published once more, with the same uuid.
        """
        self.api.broker.problem = BrokerError("the connection is lost")
        self.post({"url": _URL}, 503, idempotency_key="k")
        [uuid] = self.api.rows.rows
        self.assertEqual(self.api.rows.rows[uuid][1].state, NEW)
        self.api.broker.problem = None
        self.assertEqual(self.post({"url": _URL}, idempotency_key="k")["uuid"], uuid)

    def test_keys(self) -> None:
        """
        A key has 1 to 255 printable characters, and there is no uuid beside it.
        """
        for wrong in ("", '""', "x" * 256, "a\x7f", "ä"):
            told = self.post({"url": _URL}, 400, idempotency_key=wrong)
            self.assertEqual(told["field"], "Idempotency-Key")
        uuids = {
            self.post({"url": _URL}, idempotency_key=key)["uuid"]
            for key in ("x" * 255, "a b", r'"a\"b"', 'a"b', r'"a\\b"')
        }
        self.assertEqual(len(uuids), 4)
        told = self.post({"url": _URL, "uuid": "u"}, 422, idempotency_key="k")
        self.assertEqual(told["field"], "uuid")

    def test_batch(self) -> None:
        """
        Each task of a batch has a key of its own by its place, which no single task
        has.
        """
        items = [{"url": _URL}, {"url": _URL, "ttl": 1}]
        first = self.batch(items, idempotency_key="k")
        self.assertEqual(self.batch(items, idempotency_key="k"), first)
        self.assertEqual(len(self.published()), 2)
        changed = self.batch([items[0], {"url": _URL}], idempotency_key="k")
        self.assertEqual(changed[0], first[0])
        self.assertEqual(changed[1]["status"], 422)
        single = self.post(items[0], idempotency_key="k")
        self.assertNotEqual(single["uuid"], first[0]["task"]["uuid"])


class BatchTests(CreatingCase):
    """
    Many tasks.
    """

    def test_results(self) -> None:
        """
        Each task has a result of its own.
        """
        items = [
            {"url": _URL, "name": "n"},
            {"url": _URL, "name": "n"},
            {"url": ""},
            5,
            {"url": _URL, "queue": "mail"},
        ]
        results = self.batch(items)
        statuses = [each["status"] for each in results]
        self.assertEqual(statuses, [201, 409, 422, 422, 201])
        self.assertEqual(results[0]["task"]["name"], "n")
        self.assertEqual(results[1]["problem"]["type"], "/problems/name-taken")
        self.assertEqual(results[2]["problem"]["field"], "url")
        self.assertEqual(results[4]["task"]["queue"], "mail")
        self.assertEqual(len(self.published()), 1)

    def test_turns(self) -> None:
        """
        The reactor has turns while a large batch is read, and its tasks are written in
        one go.
        """
        with (
            mock.patch.object(self.api.rows, "add", wraps=self.api.rows.add) as add,
            mock.patch.object(
                self.api.clock, "callLater", wraps=self.api.clock.callLater
            ) as later,
        ):
            results = self.batch([{"url": _URL}] * MOST_TASKS)
        self.assertEqual({each["status"] for each in results}, {201})
        self.assertEqual([len(each.args[0]) for each in add.mock_calls], [MOST_TASKS])
        turns = [each for each in later.mock_calls if each.args[0] == 0]
        self.assertGreaterEqual(len(turns), 10)

    def test_wrong(self) -> None:
        """
        A batch that is none is refused as a whole.
        """
        wrongs: tuple[Any, ...] = ({}, [], 5)
        for wrong in wrongs:
            self.batch(wrong, 422)
        self.batch([{"url": _URL}] * (MOST_TASKS + 1), 422)
        bodies: tuple[Any, ...] = ([], {"tasks": [{"url": _URL}], "more": 1}, {})
        for body in bodies:
            answer = self.api.ask("POST", "/v1/tasks:batch", body, token="adder")
            self.assertEqual(answer.status, 422)
            self.assertEqual(json.loads(answer.body)["field"], "tasks")

    def test_away(self) -> None:
        """
        Without RabbitMQ each task has its problem; without the database, all have.
        """
        self.api.broker.problem = BrokerUnreachable("no connection")
        results = self.batch([{"url": _URL}] * 2)
        self.assertEqual([each["status"] for each in results], [503, 503])
        self.api.rows.problem = TaskStoreError("the disk is full")
        self.batch([{"url": _URL}] * 2, 503)

    def test_rights(self) -> None:
        """
        A task for a queue to which the token may not add is refused, the others are
        not.
        """
        items = [{"url": _URL, "queue": "mail"}, {"url": _URL, "queue": "tasks"}]
        found: list[Any] = []
        self.api.begin(
            "POST", "/v1/tasks:batch", {"tasks": items}, token="mail-adder"
        ).addCallback(found.append)
        self.api.clock.advance(0)
        results = json.loads(found[0].body)["results"]
        self.assertEqual([each["status"] for each in results], [201, 403])


class RowTests(CreatingCase):
    """
    What is asked and changed of tasks that were created.
    """

    def setUp(self) -> None:
        super().setUp()
        for name, queue in (("a", "mail"), ("b", "tasks"), ("c", "mail")):
            self.post({"url": _URL, "name": name, "uuid": name, "queue": queue})

    def _names(self, query: str, **options: Any) -> Any:
        found = self.api.get(f"/v1/tasks?{query}", **options)
        return [each["name"] for each in found["tasks"]], found["next_page_token"]

    def test_pages(self) -> None:
        """
        Rows are found by state, queue and name, in pages.
        """
        self.assertEqual(self._names("state=published"), (["a", "b", "c"], None))
        self.assertEqual(self._names("state=published&queue=mail")[0], ["a", "c"])
        self.assertEqual(self._names("name=b")[0], ["b"])
        self.assertEqual(self._names("state=new&state=ended")[0], [])
        first, token = self._names("state=published&page_size=2")
        self.assertEqual(first, ["a", "b"])
        last = self._names(f"state=published&page_size=2&page_token={token}")
        self.assertEqual(last, (["c"], None))
        seen = self._names("state=published&page_size=2", token="mailer")
        self.assertEqual(seen, (["a", "c"], None))
        self.assertEqual(self._names("name=b&page_size=1", token="mailer"), ([], None))
        # A page may be short, and not be the last: others have too many.
        self.patch(_tasks, "_PAGES", 1)
        seen = self._names("state=published&page_size=2", token="mailer")
        self.assertEqual(seen, (["a"], token))

    def test_no_bodies(self) -> None:
        """
        Of a list, no bodies are read: 500 of them may be half a gigabyte.
        """
        with mock.patch.object(self.api.rows, "page", wraps=self.api.rows.page) as page:
            self._names("state=published&page_size=500")
        [asked] = page.mock_calls
        self.assertFalse(asked.args[0].bodies)

    def test_wrong(self) -> None:
        """
        A field of a list that is wrong is named.
        """
        table = {
            "state=odd": "state",
            "state=new&status=200": "status",
            "name=a&page_token=x": "page_token",
            "name=a&page_token=0": "page_token",
            "name=a&page_size=0": "page_size",
            "name=a&name=b": "name",
        }
        for query, field in table.items():
            answer = self.api.ask("GET", f"/v1/tasks?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertEqual(json.loads(answer.body)["field"], field, query)
        answer = self.api.ask("GET", "/v1/tasks?name=b&queue=tasks", token="mailer")
        self.assertEqual(answer.status, 403)

    def test_delete(self) -> None:
        """
        A task needs no queue to be deleted, once; its name stays taken.
        """
        answer = self.api.ask("DELETE", "/v1/tasks/a", token="operator")
        self.assertEqual(json.loads(answer.body)["result"], "cancelled")
        self.assertEqual(self.api.broker.cancelled, ["a"])
        line = self.api.audit.lines[-1]
        told = line["who"], line["action"], line["queue"], line["uuid"]
        self.assertEqual(told, ("operator", "cancel", "mail", "a"))
        found = self.api.get("/v1/tasks/a")
        self.assertEqual(found["state"], "cancelled")
        self.assertEqual(found["created"]["state"], "deleted")
        for method, target in (("DELETE", "/v1/tasks/a"), ("POST", "/v1/tasks/a:run")):
            answer = self.api.ask(method, target, token="operator")
            self.assertEqual(answer.status, 410)
            self.assertIn(b"/problems/task-ended", answer.body)
        self.post({"url": _URL, "name": "a", "queue": "mail"}, 409)

    def test_delete_away(self) -> None:
        """
        A task that cannot be deleted now will be.
        """
        self.api.broker.problem = BrokerError("the connection is lost")
        answer = self.api.ask("DELETE", "/v1/tasks/a", token="operator")
        self.assertEqual(answer.status, 503)
        self.assertIn(b"/problems/in-doubt", answer.body)
        self.assertIn(b"is deleted once RabbitMQ is back", answer.body)

    def test_run(self) -> None:
        """
        Nor does it need one to be run now.
        """
        for body in (None, {}, {"queue": "mail"}):
            answer = self.api.ask("POST", "/v1/tasks/a:run", body, token="operator")
            self.assertEqual(json.loads(answer.body)["result"], "running")
        self.assertEqual(self.api.audit.lines[-1]["queue"], "mail")

    def test_unknown(self) -> None:
        """
        Without a row and a queue there is no such task; with a queue it may be one that
        was added over AMQP, also where a row has the same uuid.
        """
        for method, target in (("DELETE", "/v1/tasks/x"), ("POST", "/v1/tasks/x:run")):
            answer = self.api.ask(method, target, token="operator")
            self.assertEqual(answer.status, 404)
            self.assertIn(b"/problems/no-task", answer.body)
        for uuid in ("x", "a"):
            target = f"/v1/tasks/{uuid}?queue=slow"
            answer = self.api.ask("DELETE", target, token="operator")
            self.assertEqual(json.loads(answer.body)["result"], "not_found")
        self.assertEqual(self.api.broker.cancelled, [])

    def test_hidden(self) -> None:
        """
        A token for some queues neither sees nor changes the tasks of others, and is
        told no more than of tasks that are not there.
        """
        for method, target in (
            ("GET", "/v1/tasks/b"),
            ("DELETE", "/v1/tasks/b"),
            ("POST", "/v1/tasks/b:run"),
        ):
            hidden = self.api.ask(method, target, token="mailer")
            unknown = self.api.ask(method, target.replace("/b", "/x"), token="mailer")
            self.assertEqual(hidden.status, 404)
            self.assertEqual(
                hidden.body.replace(b"task b", b"task x"), unknown.body, target
            )
        self.assertEqual(self.api.ask("GET", "/v1/tasks/a", token="mailer").status, 200)

    def test_history(self) -> None:
        """
        A task of the history has its row beside it.
        """
        [record] = self.api.cluster.attempt("mail", 1)[:1]
        self.assertIsNone(self.api.get(f"/v1/tasks/{record.uuid}")["created"])
        self.post({"url": _URL, "uuid": record.uuid, "name": "d", "queue": "mail"})
        found = self.api.get(f"/v1/tasks/{record.uuid}")
        self.assertEqual(found["created"]["name"], "d")
        self.assertEqual(len(found["attempts"]), 1)

    def test_away(self) -> None:
        """
        Without the database, it is said that it is away; what the history knows is
        shown all the same.
        """
        [record] = self.api.cluster.attempt("mail", 1)[:1]
        self.api.rows.problem = TaskStoreError("the disk is full")
        for target in ("/v1/tasks/a", "/v1/tasks?state=new"):
            answer = self.api.ask("GET", target)
            self.assertEqual(answer.status, 503)
            self.assertIn(b"/problems/database-away", answer.body)
        self.assertIsNone(self.api.get(f"/v1/tasks/{record.uuid}")["created"])
