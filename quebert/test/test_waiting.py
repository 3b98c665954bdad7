"""
Thousands of tasks for the next minute, while an operator does one thing after the other
to RabbitMQ.

What happens is chosen at random, with the seeds in C{QUEBERT_SEEDS}: C{1,2,3}.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from quebert import operations
from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.delays import ARRIVALS
from quebert.amqp.wire import call_in_one_write
from quebert.producer import Producer
from quebert.test.conftest import Names
from quebert.test.operating import (
    EVERYTHING,
    add_user,
    close_connections,
    set_permissions,
    set_policy,
)
from quebert.test.support import Executor, Program, until
from quebert.test.test_processes import mediator
from quebert.testing import RabbitMQNode

SEEDS = [int(seed) for seed in os.environ.get("QUEBERT_SEEDS", "1").split(",")]
TASKS = int(os.environ.get("QUEBERT_WAITING", "10000"))
#: Seconds from now in which they are due.
SOONEST, LATEST = 8, 68
#: Seconds between the beginnings of two faults, and that each lasts.
EVERY, LASTS = 5.0, 3.5
USER = "mediator"
KINDS = ("classic", "quorum")


class Operator:
    """
    Does things to a RabbitMQ and to the mediators on it.

    @param client: for what goes over AMQP.
    @param started: starts a mediator.
    """

    def __init__(
        self,
        node: RabbitMQNode,
        client: TxAMQPClient,
        queue: str,
        started: Callable[[], Program],
    ) -> None:
        self._node = node
        self._client = client
        self._queue = queue
        self._started = started
        self.running = [started() for _ in range(2)]

    def report(self) -> str:
        """
        What the queues hold, and what the mediators have warned of.
        """
        columns = "messages", "messages_ready", "consumers", "name"
        told = self._node.ctl("list_queues", *columns)
        queues = (each for each in told.splitlines() if not each.startswith("0"))
        warnings = (
            line
            for program in self.running
            for line in program.output.splitlines()
            if "#warn" in line or "#error" in line or "#critical" in line
        )
        return "\n".join((*queues, *warnings, ""))

    async def full_queue(self) -> None:
        """
        The task queue takes nothing.
        """
        # RabbitMQ empties a classic queue that gets both at once.
        reject: dict[str, object] = {"overflow": "reject-publish"}
        pattern = f"^{self._queue}$"
        set_policy(self._node, pattern, reject, "of-the-operator")
        await self._policy(pattern, {"max-length": 0, **reject})

    async def expires(self) -> None:
        """
        Queues that nobody uses expire.
        """
        await self._policy(".*", {"expires": 5000})

    async def message_ttl(self) -> None:
        """
        All waits are short.
        """
        await self._policy(r"^quebert\.delay\.", {"message-ttl": 1000})

    async def max_length(self) -> None:
        """
        Nowhere can more than ten wait.
        """
        await self._policy(r"^quebert\.delay\.", {"max-length": 10})

    async def _policy(self, pattern: str, rule: dict[str, object]) -> None:
        mend = set_policy(self._node, pattern, rule, "of-the-operator")
        await deferLater(reactor, LASTS)
        mend()

    async def permissions(self) -> None:
        """
        The mediators may do nothing with what is quebert's.
        """
        only = "^(?!quebert).*$"
        set_permissions(self._node, USER, (only, only, ".*"))
        await deferLater(reactor, LASTS)
        set_permissions(self._node, USER, EVERYTHING)

    async def exchange(self) -> None:
        """
        The exchange for all that arrives is gone.
        """
        await self._call("exchange_delete", exchange=ARRIVALS)

    async def rung_exchange(self) -> None:
        """
        The exchange of a rung is gone.
        """
        wait = random.choice((1, 2, 4, 8))
        exchange = f"quebert.delay.quorum.wait.{wait}s"
        await self._call("exchange_delete", exchange=exchange)

    async def _call(self, method: str, **arguments: Any) -> None:
        await call_in_one_write(await self._client.connected(), [(method, arguments)])

    async def connections(self) -> None:
        """
        RabbitMQ closes the mediators' connections.
        """
        close_connections(self._node, USER)

    async def kill_mediator(self) -> None:
        """
        A mediator is killed, and another started.
        """
        self.running.pop(0).kill()
        self.running.append(self._started())

    async def kill_broker(self) -> None:
        """
        RabbitMQ is killed, and started again.

        RabbitMQ 3.10.8 may forget half of what was done shortly before.  In 2 of 14
        tries, a queue had a policy for ever that was deleted in the second before, and
        that RabbitMQ did not list.  Another policy has RabbitMQ look again.
        """
        self._node.kill()
        self._node.start()
        harmless: dict[str, object] = {"max-length": 10 * TASKS}
        set_policy(self._node, f"^{self._queue}$", harmless, "of-the-operator")()

    async def pause(self) -> None:
        """
        The queue is paused for a moment.
        """
        broker = operations.BrokerAccess(reactor, self._node.url)
        await operations.pause(broker, self._queue)
        await deferLater(reactor, LASTS)
        await operations.resume(broker, self._queue)


FAULTS = (
    Operator.full_queue,
    Operator.expires,
    Operator.message_ttl,
    Operator.max_length,
    Operator.permissions,
    Operator.exchange,
    Operator.rung_exchange,
    Operator.connections,
    Operator.kill_mediator,
    Operator.kill_broker,
    Operator.pause,
)


def endless(chance: random.Random) -> Iterator[Callable[[Operator], Any]]:
    """
    All faults in some order, and again.
    """
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))


@pytest.mark.long
@pytest.mark.timed
@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_waiting(
    own_rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    start: Callable[..., Program],
    executor: Executor,
    tmp_path: Path,
    names: Names,
    seed: int,
) -> None:
    """
    None is lost, and none is early.
    """
    chance = random.Random(seed)
    failing = set(chance.sample(range(TASKS), TASKS // 10))
    due: dict[int, float] = {}
    seen: dict[int, float] = {}
    early: list[int] = []
    done: set[int] = set()

    def answer(task: dict[str, Any]) -> int:
        n = task["params"]
        now = time.time()
        seen.setdefault(n, now)
        if now < due[n]:
            early.append(n)
        if n in failing:
            failing.discard(n)
            return 500
        done.add(n)
        return 200

    executor.answer = answer
    url = add_user(own_rabbitmq, USER)

    file = tmp_path / "quebert.toml"
    file.write_text(
        f"""
        broker = {{ url_env = "URL" }}
        service = {{ default_url = "{executor.url}/" }}
        [queues.{names.queue}]
        exchange = "{names.exchange}"
        key = "tasks.#"
        prefetch = 50
        queue_type = "{KINDS[seed % 2]}"
        """
    )

    def started() -> Program:
        return mediator(start, own_rabbitmq, f"--config={file}", URL=url)

    client = make_client(own_rabbitmq.url)
    watcher = await client.watch(
        names.exchange,
        names.queue,
        "tasks.#",
        print,
        options=WatchOptions(queue_type=KINDS[seed % 2]),
    )
    await watcher.stop()
    operator = Operator(own_rabbitmq, client, names.queue, started)
    producer, now = Producer(client, names.exchange), time.time()
    for n in range(TASKS):
        due[n] = now + chance.uniform(SOONEST, LATEST)
    await gatherResults(producer.add_task("/", n, run_at=at) for n, at in due.items())
    faults = endless(chance)
    # They wait in the broker, as nearly all of them do from now on.
    await until(lambda: own_rabbitmq.depths()[names.queue] < TASKS / 20)
    while time.time() < now + LATEST:
        at = time.monotonic()
        assert all(each.running for each in operator.running)
        fault = next(faults)
        sys.stdout.write(f"seed {seed}, {len(done)} done: {fault.__name__}\n")
        await fault(operator)
        await deferLater(reactor, max(0.0, at + EVERY - time.monotonic()))
    over = time.time()
    try:
        await until(lambda: len(done) == TASKS, patience=200)
    except AssertionError:
        missing = sorted(round(due[n] - now, 1) for n in due.keys() - done)
        sys.stdout.write(f"missing: {len(missing)}, due after {missing}\n")
        sys.stdout.write(operator.report())
        raise
    sys.stdout.write(f"all done after {time.time() - over:.0f} s\n")
    late = max(at - max(due[n], over) for n, at in seen.items())
    sys.stdout.write(f"seed {seed}: {late:.1f} s late at most\n")
    assert early == []
