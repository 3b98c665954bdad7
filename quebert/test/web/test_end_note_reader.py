"""
Tests for L{quebert.web.cluster._end_notes}, with a broker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from quebert.amqp import TxAMQPClient
from quebert.amqp.queues import CLASSIC, QUORUM, declare_queue, depth
from quebert.amqp.wire import call_in_one_write
from quebert.errors import TaskStoreError
from quebert.operations import BrokerAccess
from quebert.task_ends import ENDED, DeletionNote, EndNote, encode_end_note
from quebert.test.conftest import AnyBroker
from quebert.test.support import until
from quebert.web.cluster import _keep_going, _queue_reader
from quebert.web.cluster._end_notes import EndNoteReader


class Ends:
    """
    Tasks that end.

    @ivar groups: the uuids that were told together.
    @ivar problem: why they cannot be told, if so.
    @ivar hold: what is waited for before they are.
    """

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.problem: Exception | None = None
        self.hold: Deferred[None] | None = None
        self.asked = 0

    async def ended(self, notes: Sequence[EndNote | DeletionNote]) -> None:
        """
        Note it.
        """
        self.asked += 1
        if self.hold is not None:
            await self.hold
        if self.problem is not None:
            raise self.problem
        self.groups.append([each.uuid for each in notes])

    @property
    def uuids(self) -> list[str]:
        """
        All that were told.
        """
        return [uuid for group in self.groups for uuid in group]


class Reading:
    """
    A reader, and a client that publishes to it.
    """

    def __init__(self, client: TxAMQPClient, url: str) -> None:
        self.client = client
        self.ends = Ends()
        self.broker = BrokerAccess(reactor, url)
        self.reader = EndNoteReader(self.broker, self.ends)

    async def add(self, *uuids: str) -> None:
        """
        Publish notes.
        """
        for uuid in uuids:
            note = EndNote(uuid=uuid, queue="tasks", outcome="done", ended=1.0)
            await self.client.publish("", ENDED, encode_end_note(note))

    async def told(self, *uuids: str) -> None:
        """
        Wait until these were told, and nothing is left in the queue.
        """
        await until(lambda: sorted(self.ends.uuids) == sorted(uuids))

    async def waiting(self) -> int:
        """
        How many notes wait in the queue.
        """
        found = await depth(await self.client.connected(), ENDED)
        return -1 if found is None else found.ready


def _hold() -> Deferred[None]:
    return Deferred()


def _is_asked(ends: Ends, before: int) -> bool:
    return ends.asked > before


@pytest_twisted.async_yield_fixture
async def reading(
    either: AnyBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reading]:
    """
    A reader that has not begun, and no notes.
    """
    monkeypatch.setattr(_keep_going, "_AGAIN", 0.05)
    client = TxAMQPClient.from_url(either.url)
    wire = await client.connected()
    await declare_queue(wire, ENDED, CLASSIC)
    await call_in_one_write(wire, [("queue_purge", {"queue": ENDED})])
    made = Reading(client, either.url)
    yield made
    await made.reader.stop()
    await client.stop(0)


@ensureDeferred
async def test_groups(reading: Reading) -> None:
    """
    What has come while a group was written is the next group.  All is acknowledged.
    """
    await reading.add("a")
    reading.ends.hold = hold = _hold()
    reading.reader.start()
    await until(lambda: reading.ends.asked == 1)
    await reading.add("b", "c", "d")
    await until(lambda: len(reading.reader._reader._came) == 4)
    hold.callback(None)
    reading.ends.hold = None
    await reading.told("a", "b", "c", "d")
    assert reading.ends.groups == [["a"], ["b", "c", "d"]]
    await reading.reader.stop()
    assert await reading.waiting() == 0


@ensureDeferred
async def test_broken(reading: Reading) -> None:
    """
    What is no note is dropped, and told.  A message may have several notes.
    """
    await reading.client.publish("", ENDED, b"{}")
    notes = [EndNote(uuid=u, queue="q", outcome="done", ended=1.0) for u in "bc"]
    lines = [encode_end_note(notes[0]), b"nonsense", encode_end_note(notes[1])]
    await reading.client.publish("", ENDED, b"\n".join(lines))
    await reading.add("a")
    reading.reader.start()
    await reading.told("a", "b", "c")
    await reading.reader.stop()
    assert reading.reader.unreadable == 2
    assert await reading.waiting() == 0


@ensureDeferred
async def test_database_away(reading: Reading) -> None:
    """
    Where the database is away, notes stay in the queue, and are told when it is back.
    """
    reading.ends.problem = TaskStoreError("it is locked")
    await reading.add("a", "b")
    reading.reader.start()
    await until(lambda: reading.ends.asked > 1)
    assert reading.reader.problem == "it is locked"
    reading.ends.problem = None
    await reading.told("a", "b")
    assert reading.reader.problem == ""
    await reading.reader.stop()
    assert await reading.waiting() == 0


@ensureDeferred
async def test_stopped(reading: Reading) -> None:
    """
    A group that is being written when the reader is stopped is acknowledged; one that
    could not be written stays.
    """
    for problem, left in ((None, 0), (TaskStoreError("away"), 1)):
        reading.ends.problem = problem
        await reading.add("a")
        reading.ends.hold = hold = _hold()
        reader = EndNoteReader(reading.broker, reading.ends)
        asked = reading.ends.asked
        reader.start()
        await until(partial(_is_asked, reading.ends, asked))
        stopped = Deferred.fromCoroutine(reader.stop())
        hold.callback(None)
        await stopped
        assert await reading.waiting() == left


@ensureDeferred
async def test_one_at_a_time(reading: Reading) -> None:
    """
    While one reads the queue, another one waits, which is no problem.  When the first
    one ends, the second one has all that was not written, in its order.
    """
    reading.reader.start()
    await until(lambda: reading.reader.problem == "")
    reading.ends.hold = _hold()
    await reading.add("a", "b")
    await until(lambda: len(reading.reader._reader._came) == 2)
    others = Ends()
    other = EndNoteReader(reading.broker, others)
    other.start()
    try:
        await until(lambda: other.problem == "")
        await reading.add("c")
        await until(lambda: len(reading.reader._reader._came) == 3)
        assert not others.asked
        reading.ends.problem = TaskStoreError("it is locked")
        stopped = Deferred.fromCoroutine(reading.reader.stop())
        reading.ends.hold.callback(None)
        await stopped
        await until(lambda: others.uuids == ["a", "b", "c"])
    finally:
        await other.stop()
    assert await reading.waiting() == 0


@ensureDeferred
async def test_read_by_another_program(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    While any program reads the queue, nothing is asked of RabbitMQ but whether it still
    does.
    """
    monkeypatch.setattr(_queue_reader, "_STANDBY", 0.05)
    wire: Any = await reading.client.connected()
    channel = await wire.open_channel()
    channel.on_message = lambda message: None
    await channel.call("basic_consume", queue=ENDED)
    reading.reader.start()
    await until(lambda: reading.reader.problem == "")
    await reading.add("a")
    await channel.shut()
    await reading.told("a")


