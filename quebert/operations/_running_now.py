"""
Has a task run whose time has not come: it was delayed, or waits to be tried again.

A task that waits on the delay ladder is fetched there, published to its queue with a
header that has mediators heed no C{run_at}, and acknowledged once the broker has
confirmed it in the queue.  A program that is killed in between leaves it in both
places: it runs now, and again when its time comes.  While no mediator consumes the
queue, a delayed task is in the queue itself, and gets the header there.

The queue counts as old (see L{NewQueues<quebert.amqp.queues.NewQueues>}): the task has
come from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert.amqp import Message
from quebert.amqp.coordination import RETRY_NOW, Question, ask_mediators
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
from quebert.errors import BadTask, BrokerError, ConfigError
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
    answers = await ask_mediators(wire, queue, Question(RETRY_NOW, (uuid,)))
    held = [each for each in answers.of(uuid) if each[1].state != RETURNING]
    if held:
        return _of_held(uuid, *held[0])
    taking = Taking(client, wire, queue)
    hastening = _Hastening(taking, uuid)
    taken = await taking.from_ladder(hastening.hasten, most, first=True)
    if not taken and not answers.answers and answers.silent == 0:
        # Nobody takes it meanwhile.
        await taking.from_arrivals(hastening.look)
        if not hastening.seen:
            taken = await taking.from_queue(hastening.hasten_delayed)
    if taken:
        found = await depth(wire, queue)
        text = f"it waited for its time, and is in {queue} now"
        if found is None or not found.consumers:
            text += ", which no mediator consumes"
        return RunNow(uuid, RUNS_NOW, text)
    return _not_delayed(queue, uuid, hastening.seen, taking.problems)


@attrs.define
class _Hastening:
    """
    Looks for a task, and has it run now.

    @ivar seen: whether it was found where it waits for a mediator, and for nothing
        else.
    """

    _taking: Taking
    _uuid: str
    seen: bool = False

    async def hasten(self, message: Message) -> bool:
        """
        Put the task into its queue, if it is this one.
        """
        # It is to be found out first how the mediator has ended that had a suspect.
        is_in_question = message.number_in(IN_QUESTION) > 0
        if is_in_question or identity_of(message.body)[0] != self._uuid:
            return False
        taking = self._taking
        properties = _at_once(message, taking.client.now())
        await taking.publish(taking.queue, message.body, properties)
        return True

    async def look(self, message: Message) -> bool:
        """
        See whether it is this one, and leave it there.
        """
        self.seen = self.seen or identity_of(message.body)[0] == self._uuid
        return False

    async def hasten_delayed(self, message: Message) -> bool:
        """
        The same as C{hasten}, if its time has not come.
        """
        if _is_delayed(message, self._taking.client.now()):
            return await self.hasten(message)
        return await self.look(message)


def _is_delayed(message: Message, now: float) -> bool:
    """
    Whether a mediator that gets a message would have it wait for its time.
    """
    if message.number_in(RUN_NOW):
        return False
    try:
        run_at = schedule(decode(message.body)).run_at
    except BadTask:
        return False
    return run_at is not None and run_at > now


def _not_delayed(queue: str, uuid: str, seen: bool, problems: Sequence[str]) -> RunNow:
    """
    What there is to say of a task that does not wait for its time.
    """
    if seen:
        text = f"it waits in {queue} for a mediator, and for nothing else"
        return RunNow(uuid, NOT_DELAYED, text, tuple(problems))
    text = "it was not seen among the tasks that wait for their time"
    return RunNow(uuid, NOT_FOUND, text, tuple(problems))


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
