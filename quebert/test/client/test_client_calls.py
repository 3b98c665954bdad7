"""
The pure parts of L{quebert.client}: requests, answers, and what is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from quebert.client._access import APIAccess
from quebert.client._calls import APICalls, CreatingMany, LeaseCalls
from quebert.client._exchange import APICall, LostAnswer, Outcome, ReceivedAnswer
from quebert.client._new_tasks import MOST_BYTES, batches
from quebert.client._problems import APIError, error_of, result_of
from quebert.client._retrying import CallProgress, checked_patience
from quebert.errors import (
    BadTask,
    ConfigError,
    LeaseLost,
    NameTaken,
    QuebertError,
    TaskEnded,
    TaskUnknown,
    UUIDTaken,
)
from quebert.producer import TaskResult
from quebert.web._problems import MEANINGS

CALLS = APICalls(APIAccess("http://api", "secret"))
ROW = {
    "uuid": "u",
    "queue": "mail",
    "name": None,
    "state": "ended",
    "added": 1.0,
    "due": 2.0,
    "end": {"outcome": "done", "ended": 3.0, "of_later": 1},
    "held_until": 4.0,
    "of_later": 1,
}


def answer(status: int, told: Any, retry_after: str = "") -> ReceivedAnswer:
    """
    An answer with JSON.
    """
    return ReceivedAnswer(status, json.dumps(told).encode(), retry_after)


def problem(status: int, kind: str, field: str = "") -> ReceivedAnswer:
    """
    The answer with a problem.
    """
    told = {"type": f"/problems/{kind}", "detail": "why", "field": field}
    return answer(status, told)


class AccessTests(SynchronousTestCase):
    """
    Tests for L{APIAccess}.
    """

    def test_given(self) -> None:
        """
        A slash at the end of a URL says nothing; a token is not shown.
        """
        found = APIAccess.of("http://api/queue/", "secret")
        self.assertEqual(found, APIAccess("http://api/queue", "secret"))
        self.assertNotIn("secret", repr(found))

    def test_environment(self) -> None:
        """
        The token of the environment is in a file, or in a variable.
        """
        path = Path(self.mktemp())
        path.write_text("# of the shop\nsecret\n")
        url = {"QUEBERT_URL": "https://api"}
        for more, token in (
            ({}, ""),
            ({"QUEBERT_TOKEN": "secret"}, "secret"),
            ({"QUEBERT_TOKEN_FILE": str(path)}, "secret"),
        ):
            found = APIAccess.from_environment({**url, **more})
            self.assertEqual(found, APIAccess("https://api", token))
        self.assertIsNone(APIAccess.from_environment({"QUEBERT_TOKEN": "secret"}))

    def test_own_place(self) -> None:
        """
        The token of the environment goes nowhere but to the place of the environment.
        """
        environment = {"QUEBERT_URL": "http://api", "QUEBERT_TOKEN": "secret"}
        self.enterContext(patch.dict(os.environ, environment, clear=True))
        self.assertEqual(APIAccess.of().token, "secret")
        self.assertEqual(APIAccess.of("http://other").token, "")
        self.assertEqual(APIAccess.of(token="own").token, "own")

    def test_wrong(self) -> None:
        """
        What is wrong is said, without a password.
        """
        path = Path(self.mktemp())
        path.write_text("one\ntwo\n")
        url = {"QUEBERT_URL": "http://api"}
        for environment, text in (
            ({"QUEBERT_URL": "api:80"}, "QUEBERT_URL api:80 cannot be requested"),
            ({"QUEBERT_URL": "http://a:b@api"}, "//...@api must have no user"),
            ({"QUEBERT_URL": "http://api?a"}, "no query"),
            ({**url, "QUEBERT_TOKEN": "a b"}, "QUEBERT_TOKEN must have printable"),
            ({**url, "QUEBERT_TOKEN": "a", "QUEBERT_TOKEN_FILE": "b"}, "not both"),
            ({**url, "QUEBERT_TOKEN_FILE": str(path)}, "must have one line"),
            ({**url, "QUEBERT_TOKEN_FILE": "/no/such"}, "cannot be read"),
        ):
            with self.assertRaises(ConfigError) as caught:
                APIAccess.from_environment(environment)
            self.assertIn(text, str(caught.exception))
            self.assertNotIn("a:b", str(caught.exception))
        self.enterContext(patch.dict(os.environ, clear=True))
        with self.assertRaisesRegex(ConfigError, "set QUEBERT_URL"):
            APIAccess.of()


class CallTests(SynchronousTestCase):
    """
    Tests for L{APICalls} and L{LeaseCalls}.
    """

    def body(self, call: APICall[Any]) -> Any:
        """
        What a request sends.
        """
        self.assertEqual(call.request.headers["Content-Type"], "application/json")
        body = call.request.body
        assert body is not None
        return json.loads(body)

    def test_create(self) -> None:
        """
        A task has the fields that were given, and a key.
        """
        fields = {
            "url": "/",
            "params": None,
            "payload": b"\xff",
            "run_at": datetime(2027, 1, 31, tzinfo=UTC),
            "name": "n",
        }
        call = CALLS.create(fields, None)
        self.assertEqual(
            self.body(call),
            {
                "url": "/",
                "payload": "/w==",
                "run_at": "2027-01-31T00:00:00+00:00",
                "name": "n",
            },
        )
        request = call.request
        self.assertEqual((request.method, request.url), ("POST", "http://api/v1/tasks"))
        self.assertEqual(request.headers["Authorization"], "Bearer secret")
        self.assertEqual(request.headers["Idempotency-Key"], call.key)
        self.assertNotEqual(CALLS.create(fields, None).key, call.key)
        self.assertEqual(result_of(call, answer(201, ROW)), "u")
        self.assertNotIn("secret", repr(call))

    def test_key(self) -> None:
        """
        A key that is given is sent; a task with a uuid has none, and is not repeated.
        """
        self.assertEqual(CALLS.create({"url": "/"}, "k").key, "k")
        call = CALLS.create({"url": "/", "uuid": "u"}, None)
        self.assertNotIn("Idempotency-Key", call.request.headers)
        self.assertFalse(call.request.repeatable)
        for wrong in ("", "ä", "a\n", "a" * 201):
            with self.assertRaisesRegex(ConfigError, "idempotency_key must have"):
                CALLS.create({"url": "/"}, wrong)

    def test_no_json(self) -> None:
        """
        What has no form in JSON, or is too large, is no task.
        """
        for fields in (
            {"params": object()},
            {"params": float("nan")},
            {"payload": "text"},
            {"params": "a" * MOST_BYTES},
        ):
            with self.assertRaises(BadTask):
                CALLS.create({"url": "/", **fields}, None)

    def test_one(self) -> None:
        """
        A uuid may hold anything.
        """
        self.assertEqual(
            CALLS.task("a/b:c").request.url, "http://api/v1/tasks/a%2Fb%3Ac"
        )
        call = CALLS.delete("u", "a&b")
        self.assertEqual(call.request.url, "http://api/v1/tasks/u?queue=a%26b")
        self.assertEqual(call.request.method, "DELETE")
        run = CALLS.run("u", None)
        self.assertEqual(run.request.url, "http://api/v1/tasks/u:run")
        self.assertEqual(self.body(run), {})
        self.assertEqual(self.body(CALLS.run("u", "mail")), {"queue": "mail"})
        self.assertFalse(call.request.repeatable or run.request.repeatable)
        told = {"result": "cancelled", "text": "it is", "of_later": 1}
        found = result_of(call, answer(200, told))
        self.assertEqual((found.result, found.text), ("cancelled", "it is"))

    def test_task(self) -> None:
        """
        A task is read with its attempts and its row, whatever a later version adds.
        """
        attempt = {"number": 1, "outcome": "done", "started": 1.0, "ended": 2.0}
        told = {
            "uuid": "u",
            "queue": "mail",
            "url": "http://x/",
            "state": "done",
            "attempts": [{**attempt, "of_later": 1}],
            "created": ROW,
            "of_later": 1,
        }
        found = result_of(CALLS.task("u"), answer(200, told))
        self.assertEqual((found.state, found.attempts[0].number), ("done", 1))
        assert found.created is not None
        assert found.created.end is not None
        end = found.created.end
        self.assertEqual((end.uuid, end.queue, end.outcome), ("u", "mail", "done"))
        bare = {**told, "attempts": [], "created": None}
        self.assertIsNone(result_of(CALLS.task("u"), answer(200, bare)).created)

    def test_tasks(self) -> None:
        """
        Without states, all of them are asked for: else the API searches the history.
        """
        call = CALLS.tasks("mail", "", (), "7")
        query = parse_qs(urlsplit(call.request.url).query)
        self.assertEqual(len(query["state"]), 5)
        self.assertEqual((query["queue"], query["page_token"]), (["mail"], ["7"]))
        self.assertNotIn("name", query)
        told = {"tasks": [ROW], "next_page_token": None}
        page = result_of(call, answer(200, told))
        self.assertEqual((page.tasks[0].uuid, page.next), ("u", ""))

    def test_lease(self) -> None:
        """
        The calls of a lease have no token, and may be repeated.
        """
        lease = LeaseCalls("http://web/v1/leases/x")
        calls: Mapping[str, APICall[Any]] = {
            "renew": lease.renew(9),
            "complete": lease.complete(),
            "fail": lease.fail(None),
        }
        for verb, call in calls.items():
            self.assertEqual(call.request.url, f"http://web/v1/leases/x:{verb}")
            self.assertNotIn("Authorization", call.request.headers)
            self.assertTrue(call.request.repeatable)
        self.assertEqual(self.body(calls["renew"]), {"seconds": 9})
        self.assertEqual(self.body(lease.fail(5)), {"seconds": 5})
        told = answer(200, {"state": "held", "until": 7.0})
        self.assertEqual(result_of(calls["renew"], told), 7.0)
        self.assertIsNone(result_of(calls["complete"], told))
        with self.assertRaisesRegex(ConfigError, "the URL of the lease"):
            LeaseCalls("nothing")
        self.assertNotIn("leases/x", repr(lease))


class ProblemTests(SynchronousTestCase):
    """
    Tests for L{result_of} and L{error_of}.
    """

    def test_classes(self) -> None:
        """
        A problem that is one of quebert's own errors is of its class.
        """
        own: Mapping[str, type[QuebertError]] = {
            "bad-task": BadTask,
            "lease-lost": LeaseLost,
            "name-taken": NameTaken,
            "no-task": TaskUnknown,
            "task-ended": TaskEnded,
            "uuid-taken": UUIDTaken,
        }
        self.assertLessEqual(set(own), set(MEANINGS))
        for kind in MEANINGS:
            error = error_of(409, json.loads(problem(409, kind, "f").body), "k")
            self.assertIsInstance(error, own.get(kind, APIError))
            told = error.type, error.status, error.field, str(error)
            self.assertEqual(told, (f"/problems/{kind}", 409, "f", "why"))
            self.assertEqual(error.idempotency_key, "k")
            self.assertEqual(error.done, None if kind == "in-doubt" else False)

    def test_others(self) -> None:
        """
        Answers that are none of the API are errors, too.
        """
        call = CALLS.create({"url": "/"}, "k")
        for outcome, status, done, text in (
            (LostAnswer("refused", False), None, False, "the API: refused"),
            (LostAnswer("no answer", True), None, None, "the API: no answer"),
            (ReceivedAnswer(502, b"<html>"), 502, None, "502 (Bad Gateway)"),
            (ReceivedAnswer(302, b""), 302, False, "302 (Found)"),
            (ReceivedAnswer(999, b"[]"), 999, None, "no status of HTTP"),
            (ReceivedAnswer(200, b"<html>"), 200, None, "the URL of quebert web?"),
            (answer(200, []), 200, None, "not that of the API"),
            (answer(409, {"type": 1, "detail": None}), 409, False, "409 (Conflict)"),
        ):
            with self.assertRaises(APIError) as caught:
                result_of(call, outcome)
            error = caught.exception
            self.assertEqual((error.status, error.done), (status, done), outcome)
            self.assertIn(text, str(error))
            self.assertEqual(error.idempotency_key, "k")


class RetryingTests(SynchronousTestCase):
    """
    Tests for L{CallProgress}.
    """

    def pause(self, call: APICall[Any], outcome: Outcome, now: float = 0.0) -> Any:
        """
        How long a call waits after the first outcome; it has 20 seconds.
        """
        return CallProgress(call, 20.0).pause(outcome, now)

    def test_safe(self) -> None:
        """
        A request that may be repeated is repeated when something is away; another one
        when it has certainly not been begun with.
        """
        safe, unsafe = CALLS.create({"url": "/"}, "k"), CALLS.delete("u", None)
        for outcome, safe_is, unsafe_is in (
            (LostAnswer("refused", False), True, True),
            (LostAnswer("lost", True), True, False),
            (problem(429, "rate-limit"), True, True),
            (problem(503, "in-doubt"), True, False),
            (ReceivedAnswer(502, b""), True, False),
            (ReceivedAnswer(504, b""), True, False),
            (ReceivedAnswer(500, b""), False, False),
            (problem(409, "name-taken"), False, False),
            (answer(201, ROW), False, False),
        ):
            again = [self.pause(c, outcome) is not None for c in (safe, unsafe)]
            self.assertEqual(again, [safe_is, unsafe_is], outcome)

    def test_pauses(self) -> None:
        """
        Pauses double, up to five seconds, and differ by chance.
        """
        progress = CallProgress(CALLS.task("u"), 1e9)
        pauses = [progress.pause(LostAnswer("", True), 0.0) for _ in range(9)]
        for most, pause in zip(
            (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0), pauses, strict=True
        ):
            assert pause is not None
            self.assertTrue(most / 2 <= pause <= most, pauses)

    def test_retry_after(self) -> None:
        """
        The API says how long to wait: seconds, or a date.  Where that is too long, the
        call ends at once.
        """
        call = CALLS.task("u")
        soon = format_datetime(datetime.fromtimestamp(1e10, UTC), usegmt=True)
        self.assertEqual(self.pause(call, answer(503, {}, "7")), 7.0)
        self.assertIsNone(self.pause(call, answer(503, {}, "7"), now=14.0))
        self.assertIsNone(self.pause(call, answer(503, {}, soon)))
        for odd in ("soon", "-3", "Thu, 01 Jan 1970 00:00:00 GMT", "²"):
            pause = self.pause(call, answer(503, {}, odd))
            self.assertTrue(0 < pause <= 0.1, odd)

    def test_result(self) -> None:
        """
        The last outcome is the result.
        """
        progress = CallProgress(CALLS.create({"url": "/"}, "k"), 20.0)
        self.assertIsNotNone(progress.pause(problem(503, "rabbitmq-away"), 0.0))
        self.assertIsNone(progress.pause(answer(201, ROW), 1.0))
        self.assertEqual(progress.result(), "u")
        self.assertIsNone(progress.pause(problem(409, "name-taken", "name"), 2.0))
        with self.assertRaises(NameTaken):
            progress.result()

    def test_patience(self) -> None:
        """
        It is a number of seconds.
        """
        self.assertEqual(checked_patience(1), 1)
        for wrong in (0, -1, float("inf"), float("nan")):
            with self.assertRaisesRegex(ConfigError, "patience must be a number"):
                checked_patience(wrong)


class ManyTests(SynchronousTestCase):
    """
    Tests for L{APICalls.create_all}.
    """

    def setUp(self) -> None:
        """
        Keep what is told, and what is asked.
        """
        self.told: list[TaskResult] = []
        self.asked: list[CreatingMany] = []

    def add(
        self, items: Any, *results: Sequence[str | QuebertError] | QuebertError
    ) -> int:
        """
        Add items, with the results of the batches.
        """
        steps = CALLS.create_all(items, self.told.append, "k")
        try:
            self.asked.append(next(steps))
            for each in results:
                if isinstance(each, QuebertError):
                    self.asked.append(steps.throw(each))
                else:
                    self.asked.append(steps.send(each))
        except StopIteration as e:
            added: int = e.value
            return added
        raise AssertionError("more is asked")

    def sizes(self) -> list[int]:
        """
        How many tasks each batch has.
        """
        bodies = [each.request.body for each in self.asked]
        return [len(json.loads(body or b"")["tasks"]) for body in bodies]

    def test_batches(self) -> None:
        """
        A batch has 1,000 tasks, or 2 MiB, and a key of its own.
        """
        items = [{"url": "/", "params": n} for n in range(1_001)]
        self.assertEqual(self.add(items, ["a"] * 1_000, ["b"]), 1_001)
        self.assertEqual(self.sizes(), [1_000, 1])
        keys = [each.request.headers["Idempotency-Key"] for each in self.asked]
        self.assertEqual(keys, ["k/0", "k/1"])
        self.assertEqual([each.index for each in self.told], [*range(1_001)])
        large = {"url": "/", "params": "a" * (MOST_BYTES // 2 - 100)}
        made = [len(each.items) for each in batches([large] * 5)]
        self.assertEqual(made, [2, 2, 1])

    def test_results(self) -> None:
        """
        What is wrong with one does not keep the others from being added.
        """
        taken = error_of(409, {"type": "/problems/name-taken"})
        items = [{"url": "/"}, "none", {"url": "/", "params": object()}, {"url": "/"}]
        self.assertEqual(self.add(items, [taken, "u"]), 1)
        kinds = [type(each.error) for each in self.told]
        self.assertEqual(kinds[1:3], [BadTask, BadTask])
        self.assertIs(self.told[0].error, taken)
        self.assertEqual((self.told[3].uuid, self.told[3].added), ("u", True))

    def test_no_tasks(self) -> None:
        """
        Where nothing can be sent, nothing is asked for.
        """
        with self.assertRaises(StopIteration):
            next(CALLS.create_all([None], self.told.append, "k"))  # type: ignore[list-item]
        self.assertIsInstance(self.told[0].error, BadTask)

    def test_error(self) -> None:
        """
        Where the API is away, its tasks are told so, and no more are added.
        """
        items = [{"url": "/"}] * 2_001
        error = error_of(503, {"type": "/problems/in-doubt"}, "k")
        with self.assertRaises(APIError):
            self.add(items, ["u"] * 1_000, error)
        self.assertEqual(len(self.told), 2_000)
        self.assertIs(self.told[-1].error, error)

    def test_items_raise(self) -> None:
        """
        What the items raise ends all, once the tasks before are added.
        """

        def items() -> Any:
            yield {"url": "/"}
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            self.add(items(), ["u"])
        self.assertEqual([each.uuid for each in self.told], ["u"])

    def test_read(self) -> None:
        """
        Each result is read; one that is refused for now is worth another request.
        """
        [batch] = batches([{"url": "/"}] * 2)
        call = CALLS.create_many(batch, "k")
        created = {"status": 201, "task": ROW}
        refused = {"status": 503, "problem": {"type": "/problems/queue-refuses"}}
        wrong = {"status": 422, "problem": {"type": "/problems/bad-task"}}
        for second, again in ((created, False), (wrong, False), (refused, True)):
            outcome = answer(200, {"results": [created, second]})
            progress = CallProgress(call, 20.0)
            self.assertEqual(progress.pause(outcome, 0.0) is not None, again)
            self.assertEqual(progress.result()[0], "u")
        with self.assertRaisesRegex(APIError, "not that of the API"):
            result_of(call, answer(200, {"results": [created]}))
        with self.assertRaisesRegex(APIError, "not that of the API"):
            result_of(call, answer(200, {"results": [1, 2]}))
