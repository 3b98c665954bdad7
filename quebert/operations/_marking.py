"""
Has the broker and all mediators know that tasks are cancelled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from quebert.amqp.coordination import (
    CANCEL,
    FIND,
    MOST_CANCELLED,
    PERSISTENT,
    REMEMBERED,
    Answers,
    Asker,
    Cancellation,
    Question,
    add_cancelled,
    ask_mediators,
    read_cancelled,
    register_of,
)
from quebert.amqp.queues import depth
from quebert.errors import BrokerError, ConfigError, MayNotLook

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.link import Publisher
    from quebert.amqp.wire import Wire

__all__ = ["Marking"]

# Messages of a register that are replaced by fewer, and after how many it is looked
# whether there are so many.
_MANY = 1_000
_LOOK = 250
# Seconds in which there must be a connection for what is published.
_CONNECT = 10.0


class Marking:
    """
    Marks tasks of one queue.

    @ivar by: who cancels them.
    """

    def __init__(
        self,
        client: TxAMQPClient,
        wire: Wire,
        queue: str,
        by: str = "",
        publisher: Publisher | None = None,
    ) -> None:
        self._client = client
        self._wire = wire
        self._queue = queue
        self._publisher = publisher or client.make_publisher()
        self._known = 0  # how many cancelled tasks the queue has, about
        self._added = 0  # messages
        self.by = by

    async def mark(self, uuids: Collection[str]) -> Answers:
        """
        Returns when the broker keeps it, and mediators have answered.

        @raise ConfigError: mediators know too many cancelled tasks already.
        """
        now = self._client.now()
        some = tuple(Cancellation(each, now, self.by) for each in uuids)
        await self.keep(some)
        question = Question(CANCEL, tuple(uuids), some)
        return self._answered(await ask_mediators(self._wire, self._queue, question))

    async def mark_at_once(self, some: Sequence[Cancellation], asker: Asker) -> Answers:
        """
        The same of tasks about which nobody wants to know more than the mediators tell
        at once that have answered before.
        """
        await self.keep(some)
        question = Question(CANCEL, tuple(each.uuid for each in some), tuple(some))
        asking = asker.ask(self._queue, question, at_once=True)
        return self._answered(await asking)

    def _answered(self, answers: Answers) -> Answers:
        if answers.answers:
            self._known = answers.cancelled
        return answers

    async def keep(self, some: Sequence[Cancellation]) -> None:
        """
        Returns when the broker keeps it.

        @raise ConfigError: there are too many.
        """
        queue = self._queue
        if self._known + len(some) > MOST_CANCELLED:
            await self._count()
        if self._known + len(some) > MOST_CANCELLED:
            raise ConfigError(
                f"queue {queue!r} has {self._known} cancelled tasks, and may have"
                f" {MOST_CANCELLED}: they are forgotten a day after a mediator has"
                f" dropped them, or {REMEMBERED / 86_400:.0f} days after they were due"
            )
        if await add_cancelled(self._wire, queue, some, self._publish):
            new_queues = self._client.ladder.new_queues
            new_queues.declared(self._wire, register_of(queue), None)
        self._known += len(some)
        self._added += 1

    async def _count(self) -> None:
        """
        Learn how many cancelled tasks the queue has.
        """
        answers = await ask_mediators(self._wire, self._queue, Question(FIND, ()))
        self._answered(answers)
        if not answers.answers:
            await self._read()

    async def _read(self) -> None:
        """
        Read the register, which is written anew then if that is needed.  Nothing is
        published over the connection for that: RabbitMQ may read nothing more from one
        that publishes, and who could not end then would have the register for itself.
        """
        now, wire = self._client.now(), self._wire
        wire = await self._client.spare.instead_of(wire)
        known = await read_cancelled(wire, self._queue, now, self._publish)
        self._known = len(known)

    async def kept(self) -> None:
        """
        Returns once the broker keeps it also if it is killed.
        """
        await self._client.ladder.new_queues.old(self._wire, register_of(self._queue))

    async def tidy(self) -> None:
        """
        Have fewer messages tell the same, where they are many.
        """
        self._added = 0
        with suppress(BrokerError, MayNotLook):  # the next one does it
            found = await depth(self._wire, register_of(self._queue))
            if found is not None and found.ready > _MANY:
                await self._read()

    @property
    def is_to_tidy(self) -> bool:
        """
        Whether L{tidy} is to be called now.
        """
        return self._added >= _LOOK

    async def _publish(self, queue: str, body: bytes) -> None:
        await self._publisher.publish("", queue, body, PERSISTENT, _CONNECT)
