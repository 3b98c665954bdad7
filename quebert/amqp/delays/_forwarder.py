"""
Forwarding: what has waited on the delay ladder goes from the queue in which it arrived
to its task queue, or to its next wait.

This is the loop: it connects, has L{Arrivals} fetch messages and L{Forwarding} pass
each of them on, sees to the ladder from time to time, and begins anew when the
connection or the channel is lost.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert.amqp.delays._arrivals import Arrivals
from quebert.amqp.delays._astray import Astray, OldLadder
from quebert.amqp.delays._forwarding import Forwarding
from quebert.amqp.delays._ladder import Ladder
from quebert.amqp.delays._rungs import arrivals_of
from quebert.amqp.delays._rungs_in_use import CHECK
from quebert.amqp.link import Publisher, has_failed, pause_after
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire

__all__ = ["Forwarder"]

# Seconds after which a round begins that follows a failed one.
_AGAIN = 1.0
# Seconds for which nothing is forwarded after a fault of our own.
_AFTER_FAULT = 60.0


class Forwarder:
    """
    Forwards messages to one task queue, from L{begin} to L{end}.

    @param publisher: publishes them.
    """

    log = Logger()

    def __init__(
        self,
        ladder: Ladder,
        old_ladder: OldLadder,
        session: Session,
        queue: str,
        publisher: Publisher,
    ) -> None:
        self._ladder = ladder
        self._session = session
        self._queue = queue
        self._astray = Astray(ladder, old_ladder, queue, publisher)
        self._forwarding = Forwarding(ladder, self._astray, session, queue, publisher)
        self._arrivals: Arrivals | None = None
        self._event: Deferred[None] | None = None  # what the loop waits for
        self._bringing_back: Deferred[Any] | None = None
        self._running: Deferred[None] | None = None
        self._connecting: Deferred[Wire] | None = None
        self._failures = 0  # of RabbitMQ, in a row
        self._ended = False

    def begin(self) -> None:
        """
        Forward, with this connection and with all others, until the end.
        """
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())

    async def end(self) -> None:
        """
        Forward no more; what was not confirmed stays where it is.
        """
        self._ended = True
        self._begin_anew()
        if self._connecting is not None:
            self._connecting.cancel()
        try:
            if self._running is not None:
                await self._running
        finally:
            self._astray.end()
            self._forwarding.end()

    def declared(self) -> None:
        """
        The task queue was declared, perhaps anew: look at once for what waits for it.
        """
        self._astray.look_again()
        self._forwarding.try_now()
        self._wake()

    # -- The loop

    async def _run(self) -> None:
        with suppress(CancelledError):
            while not self._ended:
                try:
                    await self._forward_on()
                except CancelledError:
                    raise
                except Exception:
                    self._tell_fault()
                    await self._wait(_AFTER_FAULT)

    def _tell_fault(self) -> None:
        self.log.failure(
            "Moving delayed tasks to queue {queue!r} failed, and is tried again in"
            " {seconds:.0f} s",
            queue=self._queue,
            seconds=_AFTER_FAULT,
        )

    async def _forward_on(self) -> None:
        while not self._ended:
            try:
                await self._round(await self._connected())
            except BrokerError as e:
                # Whoever keeps the error shall not keep the connection with it.
                e.with_traceback(None)
                if not self._ended:
                    self._forwarding.failed(e)
                    await self._wait_after(e)

    async def _wait_after(self, why: BrokerError) -> None:
        if not has_failed(why):
            await self._wait(_AGAIN)
            return
        self._failures += 1
        clock = self._session.reactor
        end = clock.seconds() + pause_after(self._failures)
        # Wait for all of it, even if declared() wakes us.
        while not self._ended and (rest := end - clock.seconds()) > 0:
            await self._wait(rest)

    async def _connected(self) -> Wire:
        self._connecting = Deferred.fromCoroutine(self._session.connected())
        try:
            return await self._connecting
        finally:
            self._connecting = None

    async def _round(self, wire: Wire) -> None:
        """
        Forward until something is to be done otherwise.
        """
        await self._ladder.prepare(wire, self._queue)
        channel = await wire.open_channel(confirms=False)
        queue, forward = arrivals_of(self._queue), self._forwarding.forward
        arrivals = self._arrivals = Arrivals(channel, queue, forward, self._wake)
        channel.on_cancel = lambda consumer_tag: self._cancelled()
        channel.when_closed().addCallback(self._closed)
        try:
            await arrivals.set_prefetch()
            while not (self._ended or arrivals.stopped):
                await arrivals.fetch_or_rest()
                await self._look_after(wire)
                self._failures = 0
                await self._wait(CHECK)
        finally:
            await self._leave(arrivals)
            if self._bringing_back is not None:
                await self._bringing_back

    async def _leave(self, arrivals: Arrivals) -> None:
        self._arrivals = None
        arrivals.stop()
        self._forwarding.give_up()
        await arrivals.close()

    async def _wait(self, seconds: float) -> None:
        """
        Wait for so many seconds, or until L{_wake}.
        """
        event: Deferred[None] = Deferred()
        self._event = event
        try:
            await event.addTimeout(seconds, self._session.reactor)
        except TimeoutError:
            pass
        finally:
            self._event = None

    def _wake(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.callback(None)

    def _begin_anew(self) -> None:
        """
        Leave the channel, if there is one.
        """
        if self._arrivals is not None:
            self._arrivals.stop()
        self._wake()

    def _closed(self, why: BrokerError) -> None:
        if self._arrivals is not None:
            self._forwarding.failed(why)
            self._begin_anew()

    def _cancelled(self) -> None:
        """
        Somebody has deleted the queue in which messages arrive.
        """
        self._ladder.forget()
        self._begin_anew()

    async def _look_after(self, wire: Wire) -> None:
        """
        See to what somebody may have deleted, and to what went astray, of which the
        ladder tells.  To bring that back may take long, and the ladder must not wait.
        """
        try:
            await self._ladder.check(wire)
        except BrokerError as e:
            if wire.closed:
                raise
            self._not_looked_after(e)
        if self._bringing_back is None:
            bringing = Deferred.fromCoroutine(self._astray.bring_back(wire))
            self._bringing_back = bringing
            bringing.addBoth(self._brought_back)

    def _brought_back(self, result: object) -> None:
        self._bringing_back = None
        if isinstance(result, Failure):
            result.trap(BrokerError)
            self._not_looked_after(result.value)

    def _not_looked_after(self, why: object) -> None:
        self.log.debug(
            "The queues in which delayed tasks wait cannot be checked: {why}", why=why
        )
