"""
Tests for L{quebert.testing.Simulation}.
"""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadTask, ConfigError
from quebert.functions import Discard, GiveUp, Retry
from quebert.limits import BreakerSettings, OriginLimits, Origins
from quebert.mediator import DelayOnErrorMediator, Mediator
from quebert.policy import RetryPolicy
from quebert.producer import BlockingProducer, add_task
from quebert.signatures import SharedSecret, Verifier, write_key
from quebert.test.testing.doubles import chain, functions
from quebert.testing import (
    Answer,
    EndlessRetries,
    SimulatedRequest,
    Simulation,
    _memory_queue,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NEVER = RetryPolicy(max_attempts=-1, min_backoff=60, max_backoff=60)


def seconds(sim: Simulation) -> list[float]:
    """
    When its attempts began, in seconds from its start.
    """
    return [round((each.at - START).total_seconds(), 3) for each in sim.attempts]


class RetryTests(SynchronousTestCase):
    """
    Failures, and what becomes of their tasks.
    """

    def test_done(self) -> None:
        """
        A task that fails is tried again as the policy says, until it is done.
        """
        policy = RetryPolicy(min_backoff=10, max_doublings=2, max_backoff=60)
        answers = [500] * 5 + [200]
        sim = Simulation(answers=answers, policy=policy, start=START)
        uuid = sim.add_task("/mail", {"to": "ada"})
        self.assertEqual(len(sim.advance(seconds=30)), 3)
        self.assertEqual([task.uuid for task in sim.waiting], [uuid])
        sim.advance(days=1)
        self.assertEqual(seconds(sim), [0, 10, 30, 70, 130, 190])
        self.assertEqual([a.result for a in sim.attempts], ["retry"] * 5 + ["done"])
        self.assertEqual([a.number for a in sim.attempts], [1, 2, 3, 4, 5, 6])
        self.assertEqual([a.retry_in for a in sim.attempts][:3], [10, 20, 40])
        self.assertEqual([task.uuid for task in sim.done], [uuid])
        self.assertEqual((sim.waiting, sim.dead, sim.dropped), ([], [], []))
        self.assertEqual(sim.now, START + timedelta(days=1, seconds=30))

    def test_dead(self) -> None:
        """
        A task that is given up is a dead letter, as operators see one.
        """
        policy = RetryPolicy(max_attempts=3, min_backoff=3600)
        answers = [Answer(503, "full")]
        sim = Simulation(answers=answers, policy=policy, start=START)
        uuid = sim.add_task("/mail")
        sim.advance(days=7)
        (dead,) = sim.dead
        self.assertEqual((dead.uuid, dead.kind), (uuid, "exhausted"))
        self.assertEqual(
            (dead.status, dead.attempts, dead.answer), ("503", "3", "full")
        )
        self.assertEqual(dead.buried_at, (START + timedelta(hours=2)).timestamp())
        self.assertIn("is given up after 3 attempts in 7200 s", dead.reason)

    def test_callback(self) -> None:
        """
        A task with a callback is followed by it when it has ended, done or not.
        """
        policy = RetryPolicy(max_attempts=2, min_backoff=60)
        for answers, told in (
            ([500, Answer(200, "7")], ("done", 2, {"json": 7})),
            ([503, 503], ("exhausted", 2, None)),
        ):
            sim = Simulation(answers=[*answers, 200], policy=policy, start=START)
            uuid = sim.add_task("/resize", callback_url="/ended")
            self.assertEqual(len(sim.finish()), 3)
            callback = sim.done[-1]
            self.assertEqual((callback.url, callback.kind), ("/ended", "tasks"))
            end = callback.params
            self.assertEqual((end["uuid"], end["queue"]), (uuid, "tasks"))
            self.assertEqual((end["outcome"], end["attempts"], end["answer"]), told)

    def test_weeks(self) -> None:
        """
        All of the default policy passes: 100 attempts in three and a half days.
        """
        sim = Simulation(answers=[500])
        sim.add_task("/mail")
        attempts = sim.finish()
        self.assertEqual(len(attempts), 100)
        span = attempts[-1].at - attempts[0].at
        self.assertEqual(span.days, 3)
        self.assertEqual(len(sim.dead), 1)

    def test_wishes(self) -> None:
        """
        A function retries when it likes, gives up, and discards.
        """

        def function(task: Any) -> None:
            if task["url"] == "/later" and task.attempt == 1:
                raise Retry("the printer is off", after=timedelta(minutes=50))
            if task["url"] == "/never":
                raise GiveUp("no such user")
            if task["url"] == "/moot":
                raise Discard("a duplicate")

        sim = Simulation(function, start=START)
        for url in ("/later", "/never", "/moot"):
            sim.add_task(url)
        sim.finish()
        self.assertEqual(seconds(sim), [0, 0, 0, 3000])
        self.assertEqual([task.url for task in sim.done], ["/later"])
        self.assertIn("by its executor: no such user", sim.dead[0].reason)
        self.assertEqual([d.task.url for d in sim.dropped], ["/moot"])
        self.assertIn("a duplicate", sim.dropped[0].reason)

    def test_retry_after(self) -> None:
        """
        Retry-After is heeded, up to the limit.
        """
        answers = [
            Answer(503, headers={"Retry-After": each}) for each in ("90", "9999")
        ]
        sim = Simulation(answers=[*answers, 200], start=START, max_retry_after=600)
        sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 90, 690])

    def test_permanent(self) -> None:
        """
        A status that is final ends a task.
        """
        sim = Simulation(answers=[404], permanent=[404])
        sim.add_task("/x")
        sim.advance()
        self.assertEqual(len(sim.attempts), 1)
        self.assertEqual(sim.dead[0].status, "404")

    def test_no_answer(self) -> None:
        """
        Where nobody is there, a task is tried again.
        """
        sim = Simulation(answers=[ConnectionRefusedError("nobody"), 200])
        sim.add_task("/x")
        sim.finish()
        first, second = sim.attempts
        self.assertEqual((first.answer, first.status), (None, None))
        self.assertEqual(str(first.error), "nobody")
        self.assertEqual(second.status, 200)

    def test_other_mediators(self) -> None:
        """
        Other mediators decide as they do: the announcement's counts in the body.
        """
        sim = Simulation(
            answers=[500, 500, 200],
            make_mediator=DelayOnErrorMediator,
            constant=3,
            start=START,
        )
        sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 3, 12])
        failures = [a.request.task.get("failures") for a in sim.attempts]
        self.assertEqual(failures, [None, 1, 2])

    def test_jitter(self) -> None:
        """
        Random waits are the same in each simulation.
        """
        policy = RetryPolicy(jitter="full", min_backoff=10, max_attempts=5)
        runs = [Simulation(answers=[500], policy=policy, start=START) for _ in "ab"]
        for sim in runs:
            sim.add_task("/x")
            sim.finish()
        self.assertEqual(seconds(runs[0]), seconds(runs[1]))
        self.assertNotEqual(seconds(runs[0])[1], 10)

    def test_poison(self) -> None:
        """
        What is no task is buried.
        """
        sim = Simulation(answers=[200])
        with sim, BlockingProducer() as producer:
            producer.add_raw_task(b"nonsense")
        sim.advance()
        self.assertEqual(sim.attempts, [])
        self.assertEqual((sim.dead[0].kind, sim.dead[0].body), ("poison", b"nonsense"))


