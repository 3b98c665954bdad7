"""
Reads the end notes of mediators (L{quebert.task_ends}) from their durable queue, in
groups.  A group is acknowledged once the rows of its tasks say that they have ended:
what is not acknowledged comes again, also to another process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp import Message
from quebert.amqp.queues import CLASSIC, declare_queue, find_queue
from quebert.amqp.wire import temporary_channel
from quebert.errors import MayNotLook
from quebert.operations import BrokerAccess
from quebert.task_ends import ENDED, EndNote, decode_end_note
from quebert.web.cluster._keep_going import KeepGoing

if TYPE_CHECKING:
    from quebert.amqp.wire import Channel, Wire

__all__ = ["EndNoteReader", "EndingTasks"]

#: Messages that are here at once; each has up to a hundred notes.
MOST_MESSAGES = 200
#: Notes in a group, of messages as they are.
MOST_NOTES = 500


class EndingTasks(Protocol):
    """
    L{CreatedTasks<quebert.created_tasks.CreatedTasks>}.
    """

    async def ended(self, notes: Sequence[EndNote]) -> None:
        """
        Tasks have ended; returns once the rows say so.

        @raise TaskStoreError: the database does not answer.
        """


class EndNoteReader:
    """
    @param broker: where the queue is.
    @param tasks: are told of the notes.
    @ivar unreadable: how many notes could not be read.
    """

    log = Logger()

    def __init__(self, broker: BrokerAccess, tasks: EndingTasks) -> None:
        self.unreadable = 0
        self._broker = broker
        self._tasks = tasks
        self._came: deque[Message] = deque()
        self._is_refused = False  # the database has not taken the last group
        self._wake: Deferred[None] = Deferred()
        self._going = KeepGoing(
            self._read,
            broker.reactor,
            self.log,
            "Ends of tasks do not reach the database",
            "Ends of tasks reach the database again",
            "the queue of end notes is not read yet",
        )
        self._bad = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "An end note cannot be read, and is dropped",
            "End notes can be read",
        )

    @property
    def problem(self) -> str:
        """
        Why notes are not read now; empty if they are.
        """
        return self._going.problem

    def start(self) -> None:
        """
        Begin.
        """
        self._going.start()

    async def stop(self) -> None:
        """
        Read no more; a group that has begun is ended first.
        """
        await self._going.stop()
        self._bad.end()

    async def _read(self) -> None:
        """
        Read until the connection is lost, or the database fails.
        """
        async with (
            self._broker.client() as (_, wire),
            temporary_channel(wire) as channel,
        ):
            await self._consume(wire, channel)
            while not (channel.closed or self._going.is_stopped):
                if self._came:
                    await self._take(channel)
                else:
                    await self._going.wait(self._wake)
            if channel.closed:
                raise channel.error()

    async def _consume(self, wire: Wire, channel: Channel) -> None:
        self._came, self._wake = deque(), Deferred()
        await _declare(wire)
        channel.on_message = self._received
        channel.on_cancel = partial(_shut, channel)
        channel.when_closed().addCallback(self._awake)
        await channel.call("basic_qos", prefetch_count=MOST_MESSAGES)
        await channel.call("basic_consume", queue=ENDED, consumer_tag="quebert.ended")
        if not self._is_refused:
            self._going.goes()

    def _received(self, message: Message) -> None:
        self._came.append(message)
        self._awake()

    def _awake(self, _: object = None) -> None:
        wake, self._wake = self._wake, Deferred()
        if not wake.called:
            wake.callback(None)

    async def _take(self, channel: Channel) -> None:
        """
        Take a group of the notes that are here.
        """
        group: list[Message] = []
        notes: list[EndNote] = []
        while self._came and len(notes) < MOST_NOTES:
            group.append(self._came.popleft())
            notes += self._notes(group[-1])
        self._is_refused = True
        if notes:
            await self._tasks.ended(notes)
        self._is_refused = False
        self._going.goes()
        for each in group:
            channel.ack(each.delivery_tag)

    def _notes(self, message: Message) -> Iterator[EndNote]:
        for line in message.body.split(b"\n"):
            try:
                yield decode_end_note(line)
            except ValueError as e:
                self.unreadable += 1
                self._bad.met(str(e))


async def _declare(wire: Wire) -> None:
    """
    Have the queue there.  One that somebody has declared otherwise is used as it is.
    """
    with suppress(MayNotLook):
        if await find_queue(wire, ENDED) is not None:
            return
    await declare_queue(wire, ENDED, CLASSIC)


def _shut(channel: Channel, consumer_tag: str) -> None:
    """
    The queue was deleted: have it declared anew.
    """
    Deferred.fromCoroutine(channel.shut())
