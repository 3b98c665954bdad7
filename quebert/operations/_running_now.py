"""
Has a task run whose time has not come: it was delayed, or waits to be tried again.

A task that waits on the delay ladder is fetched there, published to its queue with a
header that has mediators heed no C{run_at}, and acknowledged once the broker has
confirmed it in the queue.  A program that is killed in between leaves it in both
places: it runs now, and again when its time comes.  One that waits in its queue, which
nobody consumes now, gets the header likewise.

A mediator may be about to put the task onto the ladder: then it is looked for again
until it is there.  That takes L{NEW<quebert.amqp.queues.NewQueues>} seconds and more
where the ladder is new.

The queue counts as old (see L{NewQueues<quebert.amqp.queues.NewQueues>}): the task has
come from there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import deferLater

from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert.amqp import Message
from quebert.amqp.coordination import RETRY_NOW, Answers, Question, ask_mediators
from quebert.amqp.delays import due_in
from quebert.amqp.queues import depth
from quebert.amqp.watch import (
    DROPPED,
    RETRYING,
    RETURNING,
    RUNNING,
    HeldTask,
    identity_of,
)
from quebert.amqp.wire import DELAY, IN_QUESTION, NOT_BEFORE, RUN_NOW
from quebert.errors import BadTask, BrokerError, ConfigError, MayNotLook
from quebert.operations._access import BrokerAccess
from quebert.operations._cancelled import NOT_FOUND
from quebert.operations._taking import MOST, Taking, check_queue
from quebert.task import decode, schedule

if TYPE_CHECKING:
    from quebert.amqp import TxAMQPClient
    from quebert.amqp.wire import Wire

__all__ = ["NOT_DELAYED", "RUNS_NOW", "RunNow", "run_now"]

#: It is in its queue, or a mediator begins it.
RUNS_NOW = "running"
#: Nothing but its turn has it wait, it runs already, or it is cancelled.
NOT_DELAYED = "not_delayed"
# Seconds for which a task is looked for that a mediator is about to have wait, and
# between two looks; and how often any task is, which may just have come to a mediator.
_PATIENCE, _AGAIN, _LOOKS = 8.0, 0.5, 3


@attrs.frozen
class RunNow:
    """
    What came of having a task run now.

    @ivar uuid: of the task.
    @ivar result: L{RUNS_NOW}, L{NOT_DELAYED} or C{"not_found"}.
    @ivar text: the same in a sentence.
    @ivar problems: what could not be seen; sentences.
    """

    uuid: str
    result: str
    text: str
    problems: tuple[str, ...] = ()


async def run_now(
    broker: BrokerAccess, queue: str, uuid: str, *, most: int = MOST
) -> RunNow:
    """
    Have a delayed task of C{queue}, or one that waits to be tried again, run now, as
    soon as it is its turn.  If this fails half-way, the task may run now, and again
    when its time comes; it is never lost.

    @param most: how many delayed tasks are looked at, of all queues.
    @raise ConfigError: the uuid cannot be one, there is no such queue, or the URL is no
        AMQP URL.
    @raise BrokerError: the broker does not do it, or nobody knows.
    """
    if not uuid or len(uuid) > 255:
        raise ConfigError("a uuid has 1 to 255 characters")
    async with broker.client() as (client, wire):
        await check_queue(wire, queue)
        return await _run_now(client, wire, queue, uuid, most)


async def _run_now(
    client: TxAMQPClient, wire: Wire, queue: str, uuid: str, most: int
) -> RunNow:
    deadline = wire.clock.seconds() + _PATIENCE
    looks = 0
    while True:
        answers = await ask_mediators(wire, queue, Question(RETRY_NOW, (uuid,)))
        held = list(answers.of(uuid))
        for mediator, task in held:
            if task.state != RETURNING:
                return _of_held(uuid, mediator, task)
        is_over = wire.clock.seconds() >= deadline
        if not held or is_over:
            looks += 1
            found = await _wherever(Taking(client, wire, queue), uuid, answers, most)
            if found.result != NOT_FOUND or looks >= _LOOKS or is_over:
                return found
        await deferLater(wire.clock, _AGAIN)


async def _wherever(taking: Taking, uuid: str, answers: Answers, most: int) -> RunNow:
    """
    Have a task run that no mediator has.
    """
    client, queue = taking.client, taking.queue

    async def take(message: Message) -> bool:
        if _is_in_question(message) or identity_of(message.body)[0] != uuid:
            return False
        await taking.publish(queue, message.body, _at_once(message, client.now()))
        return True

    if await taking.from_ladder(take, most, first=True):
        found = await depth(taking.wire, queue)
        text = f"it waited for its time, and is in {queue} now"
        if found is None or not found.consumers:
            text += ", which no mediator consumes"
        return RunNow(uuid, RUNS_NOW, text)
    return await _in_queue(taking, uuid, answers)


async def _in_queue(taking: Taking, uuid: str, answers: Answers) -> RunNow:
    """
    Have a task run that no mediator has seen yet; or say why it waits.
    """
    seen = False
    queue, problems = taking.queue, taking.problems

    async def look(message: Message) -> bool:
        nonlocal seen
        ours = identity_of(message.body)[0] == uuid
        seen = seen or ours
        return ours

    async def take(message: Message) -> bool:
        now = taking.client.now()
        if _is_in_question(message):  # it is asked for again
            return False
        if not await look(message) or not _is_early(message, now):
            return False
        await taking.publish(queue, message.body, _at_once(message, now))
        return True

    if answers.silent == 0 and await _is_idle(taking):  # nobody takes it meanwhile
        # What arrives is due, or is on its way from one rung to the next.
        is_taken = await taking.from_arrivals(take)
        if not seen:
            is_taken = await taking.from_queue(take)
        if is_taken:
            text = f"it waits in {queue} for a mediator, and not for its time any more"
            return RunNow(uuid, RUNS_NOW, text, tuple(problems))
    if seen:
        text = f"it waits in {queue} for a mediator, and for nothing else"
        return RunNow(uuid, NOT_DELAYED, text, tuple(problems))
    text = "it was not seen among the tasks that wait for their time"
    return RunNow(uuid, NOT_FOUND, text, tuple(problems))


async def _is_idle(taking: Taking) -> bool:
    """
    Whether nobody consumes the queue, such as while it is paused.
    """
    with suppress(MayNotLook):
        found = await depth(taking.wire, taking.queue)
        return found is not None and not found.consumers
    return False


def _is_in_question(message: Message) -> bool:
    """
    Whether it is to be found out first how the mediator has ended that had a suspect.
    """
    return message.number_in(IN_QUESTION) > 0


def _is_early(message: Message, now: float) -> bool:
    """
    Whether a mediator would have a task wait for its time.
    """
    if message.number_in(RUN_NOW) > 0:
        return False
    if due_in(message, now, 0.0) > 0:
        return True
    try:
        return schedule(decode(message.body)).early(now) > 0
    except BadTask:
        return False


def _of_held(uuid: str, mediator: str, task: HeldTask) -> RunNow:
    match task.state:
        case str(state) if state == RETRYING:
            text = f"it waited in mediator {mediator}, which begins it"
            return RunNow(uuid, RUNS_NOW, text)
        case str(state) if state == RUNNING:
            text = f"mediator {mediator} is attempting it"
        case str(state) if state == DROPPED:
            text = f"it is cancelled, and mediator {mediator} has dropped it"
        case _:
            text = f"mediator {mediator} has it, and begins it when it is its turn"
    return RunNow(uuid, NOT_DELAYED, text)


def _at_once(message: Message, now: float) -> bytes:
    """
    The properties with which a task waits for nothing any more.

    @raise BrokerError: they cannot be read.
    """
    try:
        return amend_properties(
            message.encoded_properties,
            changes={"user-id": None},
            headers={RUN_NOW: now, NOT_BEFORE: None, DELAY: None},
            dropped=(*COUNTS, *DEATH_HEADERS),
        )
    except ValueError as e:
        raise BrokerError(f"the properties of the task cannot be read: {e}") from None
