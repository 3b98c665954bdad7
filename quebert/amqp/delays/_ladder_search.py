"""
Goes through the tasks that wait on the delay ladder, to take some of them out.

Theory of operation.  RabbitMQ gives a message of a rung to whoever fetches it.  What
stays must go on waiting, and be neither late nor lost.

A rung with a few messages is held: all are fetched, and go back with the channel, in
their order (L{quebert.amqp.delays._rungs_in_use} tells of that).  So nothing of it
changes.

Of a rung with more, that would not do: messages that come back might stand behind
others that wait for longer, and before RabbitMQ 4.0 a quorum queue of which many
messages are fetched may lose some.  There, each message that stays is put into the rung
for what is left of its wait, as mediators do with a message that is not due, and is
acknowledged when the broker has confirmed it there.  A program that is killed meanwhile
leaves up to L{_AT_ONCE} tasks twice.

The rungs are gone through from the longest wait to the shortest, as tasks go through
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError

from quebert._lanes import all_of
from quebert._protocol.extensions import COUNTS, DEATH_HEADERS
from quebert._protocol.properties import amend_properties
from quebert.amqp.delays._ladder import Ladder, has_quorum
from quebert.amqp.delays._overdue import pass_on_overdue
from quebert.amqp.delays._rungs import FIRST_WAITS, WAITS, Rungs, latest_due
from quebert.amqp.queues import Visit, depth, held_at_most
from quebert.amqp.wire import DELAY, NOT_BEFORE
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.link import Publisher, SpareConnection
    from quebert.amqp.wire import Channel, Message, Wire

__all__ = ["LadderSearch"]

# Messages of a rung that are held, and those that are on their way at a time: fewer
# than RabbitMQ's quorum_commands_soft_limit, which is 32.
_AT_ONCE = 24
# Rungs that are asked for at a time.
_CHANNELS = 8
# Seconds in which the broker must take a message.
_PATIENCE = 60.0


class LadderSearch:
    """
    @param ladder: of the client.
    @param publisher: publishes what goes on waiting.
    @param spare: the connection over which rungs are used.
    @param now: the time of day, in seconds since the epoch.
    @param most: how many messages are looked at.
    @ivar seen: how many were looked at.
    @ivar total: how many were there.
    @ivar unseen: how many were not looked at since there were too many.
    """

    def __init__(
        self,
        wire: Wire,
        ladder: Ladder,
        publisher: Publisher,
        now: Callable[[], float],
        most: int,
        spare: SpareConnection | None = None,
    ) -> None:
        self.seen = 0
        self.total = 0
        self.unseen = 0
        self._wire = wire
        self._ladder = ladder
        self._publisher = publisher
        self._now = now
        self._most = most
        self._spare = spare
        self._stopped = False
        self._at_once = held_at_most(wire, _AT_ONCE)

    def stop(self) -> None:
        """
        Look at no more.
        """
        self._stopped = True

    async def through(self, visit: Visit) -> None:
        """
        Call C{visit} with each message, several at a time.  A message goes on waiting
        unless C{visit} returned C{True} for it.

        @raise MayNotLook: the user may not see the ladder.
        @raise BrokerError: the connection was lost, or the broker does not take a
            message.
        """
        kinds = [False, True] if has_quorum(self._wire) else [False]
        for quorum in kinds:
            rungs = Rungs(quorum=quorum)
            for wait, count in await self._counts(rungs):
                self.total += count
                some = 0 if self._stopped else min(count, self._most - self.seen)
                self.unseen += 0 if self._stopped else count - some
                if some:
                    await self._through(rungs, wait, some, visit)

    async def _counts(self, rungs: Rungs) -> list[tuple[int, int]]:
        """
        The waits of the rungs in which there are messages, the longest first, and how
        many there are.
        """
        first = [rungs.name(wait) for wait in FIRST_WAITS]
        found = await all_of((depth(self._wire, each) for each in first), _CHANNELS)
        if not any(found):  # some are made before any other
            return []
        asking = (depth(self._wire, rungs.name(wait)) for wait in WAITS)
        depths = await all_of(asking, _CHANNELS)
        pairs = zip(WAITS, depths, strict=True)
        there = [(wait, d.ready) for wait, d in pairs if d is not None and d.ready]
        return sorted(there, reverse=True)

    async def _through(self, rungs: Rungs, wait: int, count: int, visit: Visit) -> None:
        channel, seen = await self._wire.open_channel(confirms=False), self.seen
        try:
            if count <= self._at_once:
                await self._hold(channel, rungs.name(wait), count, visit)
            else:
                await self._move(channel, rungs, wait, count, visit)
            if rungs.quorum and self.seen == seen:
                await pass_on_overdue(self._wire, rungs.name(wait))
            channel.flush()
            await channel.call("channel_flow", active=True)  # so all is settled
        finally:
            await channel.shut()

    async def _hold(
        self, channel: Channel, rung: str, count: int, visit: Visit
    ) -> None:
        for _ in range(count):
            message = await channel.get(rung)
            if message is None:
                break
            self.seen += 1
            if not self._stopped and await visit(message):
                channel.ack(message.delivery_tag)

    async def _move(
        self, channel: Channel, rungs: Rungs, wait: int, count: int, visit: Visit
    ) -> None:
        name, left, kept = rungs.name(wait), count, 0
        ladder = self._ladder_of(rungs)

        async def lane() -> None:
            nonlocal left, kept
            while left > 0 and kept < self._at_once and not self._stopped:
                left -= 1
                message = await channel.get(name)
                if message is None:
                    left = 0
                    return
                self.seen += 1
                try:
                    if not await visit(message):
                        if not message.number_in(NOT_BEFORE):
                            kept += 1  # nobody knows how long it is to wait
                            continue
                        await self._wait_on(ladder, wait, message)
                except BaseException:
                    left = 0
                    raise
                channel.ack(message.delivery_tag)
                channel.flush()

        await all_of(lane() for _ in range(self._at_once))
        self.unseen += 0 if self._stopped else left

    def _ladder_of(self, rungs: Rungs) -> Ladder:
        if self._ladder.rungs_of(self._wire).quorum == rungs.quorum:
            return self._ladder
        return Ladder(quorum=rungs.quorum, spare=self._spare)

    async def _wait_on(self, ladder: Ladder, wait: int, message: Message) -> None:
        """
        Have a message wait for what is left; returns when it is safe there.

        @param wait: that of its rung.
        """
        clock, queue = self._wire.clock, message.routing_key
        # Our clock may be wrong: less is left than when the message began to wait.
        delay = message.number_in(DELAY) or latest_due(wait)
        left = min(message.number_in(NOT_BEFORE) - self._now(), delay)
        due = clock.seconds() + left
        rung = await ladder.rung_for(
            self._wire, queue, lambda: max(0.0, due - clock.seconds())
        )
        properties = amend_properties(
            message.encoded_properties,
            changes={"user-id": None},
            headers={DELAY: max(0.0, due - clock.seconds())},
            dropped=(*COUNTS, *DEATH_HEADERS),
        )
        publishing = self._publisher.publish(rung, queue, message.body, properties)
        try:
            await Deferred.fromCoroutine(publishing).addTimeout(_PATIENCE, clock)
        except TimeoutError:
            raise BrokerError(
                f"the broker takes no messages for {_PATIENCE:.0f} s:"
                f" {self._wire.blocked or 'it confirmed nothing'}"
            ) from None
        await ladder.kept(self._wire, rung, queue)