class TimeTests(SynchronousTestCase):
    """
    Delays, limits of time, and the time itself.
    """

    def test_delays(self) -> None:
        """
        A task is done at its time, and not before.
        """
        sim = Simulation(answers=[200], start=START)
        sim.add_task("/week", run_at=START + timedelta(days=7))
        sim.add_task("/hour", delay=3600)
        sim.add_task("/now")
        self.assertEqual([task.url for task in sim.waiting], ["/week", "/hour", "/now"])
        sim.advance(minutes=59, seconds=59)
        self.assertEqual([task.url for task in sim.waiting], ["/hour", "/week"])
        sim.advance(seconds=1)
        sim.advance(days=30)
        self.assertEqual(seconds(sim), [0, 3600, 7 * 86_400])

    def test_ttl(self) -> None:
        """
        A task that fails until it expires is dropped.
        """
        sim = Simulation(answers=[500], policy=NEVER, start=START)
        sim.add_task("/x", ttl=150)
        sim.advance(hours=1)
        self.assertEqual(seconds(sim), [0, 60, 120])
        self.assertIn("has expired", sim.dropped[0].reason)

    def test_timeout(self) -> None:
        """
        An answer that takes too long does not count, and one that takes its time does.
        """
        answers = [Answer(200, seconds=30), Answer(200, seconds=float("inf")), 200]
        sim = Simulation(answers=answers, start=START, policy=NEVER)
        sim.add_task("/x", timeout=20)
        sim.add_task("/y", timeout=40)
        sim.advance(seconds=15)
        self.assertEqual([a.result for a in sim.attempts], ["", ""])
        self.assertEqual(len(sim.waiting), 2)
        sim.advance(hours=1)
        self.assertEqual([a.result for a in sim.attempts][:2], ["retry", "retry"])
        self.assertEqual([round(each) for each in seconds(sim)], [0, 0, 80, 100])
        self.assertEqual(len(sim.done), 2)

    def test_start(self) -> None:
        """
        It begins now, at a whole second, or when it is told; UTC without a zone.
        """
        before = datetime.now(UTC).replace(microsecond=0)
        now = Simulation(answers=[200]).now
        self.assertLessEqual(before, now)
        self.assertEqual(now.microsecond, 0)
        naive = Simulation(answers=[200], start=START.replace(tzinfo=None))
        self.assertEqual(naive.now, START)

    def test_not_back(self) -> None:
        """
        Time does not go back.
        """
        sim = Simulation(answers=[200])
        self.assertRaises(ConfigError, sim.advance, seconds=-1)

    def test_mediator_that_fails(self) -> None:
        """
        A mediator of one's own that fails is an error of the test.
        """

        class BrokenMediator(Mediator):
            """
            Knows no outcome.
            """

            def messageReceived(self, message: Any) -> Deferred[Any]:
                return fail(ZeroDivisionError())

        sim = Simulation(answers=[200], make_mediator=BrokenMediator)
        sim.add_task("/")
        self.assertRaises(ZeroDivisionError, sim.finish)
        sim.advance(days=1)
        self.assertEqual(len(sim.waiting), 1)

    def test_endless(self) -> None:
        """
        A task that is retried for ever, and one that is without a pause, are told.
        """
        sim = Simulation(answers=[500], policy=NEVER)
        sim.add_task("/x")
        with self.assertRaises(EndlessRetries) as told:
            sim.finish(days=2)
        self.assertEqual(str(told.exception), "after 2 days 1 tasks still wait")
        self.assertEqual(len(sim.attempts), 2 * 1440 + 1)
        self.patch(_memory_queue, "MOST_AT_ONCE", 100)
        quick = Simulation(answers=[500], make_mediator=Mediator, retryDelay=0)
        quick.add_task("/x")
        self.assertRaises(EndlessRetries, quick.advance, seconds=1)


