"""
Publishes what belongs to a message, again and again until RabbitMQ has confirmed it.

RabbitMQ may refuse it for now (the queue is full, or its node is down), and the
connection may be lost.  Then the message waits here, outside its place, for the next
attempt.  The log tells that once for the queue, and not for each message.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays import Ladder, LadderRefused
from quebert.amqp.link import Publisher, Send
from quebert.amqp.queues import DeadLetters
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.amqp.watch._delivery import State
from quebert.amqp.watch._ledger import Ledger
from quebert.amqp.watch._waits import Waits
from quebert.amqp.wire import Unconfirmed
from quebert.errors import BrokerError, ChannelLost, PublishRefused
from quebert.policy import exponential

__all__ = ["Publish", "UntilConfirmed"]

#: Seconds at most between attempts to publish, ...
LONGEST_PUBLISH_WAIT = 4.5
#: ... unless so many tasks wait for this that there were more attempts a second.
RETRY_RATE = 200.0

#: Publishes once, by the function that it is given.
Publish = Callable[[Send], Coroutine[Any, Any, None]]


def _always(_message: DeliveredMessage) -> bool:
    return True


class UntilConfirmed:
    """
    Publishes for the messages of one queue.

    @param ledger: the deliveries.
    @param queue: the queue.
    @param publisher: publishes.
    @param clock: gives the clock that all waits go by.
    @param waits: where messages wait for their next attempt.
    @param ladder: told where a part of it may be missing, and tells of refusals.
    @param dead_letters: told where their queue may be missing.
    @param leave: called with each message that begins to wait, and needs no place.
    @param give_back: called with each message that is to wait while the watch is being
        stopped.
    """

    log = Logger()

    def __init__(
        self,
        ledger: Ledger[DeliveredMessage],
        queue: str,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        waits: Waits,
        ladder: Ladder,
        dead_letters: DeadLetters,
        *,
        leave: Callable[[DeliveredMessage], None],
        give_back: Callable[[DeliveredMessage], None],
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._publisher = publisher
        self._clock = clock
        self._waits = waits
        self._ladder = ladder
        self._dead_letters = dead_letters
        self._leave = leave
        self._give_back = give_back
        self._publishing: set[Deferred[None]] = set()
        self._refused = RepeatedWarning(
            self.log,
            clock,
            "Queue {queue!r} does not take a task back for now",
            "Queue {queue!r} takes tasks back again",
            queue=queue,
        )

    async def publish(
        self,
        message: DeliveredMessage,
        publish: Publish,
        *refusals: type[BrokerError],
        warning: RepeatedWarning | None = None,
        may_wait: Callable[[DeliveredMessage], bool] = _always,
        stays: bool = False,
    ) -> bool:
        """
        Publish what belongs to a message.  Where RabbitMQ does not take it at once, the
        message leaves its place: what it waits for may be that others are done.

        @param publish: publishes it once.
        @param refusals: after which it is not tried again.
        @param warning: tells of it where RabbitMQ does not take it; C{None} for what is
            published to the queue itself.
        @param may_wait: asked after each other refusal whether it is tried again.
        @param stays: whether the message is not given back while the watch is being
            stopped: any error is raised then.
        @return: whether RabbitMQ has it; C{False} where the channel of the message is
            lost, or the watch is stopped.
        @raise BrokerError: it is not tried again.
        """
        warning = warning or self._refused
        attempt = 0
        send: Send = self._publisher.publish
        while message in self._ledger:
            publishing = Deferred.fromCoroutine(publish(send))
            self._publishing.add(publishing)
            try:
                await publishing
                warning.succeeded()
                return True
            except CancelledError:
                return False  # the broker gives it out again anyway
            except Unconfirmed as e:  # which is told once, and not for each message
                if e.refusal is not None and send != self._publisher.publish_alone:
                    send = self._publisher.publish_alone  # is it this message?
                    continue
                self._check_stays(e, stays)
            except ChannelLost as e:
                self._check_stays(e, stays)
            except LadderRefused as e:
                self._check_stays(e, stays)
                attempt = 0  # the ladder tells, and asks the broker once for all
            except refusals:
                raise
            except BrokerError as e:
                self._not_taken(e, warning)
                self._check_stays(e, stays)
                if not may_wait(message):
                    raise
            finally:
                self._publishing.discard(publishing)
            attempt += 1
            await self._wait(message, attempt)
        return False

    def _check_stays(self, error: BrokerError, stays: bool) -> None:
        if stays and self._waits.hurried:
            raise error

    def _not_taken(self, error: BrokerError, warning: RepeatedWarning) -> None:
        if not isinstance(error, PublishRefused):  # what is full is there
            self._ladder.forget()
            self._dead_letters.forget()
        if not self._ladder.tells(error, self._queue, self._clock()):
            warning.met(error)

    async def _wait(self, message: DeliveredMessage, attempt: int) -> None:
        """
        Wait for the next attempt, unless the watch is being stopped.
        """
        if self._waits.hurried:
            self._give_back(message)
            return
        held = self._ledger.numbers[State.HELD]
        limit = max(LONGEST_PUBLISH_WAIT, held / RETRY_RATE)
        waited = self._waits.wait(exponential(attempt, constant=2, maximum=limit))
        self._leave(message)
        await waited

    def abandon(self) -> None:
        """
        The channel of all messages is lost: wait for no confirm.
        """
        for publishing in list(self._publishing):
            publishing.cancel()

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._refused.end()
