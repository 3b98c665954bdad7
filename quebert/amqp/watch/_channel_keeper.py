"""
A channel that is there again, ready for use, whenever it was lost.

Theory of operation: the channel of a watch is in one of these states::

               attach              succeed
     DETACHED --------> ATTACHING ---------> ATTACHED
      ^  |  ^               | fail              | lose
      |  |  +---------------+-------------------+
      |  | wait
      |  v
     WAITING, until it has waited

 - DETACHED: there is no channel.
 - ATTACHING: one is opened, on a connection that may have to be made, and made ready.
 - ATTACHED: the watch can use it.
 - WAITING: the last attempt has failed, or the last channel did not last.
 - ENDING: the end is near.  The channel that there is remains until it is closed, and
   there will be no other.  This state has no way out.

The connection is the client's; what makes a channel ready is its user's business.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from enum import IntEnum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from quebert._log import Logger
from quebert._machine import Machine
from quebert._repeated import RepeatedWarning
from quebert.amqp.watch._channel_backoff import ChannelBackoff
from quebert.amqp.wire import Channel
from quebert.errors import BrokerError, ChannelLost

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire

__all__ = ["ChannelKeeper"]

# Seconds after which the log tells that the broker does not answer.
_SLOW = 30.0
# Seconds after a fault.
_AFTER_FAULT = 60.0
_UNANSWERED = f"the broker has not answered for {_SLOW:.0f} s; its log may tell why"


class KeeperState(IntEnum):
    """
    Where the channel of a watch stands.
    """

    DETACHED = auto()
    ATTACHING = auto()
    ATTACHED = auto()
    WAITING = auto()
    ENDING = auto()


class KeeperEvent(IntEnum):
    """
    What happens to it.
    """

    ATTACH = auto()
    SUCCEED = auto()
    FAIL = auto()
    LOSE = auto()
    WAIT = auto()
    WAITED = auto()
    END = auto()


_ENDED = {KeeperState.ENDING: KeeperState.ENDING}  # whatever happens then

#: For each event, the states in which it may happen, and the state that follows.
TABLE: Mapping[KeeperEvent, Mapping[KeeperState, KeeperState]] = {
    KeeperEvent.ATTACH: {KeeperState.DETACHED: KeeperState.ATTACHING, **_ENDED},
    KeeperEvent.SUCCEED: {KeeperState.ATTACHING: KeeperState.ATTACHED, **_ENDED},
    KeeperEvent.FAIL: {KeeperState.ATTACHING: KeeperState.DETACHED, **_ENDED},
    KeeperEvent.LOSE: {KeeperState.ATTACHED: KeeperState.DETACHED, **_ENDED},
    KeeperEvent.WAIT: {KeeperState.DETACHED: KeeperState.WAITING, **_ENDED},
    KeeperEvent.WAITED: {KeeperState.WAITING: KeeperState.DETACHED, **_ENDED},
    KeeperEvent.END: dict.fromkeys(KeeperState, KeeperState.ENDING),
}


class ChannelKeeper:
    """
    The channel on which C{queue} is consumed.

    @param prepare: awaited with each new channel, and its connection, before it is
        in use.
    @param lost: called when it is gone.
    @param wait: waits so many seconds, or less when the end is near.
    @ivar channel: C{None} before the first, and after the end.
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
        self._machine = Machine(TABLE, KeeperState.DETACHED)
        self._session = session
        self._queue = queue
        self._prepare = prepare
        self._lost = lost
        self._wait_for = wait
        self._not_consumed = RepeatedWarning(
            self.log,
            lambda: session.reactor,
            "Queue {queue!r} is not consumed for now",
            "Queue {queue!r} is consumed again",
            queue=queue,
        )
        self._wire: Wire | None = None  # of the last attempt
        self._waiting: Deferred[None] | None = None  # as part of begin()
        self._backoff = ChannelBackoff()

    @property
    def state(self) -> KeeperState:
        """
        Where it stands.
        """
        return self._machine.state

    @property
    def _is_ending(self) -> bool:
        return self._machine.state is KeeperState.ENDING

    async def begin(self, timeout: float | None) -> None:
        """
        Attach for the first time, again where the connection is lost meanwhile.

        @param timeout: seconds for all attempts; C{None} for no limit.
        @raise BrokerError: that cannot be done, or not in time.
        """
        clock, left = self._session.reactor, timeout
        end = None if timeout is None else clock.seconds() + timeout
        while True:
            try:
                return await self._attach(left)
            except BrokerError as e:
                seconds = self._backoff.failed(e)
                is_late = end is not None and clock.seconds() + seconds >= end
                if e.final or is_late or not self._is_connection_lost:
                    raise
                self.warn(e)
            self._waiting = deferLater(clock, seconds)
            await self._wait(self._waiting)
            if self._is_ending:
                raise self._stopped()
            left = None if end is None else max(0.0, end - clock.seconds())

    async def _wait(self, waiting: Deferred[None]) -> None:
        self._machine.move(KeeperEvent.WAIT)
        try:
            await waiting
        except CancelledError:
            if not self._is_ending:
                raise
        finally:
            self._machine.move(KeeperEvent.WAITED)
            self._waiting = None

    def _stopped(self) -> ChannelLost:
        return ChannelLost(f"the watch of queue {self._queue!r} was stopped")

    @property
    def _is_connection_lost(self) -> bool:
        return self._wire is not None and self._wire.closed and not self._is_ending

    async def _attach(self, timeout: float | None) -> None:
        """
        Open a channel and make it ready.

        @param timeout: seconds to wait for a connection; C{None} for ever.
        @raise BrokerError: that cannot be done.
        """
        self._machine.move(KeeperEvent.ATTACH)
        try:
            await self._open(timeout)
        except Exception:
            self._machine.move(KeeperEvent.FAIL)
            raise
        self._machine.move(KeeperEvent.SUCCEED)
        self._backoff.succeeded(self._session.reactor.seconds())
        self.recovered()

    async def _open(self, timeout: float | None) -> None:
        self._wire = None
        self._wire = wire = await self._session.connected(timeout)
        channel = await wire.open_channel(confirms=False)
        if self._is_ending:
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

    async def keep(self) -> None:
        """
        Attach again, whatever ended the channel, until told that the end is near.
        """
        while self.channel is not None:
            why = await self.channel.when_closed()
            self._lost()
            self._machine.move(KeeperEvent.LOSE)
            self.warn(why)
            await self._attach_again(self.channel)

    async def _attach_again(self, lost: Channel) -> None:
        now = self._session.reactor.seconds()
        seconds = self._backoff.lost(now, alone=not lost.client.closed)
        await self._pause(seconds)
        while not self._is_ending:
            try:
                return await self._attach(None)
            except BrokerError as e:
                self.warn(e)
                await self._pause(self._backoff.failed(e))
            except CancelledError:
                raise
            except Exception as e:  # a fault of ours, or of a throttle
                self.log.failure("Consuming queue {queue!r} failed", queue=self._queue)
                self.warn(e)
                await self._pause(_AFTER_FAULT)
        self.channel = None
        return None

    async def _pause(self, seconds: float) -> None:
        if seconds and not self._is_ending:
            await self._wait(self._wait_for(seconds))

    def warn(self, why: object) -> None:
        """
        The queue is not consumed, until L{recovered} is called.
        """
        if not self._is_ending:
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
        self._machine.move(KeeperEvent.END)
        self._not_consumed.end()
        if self._waiting is not None:
            self._waiting.cancel()
