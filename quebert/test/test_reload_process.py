"""
C{twistd quebert --config=FILE.toml} on a broker, and what SIGHUP does to it.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
from quebert.signatures import SharedSecret
from quebert.test.conftest import AnyBroker, Names
from quebert.test.forgeries import (
    FORGERIES,
    NODE,
    accepted_by_node,
    accepted_by_python,
)
from quebert.test.support import (
    USAGE_ERROR,
    Executor,
    Program,
    consumers,
    until,
    until_empty,
)
from quebert.test.test_processes import EXAMPLES, mediator
from quebert.test.test_workers_process import pids, runs, ups
from quebert.testing import EmbeddedBroker, free_port

Run = Callable[..., Program]


class File:
    """
    A configuration of one queue, for one executor.
    """

    def __init__(self, path: Path, names: Names, url: str) -> None:
        self.path = path
        self._names = names
        self._url = url

    def write(self, more: str = "", before: str = "") -> None:
        """
        Say more of the queue, or of something before it.
        """
        names = self._names
        self.path.write_text(
            f'service.default_url = "{self._url}"\n{before}\n'
            f'[queues."{names.queue}"]\n'
            f'exchange = "{names.exchange}"\nkey = "{names.key}"\n'
            f"retry = {{ constant = 1.0, max_delay = 0.02 }}\n{more}\n"
        )


@pytest.fixture
def file(tmp_path: Path, names: Names, executor: Executor) -> File:
    """
    The configuration of the test, which has been written.
    """
    made = File(tmp_path / "quebert.toml", names, executor.url)
    made.write()
    return made


@pytest.fixture
def run(start: Callable[..., Program], broker: AnyBroker, file: File) -> Run:
    """
    Starts mediators that are configured so.
    """

    def run(*options: str, **environment: str) -> Program:
        return mediator(start, broker, f"--config={file.path}", *options, **environment)

    return run


async def add(client: TxAMQPClient, names: Names, count: int) -> set[str]:
    """
    Add tasks to the test's queue; their uuids.
    """
    producer = Producer(client, names.exchange)
    kind = names.key.partition(".")[0]
    return {await producer.add_task("/x", kind=kind) for _ in range(count)}


LIBRARIES = [lambda case: accepted_by_python(*case)]
if NODE:
    LIBRARIES.append(lambda case: accepted_by_node([case])[0])


def accepted(case: tuple[str, dict[str, str], bytes]) -> list[bool]:
    """
    Whether the official libraries accept a request, that for Node if it is there.
    """
    return [library(case) for library in LIBRARIES]


CHANGES = (
    "prefetch = 7",
    "prefetch = 30\nheaders.X-Test = 'a'",
    "concurrency = 5\nslow_after = 3",
    "hold_up_to = 0.5\nrate = 2000",
    "priority = 'low'",
    "",
)


@ensureDeferred
@pytest.mark.parametrize("processes", [1, 2])
async def test_under_load(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    file: File,
    run: Run,
    names: Names,
    processes: int,
) -> None:
    """
    SIGHUP again and again, while tasks run, fail and wait, and each time with
    something else changed: every task is done, once.
    """
    seen: Counter[str] = Counter()
    done: Counter[str] = Counter()

    def answer(task: Any) -> Any:
        from twisted.internet import reactor

        uuid = task["uuid"]
        seen[uuid] += 1
        status = 503 if seen[uuid] == 1 and len(seen) % 3 == 0 else 200
        if status == 200:
            done[uuid] += 1
        return deferLater(reactor, 0.02, lambda: status)

    executor.answer = answer
    program = run(*([f"--processes={processes}"] if processes > 1 else []))
    await until(lambda: program.output.count("Watching") == processes)
    await until(lambda: processes == 1 or ups(program) == processes)
    tasks: set[str] = set()
    for number, change in enumerate(CHANGES * 2, 1):
        tasks |= await add(client, names, 80)
        file.write(change)
        program.signal(signal.SIGHUP)
        wanted = number * processes
        await until(lambda: program.output.count("Reloaded; ") == wanted)  # noqa: B023
    tasks |= await add(client, names, 80)
    await until(lambda: set(done) == tasks)
    await until_empty(broker, names.queue)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert set(done.values()) == {1}
    assert sum(seen.values()) > len(tasks)
    assert "Traceback" not in program.output
    told = f"queues.{names.queue}.prefetch changed from 7 to 30"
    assert program.output.count(told) == 2 * processes


@ensureDeferred
async def test_in_a_row(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    file: File,
    run: Run,
    names: Names,
) -> None:
    """
    Nor is a task done twice when the next SIGHUP comes before the last has had its
    effect.
    """
    from twisted.internet import reactor

    executor.answer = lambda task: deferLater(reactor, 0.02, lambda: 200)
    program = run()
    await program.said("Watching")
    tasks = await add(client, names, 200)
    for number in range(60):
        file.write(f"prefetch = {10 + number}")
        program.signal(signal.SIGHUP)
        if number % 3 == 0:
            tasks |= await add(client, names, 15)
        else:
            await deferLater(reactor, 0.002)
    await until(lambda: {task["uuid"] for task in executor.tasks} == tasks)
    await until_empty(broker, names.queue)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert len(executor.tasks) == len(tasks)
    assert "Traceback" not in program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_signed(
    executor: Executor, client: TxAMQPClient, file: File, run: Run, names: Names
) -> None:
    """
    Each attempt is signed: the official libraries accept what comes over the wire, with
    the old and with the new secret, and refuse each forgery.  The secrets are nowhere
    in the log, on the command line or in a request.
    """
    old, new = (SharedSecret.generate().text for _ in range(2))
    secrets = file.path.with_name("signing.secret")
    secrets.write_text(f"{old}\n")
    file.write('sign.secrets_file = "signing.secret"')
    executor.answer = lambda task: 200 if len(executor.tasks) > 2 else 503
    program = run()
    await program.said("Watching")
    (uuid,) = await add(client, names, 1)
    await until(lambda: len(executor.tasks) == 3)
    assert {each["webhook-id"] for each in executor.headers} == {uuid}
    assert len({each["webhook-timestamp"] for each in executor.headers}) == 3

    def verdicts() -> list[list[bool]]:
        last = executor.headers[-1], executor.bodies[-1]
        return [accepted((secret, *last)) for secret in (old, new)]

    assert verdicts() == [[True] * len(LIBRARIES), [False] * len(LIBRARIES)]
    for count, (text, wanted) in enumerate(
        ((f"{old}\n{new}\n", [True, True]), (f"{new}\n", [False, True])), 1
    ):
        secrets.write_text(text)
        program.signal(signal.SIGHUP)
        await until(lambda: program.output.count(".sign changed") == count)  # noqa: B023
        seen = len(executor.tasks)
        await add(client, names, 1)
        await until(lambda: len(executor.tasks) > seen)  # noqa: B023
        assert verdicts() == [[each] * len(LIBRARIES) for each in wanted]
    secrets.write_text(f"{new}x!\n")
    program.signal(signal.SIGHUP)
    await program.said("sign.secrets_file is wrong: ")
    headers, body = executor.headers[-1], executor.bodies[-1]
    for forged in FORGERIES.values():
        case = (new, *forged(headers, body, new, time.time()))
        assert accepted(case) == [False] * len(LIBRARIES)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    said = f"{program.output}{executor.headers}{executor.bodies}{secrets.name}"
    for secret in (old, new):
        assert secret[6:20] not in said


@pytest.mark.any_broker
@ensureDeferred
async def test_running_requests_finish(
    executor: Executor,
    client: TxAMQPClient,
    file: File,
    run: Run,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    When its watch is replaced, a request goes on to its end, and counts.
    """
    answers: list[Deferred[int]] = []

    def answer(task: Any) -> Deferred[int]:
        answers.append(Deferred())
        return answers[-1]

    executor.answer = answer
    program = run()
    await program.said("Watching")
    await add(client, names, 1)
    await until(lambda: len(answers) == 1)
    file.write("prefetch = 1")
    program.signal(signal.SIGHUP)
    await until(lambda: program.output.count("Watching") == 2)
    await until(lambda: consumers(pika_channel, names.queue) == 1)
    await add(client, names, 1)
    await until(lambda: len(answers) == 2)
    for each in answers:
        each.callback(200)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert len(executor.tasks) == 2


