"""
Finds tasks that wait in the broker, and takes them out: from the delay ladder, from
where delayed tasks arrive, and from their queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from quebert._lanes import all_of
from quebert.amqp import Message, TxAMQPClient
from quebert.amqp.coordination import Cancellation
from quebert.amqp.delays import LadderSearch, arrivals_of
from quebert.amqp.queues import browse, depth
from quebert.amqp.watch import (
    EndNotes,
    callback_message,
    identity_of,
    wants_end_note,
)
from quebert.errors import BrokerError, MayNotLook, NoSuchQueue
from quebert.operations._access import publish_confirmed
from quebert.operations._progress import Progress
from quebert.operations._refusals import no_stream
from quebert.outcome import CANCELLED, Discard
from quebert.task_callbacks import callback_in

if TYPE_CHECKING:
    from quebert.amqp.link import Publisher
    from quebert.amqp.wire import Wire
    from quebert.operations._cancel_events import CancelEvents

__all__ = ["FEW", "MOST", "Taking", "check_queue"]

#: How many tasks of the ladder are looked at, unless told otherwise.
MOST = 2_000
#: A queue with more messages is not looked through for the sake of one.
FEW = 1_000
# Seconds after which it is told again that messages go back in good order.
_IN_ORDER = 30.0

#: Called with a message; tells whether it is to leave.
Take = Callable[[Message], Awaitable[bool]]


@attrs.define(eq=False)
class Taking:
    """
    @ivar client: of the broker.
    @ivar queue: of the tasks.
    @ivar progress: is told how many were looked at, and how many were taken.
    @ivar problems: why not all were looked at; sentences.
    @ivar events: are told of what is taken; C{None} where it is not cancelled.
    """

    client: TxAMQPClient
    wire: Wire
    queue: str
    progress: Progress = attrs.field(factory=Progress)
    problems: list[str] = attrs.field(factory=list)
    events: CancelEvents | None = None
    _publisher: Publisher = attrs.field(init=False)
    _end_notes: EndNotes = attrs.field(init=False)
    _told_at: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._publisher = self.client.make_publisher()
        self._end_notes = EndNotes(self.queue, self.client.now)

    async def publish(self, queue: str, body: bytes, properties: bytes) -> None:
        """
        Publish to a queue; returns when the broker has confirmed it.

        @raise BrokerError: the broker does not take it.
        """
        await publish_confirmed(self.client, self._publisher, queue, body, properties)

    async def from_ladder(self, take: Take, most: int, *, first: bool) -> bool:
        """
        Take delayed tasks, and those that wait there to be tried again.

        @param most: how many messages are looked at.
        @param first: whether one is enough.
        @return: whether any was taken.
        @raise BrokerError: the connection was lost, or the broker takes no messages.
        """
        client, taken = self.client, False
        failed: BrokerError | None = None
        search = LadderSearch(
            self.wire, client.ladder, self._publisher, client.now, most, client.spare
        )

        async def visit(message: Message) -> bool:
            nonlocal taken, failed
            try:
                is_of_queue = message.routing_key == self.queue
                ours = is_of_queue and await self._takes(take, message)
            except BrokerError as e:
                failed = e
                raise
            await self._step(message, ours)
            if ours:
                taken = True
                if first:
                    search.stop()
            return ours

        try:
            await search.through(visit)
        except BrokerError as e:
            if failed is not None or self.wire.closed:
                raise
            self.problems.append(f"not all delayed tasks can be looked at: {e}")
        if search.unseen and not (taken and first):
            self.problems.append(
                f"{search.unseen} of {search.total} delayed tasks, of all queues, were"
                " not looked at"
            )
        return taken

    async def from_arrivals(self, take: Take, most: int = FEW) -> bool:
        """
        Take those that have come from a rung, and that no mediator has brought to the
        queue or the next rung.

        @param most: with more messages than that, none is looked at.
        """
        return await self._from(arrivals_of(self.queue), take, most)

    async def from_queue(self, take: Take, most: int = FEW) -> bool:
        """
        Take those that wait in the queue.

        @param most: with more messages than that, none is looked at.
        """
        return await self._from(self.queue, take, most)

    async def _from(self, queue: str, take: Take, most: int) -> bool:
        try:
            found = await depth(self.wire, queue)
        except MayNotLook as e:
            self.problems.append(f"not all can be seen: {e}")
            return False
        if found is None or not found.ready:
            return False
        if found.ready > most:
            self.problems.append(
                f"{found.ready} messages wait in {queue}, too many to look at"
            )
            return False
        await self._tell_in_order()
        taken = 0
        self.progress.total += found.ready

        async def visit(message: Message) -> bool:
            nonlocal taken
            if self.wire.clock.seconds() > self._told_at + _IN_ORDER:
                await self._tell_in_order()
            ours = await self._takes(take, message)
            taken += ours
            await self._step(message, ours)
            return ours

        async def replace(message: Message, properties: bytes) -> None:
            await self.publish(queue, message.body, properties)

        browsing = browse(self.wire, queue, found.ready, replace, to_the_end=True)
        async with browsing as going:
            with no_stream(queue):
                await going.through(visit)
        return taken > 0

    async def _tell_in_order(self) -> None:
        """
        Tell mediators that what goes back was given back in good order: no mediator has
        ended with it.
        """
        self._told_at = self.wire.clock.seconds()
        await self.client.suspects.end_in_order(self.wire, self.queue)

    async def _takes(self, take: Take, message: Message) -> bool:
        """
        Whether a message is to leave.  If its task is cancelled then, and somebody
        wants to know the end of the task, or the task has a callback, that is told
        first.

        @raise BrokerError: it cannot be told.
        """
        ours = await take(message)
        if ours and self.events is not None:
            await self._tell_cancelled(message, self.events.by)
        return ours

    async def _tell_cancelled(self, message: Message, by: str) -> None:
        callback, is_noted = callback_in(message.body), wants_end_note(message)
        if callback is None and not is_noted:
            return
        uuid, _ = identity_of(message.body)
        why = Cancellation(uuid, self.client.now(), by).reason
        note = self._end_notes.note(message, Discard(why, CANCELLED))
        if callback is not None:
            told = callback_message(callback, note, message.encoded_properties)
            await self.publish(self.queue, *told)
        if is_noted:
            await self._end_notes.publish(self.wire, self._send, note)

    async def note_ends(self, messages: Sequence[Message], outcome: Discard) -> None:
        """
        Publish the end notes of tasks before they leave.  Their callback tasks are not
        published: a purge would leave as many tasks in its queue, or drop them, too.

        @raise BrokerError: RabbitMQ does not take them.
        """
        await all_of(
            self._end_notes.publish(
                self.wire, self._send, self._end_notes.note(each, outcome)
            )
            for each in messages
            if wants_end_note(each)
        )

    async def _send(
        self, exchange: str, queue: str, body: bytes, properties: bytes
    ) -> None:
        assert not exchange
        await self.publish(queue, body, properties)

    async def _step(self, message: Message, taken: bool) -> None:
        if taken and self.events is not None:
            await self.events.taken(message)
        self.progress.seen += 1
        self.progress.done += taken
        self.progress.watch(self.progress)


async def check_queue(wire: Wire, queue: str) -> None:
    """
    @raise NoSuchQueue: there is no such queue.
    """
    with suppress(MayNotLook):
        if await depth(wire, queue) is None:
            raise NoSuchQueue(f"there is no queue {queue!r}")
