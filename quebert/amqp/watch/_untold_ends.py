"""
Tasks that have ended, while RabbitMQ refuses their end notes.

Whoever may publish to a queue may ask for an end note.  So the messages of such tasks
must not take the room of others, and must not be acknowledged so late that RabbitMQ
delivers them again: a task that is done would be done once more.  A task for which
there is no room, or no time, ends without its note.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from quebert._consumer_timeout import CONSUMER_TIMEOUT
from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.task_ends import ENDED

__all__ = ["MOST_BYTES", "MOST_UNTOLD", "UntoldEnds"]

#: Messages of one queue that wait at most, and bytes of their bodies: a tenth and a
#: quarter of what a watch holds at most (L{quebert.amqp.watch._backlog}).
MOST_UNTOLD, MOST_BYTES = 1_000, 16 * 2**20
#: Seconds for which a message waits at most, from when it came: two minutes are left
#: for the last attempt, and for the acknowledgement.
LONGEST_UNTOLD = CONSUMER_TIMEOUT - 120.0
# Seconds within which RabbitMQ confirms a note; once it has not done so, it is asked no
# longer than that each time, until it does again.
_PATIENCE, _SHORT_PATIENCE = 30.0, 0.5


class UntoldEnds:
    """
    Those of one queue.

    @param clock: gives the clock that all waits go by.
    @ivar patience: seconds for which the confirm of a note is waited for.
    """

    log = Logger()

    def __init__(self, queue: str, clock: Callable[[], IReactorTime]) -> None:
        self.patience = _PATIENCE
        self._clock = clock
        self._waiting: set[DeliveredMessage] = set()
        self._bytes = 0
        self._dropped = RepeatedWarning(
            self.log,
            clock,
            "Tasks of queue {queue!r} end without their end notes, since {ended!r}"
            " refuses too many of them, or for too long",
            "Tasks of queue {queue!r} end with their end notes again",
            ended=ENDED,
            queue=queue,
        )

    def may_wait(self, message: DeliveredMessage) -> bool:
        """
        RabbitMQ has refused the note of a message: whether the message may wait until
        that is tried again.
        """
        if self._clock().seconds() - message.came > LONGEST_UNTOLD:
            return False
        if message in self._waiting:
            return True
        size = self._bytes + len(message.body)
        if len(self._waiting) >= MOST_UNTOLD or size > MOST_BYTES:
            return False
        self._waiting.add(message)
        self._bytes = size
        return True

    def told(self) -> None:
        """
        RabbitMQ has taken a note.
        """
        self.patience = _PATIENCE
        self._dropped.succeeded()

    def unanswered(self) -> None:
        """
        RabbitMQ has not confirmed a note.
        """
        self.patience = _SHORT_PATIENCE

    def dropped(self, why: Exception) -> None:
        """
        A task ends without its note.
        """
        self._dropped.met(why)

    def leave(self, message: DeliveredMessage) -> None:
        """
        A message does not wait any more, if it has.
        """
        if message in self._waiting:
            self._waiting.remove(message)
            self._bytes -= len(message.body)

    def end(self) -> None:
        """
        No more messages will come: log nothing more.
        """
        self._dropped.end()
