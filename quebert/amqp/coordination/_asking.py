"""
Asks all mediators of a queue about tasks, and collects their answers.

Theory of operation.  AMQP does not tell how many got a question.  But the broker counts
the consumers of the queue, and each mediator tells in its answer how many of these it
has.  So it is known whether a consumer is silent: a mediator that has lost its
connection without knowing, one that is too busy, an older version, or another program.

The consumers are counted when all who hear the question have got it.  A mediator that
consumes then, and has not heard it, began to listen later, and so has read what was
written down before the question.  It does not answer, so the question is asked again.

A mediator whose queue is paused has no consumer, and may have tasks still.  Whoever
wants to know of these waits for a moment after the last answer, or knows such mediators
from the questions before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from quebert._protocol.properties import encode_properties
from quebert._waiters import Waiters
from quebert.amqp.coordination._pause_sign import CONTROL
from quebert.amqp.coordination._question import (
    MediatorAnswer,
    Question,
    answer_from_plain,
    question_to_plain,
)
from quebert.amqp.queues import CLASSIC, depth
from quebert.amqp.wire import Channel, Unconfirmed
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    MayNotLook,
    ReplyCode,
    Unroutable,
)

if TYPE_CHECKING:
    from quebert.amqp.watch import HeldTask
    from quebert.amqp.wire import Message, Wire

__all__ = ["PATIENCE", "Answers", "Asker", "ask_mediators"]

#: Seconds in which all mediators must answer.
PATIENCE = 2.0
# Seconds for which nobody has answered any more, ...
_QUIET = 0.1
# ... and where the broker counts no consumers.
_QUIET_WITHOUT = 0.5
# Seconds after which the question is asked again.
_AGAIN = 0.5
# Seconds for which it is known which mediators answer, and for which those that do not
# are not waited for.
_REMEMBERED = 600.0
_SILENT = 30.0


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

    @property
    def older(self) -> int:
        """
        How many mediators of an older version there are.
        """
        return sum(each.cancelled is None for each in self.answers)

    @property
    def cancelled(self) -> int:
        """
        How many cancelled tasks mediators know.
        """
        return max((each.cancelled or 0 for each in self.answers), default=0)

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
    Ask the mediators of C{queue}, once; also those whose queue is paused.

    @param patience: seconds in which they must answer.
    @raise BrokerError: they cannot be asked.
    """
    asker = Asker(wire)
    try:
        await asker.begin()
        return await asker.ask(queue, question, patience)
    finally:
        asker.end()


@attrs.frozen
class _Remembered:
    """
    What is known of the mediators of a queue from the questions before.

    @ivar until: the reactor's seconds; then all are waited for again.
    @ivar names: those who have answered.
    @ivar silent: how many consumers have not.
    """

    until: float
    names: frozenset[str]
    silent: int


@attrs.define(eq=False)
class _AskingRound:
    """
    A question that is being answered.

    @ivar answers: by the names of the mediators.
    @ivar last: when the last one came, or the question was asked.
    @ivar came: fires when an answer comes.
    """

    answers: dict[str, MediatorAnswer] = attrs.field(factory=dict)
    last: float = 0.0
    came: Waiters[None] = attrs.field(factory=Waiters)

    @property
    def consumers(self) -> int:
        """
        How many consumers those have that have answered.
        """
        return sum(each.consumers for each in self.answers.values())


