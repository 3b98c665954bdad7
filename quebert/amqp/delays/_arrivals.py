"""
The messages that have waited for a task queue, as one channel fetches them.

They are fetched as soon as they arrive, since those that are fetched do not expire
there by a policy.  Up to L{_PREFETCH} messages or L{MOST_BYTES} bytes are on their way
at a time, and further ones wait in the queue in which they arrived, which holds up no
other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, TimeoutError

from quebert._waiters import Waiters
from quebert.amqp.wire import Channel, Message
from quebert.errors import BrokerError

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["MOST_BYTES", "Arrivals"]

# How many messages are on their way at a time, ...
_PREFETCH = 10_000
#: ... and how many bytes: with more, no further messages are fetched.
MOST_BYTES = 64 * 2**20
# Seconds for which the answers to what was published are awaited at the end: fewer than
# a watch gives the broker for its last answers.
_PATIENCE = 4.0
# Names its consumer.
_TAG = "quebert"


class Arrivals:
    """
    Fetches messages of one queue, until L{close}.

    @param channel: fetches them; its own.
    @param queue: in which they arrive.
    @param forward: gets each of them; fires when that is done with it.
    @param wake: called when L{fetch_or_rest} has something to do.
    @ivar busy: those that are on their way.
    @ivar stopped: whether no more are taken, and those on their way no longer wait.
    """

    def __init__(
        self,
        channel: Channel,
        queue: str,
        forward: Callable[[Arrivals, Message], Deferred[None]],
        wake: Callable[[], None],
    ) -> None:
        self.busy: set[Message] = set()
        self.stopped = False
        self._channel = channel
        self._queue = queue
        self._forward = forward
        self._wake = wake
        self._consuming = False
        self._bytes = 0  # of the bodies of those that are on their way
        self._idle: Waiters[None] = Waiters()
        channel.on_message = self._received

    @property
    def wire(self) -> Wire:
        """
        The connection over which they come.
        """
        wire: Wire = self._channel.client
        return wire

    async def set_prefetch(self) -> None:
        """
        Have the broker send no more than L{_PREFETCH} at a time.
        """
        await self._channel.call("basic_qos", prefetch_count=_PREFETCH)

    async def fetch_or_rest(self) -> None:
        """
        Fetch messages, unless many bytes are on their way.
        """
        if not self._consuming and self._bytes <= MOST_BYTES / 2:
            self._consuming = True
            await self._channel.call(
                "basic_consume", queue=self._queue, consumer_tag=_TAG
            )
        elif self._consuming and self._bytes > MOST_BYTES:
            self._consuming = False
            await self._channel.call("basic_cancel", consumer_tag=_TAG)

    def ack(self, message: Message) -> None:
        """
        A message is safe where it went.
        """
        self._channel.ack(message.delivery_tag)

    def stop(self) -> None:
        """
        Take no further messages.
        """
        self.stopped = True

    async def close(self) -> None:
        """
        Fetch no more, wait for the answers to what was published, and give back what
        was not taken.
        """
        channel = self._channel
        try:
            if not channel.closed:
                if self._consuming:
                    await channel.call("basic_cancel", consumer_tag=_TAG)
                await self._until_idle()
        except BrokerError:
            pass  # it is closed: all that is not acknowledged comes again
        finally:  # also when nobody waits for that any longer
            channel.give_all_back()
            self.busy.clear()
            shut = Deferred.fromCoroutine(channel.shut())
        await shut

    async def _until_idle(self) -> None:
        if self.busy:
            idle = self._idle.wait()
            idle.addTimeout(_PATIENCE, self.wire.clock)
            try:
                await idle
            except TimeoutError:
                pass  # the broker answers too late

    def _received(self, message: Message) -> None:
        if not self.stopped:
            self.busy.add(message)
            self._bytes += len(message.body)
            if self._consuming and self._bytes > MOST_BYTES:
                self._wake()
            forwarding = self._forward(self, message)
            forwarding.addCallback(lambda _: self._gone(message))

    def _gone(self, message: Message) -> None:
        self.busy.discard(message)
        self._bytes -= len(message.body)
        if not self.busy:
            self._idle.fire(None)
        if not self.stopped and not self._consuming and self._bytes <= MOST_BYTES / 2:
            self._wake()
