"""
Tests for C{quebert tail}: lines for attempts, and no more than are read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import pika
import pytest
from twisted.trial.unittest import SynchronousTestCase

from quebert.cli._tail import line
from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    AttemptBatch,
    AttemptRecord,
    encode_batch,
)
from quebert.test.conftest import AnyBroker
from quebert.test.contract.patience import until
from quebert.test.support import PATIENCE
from quebert.test.test_live_fold import record
from quebert.testing import EmbeddedBroker, free_port

TAIL = [sys.executable, "-m", "quebert", "tail"]
# Batches that are far more than a pipe takes.
MANY = 40


class LineTests(SynchronousTestCase):
    """
    One attempt on one line.
    """

    def test_line(self) -> None:
        """
        It tells all that matters.
        """
        now = time.time()
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        later = time.strftime("%H:%M:%S", time.localtime(now + 60))
        attempt = record(
            started=now - 0.1,
            ended=now,
            status=503,
            outcome="retry",
            reason="503 no",
            number=2,
            retry_at=now + 60,
        )
        self.assertEqual(
            line(attempt),
            f"{clock} retry     503  100ms #2 mail u http://a/x 503 no;"
            f" again at {later}",
        )
        self.assertIn("\x1b[33mretry", line(attempt, colours=True))

    def test_odd(self) -> None:
        """
        Whatever a task holds, it is one line without controls.
        """
        odd: Any = record(
            uuid="",
            url="\x1b[31m\n" * 1000,
            reason="\r\n" * 1000,
            status=None,
            ended=float("inf"),
            started=float("-inf"),
        )
        self.assertTrue(line(odd).isprintable())
        self.assertLess(len(line(odd)), 1000)


class Attempts:
    """
    A mediator that tells of many attempts.
    """

    def __init__(self, broker: AnyBroker) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        self._channel = self._connection.channel()
        self._channel.exchange_declare(EXCHANGE, "topic", durable=True)
        self.total = 0

    def tell(self, count: int, **fields: Any) -> None:
        """
        It tells of some.
        """
        records: tuple[AttemptRecord, ...] = tuple(
            record(number=self.total + each, **fields) for each in range(1, count + 1)
        )
        self.total += count
        batch = AttemptBatch(
            mediator="m", sequence=1, at=1.0, records=records, total=self.total
        )
        self._channel.basic_publish(EXCHANGE, ATTEMPTS, encode_batch(batch))

    def lose(self, count: int) -> None:
        """
        Some are lost on their way.
        """
        self.total += count

    def close(self) -> None:
        """
        It ends.
        """
        self._connection.close()


def start(broker: AnyBroker, *options: str) -> subprocess.Popen[str]:
    """
    C{quebert tail}.
    """
    return subprocess.Popen(
        [*TAIL, "--amqp-url", broker.url, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.broker
def test_slow_reader(broker: AnyBroker) -> None:
    """
    A slow reader gets all that there is room for, and is told how many are missing;
    when it goes, the command ends quietly.
    """
    process, mediator = start(broker, "--json"), Attempts(broker)
    assert process.stdout is not None
    assert process.stderr is not None
    output = process.stdout
    try:
        found: list[dict[str, Any]] = []
        reading = threading.Thread(
            target=lambda: found.append(json.loads(output.readline()))
        )
        reading.start()
        while reading.is_alive():  # it has begun when it gets the first
            mediator.tell(1)
            reading.join(0.1)
        for _ in range(MANY):
            mediator.tell(500, reason="x" * 300)
        mediator.lose(7)
        mediator.tell(1, uuid="last")
        numbers, missing = [found[0]["number"]], 0
        for text in output:
            told = json.loads(text)
            missing += told.get("missing", 0)
            if "number" in told:
                numbers.append(told["number"])
            if told.get("uuid") == "last":
                break
        lost = range(mediator.total - 7, mediator.total)
        assert numbers == [
            n for n in range(numbers[0], mediator.total + 1) if n not in lost
        ]
        assert missing == 7
        output.close()

        def has_ended() -> bool:
            mediator.tell(1)
            return process.poll() is not None

        until(has_ended)
        assert process.returncode == 1
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        mediator.close()


def test_broker_is_away() -> None:
    """
    It tells that it reads nothing, and when it reads again.
    """
    port = free_port()
    with EmbeddedBroker(port=port) as broker:
        process = start(broker)
        assert process.stderr is not None
        errors = process.stderr
        try:
            assert errors.readline() == "attempts of all queues, until Ctrl-C\n"
        except BaseException:
            process.kill()
            raise
    try:
        assert errors.readline().startswith("no attempts now: ")
        with EmbeddedBroker(port=port):
            assert errors.readline() == "attempts are read again\n"
            process.terminate()  # SIGINT may be ignored, as in a background job
            assert process.wait(PATIENCE) == 0
            assert errors.read() == ""
    finally:
        process.kill()
        process.communicate()
