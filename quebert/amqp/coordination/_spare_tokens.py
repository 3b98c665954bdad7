"""
Passes the part of a rate that one member does not need to another that does.

A member with unused tokens publishes them, if others wait for them: one message for
each of these.  A member whose messages have to wait consumes them.  Tokens are
published at most once, so that together the members never exceed the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._rate_queues import count_consumers
from quebert.amqp.link import Publisher
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from quebert.amqp.wire import Channel, Message

__all__ = ["SpareTokens"]

# The consumer tag.
_TAG = "spare"
# Looks for which we keep listening for what others have to spare.
_PATIENCE = 2


class SpareTokens:
    """
    @param queue: where spare tokens are published.
    @param pace: gives and takes them.
    @param publisher: of our own.
    @param period: seconds between two looks.
    """

    def __init__(
        self,
        queue: str,
        pace: Pace,
        publisher: Publisher,
        clock: Callable[[], IReactorTime],
        period: float,
    ) -> None:
        self._queue = queue
        self._pace = pace
        self._publisher = publisher
        self._clock = clock
        self._period = period
        self._listening = False
        self._calm = 0  # looks since a message had to wait
        self._delayed = 0
        self._passing = 0  # messages that are not confirmed yet

    def begin(self) -> None:
        """
        There is another channel, over which we do not listen yet.
        """
        self._listening, self._calm = False, 0

    def received(self, message: Message) -> None:
        """
        Another member has tokens for us.
        """
        try:
            tokens = float(message.body)
        except ValueError:
            return
        if 0 < tokens <= 2 * self._period * self._pace.rate:
            self._pace.got += tokens
            self._pace.bucket.add(tokens, self._period, self._clock().seconds())

    async def look(self, channel: Channel) -> None:
        """
        Take tokens if messages had to wait since the last look, or give some away.

        @raise BrokerError: the channel is lost.
        """
        delayed, self._delayed = self._delayed, self._pace.delayed
        if delayed != self._delayed:
            await self._want(channel)
        else:
            await self._want_not(channel)

    async def _want(self, channel: Channel) -> None:
        self._calm = 0
        if not self._listening and self._pace.members > 1:
            self._listening = True
            await channel.call("basic_consume", queue=self._queue, consumer_tag=_TAG)

    async def _want_not(self, channel: Channel) -> None:
        self._calm += 1
        if self._listening and self._calm > _PATIENCE:
            self._listening = False
            await channel.call("basic_cancel", consumer_tag=_TAG)
        spare = self._pace.bucket.spilled(self._clock().seconds())
        # However long we have slept, others are not to hurry for it.
        spare = min(spare, 2 * self._period * self._pace.bucket.rate)
        if not self._listening and spare > 0 and self._pace.members > 1:
            wanting = await count_consumers(channel, self._queue)
            if wanting:
                self._pass_on(spare, wanting)

    def _pass_on(self, spare: float, wanting: int) -> None:
        if self._passing:
            return  # what is said later is not true any more
        self._pace.passed_on += spare
        properties = encode_properties({"delivery-mode": 1})
        body = f"{spare / wanting:.6f}".encode()
        for _ in range(wanting):  # the broker gives one to each
            publishing = self._publisher.publish(
                "", self._queue, body, properties, self._period
            )
            passing = Deferred.fromCoroutine(publishing)
            self._passing += 1
            passing.addBoth(self._passed)

    def _passed(self, result: object) -> None:
        self._passing -= 1
        if isinstance(result, Failure):
            result.trap(BrokerError)  # it is lost

    def shut(self) -> None:
        """
        Publish nothing any more.
        """
        self._publisher.shut()
