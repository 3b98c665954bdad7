"""
Tests for L{quebert.mediator.PolicyMediator}, and for what else gives tasks up.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from itertools import product
from random import Random
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString

from quebert.errors import ConfigError
from quebert.http._response import Response
from quebert.mediator import (
    DelayOnErrorMediator,
    FailedAttempt,
    Mediator,
    PolicyMediator,
)
from quebert.outcome import EXHAUSTED, POISON, Bury, Discard, Done, Outcome, Retry
from quebert.policy import BURIED_AT, History, RetryPolicy, _history
from quebert.task import Task
from quebert.test.checks import refusal
from quebert.test.mediating import (
    NOW,
    Case,
    FakeHTTP,
    FakeMessage,
    UnreadableMessage,
    appending,
    body_of,
    message,
    raising,
    returning,
)

NAME = "task 1 for http://executor.example/run"


class Idle:
    """
    A connection of which nothing is wanted any more.
    """

    def abort(self) -> None:
        """
        Read no more, ever.
        """

    pause = resume = abort


class LeanHTTP(FakeHTTP):
    """
    Answers each request with the same bytes, as our own HTTP client gives them.
    """

    def __init__(self, head: bytes, body: bytes = b"") -> None:
        super().__init__()
        self._head = head
        self._whole = body

    def request(self, *args: Any, **options: Any) -> Deferred[Any]:
        """
        Record a request, and answer.
        """
        answered = super().request(*args, **options)
        code = int(self._head.split(b" ", 2)[1])
        pieces = [self._head[:20], self._head[20:]]
        response = Response(code, pieces, Idle(), 10_000)
        response.received(self._whole)
        response.end()
        answered.callback(response)
        return answered


class PolicyCase(Case):
    """
    What the tests share: a time that goes on, and failures.
    """

    def setUp(self) -> None:
        """
        Have everything fail.
        """
        super().setUp()
        self.http = FakeHTTP(500, b"oops")
        self.time = NOW

    def giving_up(self, **options: Any) -> PolicyMediator:
        """
        A mediator with a policy.
        """
        settings = {"http": self.http, "clock": self.clock, "now": lambda: self.time}
        return PolicyMediator(**{**settings, **options})

    def answered(
        self, code: int, fields: Mapping[str, str], body: bytes = b"", **options: Any
    ) -> Outcome:
        """
        What becomes of a task that is answered so.
        """
        http = FakeHTTP(code, body, fields)
        return self.outcome(self.giving_up(http=http, **options), message(uuid="1"))

    def wait_after(self, code: int, fields: Mapping[str, str], **options: Any) -> float:
        """
        When a task that is answered so is tried again.
        """
        outcome = self.answered(code, fields, **options)
        assert isinstance(outcome, Retry), outcome
        return outcome.after

    def buried(self, mediator: Mediator, received: Any) -> Bury:
        """
        How a message was buried, which it must have been.
        """
        outcome = self.outcome(mediator, received)
        assert isinstance(outcome, Bury), outcome
        return outcome

    def until_buried(self, mediator: Mediator, body: bytes) -> tuple[list[float], Bury]:
        """
        Have a task tried until it is buried; gives when it was tried, too.
        """
        headers: dict[str, Any] = {}
        times: list[float] = []
        while True:
            times.append(self.time)
            received = FakeMessage(body, {"headers": headers})
            outcome = self.outcome(mediator, received)
            if isinstance(outcome, Bury):
                return times, outcome
            assert isinstance(outcome, Retry), outcome
            body = body if outcome.body is None else outcome.body
            headers = after(headers, outcome)
            self.time += outcome.after


def after(headers: Mapping[str, Any], outcome: Retry | Bury) -> dict[str, Any]:
    """
    The headers of a message that was put back.
    """
    merged = {**headers, **outcome.headers}
    return {name: value for name, value in merged.items() if value is not None}


def waits(times: list[float]) -> list[float]:
    """
    What was between them.
    """
    return [later - earlier for earlier, later in itertools.pairwise(times)]


class RetryTests(PolicyCase):
    """
    A task that fails is tried again as the policy has it.
    """

    def test_hundred_failures(self) -> None:
        """
        A task that fails 100 times with the defaults is tried exactly when they
        have it, as it was sent, and then buried with its history.
        """
        body = body_of(uuid="1", params={"é": 1.0})
        times, bury = self.until_buried(self.giving_up(), body)
        expected = [NOW]
        for n in range(99):
            expected.append(expected[-1] + min(0.1 * 2**n, 3600))
        self.assertEqual(times, expected)
        self.assertEqual(
            bury.reason,
            f"{NAME} is given up after 100 attempts in {times[-1] - NOW:.0f} s:"
            " POST http://executor.example/run was answered 500",
        )
        self.assertEqual(bury.kind, EXHAUSTED)
        history = {
            "quebert-attempts": 100,
            "quebert-attempts-in-body": 0,
            "quebert-first-attempt": NOW,
            "quebert-last-attempt": times[-1],
            "quebert-last-status": 500,
            "quebert-answers": 100,
            "quebert-answered": None,
            "quebert-last-answer": "oops",
            "quebert-buried-at": None,
        }
        self.assertEqual(bury.headers, history)
        self.assertEqual({request.data for request in self.http.requests}, {body})
        numbers = [each.headers["Quebert-Attempt"] for each in self.http.requests]
        self.assertEqual(numbers, [str(n) for n in range(1, 101)])

    def test_documented_example(self) -> None:
        """
        Cloud Tasks' example is kept.
        """
        policy = RetryPolicy(
            min_backoff=10, max_backoff=300, max_doublings=3, max_attempts=9
        )
        times, _ = self.until_buried(self.giving_up(policy=policy), body_of())
        self.assertEqual(waits(times), [10, 20, 40, 80, 160, 240, 300, 300])

    def test_duration(self) -> None:
        """
        With both limits a task is given up only once both are reached.
        """
        policy = RetryPolicy(
            min_backoff=10, max_backoff=10, max_attempts=3, max_retry_duration=45
        )
        times, bury = self.until_buried(self.giving_up(policy=policy), body_of())
        self.assertEqual([each - NOW for each in times], [0, 10, 20, 30, 40, 50])
        self.assertEqual(bury.headers["quebert-attempts"], 6)

    def test_from_when_it_began(self) -> None:
        """
        The duration counts from when the first attempt began, and the wait from
        when it failed.
        """
        http = FakeHTTP()
        policy = RetryPolicy(max_attempts=1, max_retry_duration=30)
        mediator = self.giving_up(http=http, policy=policy)
        outcomes: list[Outcome] = []
        for seconds in (29, 30):
            self.time = NOW
            mediator.messageReceived(message()).addCallback(outcomes.append)
            self.time += seconds
            http.requests[-1].answer(500)
        retry, bury = outcomes
        assert isinstance(retry, Retry)
        self.assertEqual(retry.after, 0.1)
        self.assertEqual(retry.headers["quebert-first-attempt"], NOW)
        self.assertIsInstance(bury, Bury)

    def test_without_end(self) -> None:
        """
        Without limits a task is tried for ever.
        """
        mediator = self.giving_up(policy=RetryPolicy(max_attempts=-1))
        headers = History(2**31 - 1, 0.0, NOW).headers
        received = FakeMessage(body_of(), {"headers": headers})
        self.assertEqual(self.put_back(mediator, received).after, 3600)

    def test_jitter(self) -> None:
        """
        The random numbers are those that were given.
        """
        policy = RetryPolicy(min_backoff=10, jitter="full")
        mediator = self.giving_up(policy=policy, random=Random(7).random)
        retry = self.put_back(mediator, message())
        self.assertEqual(retry.after, 10 * Random(7).random())

    def test_every_kind_of_failure(self) -> None:
        """
        Failures without an answer are counted like others, and have no status.
        """
        http = FakeHTTP()
        hooked = self.giving_up(http=FakeHTTP(200))
        hooked.add_posthook(raising(ZeroDivisionError))
        before = {**History(3, NOW, NOW, 500).headers, "mine": 1}
        received = FakeMessage(body_of(), {"headers": before})
        outcome = self.giving_up(http=http).messageReceived(received)
        http.requests[0].answered.errback(OSError("refused"))
        for retry in (self.successResultOf(outcome), self.put_back(hooked, received)):
            assert isinstance(retry, Retry)
            headers = after(before, retry)
            self.assertEqual(headers["quebert-attempts"], 4)
            self.assertNotIn("quebert-last-status", headers)
            self.assertEqual(headers["mine"], 1)

    def test_logged(self) -> None:
        """
        Each failure is one line in the log.
        """
        events = self.events()
        self.put_back(self.giving_up(), message(uuid="1"))
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "Task 1 for http://executor.example/run failed, and is"
                " tried again in 0.1 s:"
                " POST http://executor.example/run was answered 500"
            ],
        )

    def test_log_of_many(self) -> None:
        """
        Of a task that is tried without end, the log tells less and less often.
        """
        mediator = self.giving_up()
        received = message(retry={"max_attempts": -1})
        events = self.events()
        for attempts in range(5_000):
            headers = History(attempts, NOW, NOW, 500).headers if attempts else {}
            again = FakeMessage(received.body, {"headers": headers})
            self.assertIsInstance(self.put_back(mediator, again), Retry)
        self.assertEqual(len(events), 100 + len([128, 256, 512, 1024, 2048, 4096]))

    def test_changes_of_hooks(self) -> None:
        """
        What hooks change is sent, but does not go back.
        """
        mediator = self.giving_up()
        mediator.add_prehook(lambda task: task.update(n=1, headers={"A": "b"}))
        self.assertIsNone(self.put_back(mediator, message()).body)
        request = self.http.requests[0]
        assert request.data is not None
        self.assertEqual(json.loads(request.data)["n"], 1)
        self.assertEqual(request.headers["A"], "b")
        self.assertEqual(request.headers["Quebert-Attempt"], "1")

    def test_done(self) -> None:
        """
        A task that succeeds after failures is done.
        """
        headers = History(3, NOW, NOW, 500).headers
        received = FakeMessage(body_of(), {"headers": headers})
        mediator = self.giving_up(http=FakeHTTP(200))
        self.assertEqual(self.outcome(mediator, received), Done())

    def test_attempt_is_ours_to_say(self) -> None:
        """
        A task cannot say which attempt it is, nor by a name with underscores, which CGI
        and WSGI servers take for hyphens.
        """
        wanted = {"quebert-ATTEMPT": "99", "Quebert_Attempt": "98", "X-Mine": "1"}
        self.put_back(self.giving_up(), message(headers=wanted))
        headers = self.http.requests[0].headers
        self.assertEqual(headers["X-Mine"], "1")
        folded = [(k.lower().replace("_", "-"), v) for k, v in headers.items()]
        numbers = [v for k, v in folded if k == "quebert-attempt"]
        self.assertEqual(numbers, ["1"])

    def test_unreadable_properties(self) -> None:
        """
        Headers that cannot be read tell of no attempts.
        """
        retry = self.put_back(self.giving_up(), UnreadableMessage(body_of()))
        self.assertEqual(retry.headers["quebert-attempts"], 1)

    def test_settings(self) -> None:
        """
        A wrong setting is refused when the mediator is made.
        """
        table: list[dict[str, Any]] = [
            {"permanent": [200]},
            {"max_retry_after": -1},
            {"policy": "exponential"},
        ]
        for options in table:
            text = refusal(ConfigError, PolicyMediator, **options)
            self.assertTrue(text.startswith(f"{next(iter(options))} must "), text)


class OverriddenTests(PolicyCase):
    """
    Tests for mediators that decide themselves about some failures.
    """

    def test_asked(self) -> None:
        """
        C{failed} gets the whole task, and the history of it, of each mediator.
        """
        for kind in (Mediator, DelayOnErrorMediator, PolicyMediator):
            seen: list[tuple[Task, History]] = []

            class Deciding(kind):  # type: ignore[misc, valid-type]
                def failed(self, task: Task, failure: Failure) -> Outcome:
                    assert isinstance(failure, FailedAttempt)
                    seen.append((dict(task), failure.history))  # noqa: B023
                    if failure.history.attempts > 1:
                        return Discard("enough")
                    outcome: Outcome = super().failed(task, failure)
                    return outcome

            params: list[Any] = [{}] * 10_000  # a mediator may read such a task in part
            received = message(uuid="1", params=params)
            mediator = Deciding(http=self.http, clock=self.clock, now=lambda: NOW)
            retry = self.outcome(mediator, received)
            assert isinstance(retry, Retry)
            again = FakeMessage(retry.body or received.body, {"headers": retry.headers})
            self.assertEqual(self.outcome(mediator, again), Discard("enough"))
            self.assertEqual([task["params"] for task, _ in seen], [params] * 2)
            self.assertEqual([told.attempts for _, told in seen], [1, 2])

    def test_other_failure(self) -> None:
        """
        The attempts are known where a subclass passes another failure on.
        """

        class Vague(PolicyMediator):
            def failed(self, task: Task, failure: Failure) -> Outcome:
                return super().failed(task, Failure(ValueError("somehow")))

        policy = RetryPolicy(max_attempts=3)
        mediator = Vague(http=self.http, clock=self.clock, policy=policy)
        times, buried = self.until_buried(mediator, message(uuid="1").body)
        self.assertEqual(len(times), 3)
        self.assertIn("somehow", buried.reason)

    def test_called(self) -> None:
        """
        Somebody else may call C{failed}, with any failure: the body tells how often
        the task has failed.
        """
        mediator = self.giving_up(policy=RetryPolicy(max_attempts=3))
        failure = Failure(ValueError("away"))
        retried = mediator.failed({"uuid": "1", "failures": 1}, failure)
        self.assertIsInstance(retried, Retry)
        buried = mediator.failed({"uuid": "1", "failures": 2}, failure)
        assert isinstance(buried, Bury)
        self.assertIn("away", buried.reason)


class TaskRetryTests(PolicyCase):
    """
    A task's C{retry} changes the policy for it.
    """

    def test_changes(self) -> None:
        """
        What it says counts, and the rest stays.
        """
        mediator = self.giving_up(policy=RetryPolicy(max_attempts=1, max_backoff=3))
        body = body_of(retry={"max_attempts": 5, "min_backoff": 1})
        times, bury = self.until_buried(mediator, body)
        self.assertEqual(waits(times), [1, 2, 3, 3])
        self.assertEqual(bury.headers["quebert-attempts"], 5)

    def test_wrong(self) -> None:
        """
        A wrong one makes it a bad task, whose field is named, before anything is
        requested.
        """
        table: list[tuple[Any, str]] = [
            ({"max_attempts": 0}, "retry.max_attempts must be a whole number from 1"),
            ({"max_attempt": 1}, "retry.max_attempt is not known: "),
            ({"jitter": 5}, "retry.jitter must be 'none' or 'full', not 5"),
            ("often", "retry must be an object, not a string"),
        ]
        for retry, expected in table:
            bury = self.buried(self.giving_up(), message(retry=retry))
            self.assertTrue(bury.reason.startswith(f"not a task: {expected}"), bury)
            self.assertEqual(bury.kind, POISON)
        self.assertEqual(self.http.requests, [])

    def test_spoiled_by_a_hook(self) -> None:
        """
        Where a hook has made it wrong, the queue's policy counts.
        """
        mediator = self.giving_up()
        mediator.add_prehook(lambda task: task.update(retry={"max_attempts": 0}))
        self.assertEqual(self.put_back(mediator, message()).after, 0.1)

    def test_others(self) -> None:
        """
        Other mediators do not read it.
        """
        mediator = self.mediator()
        self.assertEqual(self.put_back(mediator, message(retry="often")).after, 1)


class AnswerTests(PolicyCase):
    """
    What an answer says counts.
    """

    def test_retry_after(self) -> None:
        """
        C{Retry-After} is heeded, in seconds and as a date, with every status that
        is a failure.
        """
        date = datetimeToString(NOW + 7).decode()
        for code in (301, 404, 429, 500, 503):
            for value in ("7", date):
                wait = self.wait_after(code, {"Retry-After": value})
                self.assertEqual(wait, 7, (code, value))

    def test_retry_after_bound(self) -> None:
        """
        It is cut to a bound.
        """
        fields = {"Retry-After": "86400"}
        self.assertEqual(self.wait_after(503, fields), 3600)
        self.assertEqual(self.wait_after(503, fields, max_retry_after=60), 60)
        self.assertEqual(self.wait_after(503, fields, max_retry_after=0), 0.1)

    def test_retry_after_malformed(self) -> None:
        """
        One that says nothing is as good as none.
        """
        self.assertEqual(self.wait_after(503, {"Retry-After": "soon"}), 0.1)

    def test_retry_after_of_a_success(self) -> None:
        """
        A success is one.
        """
        self.assertEqual(self.answered(202, {"Retry-After": "7"}), Done())

    def test_others(self) -> None:
        """
        The mediators without a policy heed nothing of it.
        """
        fields = {"Retry-After": "7", "Quebert-Outcome": "discard"}
        http = FakeHTTP(503, b"", fields)
        self.assertEqual(self.put_back(self.mediator(http=http), message()).after, 1)
        retry = self.put_back(self.backing_off(http=http), message())
        self.assertEqual((retry.after, retry.headers["quebert-attempts"]), (1.5, 1))

    def test_permanent(self) -> None:
        """
        After a status that is permanent a task is buried at once; by default none
        is.
        """
        self.assertIsInstance(self.answered(410, {}), Retry)
        bury = self.answered(410, {}, b"no such user", permanent=[404, 410])
        assert isinstance(bury, Bury)
        text = "POST http://executor.example/run was answered 410"
        self.assertEqual(bury.reason, f"{NAME} is given up at once: {text}")
        self.assertEqual(bury.headers["quebert-attempts"], 1)
        self.assertEqual(bury.headers["quebert-last-answer"], "no such user")
        self.assertIsInstance(self.answered(503, {}, permanent=[404, 410]), Retry)

    def test_directives(self) -> None:
        """
        C{Quebert-Outcome} decides, whatever the status.
        """
        for code in (200, 204, 410, 503):
            retry, discard, bury = (
                self.answered(code, {"Quebert-Outcome": value}, permanent=[410])
                for value in ("retry-after=30", "discard; again", "bury; no such user")
            )
            assert isinstance(retry, Retry)
            self.assertEqual(retry.after, 30)
            self.assertEqual(retry.headers["quebert-last-status"], code)
            text = f"{NAME} is discarded by its executor: again"
            self.assertEqual(discard, Discard(text))
            assert isinstance(bury, Bury)
            text = f"{NAME} is given up by its executor: no such user"
            self.assertEqual(bury.reason, text)

    def test_no_success(self) -> None:
        """
        A 2xx that says otherwise is no success: no post-hook is run.
        """
        calls: list[str] = []
        for value in ("retry-after=30", "discard", "bury"):
            http = FakeHTTP(200, b"", {"Quebert-Outcome": value})
            mediator = self.giving_up(http=http)
            mediator.add_posthook(appending(calls, value))
            self.outcome(mediator, message())
        self.assertEqual(calls, [])

    def test_malformed(self) -> None:
        """
        One that cannot be read is ignored, and logged in one line.
        """
        for code, expected in ((200, Done), (500, Retry)):
            events = self.events()
            outcome = self.answered(code, {"Quebert-Outcome": "bury him"})
            self.assertIsInstance(outcome, expected)
            lines = [formatEvent(event) for event in events]
            self.assertEqual(
                [line for line in lines if "Outcome" in line],
                [
                    "A header of an executor is ignored: Quebert-Outcome:"
                    " it must be retry-after=SECONDS, discard or bury"
                ],
            )

    def test_no_headers(self) -> None:
        """
        An HTTP client of some other kind may have no headers, or others.
        """
        for headers in (None, {"quebert-outcome": "bury"}):
            for code, expected in ((200, Done), (500, Retry)):
                http = FakeHTTP()
                outcome = self.giving_up(http=http).messageReceived(message())
                response: Any = http.requests[0].begin(code)
                response.headers = headers
                response.body.callback(b"")
                self.assertIsInstance(self.successResultOf(outcome), expected)

    def test_last_answer(self) -> None:
        """
        Of the last answer the first 2 KB are told, as text.
        """
        table: list[tuple[bytes, str | None]] = [
            (b"", None),
            (b"x" * 2049, "x" * 2048),
            ("€".encode() * 1000, "€" * 682),  # 2046 bytes; the rest is no character
            (b"\xff\x00", "\ufffd\x00"),
        ]
        for body, expected in table:
            bury = self.answered(404, {}, body, permanent=[404])
            assert isinstance(bury, Bury)
            self.assertEqual(bury.headers["quebert-last-answer"], expected)


class ClientTests(PolicyCase):
    """
    Answers as our own HTTP client, and treq, have them.
    """

    def lean(self, head: bytes, body: bytes = b"") -> Outcome:
        """
        What becomes of a task that is answered by these bytes.
        """
        mediator = self.giving_up(http=LeanHTTP(head, body), permanent=[410])
        return self.outcome(mediator, message())

    def test_success(self) -> None:
        """
        A success is one, also where the name of the field is somewhere else.
        """
        for head in (
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 quebert-outcome\r\nA: Quebert-Outcome: bury\r\n\r\n",
        ):
            self.assertEqual(self.lean(head, b"quebert-outcome: bury"), Done())

    def test_directive(self) -> None:
        """
        The field is found however it is spelled, in a head of several pieces.
        """
        for name in (b"Quebert-Outcome", b"quebert-outcome", b"QUEBERT-OUTCOME"):
            head = b"HTTP/1.1 200 OK\r\n" + name + b":retry-after=30\r\n\r\n"
            retry = self.lean(head)
            assert isinstance(retry, Retry)
            self.assertEqual(retry.after, 30)

    def test_failure(self) -> None:
        """
        Status, fields and body of a failure are known.
        """
        retry = self.lean(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n", b"busy")
        assert isinstance(retry, Retry)
        self.assertEqual(retry.after, 7)
        bury = self.lean(b"HTTP/1.1 410 Gone\r\nRetry-After: 7\r\n\r\n", b"gone")
        assert isinstance(bury, Bury)
        self.assertEqual(bury.headers["quebert-last-answer"], "gone")

    def test_treq(self) -> None:
        """
        So they are with treq's client.
        """
        for code, name, value in (
            (503, b"Retry-After", b"7"),
            (200, b"Quebert-Outcome", b"retry-after=7"),
        ):
            answer = (code, {name: value}, b"")
            resource = StringStubbingResource(lambda *args, answer=answer: answer)
            treq: Any = StubTreq(resource)
            outcome = self.giving_up(http=treq).messageReceived(message())
            treq.flush()
            retry = self.successResultOf(outcome)
            assert isinstance(retry, Retry)
            self.assertEqual(retry.after, 7)


class PoisonTests(PolicyCase):
    """
    A message that is no task.
    """

    def test_policy(self) -> None:
        """
        It is buried as what it is, at once.
        """
        for body, why in (
            (b"{", "not a task: the body is not JSON"),
            (b"{}", "not a task: url is missing"),
        ):
            bury = self.buried(self.giving_up(), FakeMessage(body))
            self.assertTrue(bury.reason.startswith(why))
            self.assertEqual((bury.kind, bury.headers), (POISON, {}))

    def test_option(self) -> None:
        """
        Whether it is buried or discarded can be chosen for every mediator; by
        default those without a policy discard it.
        """
        text = "not a task: url is missing"
        buried, discarded = Bury(text, POISON), Discard(text)
        makers: list[tuple[Any, Outcome]] = [
            (self.giving_up, buried),
            (self.backing_off, discarded),
            (self.mediator, discarded),
        ]
        for make, default in makers:
            outcomes = [
                self.outcome(made, FakeMessage(b"{}"))
                for made in (make(), make(bury=True), make(bury=False))
            ]
            self.assertEqual(outcomes, [default, buried, discarded])

    def test_expired(self) -> None:
        """
        A task that has expired is discarded, not buried.
        """
        received = message(ttl=1, timestamp="2020-01-01T00:00:00Z")
        self.assertIn("expired", self.discarded(self.giving_up(), received))


class BackingOffTests(PolicyCase):
    """
    C{DelayOnErrorMediator} can give up, too.
    """

    def test_attempts(self) -> None:
        """
        With a limit it buries, with the history; until then it counts in the task
        and beside it.
        """
        mediator = self.backing_off(now=lambda: self.time, max_attempts=4, constant=2)
        times, bury = self.until_buried(mediator, body_of())
        self.assertEqual(waits(times), [2, 4, 8])
        self.assertEqual(bury.kind, EXHAUSTED)
        self.assertEqual(bury.headers["quebert-attempts"], 4)
        self.assertEqual(bury.headers["quebert-last-answer"], "oops")
        data = self.http.requests[-1].data
        assert data is not None
        self.assertEqual(json.loads(data)["failures"], 3)

    def test_logged(self) -> None:
        """
        What is given up is not said to come again.
        """
        events = self.events()
        self.buried(self.backing_off(max_attempts=1), message())
        self.assertEqual([formatEvent(event) for event in events], [])

    def test_duration(self) -> None:
        """
        Likewise with a limit of time.
        """
        options = {"constant": 1, "max_retry_duration": 3}
        mediator = self.backing_off(now=lambda: self.time, **options)
        times, _ = self.until_buried(mediator, body_of())
        self.assertEqual([each - NOW for each in times], [0, 1, 2, 3])

    def test_without(self) -> None:
        """
        Without limits it counts in both places, too.
        """
        retry = self.put_back(self.backing_off(), message())
        told = History(1, NOW, NOW, 500, in_body=1, answers=1)
        self.assertEqual(retry.headers, told.headers)

    def test_wrong(self) -> None:
        """
        A wrong limit is refused.
        """
        text = refusal(ConfigError, DelayOnErrorMediator, max_attempts=0)
        self.assertIn("max_attempts must be a whole number from 1", text)


class OneHistoryTests(PolicyCase):
    """
    Mediators of different kinds count the attempts at a task together.
    """

    def setUp(self) -> None:
        """
        One mediator of each kind.
        """
        super().setUp()
        self.last = message()
        limited = RetryPolicy(max_attempts=4)
        self.mediators = {
            "plain": self.mediator(http=self.http),
            "backing off": self.backing_off(),
            "limited": self.backing_off(max_attempts=4),
            "policy": self.giving_up(policy=limited),
        }

    def attempted(self, *kinds: str, received: FakeMessage) -> Retry | Bury:
        """
        What became of a message that these mediators had, one after the other.
        """
        outcomes: list[Retry | Bury] = []
        for kind in kinds:
            outcome = self.outcome(self.mediators[kind], received)
            assert isinstance(outcome, (Retry, Bury))
            outcomes.append(outcome)
            headers = after(received.properties.get("headers", {}), outcome)
            body = getattr(outcome, "body", None) or received.body
            self.last = received = FakeMessage(body, {"headers": headers})
            if isinstance(outcome, Bury):
                break
        return outcomes[-1]

    def test_every_order(self) -> None:
        """
        Each attempt counts once, whoever makes it; a mediator with a limit makes none
        beyond it.
        """
        for kinds in product(self.mediators, repeat=4):
            self.http.requests.clear()
            bury = self.attempted(*kinds, "policy", received=message())
            assert isinstance(bury, Bury), kinds
            self.assertEqual(bury.headers["quebert-attempts"], 4, kinds)
            self.assertEqual(len(self.http.requests), 4, kinds)

    def test_at_first_sight(self) -> None:
        """
        A task that has had its attempts is buried without another, with its history.
        """
        for kind in ("policy", "limited"):
            received = message(uuid="1")
            bury = self.attempted(*["plain"] * 6, kind, received=received)
            assert isinstance(bury, Bury)
            self.assertEqual(
                bury.reason,
                f"{NAME} is given up after 6 attempts in 0 s: this mediator makes no"
                " more attempts at it",
            )
            self.assertEqual(bury.headers["quebert-last-status"], 500)
        self.assertEqual(len(self.http.requests), 12)

    def test_body_alone(self) -> None:
        """
        Failures that the body alone tells of count, too; nobody knows their times.
        """
        bury = self.attempted("policy", received=message(failures=7))
        assert isinstance(bury, Bury)
        text = "is given up after 7 attempts: this mediator makes no more attempts"
        self.assertIn(text, bury.reason)
        self.assertEqual(self.http.requests, [])
        retry = self.attempted("policy", received=message(failures=2))
        assert isinstance(retry, Retry)
        self.assertEqual(retry.headers["quebert-attempts"], 3)
        self.assertEqual(retry.headers["quebert-first-attempt"], NOW)

    def test_dug_out(self) -> None:
        """
        A task that was buried and dug out is tried as if it were new, whatever its
        body counts.
        """
        for first, second in product(self.mediators, repeat=2):
            received = message(failures=3)
            self.attempted(first, second, "policy", received=received)
            headers = {**self.last.properties["headers"], "quebert-buried-at": NOW}
            received = FakeMessage(self.last.body, {"headers": headers})
            self.http.requests.clear()
            bury = self.attempted(first, *["policy"] * 4, received=received)
            assert isinstance(bury, Bury)
            self.assertEqual(bury.headers["quebert-attempts"], 4)
            self.assertEqual(len(self.http.requests), 4)

    def test_versions_before(self) -> None:
        """
        Of a task that an older version of quebert has counted in both places, each
        attempt counts once; what was counted in the body since counts beside it.
        """
        old = dict(History(3, NOW, NOW, 500).headers)
        del old["quebert-attempts-in-body"]
        for failures, expected in ((0, 4), (2, 4), (3, 4), (5, 6)):
            received = FakeMessage(body_of(failures=failures), {"headers": old})
            headers = self.put_back(self.mediators["plain"], received).headers
            self.assertEqual(headers["quebert-attempts"], expected, failures)
        new = History(3, NOW, NOW, 500, in_body=1).headers
        received = FakeMessage(body_of(failures=2), {"headers": new})
        headers = self.put_back(self.mediators["plain"], received).headers
        self.assertEqual(headers["quebert-attempts"], 5)

    def test_refused_body(self) -> None:
        """
        Where the broker refuses the body that counts an attempt, the headers count it.
        """
        retry = self.attempted("policy", "backing off", received=message())
        assert isinstance(retry, Retry)
        assert retry.otherwise is not None
        self.assertEqual(retry.headers["quebert-attempts-in-body"], 2)
        self.assertEqual(retry.otherwise.headers["quebert-attempts-in-body"], 0)
        self.assertEqual(retry.otherwise.headers["quebert-attempts"], 2)

    def test_mediators_of_others(self) -> None:
        """
        The history is told whatever C{failed} of a subclass decides.
        """
        mediator: Any = self.mediator(http=self.http)
        for outcome in (Bury("enough"), Retry(b"{}"), Discard("no"), Done()):
            mediator.failed = returning(outcome)
            found: Any = self.outcome(mediator, message())
            told = getattr(found, "headers", {"quebert-attempts": 1})
            self.assertEqual(told["quebert-attempts"], 1)
            self.assertEqual(type(found), type(outcome))


class NamesTests(PolicyCase):
    """
    Names that more than one module knows.
    """

    def test_buried_at(self) -> None:
        """
        The history looks for the header that burying sets.
        """
        self.assertEqual(_history.BURIED_AT, BURIED_AT)