class AddingTests(SynchronousTestCase):
    """
    Tasks that programs add.
    """

    def test_taken(self) -> None:
        """
        What a program adds is taken, as if it were added at the time of the simulation.
        """
        with Simulation(answers=[200], start=START) as sim:
            sim.advance(days=10)
            uuid = add_task("/x", 7, delay=60, ttl=3600)
            self.assertEqual(sim.attempts, [])
            sim.advance(seconds=59)
            self.assertEqual(sim.attempts, [])
            sim.advance(seconds=1)
        (attempt,) = sim.attempts
        self.assertEqual(attempt.task.uuid, uuid)
        self.assertEqual(
            attempt.request.task["timestamp"], "2026-03-11T12:00:00.000000Z"
        )
        self.assertEqual(attempt.request.task["run_at"], "2026-03-11T12:01:00.000000Z")

    def test_own_timestamp(self) -> None:
        """
        A task that says itself when it was made keeps its age.
        """
        now = datetime.now(UTC)
        with Simulation(answers=[200], start=START) as sim:
            made = (now - timedelta(hours=1)).isoformat()
            add_task("/x", timestamp=made, ttl=7200)
            sim.advance()
        told = datetime.fromisoformat(sim.attempts[0].request.task["timestamp"])
        age = (START - told).total_seconds()
        self.assertLess(abs(age - 3600), 60)

    def test_raw(self) -> None:
        """
        A raw task whose times are wrong is taken as it is, and is a bad one.
        """
        bodies = [
            b"[]",
            b"7",
            b'{"url": "/x", "timestamp": 7}',
            b'{"url": "/x", "timestamp": "2026-03-01T00:00:00Z", "run_at": []}',
            b'{"url": 3, "timestamp": "2026-03-01T00:00:00Z"}',
        ]
        with Simulation(answers=[200]) as sim, BlockingProducer() as producer:
            for body in bodies:
                producer.add_raw_task(body)
            sim.advance()
        self.assertEqual([dead.kind for dead in sim.dead], ["poison"] * 5)
        self.assertEqual([dead.body for dead in sim.dead[:4]], bodies[:4])

    def test_far(self) -> None:
        """
        A task for the last day of all calendars is left where it is.
        """
        with Simulation(answers=[200], start=START.replace(year=9000)) as sim:
            add_task("/x", run_at="9999-12-31T00:00:00Z")
            sim.advance(days=1)
        self.assertEqual([task.url for task in sim.waiting], ["/x"])

    def test_chain(self) -> None:
        """
        Tasks that an executor adds are taken, also outside of the block.
        """
        sim = Simulation(chain)
        sim.add_task("/chain", 3)
        sim.advance()
        self.assertEqual([task.params for task in sim.done], [3, 2, 1, 0])

    def test_wrong(self) -> None:
        """
        A wrong task is refused, as producers do.
        """
        sim = Simulation(answers=[200])
        self.assertRaises(BadTask, sim.add_task, "/x", delay="soon")
        self.assertRaises(BadTask, sim.add_task, "/x", countdown=1)
        self.assertEqual(sim.waiting, [])

    def test_errors(self) -> None:
        """
        An assertion in the answers of a test fails the test, and no attempt.
        """

        def answers(request: SimulatedRequest) -> int:
            raise AssertionError("not what was expected")

        sim = Simulation(answers=answers)
        sim.add_task("/x")
        self.assertRaises(AssertionError, sim.advance)

    def test_executors(self) -> None:
        """
        There must be one executor.
        """
        self.assertRaises(ConfigError, Simulation)
        self.assertRaises(ConfigError, Simulation, functions, answers=[200])


