"""
Queues that can be watched as a file says, and others that cannot, on real brokers:
C{quebert check --connect} tells, and a mediator watches those that it can.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import find_queue
from quebert.amqp.wire import Channel
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import add_user
from quebert.test.support import Executor, Program, until
from quebert.test.test_processes import mediator
from quebert.testing import RabbitMQNode, free_port

TASKS = 200
Start = Callable[..., Program]


def written(path: Path, names: Names, url: str = "http://localhost/") -> str:
    """
    A configuration of two queues; the name of its file.
    """
    file = path / "quebert.toml"
    file.write_text(
        f'service.default_url = "{url}"\n[broker]\nurl_env = "QUEBERT_AMQP_URL"\n'
        f'[queues."{names.queue}"]\nexchange = "{names.exchange}"\nkey = "one.#"\n'
        f'[queues."other-{names.queue}"]\nexchange = "{names.exchange}"\n'
        'key = "other.#"\n'
    )
    return str(file)


def check(start: Start, file: str, url: str) -> Program:
    """
    C{quebert check --connect}.
    """
    return start("-m", "quebert", "check", "--connect", file, QUEBERT_AMQP_URL=url)


async def free_channel(client: TxAMQPClient) -> Channel:
    """
    A channel for anything.
    """
    return await (await client.connected()).open_channel(confirms=False)


@ensureDeferred
async def test_watchable(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    start: Start,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    Queues that are not there yet are fine, and are not declared; one that is there can
    be watched.
    """
    file, client = (
        written(tmp_path, names),
        make_client(either.url),
    )
    other = f"other-{names.queue}"
    channel = await free_channel(client)
    await channel.call("queue_declare", queue=other, durable=True)
    program = check(start, file, either.url)
    assert await program.ended() == 0, program.output
    assert f"queue {names.queue} is not there yet" in program.output
    assert f"queue {other} can be watched\n" in program.output
    assert await find_queue(await client.connected(), names.queue) is None


@ensureDeferred
async def test_not_watchable(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    start: Start,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    A queue with other arguments is told with what to do, and so is an exchange of
    another type; the exit status is 1.
    """
    file, client = (
        written(tmp_path, names),
        make_client(either.url),
    )
    channel = await free_channel(client)
    other = f"other-{names.queue}"
    limit = {"x-max-length": 10_000}
    await channel.call("queue_declare", queue=other, durable=True, arguments=limit)
    program = check(start, file, either.url)
    assert await program.ended() == 1, program.output
    text = f"queue {other} cannot be watched as configured: PRECONDITION_FAILED"
    assert text in program.output
    assert "give the queue the argument x-max-length" in program.output
    assert f"queue {names.queue} is not there yet" in program.output
    await channel.call("queue_delete", queue=other)
    await channel.call(
        "exchange_declare",
        exchange=names.exchange,
        exchange_type="fanout",
        durable=True,
    )
    program = check(start, file, either.url)
    assert await program.ended() == 1
    assert program.output.count("cannot be watched as configured") == 2


@ensureDeferred
async def test_no_broker(start: Start, names: Names, tmp_path: Path) -> None:
    """
    Without a broker no queue can be watched.
    """
    file = written(tmp_path, names)
    program = check(start, file, f"amqp://127.0.0.1:{free_port()}/")
    assert await program.ended() == 1
    assert "no queue can be watched: the broker at 127.0.0.1" in program.output
    assert "Traceback" not in program.output


@ensureDeferred
async def test_no_permission(
    rabbitmq: RabbitMQNode,
    make_client: Callable[..., TxAMQPClient],
    start: Start,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    A user who may not declare a queue that is there is told so.
    """
    channel = await free_channel(make_client(rabbitmq.url))
    await channel.call("queue_declare", queue=names.queue, durable=True)
    user = f"user-{names.queue}"
    url = add_user(rabbitmq, user, ("^$", ".*", ".*"))
    program = check(start, written(tmp_path, names), url)
    assert await program.ended() == 1
    text = f"queue {names.queue} cannot be watched as configured: "
    (line,) = [each for each in program.output.splitlines() if text in each]
    assert "ACCESS_REFUSED" in line


@ensureDeferred
async def test_others_go_on(
    either: AnyBroker,
    make_client: Callable[..., TxAMQPClient],
    executor: Executor,
    start: Start,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    A mediator does the tasks of the queues that it can watch, tells of the other in one
    line, and watches that as soon as it can.
    """
    file, client = written(tmp_path, names, executor.url), make_client(either.url)
    other = f"other-{names.queue}"
    channel = await free_channel(client)
    limit = {"x-max-length": 10_000}
    await channel.call("queue_declare", queue=other, durable=True, arguments=limit)
    program = mediator(start, either, f"--config={file}")
    fault = f"Queue '{other}' cannot be watched for now, and is tried again: "
    await program.said(fault)
    await send(client, names.queue)
    await until(lambda: len(executor.tasks) == TASKS)
    await channel.call("queue_delete", queue=other)
    await program.said(f"Watching '{other}'")
    await send(client, other)
    await until(lambda: len(executor.tasks) == 2 * TASKS)
    await program.said(f"Queue '{other}' can be watched again, after ")
    assert program.output.count(fault) == 1


async def send(client: TxAMQPClient, queue: str) -> Any:
    """
    Add tasks to a queue.
    """
    durable = {"delivery-mode": 2}
    await gatherResults(
        [client.publish("", queue, b'{"url": "/x"}', durable) for _ in range(TASKS)]
    )
