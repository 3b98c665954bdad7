"""
What waits in the broker comes back, whatever an operator does to the broker meanwhile:
nothing is lost, nothing is early, and nothing is late for long.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel

from quebert.amqp import TxAMQPClient, Watcher, WatchOptions
from quebert.amqp.delays import ARRIVALS, UNCLAIMED, arrivals_of
from quebert.amqp.delays._astray import Astray, OldLadder, browse_store
from quebert.amqp.queues import _browse as _browse
from quebert.amqp.queues import dead_letters_of, depth
from quebert.amqp.queues._new_queues import NEW
from quebert.amqp.wire import (
    NOT_BEFORE,
    Channel,
    Message,
    call_in_one_write,
    version_of,
)
from quebert.operations import BrokerAccess, status
from quebert.outcome import Bury, Outcome, Retry
from quebert.test import old_ladder
from quebert.test.conftest import Names
from quebert.test.operating import (
    add_user,
    add_vhost,
    limit_channels,
    set_permissions,
    set_policy,
)
from quebert.test.support import logged, options_of, until
from quebert.testing import RabbitMQNode

pytestmark = pytest.mark.new_queues

TASKS = 200
#: Seconds that a task may be late when it is due, and the fault is over.
LATE = 5.0

MakeClient = Callable[..., TxAMQPClient]


@attrs.define(eq=False)
class Tasks:
    """
    A callback that puts each task back once.

    @ivar after: for how many seconds.
    @ivar due: when each is due.
    @ivar came: when each came then.
    """

    after: float = 8.0
    due: dict[bytes, float] = attrs.field(factory=dict)
    came: dict[bytes, float] = attrs.field(factory=dict)

    def __call__(self, message: Any) -> Outcome | None:
        """
        Attempt a task.
        """
        if message.body in self.due:
            self.came.setdefault(message.body, time.time())
            return None
        self.due[message.body] = time.time() + self.after
        return Retry(after=self.after)

    async def begin(self, client: TxAMQPClient, queue: str, **options: Any) -> Watcher:
        """
        Watch a queue, publish the tasks, and have all be attempted.
        """
        watcher = await client.watch(
            "", queue, "", self, **options_of({"hold_up_to": 0, **options})
        )
        await self.publish(client, queue)
        await until(lambda: len(self.due) == TASKS)
        return watcher

    async def put_back(
        self, client: TxAMQPClient, queue: str, **options: Any
    ) -> Watcher:
        """
        The same, and have all wait in the broker.
        """
        watcher = await self.begin(client, queue, **options)
        await until(lambda: watcher.counts.retried == TASKS)
        return watcher

    async def publish(self, client: TxAMQPClient, queue: str) -> None:
        """
        Publish the tasks.
        """
        bodies = [b"%d" % n for n in range(TASKS)]
        properties = {"delivery-mode": 2}
        await gatherResults(
            client.publish("", queue, body, properties) for body in bodies
        )

    async def all_come(self, fault_ended: float = 0.0, late: float = LATE) -> None:
        """
        Wait until all are done; none may be early, and none late.
        """
        await until(lambda: len(self.came) == TASKS)
        for body, due in self.due.items():
            assert self.came[body] >= due
            assert self.came[body] <= max(due, fault_ended) + late


async def ready(client: TxAMQPClient, queue: str) -> int:
    """
    How many messages are in a queue.
    """
    found = await depth(await client.connected(), queue)
    return found.ready if found else 0


async def until_ready(client: TxAMQPClient, queue: str, count: int) -> None:
    """
    Wait until so many messages are in a queue.
    """
    deadline = time.monotonic() + 60
    while await ready(client, queue) != count:
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.05)


def waiting_here(watcher: Watcher) -> int:
    """
    How many messages the mediator has fetched that cannot go where they go next.
    """
    arrivals = watcher._intake._forwarder._arrivals
    return 0 if arrivals is None else len(arrivals.busy)


async def call(client: TxAMQPClient, method: str, **arguments: Any) -> None:
    """
    Call an AMQP method.
    """
    await call_in_one_write(await client.connected(), [(method, arguments)])


@contextmanager
def policy_for_all(
    node: RabbitMQNode, names: Names, rule: dict[str, object]
) -> Iterator[None]:
    """
    A policy for all queues, as operators set it, during the block.
    """
    clear = set_policy(node, ".*", rule, f"all-{names.queue}")
    try:
        yield
    finally:
        clear()


@ensureDeferred
async def test_refused_while_made(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Where the user may not make the ladder, the tasks are held, one line of the log
    names the permission, and all go on when it is granted.
    """
    user = f"maker-{names.queue}"
    url = add_user(rabbitmq, user, (f"^{names.queue}$", ".*", ".*"))
    tasks = Tasks(after=12)
    with logged(LogLevel.warn) as lines:
        watcher = await tasks.begin(make_client(url), names.queue, maxEvents=TASKS)
        await until(lambda: watcher.held == TASKS)
        await deferLater(reactor, 5.0)
        assert watcher.counts.retried == 0
        set_permissions(rabbitmq, user)
        await tasks.all_come(time.time())
    (line,) = (each for each in lines if "quebert.delay" in each)
    assert f"refused for user '{user}'" in line
    assert "configure, write and read" in line


