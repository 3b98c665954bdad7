"""
One message that has waited: it goes to its task queue if it is due, else to its next
wait.

It is acknowledged once the broker has confirmed it where it goes.  Two
L{SharedBackoff}s have messages wait here, unacknowledged: one where the task queue
takes nothing, since it is full or was deleted; one where the ladder takes nothing.  So
a full task queue does not stop what goes to a rung.  A message that RabbitMQ refuses
for itself, such as one that is too large, waits alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert._protocol.content import CONTENT_HEADER
from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays._arrivals import Arrivals
from quebert.amqp.delays._astray import Astray
from quebert.amqp.delays._due import TOLERANCE, due_in, next_wait
from quebert.amqp.delays._ladder import Ladder
from quebert.amqp.delays._refusals import LadderRefused
from quebert.amqp.delays._rungs import arrivals_of, wait_of
from quebert.amqp.delays._shared_backoff import SharedBackoff
from quebert.amqp.link import Publisher, Send
from quebert.amqp.wire import DELAY, Message, Unconfirmed
from quebert.clock import seconds_set
from quebert.errors import BrokerError, ChannelLost, MessageRefused, PublishRefused
from quebert.policy import exponential

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire

__all__ = ["Forwarding"]

# Seconds at most between two attempts.
_LONGEST_PAUSE = 3.0
# The same of a message that RabbitMQ refuses for itself: others are to come by.
_LONGEST_ALONE = 60.0
# Seconds that a message waits here which came too early: a policy that shortens waits
# shortens its next wait, too.
_EARLY_WAIT = 5.0
_WHY_EARLY = (
    "a policy of RabbitMQ shortens their wait (message-ttl), or a clock was set back"
)
_COUNTED = tuple(name.encode() for name in COUNTS)


class Forwarding:
    """
    Passes on each message that has arrived for one task queue.

    @param astray: is told when one is due.
    @param publisher: publishes them.
    """

    log = Logger()

    def __init__(
        self,
        ladder: Ladder,
        astray: Astray,
        session: Session,
        queue: str,
        publisher: Publisher,
    ) -> None:
        self._ladder = ladder
        self._new_queues = ladder.new_queues
        self._astray = astray
        self._session = session
        self._queue = queue
        self._publisher = publisher
        self._waits: set[Deferred[None]] = set()
        # Those that RabbitMQ may have refused: they go on a channel of their own.
        self._alone: WeakSet[Message] = WeakSet()
        # One for the task queue and one for the rungs: a full task queue must not stop
        # publications to rungs.
        self._queue_backoff = SharedBackoff(lambda: session.reactor, _LONGEST_PAUSE)
        self._rung_backoff = SharedBackoff(lambda: session.reactor, _LONGEST_PAUSE)
        self._refused = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Queue {queue!r} takes no delayed tasks for now; they wait in queue"
            " {arrivals!r}",
            "Queue {queue!r} takes delayed tasks again",
            queue=queue,
            arrivals=arrivals_of(queue),
        )
        self._early = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Delayed tasks of queue {queue!r} come before their time, and wait again",
            "Delayed tasks of queue {queue!r} come in time again",
            queue=queue,
        )

    def forward(self, arrivals: Arrivals, message: Message) -> Deferred[None]:
        """
        Pass a message on; fires when it is on its way, or its channel is closed.
        """
        forwarding = Deferred.fromCoroutine(self._forward(arrivals, message))
        return forwarding.addErrback(self._not_forwarded, message)

    def try_now(self) -> None:
        """
        The task queue may take messages again: those that are due wait no longer.
        """
        self._queue_backoff.reset()

    def give_up(self) -> None:
        """
        Messages whose channel is closed wait no longer.
        """
        self._queue_backoff.reset()
        self._rung_backoff.reset()
        for wait in list(self._waits):
            wait.cancel()

    def failed(self, why: BrokerError) -> None:
        """
        Log why nothing is forwarded for now, unless somebody else does.
        """
        if not isinstance(why, PublishRefused | LadderRefused):  # what is full is there
            self._ladder.forget()
        if isinstance(why, ChannelLost):  # which the watch tells
            return
        if not self._ladder.tells(why, self._queue, self._session.reactor):
            self._refused.met(why)

    def end(self) -> None:
        """
        Log nothing more.
        """
        self._early.end()
        self._refused.end()

    def _not_forwarded(self, failure: Failure, message: Message) -> None:
        self.log.failure(
            "Moving {message}, which is due, to queue {queue!r} failed",
            failure,
            message=message,
            queue=self._queue,
        )

    async def _forward(self, arrivals: Arrivals, message: Message) -> None:
        """
        Pass a message on, again until the broker has it, or its channel is closed.
        """
        early = self._early_by(message)
        due = self._session.reactor.seconds() + early
        if early > 0 and _is_too_early(message, early):
            self._early.met(_WHY_EARLY)
            await self._wait(min(early, _EARLY_WAIT))
        refusals = 0
        while (backoff := await self._may_try(arrivals, message, due)) is not None:
            if arrivals.stopped:
                return backoff.not_tried()
            try:
                await self._pass_on(arrivals.wire, message, due)
            except MessageRefused as e:
                backoff.not_tried()
                if not arrivals.stopped:
                    self._refused.met(e)
                    pause = exponential(refusals, constant=2, maximum=_LONGEST_ALONE)
                    refusals += 1
                    await self._wait(pause)
            except BrokerError as e:
                if not arrivals.stopped:
                    backoff.failed()
                    self.failed(e)
            except BaseException:  # a fault of ours
                backoff.not_tried()
                raise
            else:
                arrivals.ack(message)
                backoff.reset()
                return self._refused.succeeded()
        return None

    async def _may_try(
        self, arrivals: Arrivals, message: Message, due: float
    ) -> SharedBackoff | None:
        """
        Wait until a message may be published where it goes next.

        @return: what is told whether that succeeds; C{None} if its channel is closed.
        """
        while not arrivals.stopped:
            is_due = self._early_by(message, due) <= 0
            if is_due and self._new_queues.has(arrivals.wire, self._queue):
                await self._wait(self._new_queues.left(arrivals.wire, self._queue))
                continue
            backoff = self._queue_backoff if is_due else self._rung_backoff
            await backoff.may_try()
            return backoff
        return None

    def _early_by(self, message: Message, due: float = math.inf) -> float:
        """
        In how many seconds a message is due.

        @param due: when it is, by the reactor's clock, as far as that was known when it
            came: what it has waited here counts, too.
        """
        clock = self._session.reactor
        early = due_in(message, self._session.now(), seconds_set(clock))
        left: float = due - clock.seconds()
        return min(early, left)

    async def _wait(self, seconds: float) -> None:
        wait: Deferred[None] = deferLater(self._session.reactor, seconds)
        self._waits.add(wait)
        try:
            await wait
        except CancelledError:
            pass  # its channel is closed
        finally:
            self._waits.discard(wait)

    async def _pass_on(self, wire: Wire, message: Message, due: float) -> None:
        """
        Publish a message where it goes next; returns when it is safe there.

        @param due: when it is due, by the reactor's clock.
        """
        if message not in self._alone:
            try:
                await self._publish(wire, message, due, self._publisher.publish)
                return
            except Unconfirmed as e:
                if e.refusal is None:
                    raise
                self._alone.add(message)  # is it this message?
        await self._publish(wire, message, due, self._publisher.publish_alone)

    async def _publish(
        self, wire: Wire, message: Message, due: float, send: Send
    ) -> None:
        """
        @param send: publishes it.
        """
        if self._early_by(message, due) > 0:
            await self._publisher.unblocked()
        early = self._early_by(message, due)
        if early > 0:
            most = next_wait(message, self._session.now(), early)
            rung = await self._ladder.rung_for(
                wire, self._queue, lambda: min(most, self._early_by(message, due))
            )
            early = self._early_by(message, due)
        if early > 0:
            await send(rung, self._queue, message.body, _to_wait(message, early))
            return await self._ladder.kept(wire, rung, self._queue)
        self._early.succeeded()
        self._astray.arrived()
        has_waited_here = self._early_by(message) > 0
        properties = _to_begin(message, has_waited_here, wire.max_payload)
        await send("", self._queue, message.body, properties)
        return await self._new_queues.old(wire, self._queue)


def _is_too_early(message: Message, early: float) -> bool:
    """
    Whether a message did not wait as long in its rung as it should have.
    """
    rest = message.number_in(DELAY) - wait_of(message.died_in)
    return early > max(0.0, rest) + TOLERANCE


def _to_begin(message: Message, has_waited_here: bool, max_payload: int) -> bytes:
    """
    The properties as they came, without what RabbitMQ has written there about the
    deliveries so far; and without what it has written about the rungs, if there is no
    room for that.

    @param has_waited_here: whether the message was not due when it came.
    @param max_payload: bytes that a frame has room for.
    """
    headers: dict[str, Any] = {}
    if has_waited_here:  # as if its rung had let it wait for all that was left
        headers = {DELAY: wait_of(message.died_in)}
    encoded = message.encoded_properties
    if headers or any(name in encoded for name in _COUNTED):
        encoded = _amended(message, headers, COUNTS)
    if CONTENT_HEADER.size + len(encoded) > max_payload:  # as it was published first
        return _amended(message, headers, (*COUNTS, *DEATH_HEADERS))
    return encoded


def _to_wait(message: Message, seconds: float) -> bytes:
    """
    The properties with which a message begins a wait, as one that has not died there.
    """
    return _amended(message, {DELAY: seconds}, (*COUNTS, *DEATH_HEADERS))


def _amended(
    message: Message, headers: Mapping[str, Any], dropped: Sequence[str]
) -> bytes:
    encoded = message.encoded_properties
    try:
        return amend_properties(encoded, changes={}, headers=headers, dropped=dropped)
    except ValueError:
        return encoded
