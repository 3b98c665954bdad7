"""
Asks all mediators of a queue about tasks, and collects their answers.

Theory of operation.  AMQP does not tell how many got a question.  But the broker counts
the consumers of the queue, and each mediator tells in its answer how many of these it
has.  So it is known whether a consumer is silent: a mediator that has lost its
connection without knowing, one that is too busy, an older version, or another program.
A mediator whose queue is paused has no consumer, and may have tasks still; so answers
are awaited for a moment after the last one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination._pause_sign import CONTROL
from quebert.amqp.coordination._question import (
    MediatorAnswer,
    Question,
    answer_from_plain,
    question_to_plain,
)
from quebert.amqp.queues import CLASSIC, depth
from quebert.amqp.wire import Channel, Unconfirmed
from quebert.errors import BrokerError, MayNotLook, ReplyCode, Unroutable

if TYPE_CHECKING:
    from quebert.amqp.watch import HeldTask
    from quebert.amqp.wire import Message, Wire

__all__ = ["PATIENCE", "Answers", "ask_mediators"]

#: Seconds in which all mediators must answer.
PATIENCE = 2.0
# Seconds for which nobody has answered any more, ...
_QUIET = 0.1
# ... and where the broker counts no consumers.
_QUIET_WITHOUT = 0.5
_STEP = 0.02


@attrs.frozen
class Answers:
    """
    What mediators answered.

    @ivar answers: one of each mediator.
    @ivar silent: how many consumers of the queue have not answered; C{None} if the user
        may not see how many there are.
    """

    answers: tuple[MediatorAnswer, ...] = ()
    silent: int | None = 0

    def of(self, uuid: str) -> Iterator[tuple[str, HeldTask]]:
        """
        Who has a task, by their names, and what each tells of it.
        """
        for answer in self.answers:
            for each in answer.tasks:
                if each.uuid == uuid:
                    yield answer.mediator, each


async def ask_mediators(
    wire: Wire, queue: str, question: Question, patience: float = PATIENCE
) -> Answers:
    """
    Ask the mediators of C{queue}.

    @param patience: seconds in which they must answer.
    @raise BrokerError: they cannot be asked.
    """
    before = await _consumers(wire, queue)
    channel = await wire.open_channel()
    try:
        asking = _Asking(channel)
        await asking.listen()
        if await asking.ask(queue, question):
            await asking.collect(before, patience)
    finally:
        Deferred.fromCoroutine(channel.shut())
    after = await _consumers(wire, queue)
    silent = None
    if before is not None and after is not None:
        silent = max(0, min(before, after) - asking.consumers)
    return Answers(tuple(asking.answers), silent)


async def _consumers(wire: Wire, queue: str) -> int | None:
    try:
        found = await depth(wire, queue)
    except MayNotLook:
        return None
    return found.consumers if found is not None else 0


class _Asking:
    """
    One question.

    @param channel: in confirm mode.
    @ivar answers: those that have come.
    """

    def __init__(self, channel: Channel) -> None:
        self.answers: list[MediatorAnswer] = []
        self._channel = channel
        self._clock = channel.client.clock
        self._name = f"{CONTROL}.answers.{uuid.uuid4()}"
        self._last = 0.0

    @property
    def consumers(self) -> int:
        """
        How many consumers those have that have answered.
        """
        return sum(each.consumers for each in self.answers)

    async def listen(self) -> None:
        """
        Make the queue for the answers, which lasts as long as the connection.
        """
        channel = self._channel
        channel.on_message = self._received
        channel.on_cancel = lambda tag: None
        own = {"queue": self._name, "exclusive": True, "auto_delete": True}
        await channel.call("queue_declare", **own, arguments=CLASSIC)
        await channel.call("basic_consume", queue=self._name)

    def _received(self, message: Message) -> None:
        self._channel.ack(message.delivery_tag)
        answer = answer_from_plain(message.body)
        if answer is not None:
            self.answers.append(answer)
            self._last = self._clock.seconds()

    async def ask(self, queue: str, question: Question) -> bool:
        """
        Publish the question.

        @return: whether anybody hears it.
        @raise BrokerError: the broker does not take it.
        """
        properties = encode_properties({"reply-to": self._name})
        body = question_to_plain(question)
        published = self._channel.publish(CONTROL, queue, body, properties)
        published.addTimeout(PATIENCE, self._clock, self._too_late)
        try:
            await published
        except Unroutable:
            return False
        except Unconfirmed as e:
            # A mediator makes the exchange; the channel is closed if there is none.
            if e.refusal is None or e.refusal.code != ReplyCode.NOT_FOUND:
                raise
            return False
        self._last = self._clock.seconds()
        return True

    def _too_late(self, result: object, seconds: float) -> object:
        why = self._channel.client.blocked or f"no answer within {seconds:g} s"
        raise BrokerError(f"RabbitMQ takes no messages now: {why}")

    async def collect(self, consumers: int | None, patience: float) -> None:
        """
        Wait for answers.

        @param consumers: how many consumers are to answer; C{None} if nobody knows.
        """
        end = self._clock.seconds() + patience
        quiet = _QUIET if consumers else _QUIET_WITHOUT
        while (now := self._clock.seconds()) < end:
            all_told = consumers is not None and self.consumers >= consumers
            if all_told and now >= self._last + quiet:
                return
            try:
                await deferLater(self._clock, _STEP)
            except CancelledError:
                return
