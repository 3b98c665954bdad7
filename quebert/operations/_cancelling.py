"""
Cancelling tasks, so that they are not attempted.

Theory of operation.  The result must be true, whatever a mediator does with the task
meanwhile.  So the steps have this order:

 1. The broker keeps that the task is cancelled (the register of
    L{quebert.amqp.coordination}): a mediator that starts later reads so before it
    consumes.
 2. All mediators are told, and answer whether they have the task.  From then on none of
    them begins an attempt at it.
 3. It is looked for where it may wait, in the order in which tasks go there: on the
    delay ladder, where delayed tasks arrive, and in its queue.  What is found there is
    in nobody else's hands, and is taken out.
 4. Where it was not found, the mediators are asked again: it may have come to one of
    them, which has dropped it.

A task was not attempted if a mediator had it and had not begun, or if it was found in
the broker, where no mediator had it before.  RabbitMQ tells whether a message was
delivered before (C{redelivered}): the mediator that had it may have lost its
connection in the middle of an attempt, and may not know yet.  So of such a task it is
not said that it is cancelled, but that it is marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from quebert.amqp import Message
from quebert.amqp.coordination import FIND, Answers, Question, ask_mediators
from quebert.amqp.queues import depth
from quebert.amqp.watch import identity_of
from quebert.amqp.wire import ENDS, FLIGHT
from quebert.errors import ConfigError, MayNotLook
from quebert.operations._access import BrokerAccess
from quebert.operations._cancel_events import CancelEvents
from quebert.operations._cancelled import Cancelled, of_held, of_nothing, of_taken
from quebert.operations._marking import Marking
from quebert.operations._taking import FEW, MOST, Taking, check_queue
from quebert.policy import ATTEMPTS

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.wire import Wire

__all__ = ["cancel"]

# Seconds in which a task comes from one queue to the next, nearly always, and between
# the further questions whether it has come to a mediator.
_MOVING = 0.25
_AGAIN = (0.3, 0.6, 1.0)


async def cancel(
    broker: BrokerAccess, queue: str, uuid: str, *, by: str = "", most: int = MOST
) -> Cancelled:
    """
    Cancel a task of C{queue}: no mediator begins an attempt at it.  One that is under
    way goes on, and is the last.  If the task comes within 30 days, or is added again,
    it is dropped.

    If this fails half-way, the task may be cancelled, and it can be called again.

    @param by: the name of the user, for the log and the history.
    @param most: how many delayed tasks are looked at, of all queues.
    @raise ConfigError: the uuid cannot be one, there is no such queue or it has too
        many cancelled tasks, or the URL is no AMQP URL.
    @raise BrokerError: the broker refuses, or is lost half-way.
    """
    if not uuid or len(uuid) > 255:
        raise ConfigError("a uuid has 1 to 255 characters")
    async with broker.client() as (client, wire):
        await check_queue(wire, queue)
        marking = Marking(client, wire, queue, by)
        cancelled = await _cancel(client, wire, queue, uuid, marking, most)
        await marking.kept()
        await marking.tidy()
    return cancelled


async def _cancel(
    client: TxAMQPClient,
    wire: Wire,
    queue: str,
    uuid: str,
    marking: Marking,
    most: int,
) -> Cancelled:
    answers = await marking.mark([uuid])
    held = of_held(uuid, answers)
    if held is not None:
        return held
    events = CancelEvents(client, wire, queue, marking.by)
    taking = Taking(client, wire, queue, events=events)
    found: list[bool | None] = []

    async def take(message: Message) -> bool:
        ours = identity_of(message.body)[0] == uuid
        if ours:
            found.append(_was_attempted(message))
        return ours

    async def take_from_queue(message: Message) -> bool:
        ours = await take(message)
        if ours and message.redelivered:
            found[-1] = None
        return ours

    if not await taking.from_ladder(take, most, first=True):
        await taking.from_arrivals(take)
    comes = await _has_consumers(wire, queue)
    if not found and not comes:
        await taking.from_queue(take_from_queue)
    if found:
        await events.publish()
        return of_taken(uuid, found, taking.problems)
    again = await _asked_again(wire, queue, uuid)
    held = of_held(uuid, again)
    if held is not None:
        return held
    waiting = await _waiting(wire, queue) if comes else 0
    if waiting:
        taking.problems.append(f"{waiting} messages wait in {queue}")
    return of_nothing(uuid, queue, again, taking.problems)


async def _asked_again(wire: Wire, queue: str, uuid: str) -> Answers:
    """
    Ask the mediators until one has the task, or it does not come any more: twice at
    least, since the task may be on its way from the delay ladder to its queue.
    """
    for seconds in (_MOVING, *_AGAIN):
        answers = await ask_mediators(wire, queue, Question(FIND, (uuid,)))
        waiting = await _waiting(wire, queue)
        comes = await _has_consumers(wire, queue) and 0 < waiting <= FEW
        if any(answers.of(uuid)) or not (comes or seconds == _MOVING):
            return answers
        await deferLater(wire.clock, seconds)
    return await ask_mediators(wire, queue, Question(FIND, (uuid,)))


async def _waiting(wire: Wire, queue: str) -> int:
    try:
        found = await depth(wire, queue)
    except MayNotLook:
        return 0
    return found.ready if found is not None else 0


async def _has_consumers(wire: Wire, queue: str) -> bool:
    """
    Whether tasks that wait in C{queue} are on their way to mediators.
    """
    try:
        found = await depth(wire, queue)
    except MayNotLook:
        return True
    return found is not None and found.consumers > 0


def _was_attempted(message: Message) -> bool | None:
    """
    Whether a task was attempted that no mediator has; C{None} if that may be.
    """
    if message.number_in(ENDS) > 0 or message.text_in(FLIGHT):  # a copy
        return None
    return message.number_in(ATTEMPTS) > 0