@ensureDeferred
async def test_queues_come_and_go(
    executor: Executor,
    file: File,
    run: Run,
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A queue that is added is watched, and one that is removed is not any more.
    """
    program = run()
    await program.said("Watching")
    other = f"{names.queue}-2"
    file.write(before=f'queues.{other} = {{ exchange = "", prefetch = 3 }}')
    program.signal(signal.SIGHUP)
    await program.said(f"queues.{other} added")
    await program.said(f"Watching '{other}', 3 tasks at once.")
    assert consumers(pika_channel, names.queue, other) == 2
    pika_channel.basic_publish("", other, b'{"url": "/x"}')
    await until(lambda: executor.tasks)
    file.write()
    program.signal(signal.SIGHUP)
    await program.said(f"queues.{other} removed")
    await until(lambda: consumers(pika_channel, names.queue, other) == 1)
    assert consumers(pika_channel, other) == 0
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@pytest.mark.any_broker
@ensureDeferred
@pytest.mark.parametrize("processes", [1, 2])
async def test_broken_file(
    executor: Executor,
    client: TxAMQPClient,
    file: File,
    run: Run,
    names: Names,
    processes: int,
) -> None:
    """
    A file that is wrong is told, and all goes on as it was.
    """
    program = run(f"--processes={processes}")
    await until(lambda: program.output.count("Watching") == processes)
    await until(lambda: processes == 1 or ups(program) == processes)
    file.write("prefetchh = 3\nrate = 'fast'")
    program.signal(signal.SIGHUP)
    told = f"Not reloaded: {file.path}:"
    await until(lambda: program.output.count(told) == 2 * processes)
    for line in (f"7: queues.{names.queue}.prefetchh is not known", "8: queues."):
        assert program.output.count(f"{told}{line}") == processes
    await add(client, names, 1)
    await until(lambda: executor.tasks)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert "Traceback" not in program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_broken_at_start(file: File, run: Run) -> None:
    """
    With such a file nothing is started.
    """
    file.write("prefetchh = 3\nrate = 'fast'")
    program = run("--processes=2")
    assert await program.ended() == USAGE_ERROR
    assert f"{file.path}:7: queues." in program.output
    assert f"{file.path}:8: queues." in program.output
    assert pids(program) == []
    assert "Traceback" not in program.output


@ensureDeferred
async def test_refused_change(
    executor: Executor,
    client: TxAMQPClient,
    file: File,
    run: Run,
    names: Names,
) -> None:
    """
    What the broker refuses is told, and that queue is watched as it was.
    """
    program = run()
    await program.said("Watching")
    file.write("exchange_type = 'fanout'")
    program.signal(signal.SIGHUP)
    await program.said(
        f"Queue '{names.queue}' is still watched with the old settings: PRECONDITION_F"
    )
    await add(client, names, 1)
    await until(lambda: executor.tasks)
    file.write()
    program.signal(signal.SIGHUP)
    await program.said("exchange_type changed from fanout to topic")
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert program.output.count("Watching") == 1


@ensureDeferred
async def test_another_broker(
    executor: Executor, file: File, run: Run, names: Names, tmp_path: Path
) -> None:
    """
    All queues move to another broker; a wrong one is told, and changes nothing.
    """
    async with EmbeddedBroker() as other:
        secret = tmp_path / "url"
        secret.write_text(f"amqp://127.0.0.1:{free_port()}/")
        before = 'broker.url_file = "url"'
        file.write(before=before)
        program = run()
        await program.said("refused")  # it waits, and can be helped
        secret.write_text(other.url.replace(":guest@", ":wrong@"))
        program.signal(signal.SIGHUP)
        assert await program.ended() == 1
        assert "Cannot start: the broker at " in program.output
        assert "ACCESS_REFUSED" in program.output
        assert "(from url_file in [broker])" in program.output
        file.write()
        program = run()
        await program.said("Watching")
        file.write(before=before)
        program.signal(signal.SIGHUP)
        await program.said("is still watched with the old settings: the broker at ")
        secret.write_text(other.url)
        program.signal(signal.SIGHUP)
        await until(lambda: program.output.count("Watching") == 2)
        client = TxAMQPClient.from_url(other.url)
        await add(client, names, 1)
        await client.stop()
        await until(lambda: executor.tasks)
        program.signal(signal.SIGTERM)
        assert await program.ended() == 0, program.output
    assert "guest@" not in program.output


@pytest.mark.any_broker
@ensureDeferred
async def test_worker_that_starts(file: File, run: Run, names: Names) -> None:
    """
    A worker that has just been started is up with the file as it is now.
    """
    program = run("--processes=2")
    await until(lambda: len(pids(program)) == 2)
    file.write("prefetch = 7")
    program.signal(signal.SIGHUP)
    await program.said("SIGHUP: passed on to 2 workers.")
    await until(lambda: ups(program) == 2)
    await until(lambda: program.output.count("Watching") >= 2)
    await until(lambda: program.output.count(", 7 tasks at once") == 2)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert not any(map(runs, pids(program)))


# twistd, with a supervisor that kills a worker half a second after its grace.
_MERCILESS = """
from quebert._workers import supervisor
supervisor.MERCY = 0.5
from twisted.scripts.twistd import run
run()
"""


@pytest.mark.any_broker
@ensureDeferred
async def test_more_grace(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    file: File,
    start: Callable[..., Program],
    names: Names,
) -> None:
    """
    Workers get the grace that they have read at a SIGHUP: 200 requests that take three
    times as long as before the supervisor would have killed the workers are finished.
    """
    from twisted.internet import reactor

    executor.answer = lambda task: deferLater(reactor, 3.0, lambda: 200)
    file.write(before="service.grace = 0.5")
    program = start(
        *("-c", _MERCILESS, "--pidfile=", "-n", "quebert", "--processes=2"),
        f"--config={file.path}",
        QUEBERT_AMQP_URL=broker.url,
    )
    await until(lambda: ups(program) == 2)
    file.write(before="service.grace = 60")
    program.signal(signal.SIGHUP)
    told = "service.grace changed from 0.5 to 60"
    await until(lambda: program.output.count(told) == 2)
    tasks = await add(client, names, 200)
    await until(lambda: len(executor.tasks) == 200)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert program.output.count("ended with exit status 0.\n") == 2
    assert {task["uuid"] for task in executor.tasks} == tasks
    await until_empty(broker, names.queue)
    assert len(executor.tasks) == 200


@pytest.mark.any_broker
@ensureDeferred
async def test_workers_that_start(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    file: File,
    run: Run,
    names: Names,
) -> None:
    """
    No SIGHUP ends a worker, whenever it comes: 200 tasks are done by the processes that
    were started first.
    """
    from twisted.internet import reactor

    await (await client.watch(names.exchange, names.queue, names.key, print)).stop()
    tasks = await add(client, names, 200)
    program = run("--processes=3")
    await until(lambda: pids(program))
    while ups(program) < 3:
        assert len(pids(program)) <= 3, program.output
        program.signal(signal.SIGHUP)
        await deferLater(reactor, 0.005)
    await until(lambda: len(executor.tasks) == 200)
    await until_empty(broker, names.queue)
    assert len(pids(program)) == 3, program.output
    file.write("prefetch = 7")
    program.signal(signal.SIGHUP)
    await until(lambda: program.output.count("prefetch changed from") == 3)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert "killed" not in program.output
    assert {task["uuid"] for task in executor.tasks} == tasks


@ensureDeferred
async def test_example(
    executor: Executor, start: Callable[..., Program], tmp_path: Path
) -> None:
    """
    The example does tasks, and all its queues are watched.
    """
    text = (EXAMPLES / "quebert.toml").read_text()
    text = text.replace('url = "amqp://localhost/"', 'url_env = "BROKER_URL"')
    text = text.replace("http://localhost:8000", executor.url)
    (tmp_path / "quebert.toml").write_text(text)
    async with EmbeddedBroker() as own:
        program = mediator(
            start, own, f"--config={tmp_path}/quebert.toml", BROKER_URL=own.url
        )
        await until(lambda: program.output.count("Watching") == 3)
        client = TxAMQPClient.from_url(own.url)
        uuid = await Producer(client).add_task("/hello", {"name": "you"})
        await client.stop()
        await until(lambda: executor.tasks)
        assert executor.tasks[0]["uuid"] == uuid
        program.signal(signal.SIGTERM)
        assert await program.ended() == 0, program.output
    assert "Traceback" not in program.output
