"""
Tests for L{quebert.service._watches}, C{_ways} and C{_mediators}: what runs of a
configuration file, and how it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from quebert._twistd import find_hook
from quebert.amqp import PriorityGroup, WatchOptions
from quebert.cloud_events import CloudEvents
from quebert.config import (
    OIDC,
    Backoff,
    Broker,
    Host,
    Priorities,
    QueueSettings,
    Service,
    Settings,
    Signing,
)
from quebert.errors import BrokerRefused, ConfigError
from quebert.guard import Guard
from quebert.http import Dispatcher, Limits
from quebert.limits import Rate
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.metrics import QueueHealth
from quebert.outcome import FORBIDDEN, Bury, Discard, Done, Retry
from quebert.policy import RetryPolicy
from quebert.service._mediators import mediates_alike, mediator
from quebert.service._watches import Watches
from quebert.service._ways import client_of
from quebert.signatures import SharedSecret, TokenKeys, Verifier
from quebert.test.checks import refusal
from quebert.test.doubles import MemoryReactor
from quebert.test.mediating import URL, FakeHTTP, message
from quebert.test.test_id_tokens import ISSUER, verified
from quebert.test.test_task_cloud_tasks import ACCOUNT, FIELD
from quebert.test.test_token_keys import KEYS

BROKER = Broker.from_url("amqp://localhost/")
OTHER = Broker.from_url("amqp://other/")
A = QueueSettings(name="a", key="k")
B = QueueSettings(name="b", key="k")
CANNOT = "Queue 'b' cannot be watched for now, and is tried again: PRECONDITION_FAILED"


def settings(*queues: QueueSettings, broker: Broker = BROKER, **more: Any) -> Settings:
    """
    Settings with these queues.
    """
    named = {each.name: each for each in queues}
    return Settings(broker=broker, queues=named, **more)


@attrs.define(eq=False)
class FakeWatcher:
    """
    A watch, which begins and ends when the test says so.
    """

    client: FakeClient
    callback: Callable[[Any], Any]
    way: dict[str, Any]
    starting: Deferred[Any]
    stopping: Deferred[None] | None = None
    grace: float | None = None
    cancelled: bool = False
    refused: bool = False
    consuming: bool = True
    resting: bool = False
    paused: bool = False
    counts: object = attrs.field(factory=object)

    @property
    def queue(self) -> str:
        """
        Its queue.
        """
        return str(self.way["queue"])

    @property
    def options(self) -> WatchOptions:
        """
        What it was told beside its queue.
        """
        options: WatchOptions = self.way["options"]
        return options

    def begin(self) -> None:
        """
        Consume.
        """
        self.starting.callback(self)

    def refuse(self) -> None:
        """
        Not to be let.
        """
        self.refused = True
        self.client.watchers.remove(self)
        self.starting.errback(BrokerRefused(406, "PRECONDITION_FAILED"))

    def stop(self, grace: float) -> Deferred[None]:
        """
        Begin to end.
        """
        self.grace = grace
        self.stopping = Deferred()
        return self.stopping

    def end(self) -> None:
        """
        End.
        """
        assert self.stopping is not None
        self.client.watchers.remove(self)
        self.stopping.callback(None)


class LateSigningHTTP(FakeHTTP):
    """
    An HTTP client that has requests signed when the test says.

    @ivar waiting: the headers of each request, and what signs it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[dict[str, str], Any]] = []

    def make_request(
        self,
        method: str,
        url: str,
        fields: Iterable[tuple[str, str]],
        body: bytes | None,
        sign: Callable[[], Mapping[str, str]] | None = None,
    ) -> Deferred[Any]:
        """
        Note it.
        """
        self.waiting.append((dict(fields), sign))
        return Deferred()


class FakeClient:
    """
    A client whose watches are all noted.
    """

    def __init__(self, log: list[FakeWatcher]) -> None:
        self.watchers: list[FakeWatcher] = []
        self.stopped: list[float] = []
        self.is_connected = True
        self._log = log

    def watch(self, *, callback: Callable[[Any], Any], **way: Any) -> Deferred[Any]:
        """
        Note it.
        """
        watcher = FakeWatcher(self, callback, way, Deferred(lambda _: cancelled()))
        self.watchers.append(watcher)
        self._log.append(watcher)

        def cancelled() -> None:
            watcher.cancelled = True
            self.watchers.remove(watcher)

        return watcher.starting

    def stop(self, grace: float) -> Deferred[None]:
        """
        Note it.
        """
        self.stopped.append(grace)
        return succeed(None)


