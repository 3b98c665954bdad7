"""
The events of mediators that are processes of their own.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_twisted import ensureDeferred

from quebert.amqp import TxAMQPClient
from quebert.events import AttemptRecord, reading
from quebert.task import format_time
from quebert.test.conftest import AnyBroker, Names
from quebert.test.events.test_reader import Kept
from quebert.test.support import Executor, Program, publish, until

Start = Callable[..., Program]
#: What becomes of tasks, by the last part of their URL: their outcomes, one after the
#: other.
FATES = {
    "good": ["done"],
    "once": ["retry", "done"],
    "gone": ["buried"],
    "old": ["expired"],
    "lost": ["retry", "retry", "buried"],
}
_FILE = """\
broker.url_env = "BROKER"
service.default_url = "{url}/"
service.log_tasks = false
[queues.{queue}]
exchange = ""
prefetch = 20
permanent = [410]
retry = {{ max_attempts = 3, min_backoff = 0.05, max_backoff = 0.1 }}
"""


def tasks(count: int) -> dict[str, str]:
    """
    The uuids of tasks, and what becomes of each.
    """
    fates = list(FATES)
    return {str(uuid4()): fates[n % len(fates)] for n in range(count)}


def body_of(uuid: str, fate: str) -> bytes:
    """
    A task.
    """
    task: dict[str, Any] = {"url": f"/{fate}", "uuid": uuid, "params": fate}
    if fate == "old":
        task |= {"timestamp": format_time(1_000_000_000.0), "ttl": 1}
    return json.dumps(task).encode()


def lives(kept: Kept) -> dict[str, list[AttemptRecord]]:
    """
    The records of each task, in the order of their attempts.
    """
    found: dict[str, list[AttemptRecord]] = {}
    for batch in kept.batches:
        for each in batch.records:
            found.setdefault(each.uuid, []).append(each)
    for records in found.values():
        records.sort(key=lambda each: each.started)
    return found


@ensureDeferred
async def test_three(
    start: Start,
    client: TxAMQPClient,
    broker: AnyBroker,
    executor: Executor,
    tmp_path: Path,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    The events of three mediators agree with what the executor saw, to the unit.  One
    that is killed takes no more with it than its last batch; those that end in good
    order take nothing.
    """
    path, queue = tmp_path / "events.toml", names.queue
    path.write_text(_FILE.format(url=executor.url, queue=queue))
    tried: Counter[str] = Counter()

    def answer(task: Any) -> int:
        tried[task["uuid"]] += 1
        if task["params"] == "once":
            return 200 if tried[task["uuid"]] > 1 else 503
        return {"gone": 410, "lost": 500}.get(task["params"], 200)

    executor.answer = answer
    kept = Kept()
    mediators = [
        start("-m", "quebert", "run", str(path), BROKER=broker.url) for _ in range(3)
    ]
    async with reading(client, kept):
        for each in mediators:
            await each.said("Watching")
        await until(lambda: len({state.mediator for state in kept.states}) == 3)
        wanted = tasks(500)
        publish(pika_channel, "", queue, *(body_of(*each) for each in wanted.items()))

        def outcomes(some: dict[str, str]) -> dict[str, list[str]]:
            found = lives(kept)
            return {
                uuid: [each.outcome for each in found.get(uuid, ())] for uuid in some
            }

        complete = {uuid: FATES[fate] for uuid, fate in wanted.items()}
        await until(lambda: outcomes(wanted) == complete)
        for uuid, records in lives(kept).items():
            attempts = [each for each in records if each.status is not None]
            assert [each.number for each in attempts] == [*range(1, tried[uuid] + 1)]
            assert all(each.ended >= each.started for each in records)
            if wanted[uuid] == "old":
                assert records[0].added == 1_000_000_000.0
        assert not kept.gaps

        more = tasks(500)
        publish(pika_channel, "", queue, *(body_of(*each) for each in more.items()))
        await until(lambda: sum(map(tried.__contains__, more)) > 100)
        mediators[0].kill()
        ends = {"done", "buried", "expired"}

        def ended() -> int:
            return sum(bool(ends & set(each)) for each in outcomes(more).values())

        def executed() -> int:
            needed = {"good": 1, "once": 2, "gone": 1, "lost": 3, "old": 0}
            return sum(tried[uuid] >= needed[fate] for uuid, fate in more.items())

        await until(lambda: executed() == len(more))
        for each in mediators[1:]:
            each.signal(signal.SIGTERM)
        for each in mediators[1:]:
            await each.ended()
        await until(lambda: ended() > len(more) // 2)
    living = {state.mediator for state in kept.states}
    assert len(living) == 3
    assert not kept.gaps
    sent: Counter[str] = Counter()
    for batch in kept.batches:
        sent[batch.mediator] += len(batch.records)
        assert batch.total == sent[batch.mediator]
