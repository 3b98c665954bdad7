"""
Whether a queue keeps the messages that are moved into it.

A queue can have a limit of its length.  RabbitMQ confirms a message that is beyond the
limit, and drops the oldest message of the queue, unless the queue has reject-publish.
The limit may come from a policy, and AMQP does not tell policies.  AMQP tells how many
messages a queue holds.  So a mediator asks for that number before it moves messages,
and every L{LOOK} seconds while it moves more.  In between the number must grow by as
many as the mediator has moved.  Only those messages count whose publication began after
one answer, and was confirmed before the next question.  Somebody may just hold the
missing messages to look at them.  So a warning comes when some are missing at two looks
in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.link import DeclareOnce
from quebert.amqp.queues._existing import find_queue
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["LOOK", "Keeping"]

#: Seconds between two looks.
LOOK = 5.0
_WHY = (
    "it has fewer tasks than were moved there. Either a limit has RabbitMQ drop them"
    " (max-length without reject-publish, message-ttl or expires, as an argument or by"
    " a policy), or somebody takes them out; see quebert doctor"
)


class Keeping:
    """
    The messages that one mediator moves into one queue.

    @param queue: the name of the queue.
    """

    log = Logger()

    def __init__(self, queue: str, clock: Callable[[], IReactorTime]) -> None:
        self._queue = queue
        self._clock = clock
        self._first = DeclareOnce(self._begin)
        self._look_number = 0
        self._held = 0  # at the last look
        self._moved = 0  # since then
        self._some_missed = False  # at the last look
        self._timer: IDelayedCall | None = None
        self._ended = False
        self._lost = RepeatedWarning(
            self.log,
            clock,
            "Queue {queue!r} loses tasks that were given up",
            "Queue {queue!r} keeps the tasks that are given up again",
            queue=queue,
        )

    async def before(self, wire: Wire) -> int:
        """
        A message is about to be moved.  Returns the number of the last look.
        """
        await self._first.made(wire, self._queue)
        return self._look_number

    def moved(self, look_number: int) -> None:
        """
        RabbitMQ has confirmed a message.

        @param look_number: what L{before} returned for it.
        """
        if look_number == self._look_number:
            self._moved += 1

    def end(self) -> None:
        """
        Look no more.
        """
        self._ended = True
        self._lost.end()
        self._stop_timer()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def _begin(self, wire: Wire, queue: str) -> None:
        with suppress(BrokerError):  # then nothing is known, and the message is moved
            self._looked(wire, await self._count(wire))

    async def _count(self, wire: Wire) -> int:
        found = await find_queue(wire, self._queue)
        return 0 if found is None else int(found.message_count)

    def _looked(self, wire: Wire, count: int) -> None:
        self._look_number += 1
        self._held, self._moved, self._some_missed = count, 0, False
        self._look_later(wire)

    def _look_later(self, wire: Wire) -> None:
        self._stop_timer()  # for a look over the connection before
        if not self._ended:
            self._timer = self._clock().callLater(LOOK, self._look, wire)

    def _look(self, wire: Wire) -> None:
        self._timer = None
        if self._moved:
            looking = Deferred.fromCoroutine(self._compare(wire))
            looking.addErrback(lambda failure: self._rest(failure.trap(BrokerError)))
        else:
            self._rest()

    def _rest(self, why: object = None) -> None:
        """
        Look again before the next message is moved.
        """
        self._first.forget()

    async def _compare(self, wire: Wire) -> None:
        expected = self._held + self._moved
        count = await self._count(wire)
        if count >= expected:
            self._lost.succeeded()
        elif not self._some_missed:
            self._some_missed = True
            self._look_later(wire)
            return
        else:
            self._lost.met(_WHY, expected - count)
        self._looked(wire, count)
