"""
Messages that were in flight when a mediator ended, and may be the cause.

RabbitMQ delivers a message anew, C{redelivered}, whatever ended its last delivery: a
mediator that was killed, a lost connection, or a mediator that gave the message back.
RabbitMQ does not tell which.  By default RabbitMQ 4 drops a message that has come back
to its quorum queue more than 20 times (since 4.3, one that has failed more often than
that).  So a fresh copy replaces each such message before its task is attempted.
The headers of the copy count the ends (L{Record<quebert.amqp.watch._record.Record>}).

A message that was in flight at L{SUSPECT<quebert.amqp.watch._record.SUSPECT>} ends is a
suspect: its task is attempted alone, with no other task at work in the process
(L{OneSuspect<quebert.amqp.watch.OneSuspect>}).  While that attempt lasts, the broker
has a queue C{quebert.flight.<flight>}, where C{flight} names the copy.  A mediator that
ends suddenly leaves the queue behind.  A mediator that ends the attempt in any other
way deletes it, and so does a mediator that had lost its connection, as soon as it has
another.  When RabbitMQ delivers the message anew, a copy waits in the broker for
L{PATIENCE} seconds; then it is looked at.  If the queue is there, the last mediator
ended suddenly with this message alone at work.  After L{POISONOUS
<quebert.amqp.watch._record.POISONOUS>} such ends the message is buried as poison.
Where the broker does not tell, no end is counted.

A mediator that is about to give messages back in good order tells so by queues
C{quebert.in-order.<queue>.<period>}, for this L{PERIOD} and the next.  A mediator looks
for the queue of its present period.  The name has to tell the time, though the queues
expire: RabbitMQ begins the time of a queue anew whenever somebody looks for it.

Classic queues count nothing.  While a queue C{quebert.in-order} of a classic queue is
there, the ends of a message that ends its mediators would not be counted.  So a
mediator that finds that queue deletes it before it attempts anything, and remembers
that it was there.  Then such a message may end each mediator once without being
counted.

This module knows the queues.  L{Record<quebert.amqp.watch._record.Record>} counts, and
says who is a suspect and who is poisonous;
L{Redelivery<quebert.amqp.watch._redelivery.Redelivery>} decides what becomes of a
message that comes back; L{OneSuspect<quebert.amqp.watch.OneSuspect>} has a suspect
attempted alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._protocol.extensions import EXPIRES
from quebert._repeated import RepeatedWarning
from quebert._waiters import Waiters
from quebert.amqp.queues import CLASSIC, declare_queue, derived, find_queue
from quebert.amqp.watch._record import Record
from quebert.amqp.wire import Message, temporary_channel
from quebert.errors import BrokerError, BrokerRefused

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = [
    "PERIOD",
    "Suspects",
    "flight_sign",
    "in_order_sign",
]

#: Seconds that a mediator which has lost its connection gets to have another: more
#: than it waits between two attempts.
PATIENCE = 15.0
#: Seconds: in this period and the next, what was given back in good order is delivered
#: again.
PERIOD = 60

_PREFIX = "quebert.flight."
_IN_ORDER_PREFIX = "quebert.in-order."
# What RabbitMQ may not let a mediator do.
_LOOK = "look how another mediator has ended"
_GIVE = "tell that it gives messages back in good order"
_TRY = "tell that it attempts a task alone"
# Milliseconds: longer than anybody looks for the queue.
_IN_ORDER_EXPIRES = 2 * PERIOD * 1000
# Milliseconds: whoever consumes the task's queue looks before that.
_EXPIRES = 24 * 3600 * 1000
# At the end of a queue's name in a refusal: a flight, or a period.
_PASSING = re.compile(r"(?<=\.)(?:[0-9a-f]{32}|[0-9]+)(?=')")
# Of so many copies it is remembered that a connection was lost with them.
_REMEMBERED = 100_000


class Suspects:
    """
    Counts the ends of mediators, for all watches of one client.

    @param clock: gives the clock of the warnings.
    @param now: the time, in seconds since the epoch.
    @ivar patience: seconds before it is taken for certain that a mediator has ended.
    """

    log = Logger()

    def __init__(
        self,
        clock: Callable[[], IReactorTime],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.patience = PATIENCE
        self._now = now
        self._refused = {
            what: self._warning(clock, what) for what in (_LOOK, _GIVE, _TRY)
        }
        self._begun: set[str] = set()  # the flights that are attempted alone now
        self._interrupted: dict[str, None] = {}  # by a lost channel
        self._to_forget: set[str] = set()  # flights whose queues are there still
        self._asking: dict[str, Waiters[bool]] = {}  # by queue
        self._in_order: dict[str, tuple[str, str]] = {}  # by queue: signs found
        # By their flights: copies that take the place of messages which RabbitMQ may
        # still have, and those who wait for the end of that.
        self._copying: dict[str, Waiters[None]] = {}

    def had(self, flight: str) -> bool:
        """
        Whether this mediator had a message of this flight on a channel that it lost.
        """
        known = flight in self._interrupted
        self._interrupted.pop(flight, None)
        return known

    async def ended(self, wire: Wire, flight: str) -> bool:
        """
        Whether a mediator ended suddenly while it attempted a message of this flight
        alone.  Others are told the same until L{counted} is called.  RabbitMQ may
        deliver anew what this mediator attempts: then the sign is its own.
        """
        if not flight or flight in self._begun:
            return False
        return await self._is_there(wire, flight_sign(flight))

    async def counted(self, wire: Wire, flight: str) -> None:
        """
        The headers of a copy tell of the end of that mediator: delete the queue that
        told it until now.
        """
        await self._forget(wire, flight)

    async def _is_there(self, wire: Wire, queue: str) -> bool:
        try:
            found = await find_queue(wire, queue) is not None
        except BrokerError as e:
            self._cannot(_LOOK, e)
            return False
        self._refused[_LOOK].succeeded()
        return found

    # -- Copies of this mediator

    @contextmanager
    def copying(self, flight: str) -> Iterator[None]:
        """
        The block in which a copy of this flight is published, and the message that it
        replaces is acknowledged.
        """
        self._copying.setdefault(flight, Waiters())
        try:
            yield
        finally:
            if (waiters := self._copying.pop(flight, None)) is not None:
                waiters.fire(None)

    def is_copying(self, flight: str) -> bool:
        """
        Whether RabbitMQ may still have the message that a copy replaces.
        """
        return flight in self._copying

    async def copied(self, flight: str) -> None:
        """
        Wait until RabbitMQ has the message no longer that a copy replaces.
        """
        if flight in self._copying:
            await self._copying[flight].wait()

    # -- Ends in good order

    async def end_in_order(self, wire: Wire, queue: str) -> None:
        """
        Tell other mediators that messages of a queue are given back in good order.
        """
        now, arguments = self._now(), {**CLASSIC, EXPIRES: _IN_ORDER_EXPIRES}
        try:
            for when in (now, now + PERIOD):
                await declare_queue(wire, in_order_sign(queue, when), arguments)
        except BrokerError as e:  # copies will be made of them
            self._cannot(_GIVE, e)
        else:
            self._refused[_GIVE].succeeded()

    async def in_order(self, wire: Wire, queue: str, *, once: bool) -> bool:
        """
        Whether a mediator has just given back messages of a queue in good order.

        @param once: delete the queues that tell it, so that no other mediator is told.
        """
        if queue in self._asking:  # all that come together ask once
            return await self._asking[queue].wait()
        waiter = self._asking.setdefault(queue, Waiters()).wait()
        asking = Deferred.fromCoroutine(self._ask(wire, queue, once))
        asking.addBoth(lambda result: self._asking.pop(queue).fire(result))
        return await waiter

    async def _ask(self, wire: Wire, queue: str, once: bool) -> bool:
        now = self._now()
        sign, next_sign = (in_order_sign(queue, each) for each in (now, now + PERIOD))
        found = sign in self._in_order.get(queue, ())
        if not found and await self._is_there(wire, sign):
            found = True
            if once:
                self._in_order[queue] = sign, next_sign
                for each in (sign, next_sign):
                    await self._delete(wire, each)
        return found

    # -- Attempts of this mediator

    async def begin(self, wire: Wire, flight: str) -> None:
        """
        Declare the queue that tells that a message is attempted alone.
        """
        if not flight:
            return
        arguments = {**CLASSIC, EXPIRES: _EXPIRES}
        self._begun.add(flight)  # the answer may be lost, and the sign be there
        try:
            await declare_queue(wire, flight_sign(flight), arguments)
        except BrokerRefused as e:  # its end will not be counted
            self._begun.discard(flight)
            self._cannot(_TRY, e)
        except BrokerError:
            pass  # the connection is lost: the next one removes the sign
        else:
            self._begun.add(flight)  # it may have been removed meanwhile
            self._refused[_TRY].succeeded()

    async def end(self, wire: Wire, flight: str) -> None:
        """
        Delete that queue.
        """
        if flight in self._begun:
            await self._forget(wire, flight)

    def interrupted(self, messages: Iterable[Message]) -> None:
        """
        Called with the messages that were in flight on a channel which is lost.
        """
        flights = [Record.of(message).flight for message in messages]
        self._interrupted.update((flight, None) for flight in flights if flight)
        while len(self._interrupted) > _REMEMBERED:
            del self._interrupted[next(iter(self._interrupted))]
        self._to_forget |= self._begun.intersection(flights)

    async def reconnected(self, wire: Wire) -> None:
        """
        Tell other mediators that this one has not ended.
        """
        flights, self._to_forget = self._to_forget, set()
        for flight in flights:
            await self._forget(wire, flight)

    async def _forget(self, wire: Wire, flight: str) -> None:
        self._begun.discard(flight)
        if not await self._delete(wire, flight_sign(flight)):
            self._to_forget.add(flight)  # with the next connection

    async def _delete(self, wire: Wire, sign: str) -> bool:
        """
        Delete a queue; tells whether the broker has answered.
        """
        try:
            async with temporary_channel(wire) as channel:
                await channel.call("queue_delete", queue=sign)
        except BrokerRefused:
            pass  # it expires
        except BrokerError:
            return False
        return True

    def warn_no_more(self) -> None:
        """
        Forget all warnings.
        """
        for each in self._refused.values():
            each.end()

    def _warning(self, clock: Callable[[], IReactorTime], what: str) -> RepeatedWarning:
        return RepeatedWarning(
            self.log,
            clock,
            "RabbitMQ does not let this mediator {what}, so mediators may count wrongly"
            " how often they ended at a task (see docs/reliability.rst)",
            "RabbitMQ lets this mediator {what} again",
            what=what,
        )

    def _cannot(self, what: str, why: BrokerError) -> None:
        if isinstance(why, BrokerRefused):
            self._refused[what].met(_PASSING.sub("…", str(why)))


def flight_sign(flight: str) -> str:
    """
    The queue that is there while a copy is attempted alone.
    """
    return _PREFIX + flight


def in_order_sign(queue: str, when: float) -> str:
    """
    The queue that tells, in the period of C{when}, that messages of C{queue} were given
    back in good order.

    @param when: in seconds since the epoch.
    """
    return derived(_IN_ORDER_PREFIX, queue, f".{int(when // PERIOD)}")
