"""
The programs that users run, as processes of their own, on a broker.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

import quebert
from quebert.amqp import TxAMQPClient
from quebert.producer import Producer
from quebert.test.conftest import AnyBroker, Names
from quebert.test.support import (
    USAGE_ERROR,
    Executor,
    Program,
    consumers,
    depth,
    publish,
    until,
    until_empty,
)
from quebert.testing import free_port

ANNOUNCEMENT = Path(quebert.__file__).parent / "test" / "announcement.txt"
EXAMPLES = Path(quebert.__file__).parents[1] / "examples"

#: That the examples watch.
QUEUES = [f"{priority}-priority-queue" for priority in ("high", "medium", "low")]

# twistd, as its script starts it.
_TWISTD = "import sys; from twisted.scripts.twistd import run; run()"


def mediator(
    start: Callable[..., Program],
    broker: AnyBroker,
    *options: str,
    **environment: str,
) -> Program:
    """
    C{twistd -n quebert}, on the broker of the test.
    """
    environment = {"QUEBERT_AMQP_URL": broker.url, **environment}
    arguments = ("-c", _TWISTD, "--pidfile=", "-n", "quebert", *options)
    return start(*arguments, **environment)


def watch(names: Names, limit: int) -> str:
    """
    The option that watches the test's queue.
    """
    return f"--watch={names.exchange}:{names.queue}:{names.key}:{limit}"


@ensureDeferred
async def test_announcement(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    pika_channel: Any,
) -> None:
    """
    The listing of the announcement, unchanged, dispatches tasks of all three
    priorities, at most five of each at once.
    """
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    answers: list[tuple[str, Deferred[int]]] = []

    def answer(task: Any) -> Deferred[int]:
        priority = task["params"]
        running[priority] += 1
        most[priority] = max(most[priority], running[priority])
        answers.append((priority, Deferred()))
        return answers[-1][1]

    executor.answer = answer
    # The port is all that it is told otherwise: it may be taken here.
    program = start(
        "-c",
        "import functools, runpy; from quebert import amqp; client = amqp.TxAMQPClient;"
        f"amqp.TxAMQPClient = functools.partial(client, port={broker.port});"
        f"runpy.run_path({str(ANNOUNCEMENT)!r}, run_name='__main__')",
    )
    producer = Producer(client)
    await until(lambda: consumers(pika_channel, *QUEUES) == 3)
    for n in range(30):
        priority = ("high", "medium", "low")[n % 3]
        await producer.add_task(executor.url, priority, priority=priority)
    await until(lambda: len(answers) == 15)
    for n in range(30):
        await until(lambda: len(answers) > n)  # noqa: B023
        priority, answered = answers[n]
        running[priority] -= 1
        answered.callback(200)
    await until(lambda: program.output.count("Result for task") == 30)
    assert program.output.count("I'm about to execute this") == 30
    assert most == {"high": 5, "medium": 5, "low": 5}
    for priority in most:
        assert depth(pika_channel, f"{priority}-priority-queue") == 0


@ensureDeferred
async def test_kill_loses_nothing(
    broker: AnyBroker,
    client: TxAMQPClient,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A mediator that is killed again and again, while tasks run, fail and wait,
    loses none of them.
    """
    seen: Counter[str] = Counter()
    done: set[str] = set()

    def answer(task: Any) -> int:
        uuid = task["uuid"]
        seen[uuid] += 1
        if seen[uuid] % 3 == 1:
            return 503
        done.add(uuid)
        return 200

    executor.answer = answer
    setup = Path(__file__).with_name("quick_mediator.py").parent
    options = ("--config=quick_mediator.config", f"--default-url={executor.url}")
    environment = {
        "PYTHONPATH": str(setup),
        "QUEUE": names.queue,
        "EXCHANGE": names.exchange,
    }
    program = mediator(start, broker, *options, **environment)
    await program.said("Watching")
    producer = Producer(client, names.exchange)
    tasks = {await producer.add_task("/x") for _ in range(400)}
    for kills in range(1, 6):
        await until(lambda: len(done) > 60 * kills)  # noqa: B023
        program.kill()
        program = mediator(start, broker, *options, **environment)
    await until(lambda: done == tasks)
    await until_empty(broker, names.queue)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_bad_messages_among_good(
    broker: AnyBroker,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    What is no task is logged once and set aside, byte for byte; the tasks around it,
    with any text in them, arrive byte for byte.
    """
    program = mediator(start, broker, watch(names, 5), f"--default-url={executor.url}")
    await program.said("Watching")
    text = "\N{SNOWMAN} gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \N{GRINNING FACE}"
    good = [
        json.dumps({"url": "/x", "n": n, "text": text * n}, ensure_ascii=False).encode()
        for n in range(6)
    ]
    bad = [
        (b"{no json", "not JSON"),
        ("\N{SNOWMAN}".encode("utf-16"), "not JSON"),
        (b"[1]", "JSON object, not an array"),
        (b"{}", "url is missing"),
        (b'{"url": "ftp://host/"}', "http:// or https://"),
        (b'{"url": "/x", "ttl": "soon"}', "ttl must be"),
    ]
    headers = {"text": text, "bytes": b"\xff", "long": 2**40, "none": None}
    key = names.key.replace("#", "medium")
    for n, good_one, (bad_one, _) in zip(range(6), good, bad, strict=True):
        told: Any = {"headers": headers, "message_id": f"task-{n}"}
        publish(pika_channel, names.exchange, key, bad_one, good_one, **told)
    await until(lambda: len(executor.bodies) == 6)
    assert sorted(executor.bodies, key=len) == good
    dead = f"{names.queue}.dead"
    for n, (bad_one, sentence) in enumerate(bad):
        await program.said(sentence)
        where = (
            f"Task task-{n} of queue {names.queue!r} is now in queue {dead!r}: not a"
        )
        await program.said(where)
        _, properties, body = pika_channel.basic_get(dead, auto_ack=True)
        assert (properties.message_id, body) == (f"task-{n}", bad_one)
        assert properties.headers["quebert-kind"] == "poison"
    assert program.output.count("is now in queue") == len(bad)
    assert "Traceback" not in program.output
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_no_room(
    broker: AnyBroker,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    What leaves no room for headers of ours is set aside once, though it asks for copies
    of itself, and stays there, though it would expire.
    """
    program = mediator(start, broker, watch(names, 5), f"--default-url={executor.url}")
    await program.said("Watching")
    key = names.key.replace("#", "medium")
    copying = {"mine": "x" * 130_900, "CC": [names.queue]}
    told: Any = {"headers": copying, "expiration": "60000"}
    publish(pika_channel, names.exchange, key, b"{no json", **told)
    publish(pika_channel, names.exchange, key, b'{"url": "/x"}')
    await until(lambda: executor.bodies)
    dead = f"{names.queue}.dead"
    await program.said(f"is now in queue {dead!r}")
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0
    assert program.output.count("is now in queue") == 1
    assert depth(pika_channel, dead) == 1
    _, properties, body = pika_channel.basic_get(dead, auto_ack=True)
    assert (body, properties.expiration) == (b"{no json", None)
    assert "CC" not in properties.headers


@ensureDeferred
async def test_sigterm_drains(
    broker: AnyBroker,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    SIGTERM lets running requests finish, gives the rest back, and exits with 0.
    """
    answers: list[Deferred[int]] = []

    def answer(task: Any) -> Deferred[int]:
        answers.append(Deferred())
        return answers[-1]

    executor.answer = answer
    program = mediator(start, broker, watch(names, 2), f"--default-url={executor.url}")
    await program.said("Watching")
    key = names.key.replace("#", "medium")
    publish(pika_channel, names.exchange, key, *[b'{"url": "/x"}'] * 5)
    await until(lambda: len(answers) == 2)
    program.signal(signal.SIGTERM)
    await program.said("closing down")
    await until(lambda: depth(pika_channel, names.queue) == 3)
    for each in answers:
        each.callback(200)
    assert await program.ended() == 0, program.output
    assert len(answers) == 2
    assert depth(pika_channel, names.queue) == 3


@ensureDeferred
async def test_grace_ends(
    broker: AnyBroker,
    executor: Executor,
    start: Callable[..., Program],
    names: Names,
    pika_channel: Any,
) -> None:
    """
    A request that does not finish within --grace goes back to its queue.
    """
    executor.answer = lambda task: Deferred()
    program = mediator(
        start,
        broker,
        watch(names, 2),
        f"--default-url={executor.url}",
        "--grace=0.2",
    )
    await program.said("Watching")
    key = names.key.replace("#", "medium")
    publish(pika_channel, names.exchange, key, b'{"url": "/x"}')
    await until(lambda: executor.now == 1)
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output
    assert depth(pika_channel, names.queue) == 1


@ensureDeferred
async def test_refused_by_the_broker(
    broker: AnyBroker, start: Callable[..., Program], names: Names
) -> None:
    """
    A wrong password ends the program with one sentence and exit status 1.
    """
    url = broker.url.replace(":guest@", ":wrong@")
    program = mediator(start, broker, watch(names, 2), f"--amqp-url={url}")
    assert await program.ended() == 1
    assert "Cannot start: the broker at " in program.output
    assert "ACCESS_REFUSED" in program.output
    assert "Traceback" not in program.output


@ensureDeferred
async def test_waits_for_its_broker(
    broker: AnyBroker,
    start: Callable[..., Program],
    names: Names,
) -> None:
    """
    A broker that is not there yet is waited for, and the log says so.
    """
    url = f"amqp://127.0.0.1:{free_port()}"
    program = mediator(start, broker, watch(names, 2), f"--amqp-url={url}")
    await program.said("refused")
    await program.said("Scheduling retry 2")
    program.signal(signal.SIGTERM)
    assert await program.ended() == 0, program.output


@ensureDeferred
async def test_wrong_options(
    broker: AnyBroker, start: Callable[..., Program], names: Names
) -> None:
    """
    A wrong option is told in one sentence.
    """
    for options, sentence in (
        ((), "nothing to do"),
        (("--watch=nonsense",), "must be exchange:queue:key:prefetch"),
        (("--amqp-url=http://x", watch(names, 1)), "must begin with amqp://"),
        (("--config=no_such_module.config",), "no module no_such_module"),
        (("--grace=-1", watch(names, 1)), "grace"),
    ):
        program = mediator(start, broker, *options)
        assert await program.ended() == USAGE_ERROR
        assert sentence in program.output
        assert "Traceback" not in program.output


@ensureDeferred
async def test_examples(
    broker: AnyBroker, start: Callable[..., Program], pika_channel: Any
) -> None:
    """
    The three examples work together as their texts say.
    """
    environment = {"PYTHONPATH": str(EXAMPLES), "QUEBERT_AMQP_URL": broker.url}
    port = free_port()
    execute = (
        "-c",
        _TWISTD,
        "--pidfile=",
        "-n",
        "quexecutor",
        "--function=executor.execute",
        f"--port={port}",
    )
    executor = start(*execute, **environment)
    options = ("--config=med.config", f"--default-url=http://127.0.0.1:{port}/")
    program = mediator(start, broker, *options, **environment)
    await until(lambda: consumers(pika_channel, *QUEUES) == 3)
    adding = start(str(EXAMPLES / "add_tasks.py"), "2", **environment)
    assert await adding.ended() == 0, adding.output
    assert adding.output.count("added") == 6
    await until(lambda: program.output.count("Result of") == 6)
    for each in (program, executor):
        each.signal(signal.SIGTERM)
        assert await each.ended() == 0, each.output


@ensureDeferred
async def test_example_by_hand(
    broker: AnyBroker, start: Callable[..., Program]
) -> None:
    """
    The example mediator also runs without twistd.
    """
    program = start(str(EXAMPLES / "med.py"), QUEBERT_AMQP_URL=broker.url)
    await until(lambda: program.output.count("Watching '") == len(QUEUES))
    program.signal(signal.SIGINT)
    await program.ended()
    assert "Traceback" not in program.output
