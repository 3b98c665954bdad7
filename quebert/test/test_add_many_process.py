"""
C{quebert add} as a process of its own: files of tasks on real brokers, kills, and
brokers that are not there.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pika
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from quebert.bulk._batches import BATCH
from quebert.test.conftest import AnyBroker, Names
from quebert.test.operating import add_user, close_connections
from quebert.test.support import Program, depth, short_of, until
from quebert.test.test_producer_broker import declare
from quebert.testing import EmbeddedBroker, RabbitMQNode, free_port

Start = Callable[..., Program]

# With the limit of time that one task has.
_IMPATIENT = """
from quebert.cli import _add_one, main
_add_one.PATIENCE = 5.0
main()
"""


@pytest.fixture(scope="module")
def broker(rabbitmq: RabbitMQNode) -> RabbitMQNode:
    """
    What channels are connected to.
    """
    return rabbitmq


def kind_of(names: Names) -> str:
    """
    The kind of the tasks that come to the test's queue.
    """
    return names.key.removesuffix(".#")


def write_lines(path: Path, count: int) -> None:
    """
    A file of so many tasks.
    """
    with path.open("w") as file:
        for n in range(1, count + 1):
            params = {"name": "somebody with a name", "n": n, "more": "x" * 50}
            file.write(json.dumps({"url": "/hello", "params": params}) + "\n")


@contextmanager
def channel_of(broker: EmbeddedBroker) -> Iterator[Any]:
    """
    A channel of pika's.
    """
    parameters = pika.URLParameters(broker.url + "%2f")
    with pika.BlockingConnection(parameters) as connection:
        yield connection.channel()


def uuids(channel: Any, queue: str) -> Counter[str]:
    """
    How often each task is in a queue, which is empty afterwards.
    """
    count, found = depth(channel, queue), Counter[str]()
    if count:
        for _, properties, _ in channel.consume(queue, auto_ack=True):
            found[properties.message_id] += 1
            if found.total() == count:
                break
        channel.cancel()
    assert depth(channel, queue) == 0
    return found


@pytest.fixture
def add(start: Start, broker: AnyBroker, names: Names) -> Callable[..., Program]:
    """
    Runs the command, for the test's exchange and queue.
    """

    def run(*arguments: str, url: str = broker.url) -> Program:
        target = f"--exchange={names.exchange}", f"--key={kind_of(names)}.medium"
        where = f"--amqp-url={url}"
        return start("-m", "quebert", "add", *arguments, *target, where)

    return run


async def killed_and_resumed(
    add: Callable[..., Program],
    channel: Any,
    names: Names,
    folder: Path,
    count: int,
    kills: int,
) -> tuple[dict[str, Any], Counter[str], Program]:
    """
    Add a file, with C{kill -9} on the way; what the last run says, and the uuids that
    are there then.
    """
    file, state = folder / "tasks.jsonl", folder / "state"
    write_lines(file, count)
    arguments = f"--from={file}", f"--state={state}", "--json"
    for part in range(1, kills + 1):
        program, enough = add(*arguments), part * count // (kills + 1)
        await until(
            lambda enough=enough: depth(channel, names.queue) >= enough,  # type: ignore[misc]
            120,
        )
        program.signal(signal.SIGKILL)
        # On a busy machine it may have been at the end.
        assert await program.ended() in (-signal.SIGKILL, 0)
    program = add(*arguments)
    await until(lambda: not program.running, 200)
    assert await program.ended() == 0, program.output
    said = json.loads(program.output)
    return said, uuids(channel, names.queue), program


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@ensureDeferred
async def test_killed_and_resumed(
    add: Callable[..., Program],
    pika_channel: Any,
    rabbitmq: RabbitMQNode,
    names: Names,
    tmp_path: Path,
    queue_type: str,
) -> None:
    """
    After C{kill -9} the same command goes on: no task is missing, and none is there
    twice.  Nothing is left in RabbitMQ.
    """

    def tokens() -> set[str]:
        return {each for each in rabbitmq.depths() if each.startswith("quebert.add.")}

    before = tokens()  # of other tests, whose runs have not ended well
    declare(pika_channel, names, {"x-queue-type": queue_type})
    count = 9_000
    said, found, _ = await killed_and_resumed(
        add, pika_channel, names, tmp_path, count, 2
    )
    assert said["ended"]
    assert said["read"] == count == said["added"] + said["already_there"]
    assert said["already_there"] > 0
    assert (said["refused"], said["maybe_twice"]) == (0, 0)
    assert len(found) == count
    assert set(found.values()) == {1}
    assert tokens() <= before
    again = add(f"--from={tmp_path}/tasks.jsonl", f"--state={tmp_path}/state")
    assert await again.ended() == 0
    expected = f"read {count}: 0 added, {count} already there, 0 refused\n"
    assert again.output == expected
    assert depth(pika_channel, names.queue) == 0


@ensureDeferred
async def test_connection_lost(
    add: Callable[..., Program],
    pika_channel: Any,
    rabbitmq: RabbitMQNode,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    When RabbitMQ closes the connection, the run goes on with another one; no task is
    missing, and none is there twice.
    """
    declare(pika_channel, names)
    count, file, state = 8_000, tmp_path / "tasks.jsonl", tmp_path / "state"
    write_lines(file, count)
    first, *others, last = file.read_bytes().splitlines(keepends=True)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    url = add_user(rabbitmq, "adds")
    arguments = f"--from={pipe}", "--format=jsonl", f"--state={state}"
    with pipe.open("wb") as writing:
        program = add(*arguments, url=url)
        writing.write(first)
        writing.flush()
        await until(state.exists)
        await until(lambda: b"done" in state.read_bytes())
        os.close(reading)  # the program reads from now on
        await deferToThread(writing.write, b"".join(others))
        await deferToThread(writing.flush)
        close_connections(rabbitmq, "adds")
        writing.write(last)
    assert await program.ended() == 0, program.output
    assert "going on with another connection" in program.output
    summary = f"read {count}: {count} added, 0 already there, 0 refused"
    assert summary in program.output
    found = uuids(pika_channel, names.queue)
    assert len(found) == count
    assert set(found.values()) == {1}


