"""
A channel that is there again, ready for use, whenever it was lost.

The connection is the client's; what makes a channel ready is its user's business.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.link import has_failed, pause_after
from quebert.amqp.wire import Channel
from quebert.errors import BrokerError, ChannelLost
from quebert.policy import exponential

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire

__all__ = ["ChannelKeeper"]

#: Seconds at most between attempts.
RETRY_LIMIT = 60.0
# Seconds that a channel must have lasted to be replaced at once.
_LASTING = 60.0
# Seconds after which the log tells that the broker does not answer.
_SLOW = 30.0
_UNANSWERED = f"the broker has not answered for {_SLOW:.0f} s; its log may tell why"


class ChannelKeeper:
    """
    The channel on which C{queue} is consumed.

    @param prepare: awaited with each new channel, and its connection, before it is
        in use.
    @param lost: called when it is gone.
    @param wait: waits so many seconds, or less when the end is near.
    @ivar channel: C{None} before the first, and after the end.
    @ivar ending: there is to be no other.
    """

    log = Logger()

    def __init__(
        self,
        session: Session,
        queue: str,
        prepare: Callable[[Wire, Channel], Coroutine[Any, Any, None]],
        lost: Callable[[], None],
        wait: Callable[[float], Deferred[None]],
    ) -> None:
        self.channel: Channel | None = None
        self.ending = False
        self._session = session
        self._queue = queue
        self._prepare = prepare
        self._lost = lost
        self._wait_for = wait
        self._not_consumed = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Queue {queue!r} is not consumed for now",
            "The watch of queue {queue!r} goes on",
            queue=queue,
        )
        self._wire: Wire | None = None  # of the last attempt
        self._waiting: Deferred[None] | None = None
        self._attached_at = 0.0
        self._short_lived = 0  # how many in a row did not last

    async def begin(self, timeout: float | None) -> None:
        """
        Attach for the first time, again where the connection is lost meanwhile.

        @param timeout: seconds for all attempts; C{None} for no limit.
        @raise BrokerError: that cannot be done, or not in time.
        """
        clock, attempt, left = self._session.reactor, 0, timeout
        end = None if timeout is None else clock.seconds() + timeout
        while True:
            try:
                return await self.attach(left)
            except BrokerError as e:
                attempt += 1
                seconds = self._seconds_before(attempt, e)
                is_late = end is not None and clock.seconds() + seconds >= end
                if e.final or is_late or not self._is_connection_lost:
                    raise
                self.warn(e)
            await self._wait(seconds)
            left = None if end is None else max(0.0, end - clock.seconds())

    async def _wait(self, seconds: float) -> None:
        """
        Wait, as part of L{begin}, which can be cancelled.

        @raise ChannelLost: the end has come.
        """
        self._waiting = deferLater(self._session.reactor, seconds)
        try:
            await self._waiting
        except CancelledError:
            if not self.ending:
                raise
            raise self._stopped() from None
        finally:
            self._waiting = None

    def _stopped(self) -> ChannelLost:
        return ChannelLost(f"the watch of queue {self._queue!r} was stopped")

    @property
    def _is_connection_lost(self) -> bool:
        return self._wire is not None and self._wire.closed and not self.ending

    async def attach(self, timeout: float | None) -> None:
        """
        Open a channel and make it ready.

        @param timeout: seconds to wait for a connection; C{None} for ever.
        @raise BrokerError: that cannot be done.
        """
        self._wire = None
        self._wire = wire = await self._session.connected(timeout)
        channel = await wire.open_channel(confirms=False)
        if self.ending:
            await channel.shut()
            raise self._stopped()
        self.channel = channel
        # RabbitMQ 3.10 may never answer basic.consume: its quorum queue has no leader
        # if it was declared anew shortly before RabbitMQ was killed.
        slow = self._session.reactor.callLater(_SLOW, self.warn, _UNANSWERED)
        try:
            await self._prepare(wire, channel)
        except BaseException:
            self._lost()  # there may have been messages already
            Deferred.fromCoroutine(channel.shut())  # which may take its time
            raise
        finally:
            if slow.active():
                slow.cancel()
        self._attached_at = self._session.reactor.seconds()
        self.recovered()

    async def keep(self) -> None:
        """
        Attach again, whatever ended the channel, until told that the end is near.
        """
        while self.channel is not None:
            why = await self.channel.when_closed()
            self._lost()
            if self.ending:
                self.channel = None
            else:
                self.warn(why)
                await self._reattach(self.channel)

    async def _reattach(self, lost: Channel) -> None:
        lasted = self._session.reactor.seconds() - self._attached_at
        if lasted < _LASTING and not lost.client.closed:
            self._short_lived += 1  # it may be our own doing, each time
        else:
            self._short_lived = 0
        attempt = self._short_lived
        if attempt > 1:
            await self._wait_for_attempt(attempt, None)
        while not self.ending:
            try:
                return await self.attach(None)
            except BrokerError as e:
                attempt += 1
                self.warn(e)
                await self._wait_for_attempt(attempt, e)
        self.channel = None
        return None

    async def _wait_for_attempt(self, attempt: int, why: BrokerError | None) -> None:
        if not self.ending:
            await self._wait_for(self._seconds_before(attempt, why))

    def _seconds_before(self, attempt: int, why: BrokerError | None) -> float:
        """
        Seconds before another attempt.

        @param why: why the last one failed.
        """
        if has_failed(why):
            return pause_after(attempt)
        return exponential(attempt, constant=1.5, maximum=RETRY_LIMIT)

    def warn(self, why: object) -> None:
        """
        The queue is not consumed, until L{recovered} is called.
        """
        if not self.ending:
            self._not_consumed.met(why)

    def recovered(self) -> None:
        """
        The queue is consumed again.
        """
        self._not_consumed.succeeded()

    def end(self) -> None:
        """
        Attach no more.
        """
        self.ending = True
        self._not_consumed.end()
        if self._waiting is not None:
            self._waiting.cancel()
