"""
C{basic.get} on one channel: asked for, answered in the same order.

Pure bookkeeping: it writes frames, and is told what the broker says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from quebert._protocol.methods import method_frame
from quebert.amqp.wire._message import Message
from quebert.errors import BrokerError

__all__ = ["Gets"]


class Gets:
    """
    The messages that were asked for, one by one, and have not come yet.

    @param channel: the channel's number.
    @param write: sends frames.
    """

    def __init__(self, channel: int, write: Callable[[bytes], None]) -> None:
        self._channel = channel
        self._write = write
        self._waiters: deque[Deferred[Message | None]] = deque()

    @property
    def waiting(self) -> bool:
        """
        Whether there is an answer to come.
        """
        return bool(self._waiters)

    @property
    def oldest(self) -> Deferred[Message | None] | None:
        """
        What has waited for longest, if anything waits.
        """
        return self._waiters[0] if self._waiters else None

    def ask(self, queue: str) -> Deferred[Message | None]:
        """
        Fires with a message, which must be acknowledged, or with C{None}: the
        queue has no more.
        """
        waiter: Deferred[Message | None] = Deferred()
        self._write(method_frame(self._channel, "basic.get", (0, queue, False)))
        self._waiters.append(waiter)
        return waiter

    def answered(self, message: Message | None) -> None:
        """
        C{basic.get-ok} has come, whole, or C{basic.get-empty}.
        """
        self._waiters.popleft().callback(message)

    def end(self, error: BrokerError) -> None:
        """
        The channel is closed: nothing more will be heard.
        """
        waiters, self._waiters = self._waiters, deque()
        for each in waiters:
            each.errback(error)
