"""
C{twistd quebert --web} on a broker: the figures of one process, and of several, are
those of the executor.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import attrs
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from quebert.amqp import TxAMQPClient
from quebert.operations import BrokerAccess, pause, resume
from quebert.producer import Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import PATIENCE, Executor, Program, until
from quebert.test.test_processes import mediator, watch
from quebert.test.test_workers_process import pids
from quebert.testing import free_port

# The labels of a sample, of which each has a name, and its value.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@attrs.frozen
class Onlooker:
    """
    Looks at what a mediator shows.
    """

    port: int

    def get(self, path: str) -> tuple[int, str]:
        """
        The status and the body of an answer; 0 if there is none.
        """
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=accept)
        try:
            with urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as e:
            return e.code, e.read().decode()
        except (OSError, HTTPException):
            return 0, ""

    async def until(
        self, condition: Callable[[int, str], Any], path: str = "/readyz"
    ) -> None:
        """
        Look until C{condition} is true of the status and the body.
        """
        from twisted.internet import reactor

        deadline = reactor.seconds() + PATIENCE
        while not condition(*(seen := await deferToThread(self.get, path))):
            assert reactor.seconds() < deadline, seen
            await deferLater(reactor, 0.2)

    async def ready(self) -> None:
        """
        Wait until it is ready.
        """
        await self.until(lambda status, _: status == 200)

    async def not_ready(self, reason: str) -> None:
        """
        Wait until it is not, for a reason.
        """
        await self.until(
            lambda status, body: (
                status == 503
                and reason in [each["name"] for each in json.loads(body)["reasons"]]
            )
        )

    async def samples(self, condition: Callable[[Samples], bool]) -> Samples:
        """
        The samples of the metrics once C{condition} is true of them.
        """
        found: list[Samples] = []

        def holds(status: int, body: str) -> bool:
            if status == 200:
                found.append(
                    {
                        (
                            sample.name.removeprefix("quebert_"),
                            _labels(sample.labels),
                        ): (sample.value)
                        for family in text_string_to_metric_families(body)
                        for sample in family.samples
                    }
                )
            return status == 200 and condition(found[-1])

        await self.until(holds, "/metrics")
        return found[-1]


def _labels(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


@attrs.frozen
class Figures:
    """
    The samples of one queue.
    """

    samples: Samples
    queue: str

    def __call__(self, name: str, **labels: str) -> float:
        """
        One of them; 0 if it is not there.
        """
        return self.samples.get((name, _labels({"queue": self.queue, **labels})), 0.0)


async def add(client: TxAMQPClient, names: Names, count: int, **fields: Any) -> None:
    """
    Add tasks.
    """
    producer = Producer(client, names.exchange)
    kind = names.key.partition(".")[0]
    for _ in range(count):
        await producer.add_task("/x", kind=kind, **fields)


def fail_some(executor: Executor) -> Counter[int]:
    """
    Have every tenth request fail.

    @return: how many had which status.
    """
    statuses: Counter[int] = Counter()

    def answer(task: Any) -> int:
        status = 200 if statuses.total() % 10 else 500
        statuses[status] += 1
        return status

    executor.answer = answer
    return statuses


@ensureDeferred
async def test_one(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    tmp_path: Path,
) -> None:
    """
    The figures of a process are those of the executor; it is ready while its queue is
    consumed, and not while that is paused.  SIGHUP moves what is shown, and what was
    counted stays, though the queue has a new watch.
    """
    from twisted.internet import reactor

    first, second = Onlooker(free_port()), Onlooker(free_port())
    config = tmp_path / "quebert.toml"

    def write(port: int, prefetch: int) -> None:
        config.write_text(
            f'broker.url_env = "QUEBERT_AMQP_URL"\nweb.listen = {port}\n'
            f'service.default_url = "{executor.url}"\n'
            f'[queues.{names.queue}]\nexchange = "{names.exchange}"\n'
            f'key = "{names.key}"\nretry.constant = 1.0\nprefetch = {prefetch}\n'
        )

    write(first.port, 20)
    statuses = fail_some(executor)
    program = mediator(start, broker, f"--config={config}")
    await first.ready()
    await add(client, names, 60)
    await add(client, names, 5, ttl=1e-6)
    await until(lambda: statuses[200] == 60)

    def over(samples: Samples) -> bool:
        figures = Figures(samples, names.queue)
        return figures("tasks_settled_total", fate="done") == 60

    figures = Figures(await first.samples(over), names.queue)
    done = figures("attempts_total", status="2xx", outcome="done")
    retried = figures("attempts_total", status="5xx", outcome="retry")
    assert {200: done, 500: retried} == statuses
    assert figures("request_duration_seconds_count") == statuses.total()
    assert figures("tasks_received_total") == figures("tasks_in_flight") + sum(
        figures("tasks_settled_total", fate=each)
        for each in ("done", "retried", "discarded", "buried", "returned")
    )
    assert figures("consumers") == 1
    assert first.get("/healthz") == (200, '{"alive": true}\n')
    access = BrokerAccess(reactor, broker.url)
    await pause(access, names.queue)
    await first.not_ready("paused")
    await resume(access, names.queue)
    await first.ready()
    write(second.port, 10)
    program.signal(signal.SIGHUP)
    await second.ready()
    assert first.get("/healthz") == (0, "")
    await second.samples(
        lambda seen: over(seen) and Figures(seen, names.queue)("prefetch") == 10
    )
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_workers(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
) -> None:
    """
    The supervisor shows the sums of its workers.  They do not fall if a worker is
    killed, and go on with the next.
    """
    onlooker = Onlooker(free_port())
    options = ("--processes=2", f"--web={onlooker.port}", watch(names, 5))
    program = mediator(start, broker, *options, f"--default-url={executor.url}")
    await onlooker.ready()
    statuses = fail_some(executor)
    await add(client, names, 60)
    await until(lambda: statuses[200] == 60)

    def done(count: int) -> Callable[[Samples], bool]:
        def is_done(samples: Samples) -> bool:
            figures = Figures(samples, names.queue)
            counted = figures("attempts_total", status="2xx", outcome="done")
            settled = figures("tasks_settled_total", fate="done")
            assert counted <= count
            assert settled <= count
            # Workers tell their figures one after the other.
            failed = figures("attempts_total", status="5xx", outcome="retry")
            assert failed <= statuses[500]
            return counted == settled == count and failed == statuses[500]

        return is_done

    figures = Figures(await onlooker.samples(done(60)), names.queue)
    assert figures("task_life_seconds_count") == 60
    assert figures("consumers") == 2
    os.kill(pids(program)[0], signal.SIGKILL)
    await program.said("was killed by SIGKILL")
    await onlooker.ready()
    await add(client, names, 20)
    await onlooker.samples(done(80))
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_taken(
    broker: AnyBroker, start: Callable[..., Program], names: Names, executor: Executor
) -> None:
    """
    A mediator whose port somebody else has does not start; nor do its workers.
    """
    port = executor.url.rpartition(":")[2]
    for processes in (1, 2):
        options = (f"--processes={processes}", f"--web={port}", watch(names, 5))
        program = mediator(start, broker, *options)
        assert await program.ended() == 1, program.output
        text = f"Cannot start: web.listen: cannot listen on 127.0.0.1:{port}: Address"
        assert text in program.output
        assert pids(program) == []