@ensureDeferred
async def test_queue_deleted(reading: Reading) -> None:
    """
    Where somebody deletes the queue, it is declared anew.
    """
    reading.reader.start()
    await until(lambda: reading.reader.problem == "")
    wire: Any = await reading.client.connected()
    await call_in_one_write(wire, [("queue_delete", {"queue": ENDED})])
    await until(lambda: reading.reader.problem != "")
    await until(lambda: reading.reader.problem == "")
    await reading.add("a")
    await reading.told("a")


@ensureDeferred
async def test_of_another_type(reading: Reading) -> None:
    """
    A queue that somebody has declared otherwise is read as it is.
    """
    wire: Any = await reading.client.connected()
    delete = ("queue_delete", {"queue": ENDED})
    await call_in_one_write(wire, [delete])
    await declare_queue(wire, ENDED, QUORUM)
    try:
        await reading.add("a")
        reading.reader.start()
        await reading.told("a")
    finally:
        await reading.reader.stop()
        await call_in_one_write(wire, [delete])


@ensureDeferred
async def test_connection_lost(reading: Reading) -> None:
    """
    Where the connection is lost while a group is written, the group comes again.
    """
    await reading.add("a")
    reading.ends.hold = hold = _hold()
    wires: list[Any] = []
    reader: Any = reading.reader._reader
    consume = reader._consume

    async def noting(wire: Any, channel: Any) -> bool:
        wires.append(wire)
        return bool(await consume(wire, channel))

    reader._consume = noting
    reading.reader.start()
    await until(lambda: reading.ends.asked == 1)
    wires[0].transport.abortConnection()
    await until(lambda: wires[0].closed)
    reading.ends.hold = None
    hold.callback(None)
    await reading.told("a", "a")
    await reading.reader.stop()
    assert await reading.waiting() == 0
