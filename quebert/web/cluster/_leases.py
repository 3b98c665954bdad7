"""
The leases of executors, as C{quebert web} keeps them: their rows, in the database of
created tasks, and the way of their messages from RabbitMQ and back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._protocol.properties import decode_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp import Message
from quebert.amqp.watch import callback_message
from quebert.errors import BrokerError, Unroutable
from quebert.leases import LeasedMessage, LeaseRows, Leases, received
from quebert.operations import BrokerAccess
from quebert.policy import LEASES, History
from quebert.signatures import LeaseIDs
from quebert.task_callbacks import callback_in
from quebert.task_ends import ENDED, EndNote, encode_end_note, sent_at
from quebert.web.cluster._keep_going import KeepGoing
from quebert.web.cluster._queue_reader import QueueReader
from quebert.web.cluster._task_broker import PERSISTENT, PublishedTasks

__all__ = ["LeaseKeeper"]

# Seconds until it is seen again whether a lease has run out.
_PACE = 1.0


class LeaseKeeper:
    """
    Keeps leases.

    @param published: publishes messages.
    @param ids: tells which messages are those of leases of ours.
    @param now: gives the seconds since the epoch.
    @param leads: whether this process goes on with leases that have run out, of those
        that have the rows.
    @ivar leases: the leases.
    @ivar unreadable: how many messages were dropped, since they are no leases of ours.
    """

    log = Logger()

    def __init__(
        self,
        broker: BrokerAccess,
        rows: LeaseRows,
        published: PublishedTasks,
        ids: LeaseIDs,
        now: Callable[[], float],
        leads: Callable[[], Awaitable[bool]],
    ) -> None:
        self.unreadable = 0
        self._leads = leads
        self.leases = Leases(rows, _LeasePublisher(published, now), now)
        self._reactor = broker.reactor
        self._ids = ids
        self._reader = QueueReader(
            broker, LEASES, self._take, self.log, "Messages of leased tasks"
        )
        self._bad = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            f"A message of {LEASES} is none of a lease of ours, and is dropped",
            f"The messages of {LEASES} are of leases of ours",
        )
        self._foreign = RepeatedWarning(
            self.log,
            lambda: broker.reactor,
            "A task is leased by a secret that is not here: its executor cannot reach"
            " its lease, and it is attempted again when that runs out",
            "Tasks are leased by secrets that are here",
        )
        self._going = KeepGoing(
            self._go_on,
            broker.reactor,
            self.log,
            "Leases that have run out cannot be gone on with",
            "Leases that have run out are gone on with again",
            "",
        )

    @property
    def problems(self) -> Sequence[str]:
        """
        Why leases do not go on; sentences.
        """
        return [each for each in (self._reader.problem, self._going.problem) if each]

    def start(self) -> None:
        """
        Begin.
        """
        self._reader.start()
        self._going.start()

    async def stop(self) -> None:
        """
        End.  The next process goes on.
        """
        await self._going.stop()
        await self._reader.stop()
        self._bad.end()
        self._foreign.end()

    async def _take(self, messages: Sequence[Message]) -> int:
        leased: list[LeasedMessage] = []
        for each in messages:
            try:
                lease = received(each, each.encoded_properties, self._ids)
            except ValueError as e:
                self.unreadable += 1
                self._bad.met(str(e))
                continue
            leased.append(lease)
            if self._ids.identity(lease.id) is None:
                self._foreign.met("see secrets_file of [leases]")
        if leased:
            await self.leases.held(leased)
        return len(messages)

    async def _go_on(self) -> None:
        while not self._going.is_stopped:
            done = await self.leases.go_on() if await self._leads() else 0
            self._going.goes()
            pace = 0.0 if done else _PACE
            await self._going.wait(deferLater(self._reactor, pace))


class _LeasePublisher:
    """
    RabbitMQ, for leases: a L{LeaseBroker<quebert.leases.LeaseBroker>}.
    """

    log = Logger()

    def __init__(self, published: PublishedTasks, now: Callable[[], float]) -> None:
        self._published = published
        self._now = now

    async def put_back(
        self, messages: Sequence[LeasedMessage]
    ) -> Sequence[BrokerError | None]:
        """
        Publish messages to their queues.
        """
        return await self._published.publish_messages(
            [("", each.queue, each.body, each.properties) for each in messages]
        )

    async def tell_end(self, messages: Sequence[LeasedMessage]) -> None:
        """
        Publish the callback tasks and the end notes of those messages that ask for one.
        """
        told = [own for each in messages for own in self._told(each)]
        if not told:
            return
        problems = await self._published.publish_messages(told)
        for (_, queue, *_), problem in zip(told, problems, strict=True):
            if isinstance(problem, Unroutable) and queue != ENDED:
                self.log.warn(
                    "A callback task is dropped, as its queue {queue!r} was deleted",
                    queue=queue,
                )
            elif problem is not None:
                raise problem

    def _told(self, message: LeasedMessage) -> Iterator[tuple[str, str, bytes, bytes]]:
        callback, asks = callback_in(message.body), _asks(message)
        if callback is None and not asks:
            return
        note = self._note(message)
        if callback is not None:
            own = callback_message(callback, note, message.properties)
            yield ("", message.queue, *own)
        if asks:
            yield "", ENDED, encode_end_note(note), PERSISTENT

    def _note(self, message: LeasedMessage) -> EndNote:
        properties = decode_properties(message.properties)
        history = History.read(properties.get("headers") or {})
        known = history.attempts > 0
        return EndNote(
            uuid=message.uuid,
            queue=message.queue,
            outcome="done",
            ended=self._now(),
            status=history.status,
            attempts=history.attempts,
            answers=history.answers,
            first_attempt=history.first if known else None,
            last_attempt=history.last if known else None,
            sent=sent_at(properties),
        )


def _asks(message: LeasedMessage) -> bool:
    return decode_properties(message.properties).get("reply-to") == ENDED
