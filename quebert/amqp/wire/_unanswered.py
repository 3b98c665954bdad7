"""
What the broker leaves without an answer, for the log.

A RabbitMQ whose quorum queue has lost the majority of its nodes confirms nothing that
is published to the queue, and may hang in other calls.  It still sends heartbeats, so
the connection stays.  Whoever has called waits, and the log tells for what.  Where
there are no heartbeats, nobody looks for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger

__all__ = ["PATIENCE", "Unanswered", "Waiting"]

#: Seconds without an answer after which the log tells, and tells again.
PATIENCE = 60.0
# Lines about one connection at a time, at most.
_MOST = 10

#: What waits, and a function that gives the words for it.
Waiting = tuple[object, Callable[[], str]]


class Unanswered:
    """
    Warns of what waits for long on one connection.

    @param clock: gives the clock.
    @param name: what the broker calls the connection.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime], name: str) -> None:
        self._clock = clock
        self._name = name
        self._looked = 0.0
        # Seconds of each, as far as they count.  What is answered is not kept here.
        self._waited: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._has_warned = False

    def look(self, waiting: Iterable[Waiting], most: float) -> None:
        """
        To be called at short intervals.

        @param most: seconds since the last look that count: a machine may have been
            asleep.
        """
        now, before = self._clock().seconds(), self._waited
        passed, self._looked = min(now - self._looked, most), now
        self._waited = WeakKeyDictionary()
        is_late, lines = False, 0
        for each, words in waiting:
            old = before.get(each)
            self._waited[each] = waited = 0.0 if old is None else old + passed
            is_late |= waited >= PATIENCE
            is_told = old is not None and waited // PATIENCE > old // PATIENCE
            if is_told and lines < _MOST:
                lines += 1
                self._warn(words(), waited)
        if self._has_warned and not is_late:
            self._has_warned = False
            text = "The broker answers again on the connection {name!r}."
            self.log.info(text, name=self._name)

    def _warn(self, words: str, seconds: float) -> None:
        self._has_warned = True
        self.log.warn(
            "The broker does not answer on the connection {name!r}: {words} has waited"
            " for {seconds:.0f} s",
            name=self._name,
            words=words,
            seconds=seconds,
        )

    def forget(self) -> None:
        """
        The broker reads nothing for now, and has said so.
        """
        self._waited.clear()