class LimitTests(SynchronousTestCase):
    """
    Limits of a queue and of hosts.
    """

    def test_prefetch(self) -> None:
        """
        No more tasks are at work at once than may be.
        """
        sim = Simulation(answers=[Answer(200, seconds=10)], prefetch=2, start=START)
        for _ in range(5):
            sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 0, 10, 10, 20])

    def test_rate(self) -> None:
        """
        Tasks begin as quickly as the rate says.
        """
        sim = Simulation(answers=[200], rate="6/m", burst=2, start=START)
        for _ in range(5):
            sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 0, 10, 20, 30])

    def test_long(self) -> None:
        """
        They keep to it as long as there are tasks.
        """
        sim = Simulation(answers=[200], rate="10/s", burst=1, start=START)
        for _ in range(1_000):
            sim.add_task("/x")
        sim.finish()
        self.assertLess(abs(seconds(sim)[-1] - 99.9), 0.01)

    def test_breaker(self) -> None:
        """
        A circuit breaker opens, and no request is made until it is tried again.
        """
        breaker = BreakerSettings(failures=3, pause=600, longest_pause=900)
        admission = Origins(OriginLimits(breaker=breaker))
        policy = RetryPolicy(min_backoff=1, max_backoff=1)
        sim = Simulation(
            answers=[500, 500, 500, 200],
            admission=admission,
            policy=policy,
            start=START,
        )
        sim.add_task("/x")
        sim.finish()
        times = seconds(sim)
        self.assertEqual(times[:3], [0, 1, 2])
        self.assertGreaterEqual(times[3], 602)
        self.assertEqual(len(sim.done), 1)