class WatchesTests(SynchronousTestCase):
    """
    L{Watches} does as settings say.
    """

    def setUp(self) -> None:
        self.log: list[FakeWatcher] = []
        self.clients: list[FakeClient] = []
        self.http = FakeHTTP(200)
        self.error: Exception | None = None
        self.clock = Clock()
        self.watches = Watches(self.clock, make_client=self.make_client, http=self.http)
        self.events: Any = self.enterContext(capturedLogs())

    def make_client(self, settings: Settings, reactor: Any) -> Any:
        """
        A client that can be looked into.
        """
        if self.error is not None:
            raise self.error
        self.clients.append(FakeClient(self.log))
        return self.clients[-1]

    def start(self, *queues: QueueSettings, **more: Any) -> Deferred[None]:
        """
        Begin.
        """
        return Deferred.fromCoroutine(self.watches.start(settings(*queues, **more)))

    def started(self, *queues: QueueSettings, **more: Any) -> None:
        """
        Begin, and consume.
        """
        starting = self.start(*queues, **more)
        for each in self.log:
            each.begin()
        self.successResultOf(starting)

    def said(self) -> list[str]:
        """
        What is logged, since it was last asked.
        """
        said = [formatEvent(each) for each in self.events]
        self.events.clear()
        return said

    def test_start(self) -> None:
        """
        All queues are watched, as they are described, by one client.
        """
        queue = QueueSettings(
            name="b",
            exchange="e",
            key="k",
            exchange_type="direct",
            queue_type="quorum",
            prefetch=9,
            concurrency=7,
            slow_after=5.0,
            hang_after=0.0,
            hold_up_to=2.0,
        )
        starting = self.start(A, queue)
        self.assertNoResult(starting)
        a, b = self.log
        a.begin()
        self.assertNoResult(starting)
        b.begin()
        self.successResultOf(starting)
        wanted = {
            "exchange": "e",
            "queue": "b",
            "routingKey": "k",
            "options": WatchOptions(
                prefetch=7,
                exchange_type="direct",
                queue_type="quorum",
                slow_after=5.0,
                hang_after=0.0,
                hold_up_to=2.0,
            ),
        }
        self.assertEqual(b.way, wanted)
        self.assertEqual(a.options, WatchOptions())
        self.assertEqual(len(self.clients), 1)
        said = ["Watching 'a', 100 tasks at once.", "Watching 'b', 7 tasks at once."]
        self.assertEqual(self.said(), said)

    def test_health(self) -> None:
        """
        It is told how each queue is watched: from the start on, while one cannot be,
        and later.
        """
        self.start(A, B)
        away = QueueHealth(consuming=False, connected=False)
        self.clients[0].is_connected = False
        self.assertEqual(self.watches.health(), {"a": away, "b": away})
        self.clients[0].is_connected = True
        one, other = self.log
        one.begin()
        other.refuse()
        refused = QueueHealth(consuming=False, problem="PRECONDITION_FAILED")
        self.assertEqual(
            self.watches.health(), {"a": QueueHealth(consuming=True), "b": refused}
        )
        one.consuming, one.resting = False, True
        self.assertEqual(self.watches.health()["a"], QueueHealth(consuming=True))
        one.resting, one.paused = False, True
        paused = QueueHealth(consuming=False, paused=True)
        self.assertEqual(self.watches.health()["a"], paused)
        self.clock.advance(60)
        self.log[-1].begin()
        self.assertEqual(self.watches.health()["b"], QueueHealth(consuming=True))

    def test_rate(self) -> None:
        """
        A rate is the watch's, and changes with it.
        """
        self.started(attrs.evolve(A, rate=Rate(5), burst=2))
        options = self.log[0].options
        self.assertEqual((options.rate, options.burst), (Rate(5), 2))
        self.watches.change(settings(attrs.evolve(A, rate=Rate(6))))
        self.assertEqual(self.log[1].options.rate, Rate(6))

    def test_priorities(self) -> None:
        """
        Queues that have a priority share one group, another one where its settings
        change.
        """
        high = attrs.evolve(A, priority="high")
        low = attrs.evolve(B, priority="low")
        c = QueueSettings(name="c")
        self.started(high, low, c)
        ways = [each.options for each in self.log]
        group = ways[0].group
        assert isinstance(group, PriorityGroup)
        self.assertIs(ways[1].group, group)
        self.assertIsNone(ways[2].group)
        self.assertEqual((group.concurrency, group.ageing), (100, 60.0))
        self.assertEqual([way.weight for way in ways[:2]], [6, 1])
        self.watches.change(settings(high, low, c))
        self.assertEqual(len(self.log), 3)
        priorities = Priorities({"high": 6, "low": 2}, 7, 8.0)
        self.watches.change(settings(high, low, c, priorities=priorities))
        ways = [each.options for each in self.log[3:]]
        self.assertEqual([way.weight for way in ways], [6, 2])
        self.assertIs(ways[0].group, ways[1].group)
        group = ways[0].group
        assert isinstance(group, PriorityGroup)
        self.assertEqual((group.concurrency, group.ageing), (7, 8.0))

    def test_cannot_start(self) -> None:
        """
        It fails where no queue can be watched.
        """
        starting = self.start(A, B)
        self.log[1].refuse()
        self.assertNoResult(starting)
        self.log[0].refuse()
        self.failureResultOf(starting, BrokerRefused)
        self.assertEqual(self.said(), [])

    def test_one_cannot_start(self) -> None:
        """
        A queue that cannot be watched is tried again, and does not stop the others.
        """
        starting = self.start(A, B)
        self.log[1].refuse()
        self.log[0].begin()
        self.successResultOf(starting)
        self.assertEqual(self.said()[1:], [CANNOT])
        self.clock.advance(2)
        self.log[2].refuse()
        self.assertEqual(self.said(), [])
        self.clock.advance(4)
        self.log[3].begin()
        self.assertEqual(self.said(), ["Watching 'b', 100 tasks at once."])
        self.clock.pump([1] * 5)
        over = "Queue 'b' can be watched again, after 2 failures in 2 s."
        self.assertEqual(self.said(), [over])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_waits(self) -> None:
        """
        A queue that cannot be watched is told, and tried again, also while another one
        waits for RabbitMQ.
        """
        starting = self.start(A, B, QueueSettings(name="c"))
        self.log[0].begin()
        self.log[1].refuse()
        self.assertEqual(self.said()[1:], [CANNOT])
        self.clock.advance(2)
        self.log[3].begin()
        self.assertNoResult(starting)
        self.log[2].begin()
        self.successResultOf(starting)

    def test_told_once_a_minute(self) -> None:
        """
        However long a queue cannot be watched, that is one line a minute.
        """
        starting = self.start(A, B)
        self.log[1].refuse()
        self.log[0].begin()
        self.successResultOf(starting)
        lines = []
        for _ in range(600):
            self.clock.advance(1)
            if self.log[-1].queue == "b" and not self.log[-1].refused:
                self.log[-1].refuse()
            lines += [each for each in self.said() if "b" in each]
        self.assertEqual(lines[0].count("cannot be watched for now"), 1)
        self.assertLessEqual(len(lines), 11)
        self.assertIn(", 1 time more: PRECONDITION_FAILED", lines[-1])

    def test_tried_no_more(self) -> None:
        """
        A queue that is to be watched no more is not tried again.
        """
        starting = self.start(A, B)
        self.log[1].refuse()
        self.log[0].begin()
        self.successResultOf(starting)
        self.watches.change(settings(A))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watches.change(settings(A, B))
        self.log[2].refuse()
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        Deferred.fromCoroutine(self.watches.stop(0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_same(self) -> None:
        """
        What is as it was goes on as it was.
        """
        self.started(A)
        self.watches.change(settings(A))
        self.assertEqual((len(self.log), len(self.clients)), (1, 1))

    def test_added(self) -> None:
        """
        A queue that is new is watched, and disturbs no other.
        """
        self.started(A)
        self.watches.change(settings(A, B))
        self.assertEqual([each.queue for each in self.log], ["a", "b"])
        self.log[1].refuse()
        self.assertEqual(
            self.said()[1:],
            [CANNOT],
        )
        self.watches.change(settings(A, B))
        self.log[2].begin()
        self.assertIsNone(self.log[0].stopping)

    def test_removed(self) -> None:
        """
        A queue that is gone is watched no more, with the new grace.
        """
        self.started(A, B)
        self.watches.change(settings(A, service=Service(grace=7.0)))
        self.assertEqual([each.grace for each in self.log], [None, 7.0])
        self.log[1].end()
        self.watches.change(settings(A, B))
        self.assertEqual(len(self.log), 3)

    def test_replaced(self) -> None:
        """
        Another watch takes over before the old one stops.
        """
        self.started(A)
        self.watches.change(settings(attrs.evolve(A, prefetch=5)))
        old, new = self.log
        self.assertIsNone(old.stopping)
        new.begin()
        self.assertEqual((old.grace, new.options.prefetch), (30.0, 5))
        [(queue, watcher, *before)] = self.watches.watching()
        self.assertEqual((queue.name, before), ("a", [old.counts]))
        self.assertIs(watcher, new)

    def test_replaced_twice(self) -> None:
        """
        One that has not begun when another is wanted is ended when it has.
        """
        self.started(A)
        for prefetch in (5, 6):
            self.watches.change(settings(attrs.evolve(A, prefetch=prefetch)))
        old, late, new = self.log
        late.begin()
        self.assertEqual((late.grace, old.grace), (30.0, None))
        new.begin()
        self.assertEqual((new.grace, old.grace), (None, 30.0))

    def test_replaced_refused(self) -> None:
        """
        What becomes of such a one is not told.
        """
        self.started(A)
        for prefetch in (5, 6):
            self.watches.change(settings(attrs.evolve(A, prefetch=prefetch)))
        self.said()
        self.log[1].refuse()
        self.assertEqual(self.said(), [])

    def test_replaced_not(self) -> None:
        """
        The same when all is to be as it was.
        """
        self.started(A)
        self.watches.change(settings(attrs.evolve(A, prefetch=5)))
        self.watches.change(settings(A))
        self.log[1].begin()
        self.assertIsNotNone(self.log[1].stopping)
        self.assertIsNone(self.log[0].stopping)

    def test_removed_early(self) -> None:
        """
        The same when it is not to be watched at all.
        """
        starting = self.start(A, B)
        self.watches.change(settings(A))
        self.log[0].begin()
        self.successResultOf(starting)
        self.log[1].begin()
        self.assertIsNotNone(self.log[1].stopping)

    def test_refused(self) -> None:
        """
        What the broker refuses is told, and the old watch goes on; the next change
        tries again.
        """
        self.started(A)
        changed = settings(attrs.evolve(A, queue_type="quorum"))
        self.watches.change(changed)
        self.log[1].refuse()
        self.assertEqual(
            self.said()[1:],
            ["Queue 'a' is still watched with the old settings: PRECONDITION_FAILED"],
        )
        self.assertIsNone(self.log[0].stopping)
        self.watches.change(changed)
        self.log[2].begin()
        self.assertIsNotNone(self.log[0].stopping)

    def test_adjusted(self) -> None:
        """
        What is the mediator's changes without another watch, for what comes then.
        """
        self.started(A)
        watcher = self.log[0]
        self.successResultOf(watcher.callback(message(url="/x")))
        changed = attrs.evolve(A, default_url="http://new/", headers={"X": "1"})
        self.watches.change(settings(changed))
        self.successResultOf(watcher.callback(message(url="/x")))
        self.assertEqual(len(self.log), 1)
        urls = [each.url for each in self.http.requests]
        self.assertEqual(urls, ["http://localhost:8000/x", "http://new/x"])
        self.assertEqual(self.http.requests[1].headers["X"], "1")

    def test_started_otherwise(self) -> None:
        """
        A change while it begins counts, and it has begun when that has.
        """
        starting = self.start(A, B)
        self.watches.change(settings(attrs.evolve(A, prefetch=5)))
        self.assertNoResult(starting)
        self.log[0].begin()
        self.assertNoResult(starting)
        self.assertIsNotNone(self.log[0].stopping)
        self.log[2].begin()
        self.successResultOf(starting)

    def test_broker(self) -> None:
        """
        With another broker all queues move; the old one is left after the last.
        """
        self.started(A, B)
        self.watches.change(settings(A, B, broker=OTHER))
        old, new = self.clients
        self.assertEqual(len(new.watchers), 2)
        for each in list(new.watchers):
            each.begin()
        self.log[0].end()
        self.assertEqual(old.stopped, [])
        self.log[1].end()
        self.assertEqual(old.stopped, [30.0])

    def test_max_memory(self) -> None:
        """
        With another limit of memory the queues move to a client that keeps to it.
        """
        self.started(A)
        smaller = settings(A, service=Service(max_memory=2**20))
        self.watches.change(smaller)
        old, new = self.log
        self.assertIsNot(new.client, old.client)
        self.watches.change(smaller)
        self.assertEqual(self.log, [old, new])
        new.begin()
        old.end()
        self.assertEqual((len(old.client.stopped), new.client.stopped), (1, []))

    def test_broker_and_back(self) -> None:
        """
        A broker that was wanted by mistake is left at once.
        """
        self.started(A)
        self.watches.change(settings(A, broker=OTHER))
        self.watches.change(settings(A))
        self.assertTrue(self.log[1].cancelled)
        self.assertEqual([each.stopped for each in self.clients], [[], [30.0]])
        self.assertIsNone(self.log[0].stopping)

    def test_unusable(self) -> None:
        """
        Settings that cannot be used change nothing at all.
        """
        self.started(A)
        self.error = ConfigError("no such certificate")
        wanted = settings(B, broker=OTHER)
        self.assertEqual(
            refusal(ConfigError, self.watches.change, wanted), str(self.error)
        )
        hooked = settings(attrs.evolve(B, prehooks=("no.such",)))
        refusal(ConfigError, self.watches.change, hooked)
        self.assertEqual(len(self.log), 1)
        self.assertIsNone(self.log[0].stopping)

    def test_id_tokens(self) -> None:
        """
        All mediators sign ID tokens as the settings say, from the next request on; the
        same tokens as before where only something else has changed.
        """
        keys, others = TokenKeys(KEYS.keys[:1]), TokenKeys(KEYS.keys[1:])
        self.started(A, B, oidc=OIDC(ISSUER, "keys.pem", keys))
        field = {**FIELD, "oidc": {"service_account_email": ACCOUNT}}

        def token(number: int) -> str:
            outcome = self.log[number].callback(message(cloud_tasks=field))
            self.assertEqual(self.successResultOf(outcome), Done())
            given: str = self.http.requests[-1].headers["Authorization"]
            return given.removeprefix("Bearer ")

        first = token(0)
        self.assertEqual(verified(first, URL, keys)["iss"], ISSUER)
        self.assertEqual(token(1), first)
        same = OIDC(ISSUER, "keys.pem", TokenKeys(keys.keys))
        slower = attrs.evolve(A, timeout=1.0)
        self.watches.change(settings(slower, B, oidc=same))
        self.assertEqual(token(0), first)
        self.watches.change(settings(slower, B, oidc=OIDC(ISSUER, "b", others)))
        self.assertEqual(verified(token(1), URL, others)["iss"], ISSUER)
        self.watches.change(settings(slower, B))

        def refused() -> str:
            outcome = self.log[0].callback(message(cloud_tasks=field))
            buried = self.successResultOf(outcome)
            assert isinstance(buried, Bury)
            self.assertEqual(buried.kind, FORBIDDEN)
            return buried.reason

        self.assertIn("no key to sign one: give it a table [oidc]", refused())
        limited = attrs.evolve(same, accounts={B.name: [ACCOUNT]})
        self.watches.change(settings(slower, B, oidc=limited))
        self.assertEqual(verified(token(1), URL, keys)["email"], ACCOUNT)
        self.assertIn("[oidc.accounts] does not give", refused())

    def test_hosts(self) -> None:
        """
        Limits of hosts hold over all queues, from the next request on.
        """
        self.started(A, B)
        host = Host(name="executor.example", concurrency=1)
        self.watches.change(settings(A, B, hosts={host.name: host}))
        self.http._code = None
        a, b = (each.callback for each in self.log)
        first = a(message())
        held = self.successResultOf(b(message()))
        self.assertIsInstance(held, Retry)
        self.http.requests[0].answer()
        self.assertEqual(self.successResultOf(first), Done())
        self.watches.change(settings(A, B))
        b(message())
        b(message())
        self.assertEqual(len(self.http.requests), 3)

    def test_connections(self) -> None:
        """
        So do the limits of connections; they are set once for all queues.
        """
        set_limits: list[object] = []

        class Counting(Dispatcher):
            def change_limits(self, *limits: object) -> None:
                set_limits.append(limits)

        http = Counting.with_reactor(self.clock)
        self.watches = Watches(self.clock, make_client=self.make_client, http=http)
        self.started(A, B)
        self.assertEqual(set_limits, [])
        host = Host(name="executor.example", idle=0.0)
        for hosts in ({host.name: host}, {host.name: host}, {}):
            self.watches.change(settings(A, B, hosts=hosts))
        limits = {host.name: Limits(idle=0.0)}
        self.assertEqual(set_limits, [(Limits(), limits), (Limits(), {})])

    def test_stop(self) -> None:
        """
        All ends, what was ending anyway, too.
        """
        self.started(A, B)
        self.watches.change(settings(A))
        self.watches.change(settings(attrs.evolve(A, prefetch=1)))
        stopping = Deferred.fromCoroutine(self.watches.stop(3.0))
        self.assertEqual(self.clients[0].stopped, [3.0])
        self.assertTrue(self.log[2].cancelled)
        self.assertNoResult(stopping)
        self.log[1].end()
        self.successResultOf(stopping)


class ClientTests(SynchronousTestCase):
    """
    L{client_of} makes the client.
    """

    def test_broker(self) -> None:
        """
        It is of the broker that the settings name, and waits for it.
        """
        broker = Broker.from_url("amqp://u:p@one,[::1]:7/v?heartbeat=5")
        client = client_of(settings(A, broker=broker), Clock())
        self.assertEqual(client.broker, broker)
        self.assertIsNone(client.connectTimeout)


def hook(task: Any) -> None:
    """
    A pre-hook.
    """
    task["hooked"] = True


class MediatorTests(SynchronousTestCase):
    """
    L{mediator} makes mediators.
    """

    def outcome(self, queue: QueueSettings, code: int = 500, **task: Any) -> Any:
        """
        What becomes of a task.
        """
        self.http = FakeHTTP(code)
        made = mediator(queue, self.http, Clock())
        return self.successResultOf(made.messageReceived(message(**task)))

    def test_kinds(self) -> None:
        """
        Of the kind that is wanted, with what is said of it.
        """
        for name, retry, kind, after in (
            ("plain", None, Mediator, 1.0),
            ("delay-on-error", Backoff(3.0, 100.0), DelayOnErrorMediator, 3.0),
            ("delay-on-error", None, DelayOnErrorMediator, 1.5),
            ("policy", RetryPolicy(min_backoff=7.0), PolicyMediator, 7.0),
        ):
            queue = attrs.evolve(A, mediator=name, retry=retry)
            self.assertIs(type(mediator(queue, FakeHTTP(), Clock())), kind)
            self.assertEqual(self.outcome(queue).after, after)
        queue = attrs.evolve(A, mediator="policy", permanent=(404,))
        self.assertIsInstance(self.outcome(queue, 404), Bury)
        queue = attrs.evolve(A, retry=Backoff(max_attempts=1))
        self.assertIsInstance(self.outcome(queue), Bury)

    def test_guard(self) -> None:
        """
        With the guard of its queue, and of one client the pool.
        """
        reactor = MemoryReactor()
        http = Dispatcher.with_reactor(reactor)
        refuse, allow = Guard(private="refuse"), Guard()
        for guard, refused in ((refuse, True), (allow, False), (refuse, True)):
            made = mediator(attrs.evolve(A, guard=guard), http, reactor)
            received = made.messageReceived(message(url="http://127.0.0.1:81/"))
            self.assertEqual(made.keep_answers, not refused)
            if refused:
                buried: Any = self.successResultOf(received)
                self.assertEqual(buried.kind, "forbidden")
            else:
                self.assertNoResult(received)
        self.assertEqual(len(reactor.tcpClients), 1)
        self.assertFalse(mediates_alike(A, attrs.evolve(A, guard=refuse)))

    def test_bury(self) -> None:
        """
        What is no task is buried or discarded.
        """
        for bury, kind in ((True, Bury), (False, Discard)):
            outcome = self.outcome(attrs.evolve(A, bury=bury), url=3)
            self.assertIsInstance(outcome, kind)

    def test_max_retry_after(self) -> None:
        """
        How long answers can have a task wait is the policy's.
        """
        queue = attrs.evolve(A, mediator="policy", max_retry_after=5.0)
        made: Any = mediator(queue, FakeHTTP(), Clock())
        self.assertEqual(made.rules.max_retry_after, 5.0)

    def test_headers(self) -> None:
        """
        A queue's headers are of each request, but for what the task has itself.
        """
        queue = attrs.evolve(A, headers={"X-One": "1", "x-two": "2"})
        self.outcome(queue, headers={"X-Two": "3"})
        headers = self.http.requests[0].headers
        self.assertEqual((headers["X-One"], headers["X-Two"]), ("1", "3"))
        self.assertNotIn("x-two", headers)

    def test_signed_when_written(self) -> None:
        """
        Headers of a queue do not have its requests signed earlier.
        """
        http = LateSigningHTTP()
        sign = Signing("f", (SharedSecret.generate(),))
        headers = {"X-One": "1", "x-two": "2", "webhook-id": "x"}
        queue = attrs.evolve(A, sign=sign, headers=headers)
        made = mediator(queue, http, Clock())
        made.messageReceived(message(uuid="u", headers={"X-Two": "3"}))
        self.assertEqual(http.requests, [])
        ((headers, finish),) = http.waiting
        self.assertNotIn("webhook-signature", headers)
        self.assertEqual((headers["X-One"], headers["X-Two"]), ("1", "3"))
        self.assertEqual(finish()["webhook-id"], "u")
        self.assertFalse({"x-two", "webhook-id"} & headers.keys())

    def test_signed_by_nobody(self) -> None:
        """
        Headers of a queue whose requests are not signed are all added.
        """
        http = LateSigningHTTP()
        queue = attrs.evolve(A, headers={"X-One": "1", "webhook-id": "x"})
        mediator(queue, http, Clock()).messageReceived(message(uuid="u"))
        ((headers, finish),) = http.waiting
        self.assertIsNone(finish)
        self.assertEqual((headers["X-One"], headers["webhook-id"]), ("1", "x"))

    def test_signed(self) -> None:
        """
        The requests of a queue that says so are signed with each of its keys; with
        another key it needs another mediator.
        """
        old, new = SharedSecret.generate(), SharedSecret.generate()
        queue = attrs.evolve(A, sign=Signing("f", (old, new)), headers={"X-One": "1"})
        self.outcome(queue, uuid="u")
        (request,) = self.http.requests
        for key in (old, new):
            name = Verifier([key]).verify(request.headers, request.data or b"")
            self.assertEqual(name, "u")
        self.assertEqual(request.headers["X-One"], "1")
        events = CloudEvents("/shop", "t")
        self.outcome(attrs.evolve(A, cloud_events=events), uuid="u")
        self.assertEqual(self.http.requests[0].headers["ce-id"], "u")
        self.outcome(A, uuid="u")
        self.assertNotIn("webhook-id", self.http.requests[0].headers)
        same = attrs.evolve(queue, sign=Signing("f", (old, new)))
        self.assertTrue(mediates_alike(queue, same))
        for other in (None, Signing("f", (new,))):
            self.assertFalse(mediates_alike(queue, attrs.evolve(queue, sign=other)))

    def test_timeout(self) -> None:
        """
        A queue's timeout is that of tasks that do not say.
        """
        made = mediator(attrs.evolve(A, timeout=5.0), FakeHTTP(), Clock())
        self.assertEqual(made.defaultTimeout, 5.0)

    def test_hooks(self) -> None:
        """
        Hooks are called.
        """
        self.outcome(attrs.evolve(A, prehooks=(f"{__name__}.hook",)))
        self.assertIn(b'"hooked":true', self.http.requests[0].data or b"")

    def test_find(self) -> None:
        """
        A hook is found, or one sentence tells why not.
        """
        self.assertIs(find_hook(f"{__name__}.hook"), hook)
        self.assertIn("no module no", refusal(ConfigError, find_hook, "no.such"))