class Asker:
    """
    Asks any number of questions over one connection.

    @ivar wire: the connection.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._clock = wire.clock
        self._name = f"{CONTROL}.answers.{uuid.uuid4()}"
        self._channel: Channel | None = None
        self._number = 0
        self._rounds: dict[str, _AskingRound] = {}
        self._remembered: dict[str, _Remembered] = {}

    @property
    def is_lost(self) -> bool:
        """
        Whether another one has to ask.
        """
        return self._channel is None or self._channel.closed

    async def begin(self) -> None:
        """
        Make the queue for the answers, which lasts as long as the connection.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        self._channel = channel = await self.wire.open_channel()
        channel.on_message = self._received
        channel.on_cancel = lambda tag: self.end()
        own = {"queue": self._name, "exclusive": True, "auto_delete": True}
        await channel.call("queue_declare", **own, arguments=CLASSIC)
        await channel.call("basic_consume", queue=self._name)

    def end(self) -> None:
        """
        Ask no more.
        """
        channel, self._channel = self._channel, None
        if channel is not None:
            Deferred.fromCoroutine(channel.shut())

    def _received(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.ack(message.delivery_tag)
        answer = answer_from_plain(message.body)
        if answer is None:
            return
        id = answer.id
        if answer.cancelled is None and len(self._rounds) == 1:
            [id] = self._rounds  # an older version does not tell which question it is
        if id in self._rounds:
            this = self._rounds[id]
            this.answers[answer.mediator] = answer
            this.last = self._clock.seconds()
            this.came.fire(None)

    async def ask(
        self,
        queue: str,
        question: Question,
        patience: float = PATIENCE,
        *,
        at_once: bool = False,
    ) -> Answers:
        """
        Ask the mediators of C{queue}.

        @param patience: seconds in which they must answer.
        @param at_once: whether to wait for those alone who have answered before, and
            for all others only now and then.
        @raise BrokerError: they cannot be asked.
        """
        self._number += 1
        question = attrs.evolve(question, id=str(self._number))
        known = self._known(queue) if at_once else None
        this = self._rounds[question.id] = _AskingRound()
        try:
            heard = await self._publish(queue, question)
            this.last = self._clock.seconds()
            count = await self._consumers(queue)
            if heard:
                end = self._clock.seconds() + patience
                await self._collect(queue, question, this, count, end, known)
            if count is not None and count > this.consumers:  # some may have ended
                now = await self._consumers(queue)
                count = None if now is None else min(count, now)
        finally:
            del self._rounds[question.id]
        silent = None if count is None else max(0, count - this.consumers)
        self._remember(queue, this, silent or 0, known)
        return Answers(tuple(this.answers.values()), silent)

    def _known(self, queue: str) -> _Remembered | None:
        known = self._remembered.get(queue)
        is_new = known is not None and self._clock.seconds() < known.until
        return known if is_new else None

    def _remember(
        self, queue: str, this: _AskingRound, silent: int, known: _Remembered | None
    ) -> None:
        until = self._clock.seconds() + (_SILENT if silent else _REMEMBERED)
        if silent and known is not None:  # they were not waited for
            until = min(until, known.until)
        self._remembered[queue] = _Remembered(until, frozenset(this.answers), silent)

    async def _consumers(self, queue: str) -> int | None:
        try:
            found = await depth(self.wire, queue)
        except MayNotLook:
            return None
        return found.consumers if found is not None else 0

    async def _publish(self, queue: str, question: Question) -> bool:
        """
        Publish the question.

        @return: whether anybody hears it.
        @raise BrokerError: the broker does not take it.
        """
        if self._channel is None:
            raise ChannelLost("the queue for the answers is gone")
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
        except BrokerRefused as e:  # it was closed by the question before
            if e.code != ReplyCode.NOT_FOUND:
                raise
            return False
        return True

    def _too_late(self, result: object, seconds: float) -> object:
        why = self.wire.blocked or f"no answer within {seconds:g} s"
        raise BrokerError(f"RabbitMQ takes no messages now: {why}")

    async def _collect(
        self,
        queue: str,
        question: Question,
        this: _AskingRound,
        consumers: int | None,
        end: float,
        known: _Remembered | None,
    ) -> None:
        """
        Wait for answers, and ask again where some are missing.

        @param consumers: how many consumers are to answer; C{None} if nobody knows.
        @param end: when nobody waits any more, in seconds of the reactor.
        @param known: who answers, as far as that is known.
        """
        quiet = _QUIET if consumers else _QUIET_WITHOUT
        again, pause = self._clock.seconds() + _AGAIN, _AGAIN
        silent = 0 if known is None else known.silent
        while True:
            now = self._clock.seconds()
            told = consumers is not None and this.consumers >= consumers - silent
            if told and known is not None and known.names <= this.answers.keys():
                return
            until = min(end, this.last + quiet if told else again)
            if now >= until:
                if told or now >= end:
                    return
                pause *= 2
                again = now + pause
                await self._publish(queue, question)
                count = await self._consumers(queue)
                if consumers is not None and count is not None:  # some may have ended
                    consumers = min(consumers, count)
                continue
            waiting = this.came.wait().addTimeout(until - now, self._clock)
            with suppress(TimeoutError):
                await waiting
