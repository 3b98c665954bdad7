"""
Metrics on a broker, after thousands of tasks with failures, expiry and burials, on
three mediators of which one is killed: what each mediator shows, what the events tell
of all of them, and what the executor saw, agree.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from quebert.amqp import TxAMQPClient
from quebert.events import (
    AttemptBatch,
    EventHandler,
    Gap,
    MediatorState,
    reading,
)
from quebert.metrics import ClusterMetrics
from quebert.producer import Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.test.test_processes import mediator
from quebert.test.test_view_process import Figures, Onlooker, Samples
from quebert.testing import free_port

#: Tasks at once, of each mediator.
PREFETCH = 50
MEDIATORS = ("1", "2", "3")
KILLED = "3"
#: What becomes of attempts.
FATES = {
    "done": ("2xx", "done"),
    "buried": ("4xx", "buried"),
    "discarded": ("none", "expired"),
}
#: A task that has expired.
LATE = b'{"uuid": "late", "url": "/x", "ttl": 1, "timestamp": "2026-11-23T20:15:00Z"}'


class Listening(EventHandler):
    """
    Counts what the events tell, of all mediators and of each.
    """

    def __init__(self) -> None:
        self.cluster = ClusterMetrics(since=0.0)
        self.of: dict[str, ClusterMetrics] = {}
        self.missing = 0

    def attempts(self, batch: AttemptBatch, gap: Gap | None) -> None:
        """
        Attempts of a mediator.
        """
        self.cluster.attempts(batch)
        self.of.setdefault(batch.mediator, ClusterMetrics(since=0.0)).attempts(batch)
        self.missing += 0 if gap is None else gap.count

    def state(self, state: MediatorState) -> None:
        """
        A mediator tells how it is.
        """

    async def until(self, name: str, shown: Counter[tuple[str, str]]) -> None:
        """
        Wait until a mediator has told as much as it shows.
        """
        await until(lambda: attempts_of(self.of[name]) == shown)


def attempts_of(metrics: ClusterMetrics) -> Counter[tuple[str, str]]:
    """
    How many attempts had which status and outcome.
    """
    found: Counter[tuple[str, str]] = Counter()
    for (_, status, outcome), number in metrics.samples()["attempts_total"]:
        found[status, outcome] += number
    return found


def shown_attempts(samples: Samples) -> Counter[tuple[str, str]]:
    """
    The same of what a mediator shows.
    """
    found: Counter[tuple[str, str]] = Counter()
    for (name, labels), value in samples.items():
        if name == "attempts_total":
            of = dict(labels)
            found[of["status"], of["outcome"]] += int(value)
    return found


def write(path: Path, names: Names, executor: Executor, number: str, port: int) -> Path:
    """
    Write the configuration of a mediator.
    """
    config = path / f"{number}.toml"
    config.write_text(
        f'broker.url_env = "QUEBERT_AMQP_URL"\nweb.listen = {port}\n'
        f'service.default_url = "{executor.url}"\nservice.log_tasks = false\n'
        f'[queues.{names.queue}]\nexchange = "{names.exchange}"\n'
        f'key = "{names.key}"\nprefetch = {PREFETCH}\npermanent = [410]\n'
        "retry = { min_backoff = 1, max_backoff = 1 }\n"
        f'headers.X-Mediator = "{number}"\n'
    )
    return config


@ensureDeferred
@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.long)])
async def test_agree(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    tmp_path: Path,
    count: int,
) -> None:
    """
    To the unit, but for the attempts of the last batch of the mediator that is killed.
    """
    seen: Counter[tuple[str, int]] = Counter()
    met: Counter[str] = Counter()
    finished: set[str] = set()

    def answer(task: Any) -> int:
        uuid, kind = task["uuid"], task["params"]["kind"]
        met[uuid] += 1
        status = {"gone": 410, "flaky": 500 if met[uuid] == 1 else 200}.get(kind, 200)
        if status != 500:
            finished.add(uuid)
        seen[executor.headers[-1]["x-mediator"], status] += 1
        return status

    executor.answer = answer
    onlookers = {each: Onlooker(free_port()) for each in MEDIATORS}
    programs = {
        each: mediator(
            start,
            broker,
            f"--config={write(tmp_path, names, executor, each, onlookers[each].port)}",
        )
        for each in MEDIATORS
    }
    for onlooker in onlookers.values():
        await onlooker.ready()
    listening = Listening()
    async with reading(client, listening):
        kinds = [*["plain"] * 7, "flaky", "gone"] * (count // 10)
        items = [
            {
                "url": "/x",
                "kind": names.key.partition(".")[0],
                "params": {"kind": kind},
            }
            for kind in kinds
        ]
        results: list[Any] = []
        producer = Producer(client, names.exchange)
        to = names.key.replace("#", "medium")
        late = [client.publish(names.exchange, to, LATE) for _ in range(count // 10)]
        added = await producer.add_tasks(items, results.append)
        assert added == len(items), results[0]
        await gatherResults(late)
        await until(lambda: sum(seen.values()) > count // 3)
        programs[KILLED].signal(signal.SIGKILL)
        tenth = count // 10
        over = {("2xx", "done"): 8 * tenth, ("4xx", "buried"): tenth}

        def is_over() -> bool:
            return len(finished) == 9 * tenth and not executor.now

        patience = max(PATIENCE, count / 50)
        await until(is_over, patience, shown=lambda: (len(finished), seen))
        living: Counter[tuple[str, str]] = Counter()
        for each in set(MEDIATORS) - {KILLED}:

            def agrees(samples: Samples, each: str = each) -> bool:
                shown, figures = shown_attempts(samples), Figures(samples, names.queue)
                # Those that waited for their host are retried, too.
                retried = figures("tasks_settled_total", fate="retried")
                return (
                    shown["2xx", "done"] == seen[each, 200]
                    and shown["4xx", "buried"] == seen[each, 410]
                    and shown["5xx", "retry"] == seen[each, 500] <= retried
                    and figures("tasks_in_flight") == 0
                    and all(
                        figures("tasks_settled_total", fate=fate) == shown[key]
                        for fate, key in FATES.items()
                    )
                )

            samples = await onlookers[each].samples(agrees)
            figures = Figures(samples, names.queue)
            shown = shown_attempts(samples)
            requested = sum(n for (status, _), n in shown.items() if status != "none")
            assert figures("request_duration_seconds_count") == requested
            [(_, name)] = (
                next(iter(labels)) for name, labels in samples if name == "mediator_up"
            )
            await listening.until(name, shown)
            living += shown
        # What is left is of the one that was killed: what it had in flight came again.
        everything = attempts_of(listening.cluster)
        killed = everything - living
        requests = {n: seen[KILLED, n] for n in (200, 410, 500)}
        counted = sum(n for (status, _), n in killed.items() if status != "none")
        untold = sum(requests.values()) - counted
        assert 0 <= untold <= PREFETCH + count // 3
        assert listening.missing == 0
        for key, number in over.items():
            assert everything[key] <= number + PREFETCH
            assert everything[key] + untold >= number