@ensureDeferred
async def test_few_channels(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A user may be let have few channels: those that a look at the ladder takes are too
    few for RabbitMQ to close the connection.
    """
    user = f"limited-{names.queue}"
    client, tasks = make_client(add_user(rabbitmq, user)), Tasks(after=6)
    limit_channels(rabbitmq, user, 30)
    with logged(LogLevel.warn) as lines:
        await tasks.put_back(client, names.queue)
        await tasks.all_come()
    assert lines == []


NOT_THE_LADDER = r"^(?!quebert\.delay)"
REVOKED = {
    "write": (".*", NOT_THE_LADDER, ".*"),
    "read": (".*", ".*", NOT_THE_LADDER),
    "all": (NOT_THE_LADDER,) * 3,
}


@pytest.mark.long
@pytest.mark.parametrize("what", REVOKED)
@ensureDeferred
async def test_revoked(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, what: str
) -> None:
    """
    A permission for the ladder that is revoked while tasks wait, and others are put
    back at once, is told once, and once that it is granted again, not before.
    """
    user = f"revoked-{names.queue}"
    client, other = make_client(add_user(rabbitmq, user)), make_client(rabbitmq.url)
    tasks, seen = Tasks(after=20), set[bytes]()

    def attempt(message: Any) -> Outcome | None:
        if not message.body.startswith(b"at once"):
            return tasks(message)
        first = message.body not in seen
        seen.add(message.body)
        return Retry(after=0) if first else None

    await client.watch(
        "",
        names.queue,
        "",
        attempt,
        maxEvents=2 * TASKS,
        options=WatchOptions(hold_up_to=0),
    )
    wire = await client.connected()
    await client.ladder.rung_for(wire, names.queue, lambda: tasks.after)
    with logged(LogLevel.info) as lines:
        set_permissions(rabbitmq, user, REVOKED[what])
        if what == "read":  # which is wanted for what was done already
            client.ladder.forget()
            wire.transport.abortConnection()
        await tasks.publish(other, names.queue)
        for n in range(40):
            await other.publish("", names.queue, b"at once %d" % n)
            await deferLater(reactor, 0.3)
        assert not [each for each in lines if "again, after" in each]
        set_permissions(rabbitmq, user)
        await tasks.all_come(time.time())
        await until(lambda: any("again, after" in each for each in lines))
    (told,) = (each for each in lines if "ACCESS_REFUSED" in each)
    assert told.startswith("Tasks cannot wait in the broker for now")
    assert "configure, write and read" in told
    (over,) = (each for each in lines if "again, after" in each)
    assert over.startswith("Tasks can wait in the broker again")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("x-message-ttl", None), ("x-dead-letter-exchange", "amq.fanout")],
)
@ensureDeferred
async def test_rung_otherwise(
    rabbitmq: RabbitMQNode,
    make_client: MakeClient,
    names: Names,
    argument: str,
    value: str | None,
) -> None:
    """
    A queue of the ladder in which messages would stay, or which passes them on to
    another place, is not used: the tasks wait elsewhere, and one line of the log names
    the queue and the argument.
    """
    client = make_client(add_vhost(rabbitmq, names.queue))
    rungs, wait = client.ladder.rungs_of(await client.connected()), 10
    for method, how in rungs.rung(wait):
        if method == "queue_declare":
            how["arguments"][argument] = value
            if value is None:
                del how["arguments"][argument]
            await call(client, method, **how)
    tasks = Tasks(after=wait)
    with logged(LogLevel.warn) as lines:
        await tasks.begin(client, names.queue, maxEvents=TASKS)
        await tasks.all_come()
    (line,) = (each for each in lines if "quebert.delay" in each)
    assert rungs.name(wait) in line
    assert argument in line


@pytest.mark.long
@ensureDeferred
async def test_write_revoked(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Where the user may write nowhere for a while, all is held, and goes on then; the log
    tells once.
    """
    user = f"writer-{names.queue}"
    client, tasks = make_client(add_user(rabbitmq, user)), Tasks(after=12)
    watcher = await client.watch(
        "", names.queue, "", tasks, maxEvents=TASKS, options=WatchOptions(hold_up_to=0)
    )
    wire = await client.connected()
    await client.ladder.rung_for(wire, names.queue, lambda: tasks.after)  # it is there
    with logged(LogLevel.warn) as lines:
        set_permissions(rabbitmq, user, (".*", "^$", ".*"))
        await tasks.publish(make_client(rabbitmq.url), names.queue)
        await until(lambda: watcher.held == TASKS)
        await deferLater(reactor, 5.0)
        assert watcher.counts.retried == 0
        set_permissions(rabbitmq, user)
        await tasks.all_come(time.time())
    (line,) = (each for each in lines if "ACCESS_REFUSED" in each)
    assert line.startswith("Tasks cannot wait in the broker")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_queue_deleted(
    either: Any, make_client: MakeClient, names: Names, kind: str
) -> None:
    """
    A queue that is deleted and declared anew gets what waits for it.
    """
    client, tasks = make_client(either.url), Tasks()
    await tasks.put_back(client, names.queue, queue_type=kind)
    await call(client, "queue_delete", queue=names.queue)
    await tasks.all_come()


@pytest.mark.long
@ensureDeferred
async def test_queue_away(either: Any, make_client: MakeClient, names: Names) -> None:
    """
    What is due while there is no such queue, and nobody watches, is shown by
    C{quebert status}, and comes when the queue is there again.
    """
    client, tasks = make_client(either.url), Tasks()
    watcher = await tasks.put_back(client, names.queue)
    await watcher.stop()
    await call(client, "queue_delete", queue=names.queue)
    await until_ready(client, arrivals_of(names.queue), TASKS)
    now = await status(BrokerAccess(reactor, either.url), names.queue)
    assert now.arrived == TASKS
    await client.watch("", names.queue, "", tasks, options=WatchOptions(hold_up_to=0))
    await tasks.all_come(time.time())


@pytest.mark.long
@ensureDeferred
async def test_killed_with_a_new_queue(
    own_rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    What waits for a queue survives when RabbitMQ is killed while it comes into that
    queue, which has just been declared anew: RabbitMQ loses what is in there.

    RabbitMQ 3.10 may lose the queue's leader with that, for good.  Somebody has to
    have another one chosen then.
    """
    client, tasks = make_client(own_rabbitmq.url), Tasks()
    started: Deferred[None] = Deferred()

    async def attempt(message: Any) -> Outcome | None:
        await started.addCallback(lambda _: None)
        return tasks(message)

    watcher = await tasks.put_back(client, names.queue, queue_type="quorum")
    await watcher.stop()
    await call(client, "queue_delete", queue=names.queue)
    await until_ready(client, arrivals_of(names.queue), TASKS)
    await client.watch(
        "",
        names.queue,
        "",
        attempt,
        maxEvents=1,
        options=WatchOptions(queue_type="quorum", hold_up_to=0),
    )
    await until(lambda: own_rabbitmq.depths().get(names.queue) == TASKS)
    await deferLater(reactor, 0.5)  # time enough for what must not happen
    own_rabbitmq.kill()
    own_rabbitmq.start()
    started.callback(None)
    process = f'{{list_to_atom("%2F_{names.queue}"), node()}}'
    if "timeout" in await deferToThread(own_rabbitmq.eval, f"ra:members({process})"):
        assert (version_of(await client.connected()) or ()) < (4,)
        own_rabbitmq.eval(f"ra:trigger_election({process})")
    await until(lambda: len(tasks.came) == TASKS)


@pytest.mark.long
@ensureDeferred
async def test_unclaimed(either: Any, make_client: MakeClient, names: Names) -> None:
    """
    What is due while even the queue for its arrival is gone comes when somebody watches
    its queue again, and the log tells once; what belongs to others stays.
    """
    client, tasks = make_client(either.url), Tasks()
    watcher = await tasks.put_back(client, names.queue)
    await watcher.stop()
    for queue in (names.queue, arrivals_of(names.queue)):
        await call(client, "queue_delete", queue=queue)
    await client.publish(ARRIVALS, "another", b"another's", {"delivery-mode": 2})
    await until_ready(client, UNCLAIMED, TASKS + 1)
    now = await status(BrokerAccess(reactor, either.url), names.queue)
    assert now.unclaimed == TASKS + 1
    with logged(LogLevel.warn) as lines:
        await client.watch(
            "", names.queue, "", tasks, options=WatchOptions(hold_up_to=0)
        )
        await tasks.all_come(time.time() + NEW)  # the queue is new
    (line,) = lines
    assert f"Delayed tasks of queue '{names.queue}' arrive in queue" in line
    assert "was not there when they were due" in line
    await until_ready(client, UNCLAIMED, 1)
    await call(client, "queue_purge", queue=UNCLAIMED)


@pytest.mark.long
@pytest.mark.parametrize("quorum", [True, False])
@ensureDeferred
async def test_rerouted(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, quorum: bool
) -> None:
    """
    What a policy gives another routing key when its wait is over comes to its queue all
    the same; the log names the policy once.
    """
    client, tasks = make_client(rabbitmq.url, quorumDelays=quorum), Tasks()
    await tasks.begin(client, names.queue)
    rule: dict[str, object] = {"dead-letter-exchange": "amq.direct"}
    rule["dead-letter-routing-key"] = "others"
    with policy_for_all(rabbitmq, names, rule), logged(LogLevel.warn) as lines:
        await tasks.all_come()
    (line,) = (each for each in lines if names.queue in each)
    assert "dead-letter-routing-key" in line
    assert await ready(client, UNCLAIMED) == 0


@ensureDeferred
async def test_unclaimed_looked_at(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A message that others have looked at so often that it was replaced by a copy still
    comes to its queue.
    """
    client, got = make_client(add_vhost(rabbitmq, names.queue)), []
    wire, publisher = await client.connected(), client.make_publisher()
    await client.ladder.prepare(wire, names.key)
    await client.publish(ARRIVALS, names.queue, b"task", {"delivery-mode": 2})
    await until_ready(client, UNCLAIMED, 1)
    client.ladder.unclaimed = 1
    other = Astray(client.ladder, client.old_ladder, names.key, publisher)
    for _ in range(6):
        other.look_again()
        assert await other.bring_back(wire) == 0
    publisher.shut()
    await client.watch("", names.queue, "", lambda message: got.append(message.body))
    await until(lambda: got == [b"task"])


@ensureDeferred
async def test_unclaimed_behind_many(
    either: Any,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A message comes to its queue also from behind more messages of others than are held
    to look at them; once all were looked at, they are left in peace.
    """
    monkeypatch.setattr(_browse, "MAX_UNACKED", 10)
    client = make_client(either.url)
    wire, publisher = await client.connected(), client.make_publisher()
    await client.ladder.prepare(wire, names.key)
    await call(client, "queue_purge", queue=UNCLAIMED)  # of a failed test
    for queue in (*(["another"] * 80), names.queue):
        await client.publish(ARRIVALS, queue, b"task", {"delivery-mode": 2})
    await until_ready(client, UNCLAIMED, 81)
    await call(client, "queue_declare", queue=names.queue, durable=True)
    client.ladder.unclaimed = 81
    astray = Astray(client.ladder, client.old_ladder, names.queue, publisher)
    assert await astray.bring_back(wire) == 1
    await until_ready(client, UNCLAIMED, 80)
    client.ladder.unclaimed = 80
    assert astray._others == {UNCLAIMED: 80}
    assert await ready(client, names.queue) == 1
    publisher.shut()
    await call(client, "queue_purge", queue=UNCLAIMED)


@pytest.mark.long
@ensureDeferred
async def test_unclaimed_and_full(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    What arrived while there was no queue for it does not come while its queue is full;
    the log tells that.
    """
    client, got = make_client(rabbitmq.url), []
    await client.ladder.prepare(await client.connected(), names.key)
    await call(client, "queue_declare", queue=names.queue, durable=True)
    for _ in range(20):
        await client.publish(ARRIVALS, names.queue, b"task", {"delivery-mode": 2})
    await until_ready(client, UNCLAIMED, 20)
    rule = {"max-length": 0, "overflow": "reject-publish"}
    mend = set_policy(rabbitmq, f"^{names.queue}$", rule, f"full-{names.queue}")
    with logged(LogLevel.warn) as lines:
        await client.watch(
            "", names.queue, "", lambda message: got.append(message.body)
        )
        await until(lambda: lines)
        mend()
        await until(lambda: len(got) >= 20)
    (line, *_) = lines
    assert "cannot be moved to queue" in line
    assert f"they stay in queue {UNCLAIMED!r}" in line
    await until_ready(client, UNCLAIMED, 0)


@pytest.mark.long
@pytest.mark.parametrize("quorum", [True, False])
@ensureDeferred
async def test_full_queue(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, quorum: bool
) -> None:
    """
    A full queue holds up no other, and gets all that is for it when it has room; the
    log tells once.
    """
    client = make_client(rabbitmq.url, quorumDelays=quorum)
    full, others, other = Tasks(), Tasks(), f"other-than-{names.key}"
    await full.put_back(client, names.queue, maxEvents=TASKS)
    rule = {"max-length": 0, "overflow": "reject-publish"}
    mend = set_policy(rabbitmq, f"^{names.queue}$", rule, f"full-{names.queue}")
    with logged(LogLevel.warn) as lines:
        await others.begin(client, other)
        await others.all_come()
        await deferLater(reactor, 5.0)
        assert full.came == {}
        mend()
        await full.all_come(time.time())
    (line,) = (each for each in lines if names.queue in each)
    assert arrivals_of(names.queue) in line


@pytest.mark.long
@pytest.mark.parametrize("part", ["queue", "exchange"])
@ensureDeferred
async def test_rung_deleted(
    either: Any, make_client: MakeClient, names: Names, part: str
) -> None:
    """
    A rung that was deleted, or its exchange, is made anew by the next who needs it; the
    log tells once, or nothing of a queue that is missed before it is published to.
    """
    client, tasks = make_client(either.url), Tasks()
    watcher = await client.watch(
        "", names.queue, "", tasks, options=WatchOptions(hold_up_to=0)
    )
    await client.publish("", names.queue, b"first")
    await until(lambda: watcher.counts.done == 1)
    tasks.due.clear()
    tasks.came.clear()
    rung = client.ladder.rungs_of(await client.connected()).name(8)
    # Or the log tells, rightly, how many waited there when somebody looked last.
    await until(lambda: client.ladder._in_use._depths[rung][0] == 0)
    await call(client, f"{part}_delete", **{part: rung})
    deleted = time.time()
    with logged(LogLevel.warn) as lines:
        await tasks.publish(client, names.queue)
        await tasks.all_come(deleted)
    assert len(lines) == 1 or (part == "queue" and not lines)
    assert all(f"exchange '{rung}'" in line for line in lines)


@ensureDeferred
async def test_rung_deleted_while_looked_at(
    rabbitmq: RabbitMQNode,
    make_client: MakeClient,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Where somebody deletes a queue in which tasks wait right after a mediator has seen
    that it is there, tasks are delayed on.
    """
    client, tasks = make_client(add_vhost(rabbitmq, names.queue)), []
    get = Channel.get
    deleted: list[str] = []

    async def delete_and_get(self: Channel, rung: str) -> Message | None:
        await call(client, "queue_delete", queue=rung)
        return await get(self, rung)

    def get_from_deleted(self: Channel, rung: str) -> Deferred[Message | None]:
        if deleted:
            return get(self, rung)
        deleted.append(rung)
        return Deferred.fromCoroutine(delete_and_get(self, rung))

    def callback(message: Message) -> Outcome | None:
        tasks.append(message.body)
        return Retry(after=7) if len(tasks) <= 2 else None

    monkeypatch.setattr(Channel, "get", get_from_deleted)
    await client.watch(
        "", names.queue, "", callback, options=WatchOptions(hold_up_to=0)
    )
    await client.publish("", names.queue, b"lost", {"delivery-mode": 2})
    await until(lambda: deleted)
    await client.publish("", names.queue, b"kept", {"delivery-mode": 2})
    await until(lambda: tasks.count(b"kept") == 2)


@pytest.mark.long
@ensureDeferred
async def test_exchange_deleted(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    The exchange for all that arrives is declared anew, with what was bound to it; what
    was due meanwhile comes then.
    """
    client, tasks = make_client(rabbitmq.url), Tasks()
    await tasks.put_back(client, names.queue)
    with logged(LogLevel.warn) as lines:
        await call(client, "exchange_delete", exchange=ARRIVALS)
        await until(lambda: lines)
        await tasks.all_come(time.time())
    (line,) = lines
    assert ARRIVALS in line


@pytest.mark.long
@ensureDeferred
async def test_arrivals_deleted(
    either: Any, make_client: MakeClient, names: Names
) -> None:
    """
    The queue in which a queue's messages arrive is declared anew.
    """
    client, tasks = make_client(either.url), Tasks()
    await tasks.put_back(client, names.queue)
    await call(client, "queue_delete", queue=arrivals_of(names.queue))
    await tasks.all_come()


@ensureDeferred
async def test_too_early(either: Any, make_client: MakeClient, names: Names) -> None:
    """
    What arrives before its time goes to another wait, and is not attempted.
    """
    client, tasks = make_client(either.url), Tasks()
    watcher = await client.watch(
        "", names.queue, "", tasks, options=WatchOptions(hold_up_to=0)
    )
    wire = await client.connected()
    for n in range(TASKS):
        rung = await client.ladder.rung_for(wire, names.queue, lambda: 1.0)
        body, due = b"%d" % n, time.time() + 2 + n % 3
        properties = {"delivery-mode": 2, "headers": {NOT_BEFORE: due}}
        await client.publish(rung, names.queue, body, properties)
        tasks.due[body] = due
    await tasks.all_come()
    assert watcher.counts.retried == 0


POLICIES: dict[str, dict[str, object]] = {
    "expires": {"expires": 5000},
    "message-ttl": {"message-ttl": 1000},
    "max-length": {"max-length": 10},
}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("name", POLICIES)
@ensureDeferred
async def test_policy(
    rabbitmq: RabbitMQNode,
    make_client: MakeClient,
    names: Names,
    name: str,
    kind: str,
) -> None:
    """
    A policy for all queues has no task attempted early or lost; the log tells of it
    once, or of nothing.
    """
    client, tasks = make_client(rabbitmq.url, quorumDelays=kind == "quorum"), Tasks(20)
    watcher = await tasks.begin(client, names.queue, queue_type=kind)
    with logged(LogLevel.warn) as lines:
        with policy_for_all(rabbitmq, names, POLICIES[name]):
            await deferLater(reactor, 15.0)
        await tasks.all_come(time.time())
    assert len(lines) <= 1, lines
    assert watcher.counts.retried >= TASKS
    assert not [each for each in lines if "deleted" in each]


@ensureDeferred
async def test_full_until_a_policy_ends(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Tasks that RabbitMQ could not pass on, since a policy let only ten arrive, come when
    the policy is there no more.
    """
    client, tasks = make_client(rabbitmq.url), Tasks(8.0)
    await client.ladder.prepare(await client.connected(), names.queue)
    arrivals = arrivals_of(names.queue)
    few: dict[str, object] = {"max-length": 10}
    clear = set_policy(rabbitmq, f"^{re.escape(arrivals)}$", few, f"few-{names.queue}")
    watcher = await tasks.put_back(client, names.queue)
    await watcher.stop()
    await deferLater(reactor, max(tasks.due.values()) - time.time() + 1.0)
    deadline = time.monotonic() + 60
    while (arrived := await ready(client, arrivals)) <= 10:
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.05)
    assert arrived < TASKS
    clear()
    await client.watch("", names.queue, "", tasks, options=WatchOptions(hold_up_to=0))
    # RabbitMQ tries again after two to four seconds, as it is set up here.
    await tasks.all_come(time.time(), LATE + 4.0)


HELD_BACK: dict[str, object] = {
    "delayed-retry-type": "all",
    "delayed-retry-min": 40_000,
    "delayed-retry-max": 60_000,
}


async def prepared(client: TxAMQPClient, queue: str) -> None:
    """
    Make the ladder.  Skip the test unless this RabbitMQ can hold back what was given
    back.
    """
    wire = await client.connected()
    if (version_of(wire) or ()) < (4, 3):
        pytest.skip("RabbitMQ 4.3 is the first that can hold back what was given back")
    await client.ladder.prepare(wire, queue)


@pytest.mark.long
@ensureDeferred
async def test_held_back(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    No delayed task is late where a policy has RabbitMQ hold back what was given back,
    although mediators look at the tasks that wait.
    """
    client, tasks = make_client(rabbitmq.url), Tasks(12.0)
    await prepared(client, names.queue)
    with policy_for_all(rabbitmq, names, HELD_BACK), logged(LogLevel.warn) as lines:
        await tasks.begin(client, names.queue)
        await tasks.all_come()
    assert lines == []


@pytest.mark.long
@ensureDeferred
async def test_arrivals_held_back(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Nor are those late that a mediator had fetched, and gave back at its end.
    """
    client, tasks = make_client(rabbitmq.url), Tasks()
    await prepared(client, names.queue)
    watcher = await tasks.put_back(client, names.queue)
    full = {"max-length": 0, "overflow": "reject-publish"}
    mend = set_policy(rabbitmq, f"^{names.queue}$", full, f"full-{names.queue}")
    clear = set_policy(rabbitmq, r"^quebert\.", HELD_BACK, f"ours-{names.queue}")
    try:
        await until(lambda: waiting_here(watcher) == TASKS)
        await watcher.stop()
        mend()
        await client.watch(
            "", names.queue, "", tasks, options=WatchOptions(hold_up_to=0)
        )
        await tasks.all_come(time.time())
    finally:
        clear()


@pytest.mark.long
@ensureDeferred
async def test_looked_at_and_held_back(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Nor are dead letters away that somebody looked at, or what is for others.
    """
    client = make_client(rabbitmq.url)
    wire = await client.connected()
    await prepared(client, names.queue)
    watcher = await client.watch(
        "",
        names.queue,
        "",
        lambda message: Bury("dead"),
        options=WatchOptions(queue_type="quorum"),
    )
    await Tasks().publish(client, names.queue)
    await until(lambda: watcher.counts.buried == TASKS)
    await gatherResults(
        client.publish(ARRIVALS, "another", b"another's", {"delivery-mode": 2})
        for _ in range(TASKS)
    )

    async def visit(message: Message) -> bool:
        return False

    send = client.make_publisher().publish
    stores = dead_letters_of(names.queue), UNCLAIMED
    with policy_for_all(rabbitmq, names, HELD_BACK):
        for store in stores:
            for _ in range(2):
                assert await browse_store(wire, store, TASKS, send, visit) == TASKS
            await until_ready(client, store, TASKS)
    await call(client, "queue_purge", queue=UNCLAIMED)


@ensureDeferred
async def test_lost_after_a_policy(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Tasks that a policy shortened the wait of come back if the connection is lost over
    which they were fetched, although RabbitMQ removes them from their queue.
    """
    client, tasks = make_client(rabbitmq.url), Tasks(15.0)
    await client.ladder.prepare(await client.connected(), names.queue)
    clear = set_policy(rabbitmq, r"^quebert\.delay\.", {"message-ttl": 1000})
    watcher = await tasks.put_back(client, names.queue)
    await until(lambda: waiting_here(watcher) == TASKS)
    channel = watcher._intake.keeper.channel
    assert channel is not None
    # Behind the acknowledgements on the same channel: RabbitMQ has read them then.
    await channel.call("queue_declare", queue=names.queue, passive=True)
    clear()
    (await client.connected()).transport.abortConnection()
    # To clear a policy, RabbitMQ asks each queue, which has taken it up to 30 s.
    await tasks.all_come(time.time())


@ensureDeferred
async def test_arrived_while_nobody_runs(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    A policy shortens waits while no mediator runs: RabbitMQ drops no task, and none is
    attempted early when a mediator runs again.
    """
    client, tasks = make_client(rabbitmq.url), Tasks(15.0)
    await client.ladder.prepare(await client.connected(), names.queue)
    watcher = await tasks.put_back(client, names.queue)
    await watcher.stop()
    clear = set_policy(rabbitmq, r"^quebert\.delay\.", {"message-ttl": 500})
    try:
        await until_ready(client, names.queue, TASKS)
    finally:
        clear()
    await client.watch("", names.queue, "", tasks, options=WatchOptions(hold_up_to=0))
    await tasks.all_come(time.time())


@ensureDeferred
async def test_arrived_while_the_queue_is_full(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names
) -> None:
    """
    Nor does RabbitMQ drop one where the task queue takes nothing meanwhile.
    """
    client, tasks = make_client(rabbitmq.url), Tasks(8.0)
    await client.ladder.prepare(await client.connected(), names.queue)
    watcher = await tasks.put_back(client, names.queue)
    await watcher.stop()
    full = {"max-length": 0, "overflow": "reject-publish"}
    mend = set_policy(rabbitmq, f"^{names.queue}$", full, f"full-{names.queue}")
    clear = set_policy(rabbitmq, r"^quebert\.delay\.", {"message-ttl": 500})
    try:
        await deferLater(reactor, max(tasks.due.values()) - time.time() + 2.0)
        await until_ready(client, arrivals_of(names.queue), 0)
        assert await ready(client, names.queue) == 0
    finally:
        clear()
        mend()
    await client.watch("", names.queue, "", tasks, options=WatchOptions(hold_up_to=0))
    # RabbitMQ tries again after two to four seconds, as it is set up here.
    await tasks.all_come(time.time(), LATE + 4.0)


@pytest.mark.parametrize("prefix", old_ladder.PREFIXES)
@ensureDeferred
async def test_old_ladder(
    rabbitmq: RabbitMQNode, make_client: MakeClient, names: Names, prefix: str
) -> None:
    """
    What waits on the ladder of earlier versions comes back, also what had no way back
    there.
    """
    client, tasks = make_client(rabbitmq.url), Tasks()
    wire = await client.connected()
    await call_in_one_write(wire, old_ladder.declarations(prefix))
    for n in range(TASKS):
        body, after = b"%d" % n, 2 + n % 3
        exchange, key = old_ladder.route(prefix, names.queue, after)
        await client.publish(exchange, key, body, {"delivery-mode": 2})
        tasks.due[body] = time.time() + after - 0.5
        if n == TASKS // 2:  # the others of this kind are due already
            await until_ready(client, f"{prefix}.lost", n + 1)
    began = time.time()
    await client.watch("", names.queue, "", tasks, options=WatchOptions(hold_up_to=0))
    await tasks.all_come(began)
    assert await OldLadder().stores(wire)
    for store in await OldLadder().stores(wire):
        await until_ready(client, store, 0)