FILE = """
[queues.mail]
key = "tasks.#"
default_url = "http://shop.example/"
permanent = [410]
retry = { max_attempts = 4, min_backoff = "1m", max_backoff = "10m" }
rate = "1/s"
headers = { "X-Shop" = "7" }
sign = { secrets_file = "secret" }
guard = { deny = ["evil.example"] }
prehooks = ["quebert.test.testing.test_simulation.mark"]

[queues.other]
key = "other.#"
mediator = "plain"

[hosts."slow.example"]
rate = "1/m"
"""
KEY = SharedSecret.generate()


def mark(task: dict[str, Any]) -> None:
    """
    A hook.
    """
    task["marked"] = True


class FileTests(SynchronousTestCase):
    """
    Simulations of what a configuration file says.
    """

    def setUp(self) -> None:
        """
        Write the file.
        """
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        secret = Path(folder.name, "secret")
        write_key(secret, KEY)
        self.path = Path(folder.name, "quebert.toml")
        self.path.write_text(FILE)

    def simulation(self, queue: str | None = "mail", **executor: Any) -> Simulation:
        """
        A simulation of a queue of the file.
        """
        return Simulation.from_file(self.path, queue, start=START, **executor)

    def test_queue(self) -> None:
        """
        Retries, headers, hooks, signature and the URL are those of the file.
        """
        sim = self.simulation(answers=[500])
        sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 60, 180, 420])
        request = sim.attempts[0].request
        self.assertEqual(request.url, "http://shop.example/x")
        self.assertEqual(request.headers["X-Shop"], "7")
        self.assertIs(request.task["marked"], True)
        Verifier([KEY]).verify(request.headers, request.body)
        self.assertEqual(len(sim.dead), 1)

    def test_limits(self) -> None:
        """
        So are its rate, and the limits of hosts.
        """
        sim = self.simulation(answers=[200])
        for _ in range(2):
            sim.add_task("http://slow.example/")
        sim.finish()
        first, second = seconds(sim)
        self.assertEqual(first, 0)
        self.assertGreaterEqual(second, 60)

    def test_guard(self) -> None:
        """
        What its guard refuses is not requested.
        """
        sim = self.simulation(answers=[200])
        sim.add_task("http://evil.example/")
        sim.finish()
        self.assertEqual(sim.attempts, [])
        self.assertEqual(sim.dead[0].kind, "forbidden")

    def test_plain(self) -> None:
        """
        Another queue has another mediator.
        """
        sim = self.simulation("other", answers=[500, 200])
        sim.add_task("/x")
        sim.finish()
        self.assertEqual(seconds(sim), [0, 1])

    def test_names(self) -> None:
        """
        A queue must be named where there are several, and be there.
        """
        for name, told in ((None, "name a queue"), ("mial", "no queue 'mial'")):
            with self.assertRaises(ConfigError) as error:
                self.simulation(name, answers=[200])
            self.assertTrue(re.search(f"{told}.*mail, other", str(error.exception)))
        with self.assertRaises(ConfigError):
            self.simulation()
