"""
Tasks for three mediators on a cluster of RabbitMQ nodes, of which one after the other
fails; and figures of what became of the tasks.

Of ten tasks, one fails the first time, and one is for later.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.coordination import set_paused
from quebert.errors import BrokerError
from quebert.mediator import PolicyMediator
from quebert.policy import RetryPolicy
from quebert.test.cluster import TICK, Member, RabbitMQCluster
from quebert.test.support import Executor, until

reactor: Any = global_reactor

QUEUE = "tasks"
#: Seconds before the first retry, for each mediator: the first holds what it retries,
#: with the others it waits in the broker.
BACKOFFS = (0.5, 6.0, 11.0)
#: Seconds from when a task is added to when it is due, for those that are for later.
DELAYS = (3, 7, 12, 19)
#: Tasks that one mediator has at once, at most.
PLACES = 50
#: Seconds in which anything must have come true: RabbitMQ tries some things again after
#: 180 s.
PATIENCE = 280.0
PERSISTENT = {"delivery-mode": 2}


@attrs.frozen
class Outage:
    """
    A fault, with the time that is looked at to see what it did.
    """

    name: str
    began: float
    ended: float


class Load:
    """
    @param tasks: how many are added; fewer where L{finish} is called before.
    @param rate: tasks per second that are added.  The mediators share four times that.
    @ivar patience: seconds that a fault is looked at, at least.
    """

    def __init__(
        self, cluster: RabbitMQCluster, executor: Executor, *, tasks: int, rate: int
    ) -> None:
        self.cluster = cluster
        self.executor = executor
        self.tasks = tasks
        self.rate = rate
        self.done: Counter[int] = Counter()
        self.late: dict[int, float] = {}  # seconds, of those that were for later
        self.republished = 0
        self.patience = 12.0
        self.done_by: list[list[float]] = []  # when, by each mediator
        self.outages: list[Outage] = []
        self.pauses: list[tuple[float, float]] = []
        self.clients: list[TxAMQPClient] = []
        self.watchers: list[Watcher] = []
        self.producer = TxAMQPClient.from_url(cluster.url, connectTimeout=None)
        self._failed: set[int] = set()
        self._offered = 0
        self._confirmed = 0
        self._offering = LoopingCall.withCount(self._offer)
        executor.answer = self._answer

    # -- The tasks

    async def start(self) -> None:
        """
        Watch, and begin to add tasks.
        """
        hosts = [f"127.0.0.1:{node.port}" for node in self.cluster.nodes]
        for number, backoff in enumerate(BACKOFFS):
            turned = hosts[number:] + hosts[:number]
            client = TxAMQPClient(turned, "guest", "guest", connectTimeout=None)
            policy = RetryPolicy(min_backoff=backoff)
            mediator = PolicyMediator(reactor=reactor, policy=policy)
            self.clients.append(client)
            self._count_done(mediator)
            watcher = await client.watch(
                "",
                QUEUE,
                "",
                mediator.messageReceived,
                maxEvents=PLACES,
                options=WatchOptions(queue_type="quorum", rate=f"{self.rate * 4}/s"),
            )
            self.watchers.append(watcher)
        await self._warm_up()
        self._offering.start(1 / self.rate)

    def _count_done(self, mediator: PolicyMediator) -> None:
        times: list[float] = []
        self.done_by.append(times)
        mediator.add_posthook(lambda task, result: times.append(reactor.seconds()))

    async def _warm_up(self) -> None:
        """
        Have all that tasks need be made in the broker: the queues in which they wait.
        """
        for number in range(5, 10 * len(self.watchers), 10):
            await self._publish(number)
        await until(lambda: len(self.done) == len(self.watchers), PATIENCE)
        self.done.clear()
        self.late.clear()

    def _offer(self, count: int) -> None:
        backlog = self._offered - len(self.done)
        for _ in range(
            min(count, self.tasks - self._offered, 20 * self.rate - backlog)
        ):
            Deferred.fromCoroutine(self._publish(self._offered))
            self._offered += 1
        if self._offered == self.tasks and self._offering.running:
            self._offering.stop()

    async def _publish(self, number: int) -> None:
        task: dict[str, Any] = {"url": self.executor.url, "number": number}
        if number % 10 == 5:
            delay = DELAYS[number // 10 % len(DELAYS)]
            due = datetime.fromtimestamp(time.time() + delay, UTC)
            task["run_at"] = due.isoformat()
        body = json.dumps(task).encode()
        while True:
            try:
                await self.producer.publish("", QUEUE, body, PERSISTENT)
                break
            except BrokerError:
                self.republished += 1
                await deferLater(reactor, 1)
        self._confirmed += 1

    def _answer(self, task: Any) -> int:
        number, now = task["number"], time.time()
        if number % 10 == 0 and number not in self._failed:
            self._failed.add(number)
            return 503
        if "run_at" in task and number not in self.late:
            due = datetime.fromisoformat(task["run_at"])
            self.late[number] = now - due.timestamp()
        self.done[number] += 1
        return 200

    async def until_done(self, part: float) -> None:
        """
        Wait until this part of the tasks is done, from 0 to 1.
        """
        await until(
            lambda: len(self.done) >= part * self.tasks, PATIENCE, self._where_they_are
        )

    def _where_they_are(self) -> str:
        """
        Some of the tasks that are not done, and all queues that hold messages.
        """
        missing = sorted(set(range(self.tasks)) - self.done.keys())
        columns = "messages", "messages_ready", "name", "leader"
        told = self.cluster.nodes[0].ctl("list_queues", *columns)
        holding = (each for each in told.splitlines() if not each.startswith("0"))
        return "\n".join((f"{len(missing)} missing: {missing[:20]}", *holding))

    async def finish(self) -> None:
        """
        Add no more tasks, and wait until all that were added are done.
        """
        if self._offering.running:
            self._offering.stop()
        self.tasks = self._offered
        await self.until_done(1)

    # -- What befalls the cluster

    async def kill_leader(self) -> None:
        """
        Kill the node of the queue's leader, and start it again.
        """
        node = await self.cluster.leader(QUEUE)
        await self._outage(
            "leader killed", self.cluster.kill(node), partial(self.cluster.start, node)
        )

    async def stop_leader(self) -> None:
        """
        Stop the node of the queue's leader in good order, and start it again.
        """
        node = await self.cluster.leader(QUEUE)
        await self._outage(
            "leader stopped", self.cluster.stop(node), partial(self.cluster.start, node)
        )

    async def partition(self) -> None:
        """
        Cut the node of the queue's leader off from the others for some time.  A
        mediator on that node may have nothing to do until the end.
        """
        node = await self.cluster.leader(QUEUE)
        cut_off = self._cut_off(node)
        await self._outage("leader cut off", cut_off, self.cluster.unite, idle=1)

    async def _cut_off(self, node: Member) -> None:
        self.cluster.part(node)
        await deferLater(reactor, 2 * TICK)

    async def _outage(
        self,
        name: str,
        fault: Coroutine[Any, Any, None],
        mend: Callable[[], Coroutine[Any, Any, None]],
        idle: int = 0,
    ) -> None:
        """
        @param idle: how many mediators may do nothing until C{mend} is called.
        """
        began = reactor.seconds()
        await fault
        await self._at_work(len(self.watchers) - idle)
        await deferLater(reactor, max(0.0, began + self.patience - reactor.seconds()))
        await mend()
        await self._at_work(len(self.watchers))
        self.outages.append(Outage(name, began, reactor.seconds()))

    async def _at_work(self, mediators: int) -> None:
        """
        Wait until so many mediators have done a task since now, or all tasks are done.
        """
        now = reactor.seconds()

        def at_work() -> bool:
            back = sum(times[-1:] > [now] for times in self.done_by)
            return back >= mediators or len(self.done) >= self.tasks

        await until(at_work, PATIENCE)

    async def pause(self, seconds: float = 3) -> None:
        """
        Pause the queue for so long; nothing is done meanwhile.
        """
        wire = await self.producer.connected()
        began = reactor.seconds()
        await set_paused(wire, QUEUE, True)
        await until(lambda: all(each.paused for each in self.watchers))
        # What was begun may not have come to the executor yet.
        await until(lambda: not any(each.in_flight for each in self.watchers))
        done = sum(self.done.values())
        await deferLater(reactor, seconds)
        assert sum(self.done.values()) == done
        wire = await self.producer.connected()
        await set_paused(wire, QUEUE, False)
        await until(lambda: sum(self.done.values()) > done)
        self.pauses.append((began, reactor.seconds()))

    # -- What became of the tasks

    @property
    def lost(self) -> int:
        """
        Tasks that were confirmed, and never done.
        """
        return self.tasks - len(self.done)

    @property
    def repeated(self) -> int:
        """
        How often a task was done again.
        """
        return sum(self.done.values()) - len(self.done)

    @property
    def repeated_at_most(self) -> int:
        """
        How often that may have been: for each message that a mediator had when it lost
        its channel, for each copy or task whose confirm was lost.
        """
        returned = sum(each.counts.returned for each in self.watchers)
        in_flight = len(self.outages) * len(self.watchers) * 2 * PLACES
        return returned + in_flight + self.republished

    def report(self) -> str:
        """
        All figures, for people.
        """
        lines = [
            f"{self.tasks} tasks: {self.lost} lost, {self.repeated} repeated"
            f" (at most {self.repeated_at_most}), {self.republished} published again"
        ]
        for each in self.outages:
            span = (each.began, each.ended)
            still = longest_gap(sorted(itertools.chain(*self.done_by)), *span)
            times = ", ".join(f"{longest_gap(t, *span):.1f}" for t in self.done_by)
            lines.append(
                f"{each.name}: no task was done for {still:.1f} s; by each mediator"
                f" none for {times} s"
            )
        late = sorted(self.late.values())
        if late:
            lines.append(
                f"{len(late)} delayed tasks: {late[0]:.2f} s late at least,"
                f" {late[len(late) // 2]:.2f} s half of them, {late[-1]:.1f} s at most;"
                f" {sum(each > 5 for each in late)} of them more than 5 s"
            )
        return "\n".join(lines)

    async def stop(self) -> None:
        """
        End all clients.
        """
        if self._offering.running:
            self._offering.stop()
        for each in (*self.clients, self.producer):
            await each.stop(grace=0)


def longest_gap(times: list[float], began: float, ended: float) -> float:
    """
    The longest time between two of these times, sorted, within a span of time.
    """
    within = [began, *(t for t in times if began <= t <= ended), ended]
    return max(b - a for a, b in itertools.pairwise(within))
