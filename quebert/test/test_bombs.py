"""
JSON bombs in the queue of a real mediator, on a real RabbitMQ.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from quebert.amqp import TxAMQPClient, WatchOptions
from quebert.amqp.queues import KIND, REASON
from quebert.outcome import POISON
from quebert.test.conftest import Names
from quebert.test.support import Executor, Program, until
from quebert.test.test_processes import mediator

#: Bytes of each bomb.
SIZE = 10_000_000
#: Bytes that the mediator may hold at most: far less than a bomb takes, once decoded.
MEMORY = 300 * 2**20
GOOD = 20


def deep() -> bytes:
    """
    An array in an array, as deep as can be.
    """
    return b"[" * (SIZE // 2) + b"]" * (SIZE // 2)


def long() -> bytes:
    """
    A whole number.
    """
    return b"9" * SIZE


def wide() -> bytes:
    """
    An object of many keys.
    """
    keys = (b'"%07x":0' % n for n in range(SIZE // 12))
    return b"{%b}" % b",".join(keys)


#: The bombs, and why each is set aside.
BOMBS = {
    deep: "nested too deeply",
    long: "digits",
    wide: "more than 400000 values",
}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@ensureDeferred
async def test_bombs(
    rabbitmq: Any,
    make_client: Callable[..., TxAMQPClient],
    names: Names,
    executor: Executor,
    start: Callable[..., Program],
    tmp_path: Path,
    kind: str,
) -> None:
    """
    Bombs are set aside without an end of the mediator, which takes little memory; the
    good tasks beside them are done.
    """
    queue, client = names.queue, make_client(rabbitmq.url)
    file = tmp_path / "bombs.toml"
    file.write_text(
        f'[queues."{queue}"]\nqueue_type = "{kind}"\n'
        f'exchange = "{names.exchange}"\nkey = "{names.key}"\n'
    )
    program = mediator(start, rabbitmq, f"--config={file}")
    await program.said("Watching")
    url = executor.url
    bodies = [json.dumps({"url": url, "n": n}).encode() for n in range(GOOD)]
    for number, bomb in enumerate(BOMBS):
        body = b'{"url":"%b","params":%b}' % (url.encode(), bomb())
        assert len(body) > SIZE * 0.99
        bodies.insert(GOOD // 4 * (number + 1) + number, body)
    await gatherResults([client.publish("", queue, body) for body in bodies])
    await until(lambda: len(executor.tasks) == GOOD)
    letters: list[Any] = []
    await client.watch(
        "", f"{queue}.dead", "", letters.append, options=WatchOptions(queue_type=kind)
    )
    await until(lambda: len(letters) == len(BOMBS))
    assert {letter.headers[KIND] for letter in letters} == {POISON}
    reasons = " ".join(letter.headers[REASON] for letter in letters)
    assert all(why in reasons for why in BOMBS.values()), reasons
    assert {task["n"] for task in executor.tasks} == set(range(GOOD))
    assert program.running
    assert program.most_memory < MEMORY
