"""
The waits of one watch, which can be cut short.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from quebert.amqp.watch._delivered_message import DeliveredMessage

__all__ = ["Waits"]


class Waits:
    """
    All for which a watch waits some seconds: the retries of messages, the next attempt
    to publish, or another channel.

    @param clock: gives the clock that they go by.
    @ivar hurried: the watch is being stopped: no message is to wait here any more.
    @ivar of_messages: the messages that wait for another attempt, or for their time,
        and their waits.
    """

    def __init__(self, clock: Callable[[], IReactorTime]) -> None:
        self.hurried = False
        self.of_messages: dict[DeliveredMessage, Deferred[None]] = {}
        self._clock = clock
        self._waits: dict[Deferred[None], IDelayedCall] = {}

    def wait(self, seconds: float) -> Deferred[None]:
        """
        Fires after C{seconds}, or as soon as there is no point in waiting.
        """
        wait: Deferred[None] = Deferred(self._end)
        self._waits[wait] = self._clock().callLater(seconds, self._end, wait)
        return wait

    def end(self) -> None:
        """
        End all waits.
        """
        for wait in list(self._waits):
            self._end(wait)

    def wait_with(self, message: DeliveredMessage, seconds: float) -> Deferred[None]:
        """
        The same for a message, whose wait L{hasten} may end.
        """
        wait = self.of_messages[message] = self.wait(seconds)
        return wait.addCallback(self._over, message)

    def _over(self, _ended: None, message: DeliveredMessage) -> None:
        del self.of_messages[message]

    def hasten(self, message: DeliveredMessage) -> None:
        """
        Have a message wait no longer, of those in L{of_messages}.
        """
        message.hastened = True
        self._end(self.of_messages[message])

    def _end(self, wait: Deferred[None]) -> None:
        call = self._waits.pop(wait)
        if call.active():
            call.cancel()
        wait.callback(None)