@ensureDeferred
async def test_permissions(
    add: Callable[..., Program],
    pika_channel: Any,
    rabbitmq: RabbitMQNode,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    A user who may not have the queue of the token adds tasks all the same, and is told
    what that means.
    """
    declare(pika_channel, names)
    file, token = tmp_path / "tasks.jsonl", r"^quebert\.add\..*"
    write_lines(file, 10)
    exchange = f"^{names.exchange}$"
    permitted = f"{exchange}|^amq\\.default$"
    table = [
        (("^$", exchange, "^$"), True),
        ((token, exchange, token), True),
        ((token, permitted, "^$"), True),
        ((token, permitted, token), False),
    ]
    for number, (permissions, is_told) in enumerate(table):
        url = add_user(rabbitmq, f"adds-{number}", permissions)
        program = add(f"--from={file}", f"--state={tmp_path}/state-{number}", url=url)
        assert await program.ended() == 0, program.output
        assert ("the broker has no transactions" in program.output) is is_told
        assert "read 10: 10 added" in program.output
    found = uuids(pika_channel, names.queue)
    assert (len(found), found.total()) == (10 * len(table), 10 * len(table))


@pytest.mark.long
@ensureDeferred
async def test_many_killed_and_resumed(
    add: Callable[..., Program],
    pika_channel: Any,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    The same with 200,000 lines.
    """
    declare(pika_channel, names)
    count = 200_000
    said, found, _ = await killed_and_resumed(
        add, pika_channel, names, tmp_path, count, 1
    )
    assert said["read"] == count
    assert said["already_there"] > 0
    assert len(found) == count
    assert set(found.values()) == {1}


@ensureDeferred
async def test_memory(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    A file does not come into memory as a whole.
    """
    declare(pika_channel, names)
    file = tmp_path / "tasks.jsonl"
    with file.open("w") as lines:
        for _ in range(150):
            lines.write(json.dumps({"url": "/", "params": "x" * 1_000_000}) + "\n")
    program = add(f"--from={file}")
    most = 0

    def ended() -> bool:
        nonlocal most
        if program.running:
            with suppress(OSError, ValueError):  # it has ended just now
                most = max(most, program.most_memory)
        return not program.running

    await until(ended, 120)
    assert await program.ended() == 0, program.output
    assert depth(pika_channel, names.queue) == 150
    assert 2**20 < most < 120 * 2**20


@ensureDeferred
async def test_embedded(start: Start, tmp_path: Path) -> None:
    """
    The embedded broker has no transactions: after C{kill -9} no task is missing, a
    batch at most is there twice, with the same uuids, and that is said.
    """
    count, names = 8_000, Names("flow", "tasks", "tasks.#")
    file, state = tmp_path / "tasks.jsonl", tmp_path / "state"
    write_lines(file, count)
    with EmbeddedBroker() as broker, channel_of(broker) as channel:
        declare(channel, names)
        arguments = "add", f"--from={file}", f"--state={state}", "--json"
        where = f"--amqp-url={broker.url}"
        program = start("-m", "quebert", *arguments, where)
        await until(lambda: depth(channel, "tasks") >= count // 2)
        program.signal(signal.SIGKILL)
        await program.ended()
        program = start("-m", "quebert", *arguments, where)
        assert await program.ended() == 0, program.output
        assert "the broker has no transactions for this user" in program.output
        found = uuids(channel, "tasks")
    said = json.loads(next(each for each in program.output.splitlines() if "{" in each))
    assert said["read"] == count
    assert len(found) == count
    assert sum(found.values()) - count <= said["maybe_twice"] <= BATCH


@ensureDeferred
async def test_bad_lines(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    Bad lines are in the side file with number, reason and text; the others are added.
    The exit status tells, and a resumed run writes none of them twice.
    """
    declare(pika_channel, names)
    file, rejects = tmp_path / "tasks.csv", tmp_path / "tasks.csv.rejects"
    file.write_text(
        "url,params.name,delay,uuid\n"
        "/a,Ada,,u1\n"
        'example.com/b,"two\nlines",,u2\n'
        "\n"
        "/c,Grace,soon,u3\n"
        '/d,"Ed ""x"" Y",5m,u4\n'
        "/e,Ed\n"
    )
    arguments = f"--from={file}", f"--state={tmp_path}/state"
    program = add(*arguments)
    assert await program.ended() == 1
    assert program.output == (
        f"read 5: 2 added, 0 already there, 3 refused (see {rejects})\n"
    )
    assert set(uuids(pika_channel, names.queue)) == {"u1", "u4"}
    lines = [json.loads(each) for each in rejects.read_text().splitlines()]
    assert [each["line"] for each in lines] == [3, 6, 8]
    assert "url has no scheme" in lines[0]["error"]
    assert lines[0]["text"] == 'example.com/b,"two\nlines",,u2'
    assert lines[1]["error"].startswith("delay must be seconds")
    assert lines[2]["error"] == "it has 2 cells, and the header 4"
    assert os.stat(rejects).st_mode & 0o777 == 0o600
    file.write_text(file.read_text() + "/f,Fay,,u6\n/g,,x,u7\n")
    program = add(*arguments)
    assert await program.ended() == 1
    assert program.output.startswith("read 7: 1 added, 2 already there, 4 refused")
    lines = [json.loads(each) for each in rejects.read_text().splitlines()]
    assert [each["line"] for each in lines] == [3, 6, 8, 10]
    file.write_text(file.read_text().replace("/a", "/b"))
    program = add(*arguments)
    assert await program.ended() == 1
    assert "are not those that the state file is about" in program.output


@ensureDeferred
async def test_pipe_and_interrupt(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    What comes from a pipe is added when it comes; Ctrl-C ends it well, and the same
    command goes on.
    """
    declare(pika_channel, names)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = f"--from={pipe}", "--format=jsonl", f"--state={tmp_path}/state"
    program = add(*arguments)
    writing = os.open(pipe, os.O_RDWR)
    try:
        os.write(writing, b'{"url": "/1"}\n{"url": "/2"}\n{"url"')
        await until(lambda: depth(pika_channel, names.queue) == 2)
        await until(lambda: b"done" in (tmp_path / "state").read_bytes())
        program.signal(signal.SIGINT)
        assert await program.ended() == 130
        assert "read 2: 2 added, 0 already there, 0 refused" in program.output
        assert "run the same command again to go on" in program.output
    finally:
        os.close(writing)
    program = add(*arguments)
    writing = os.open(pipe, os.O_WRONLY)
    os.write(writing, b'{"url": "/1"}\n{"url": "/2"}\n{"url": "/3"}')
    os.close(writing)
    assert await program.ended() == 0, program.output
    assert "read 3: 1 added, 2 already there, 0 refused" in program.output
    found = uuids(pika_channel, names.queue)
    assert len(found) == 3
    assert set(found.values()) == {1}


@ensureDeferred
async def test_no_queue(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    Where no queue takes a batch, it ends, and goes on when there is one.
    """
    pika_channel.exchange_declare(names.exchange, "topic", durable=True)
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"url": "/1"}\n{"url": "/2"}\nnonsense\n')
    arguments = f"--from={file}", f"--state={tmp_path}/state"
    program = add(*arguments)
    assert await program.ended() == 1
    place = f"Error: {file}, line 1, and all that was sent with it"
    assert program.output.startswith(f"{place}: no queue takes this message")
    declare(pika_channel, names)
    program = add(*arguments)
    assert await program.ended() == 1
    assert "read 3: 2 added, 0 already there, 1 refused" in program.output
    assert len(uuids(pika_channel, names.queue)) == 2
    rejects = (tmp_path / "tasks.jsonl.rejects").read_text().splitlines()
    assert len(rejects) == 1


@ensureDeferred
async def test_full_queue(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    Where the queue is full, the run ends; the same command goes on when there is room.
    No task is missing then, and it says how many may be there twice.
    """
    limits = {"x-max-length": 5, "x-overflow": "reject-publish"}
    declare(pika_channel, names, limits)
    file = tmp_path / "tasks.jsonl"
    write_lines(file, 8)
    arguments = f"--from={file}", f"--state={tmp_path}/state"
    program = add(*arguments)
    assert await program.ended() == 1
    assert "partial tx completion" in program.output
    assert depth(pika_channel, names.queue) == 5
    found = uuids(pika_channel, names.queue)
    pika_channel.queue_delete(names.queue)
    declare(pika_channel, names)
    program = add(*arguments, "--json")
    assert await program.ended() == 0, program.output
    assert '"maybe_twice": 8' in program.output
    found += uuids(pika_channel, names.queue)
    assert len(found) == 8


@ensureDeferred
async def test_in_use(
    add: Callable[..., Program], pika_channel: Any, names: Names, tmp_path: Path
) -> None:
    """
    A state file is of one run at a time, and of one target.
    """
    declare(pika_channel, names)
    pipe, state = tmp_path / "pipe", tmp_path / "state"
    os.mkfifo(pipe)
    arguments = f"--from={pipe}", "--format=jsonl", f"--state={state}"
    program = add(*arguments)
    writing = os.open(pipe, os.O_RDWR)
    try:
        os.write(writing, b'{"url": "/1", "uuid": "u"}\n')
        await until(lambda: depth(pika_channel, names.queue) == 1)
        file = tmp_path / "tasks.jsonl"
        file.write_text('{"url": "/1"}\n')
        other = add(f"--from={file}", f"--state={state}")
        assert await other.ended() == 1
        assert "is in use by another quebert add" in other.output
        program.signal(signal.SIGTERM)
        assert await program.ended() == 130
    finally:
        os.close(writing)


@ensureDeferred
async def test_no_broker(start: Start) -> None:
    """
    Where nobody listens, that is said at once; where one is about to start, it can be
    waited for.
    """
    port = free_port()
    arguments = "-m", "quebert", "add", "/", f"--amqp-url=amqp://127.0.0.1:{port}"
    program = start(*arguments)
    assert await program.ended() == 1
    assert program.output.count("\n") == 1
    assert "was not reached: Connection was refused" in program.output
    waiting = start(*arguments, "--wait=0.1s")
    assert await waiting.ended() == 1
    assert "was not reached in 0.1 s" in waiting.output


@ensureDeferred
async def test_alarm_at_the_beginning(
    add: Callable[..., Program],
    pika_channel: Any,
    rabbitmq: RabbitMQNode,
    names: Names,
    tmp_path: Path,
) -> None:
    """
    While RabbitMQ is short of memory, a file waits, and says so; Ctrl-C ends it, and
    afterwards the same command goes on.
    """
    declare(pika_channel, names)
    file, blocked = tmp_path / "tasks.jsonl", "the broker takes no messages for now"
    write_lines(file, 10)
    arguments = f"--from={file}", f"--state={tmp_path}/state"
    with short_of("memory", rabbitmq):
        program = add(*arguments)
        await program.said(f"{blocked} (low on memory): waiting")
        program.signal(signal.SIGINT)
        assert await program.ended() == 130, program.output
    program = add(*arguments)
    assert await program.ended() == 0, program.output
    found = uuids(pika_channel, names.queue)
    assert (len(found), found.total()) == (10, 10)


@ensureDeferred
async def test_alarm(
    start: Start, pika_channel: Any, rabbitmq: RabbitMQNode, names: Names
) -> None:
    """
    While RabbitMQ is short of memory, a task is not waited for without limit, and the
    sentence says why.
    """
    declare(pika_channel, names)
    target = f"--exchange={names.exchange}", f"--key={kind_of(names)}.medium"
    with short_of("memory", rabbitmq):
        program = start(
            *("-c", _IMPATIENT, "add", "/", "--uuid=u", *target),
            f"--amqp-url={rabbitmq.url}",
        )
        assert await program.ended() == 1
    assert program.output.count("\n") == 1
    assert "the broker is blocked (low on memory)" in program.output
    assert "add it again with --uuid=u" in program.output
