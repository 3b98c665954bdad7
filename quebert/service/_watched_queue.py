"""
One queue that is watched, or about to be, and its change from one watcher to the next.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from quebert._repeated import RepeatedWarning
from quebert.amqp import Counts, TxAMQPClient, Watcher
from quebert.boundaries import Message
from quebert.config import QueueSettings
from quebert.mediator import Mediator
from quebert.metrics import QueueHealth
from quebert.outcome import Outcome
from quebert.task_callbacks import CallbackTask

__all__ = ["WatchedQueue"]


@attrs.define(eq=False)
class WatchedQueue:
    """
    A queue that is watched, or about to be.

    @ivar mediator: gets what comes from now on.
    @ivar refused: tells that it cannot be watched.
    @ivar watcher: brings it; C{None} until it does.
    @ivar way: which client, and what it was told, of that watcher.
    @ivar starting: another watcher that is to take over, or the first.
    @ivar starting_way: the same of that one.
    @ivar begun: fires with the first watcher, and may fail before that.
    @ivar failures: how often in a row it could not be watched.
    @ivar problem: why, the last time; empty for no reason.
    @ivar before: what became of the messages of the watchers before.
    @ivar again: tries again.
    """

    queue: QueueSettings
    mediator: Mediator
    refused: RepeatedWarning
    watcher: Watcher | None = None
    way: Any = None
    starting: Deferred[Any] | None = None
    starting_way: Any = None
    begun: Deferred[None] | None = None
    failures: int = 0
    problem: str = ""
    before: list[Counts] = attrs.field(factory=list)
    again: IDelayedCall | None = None
    heeds_cancelled: ClassVar[bool] = True  # as a mediator

    def received(self, message: Message) -> Deferred[Outcome]:
        """
        Give a message to the mediator of now.
        """
        return self.mediator.messageReceived(message)

    def memory_of(self, body: bytes) -> int:
        """
        Bytes of memory that a message takes at most with the mediator of now.
        """
        return self.mediator.memory_of(body)

    def callback_in(self, body: bytes) -> CallbackTask | None:
        """
        The callback task that a task asks for, as the mediator of now makes it.
        """
        return self.mediator.callback_in(body)

    def supersede(self, client: TxAMQPClient | None) -> None:
        """
        Start no other watcher.  One that is just about to begin may have tasks
        already, so that it begins and is ended then; but of another client than
        this, whose broker may never be there, none does.
        """
        again, self.again = self.again, None
        if again is not None and again.active():
            again.cancel()
        starting, self.starting = self.starting, None
        if starting is not None and self.starting_way[0] is not client:
            starting.cancel()

    def health(self) -> QueueHealth:
        """
        How it is watched.
        """
        watcher = self.watcher
        client = (self.way or self.starting_way or (None,))[0]
        return QueueHealth(
            consuming=watcher is not None and (watcher.consuming or watcher.resting),
            paused=watcher is not None and watcher.paused,
            connected=client is not None and client.is_connected,
            problem=self.problem,
        )

    def fire(self) -> None:
        """
        Nobody need wait for its first watcher any more.
        """
        if self.begun is not None and not self.begun.called:
            self.begun.callback(None)
