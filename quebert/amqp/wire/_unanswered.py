"""
What the broker leaves without an answer, for the log.

A RabbitMQ whose quorum queue has lost the majority of its nodes confirms nothing that
is published to the queue, and may hang in other calls.  It still sends heartbeats, so
the connection stays.  Whoever has called waits, and the log tells for what.  Where
there are no heartbeats, nobody looks for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning

__all__ = ["PATIENCE", "Unanswered"]

#: Seconds without an answer after which the log tells, and tells again.
PATIENCE = 60.0
# Seconds between two looks, at most: a machine that was asleep counts no more.
_BETWEEN = 30.0


class Unanswered:
    """
    Warns of what waits for long on one connection.

    @param clock: gives the clock.
    @param name: what the broker calls the connection.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime], name: str) -> None:
        self._clock = clock
        self._looked = 0.0
        self._waited: dict[object, float] = {}  # seconds of each, as far as they count
        self._warning = RepeatedWarning(
            self.log,
            clock,
            "The broker does not answer on the connection {name!r}",
            "The broker answers again on the connection {name!r}",
            name=name,
        )

    def look(self, waiting: Iterable[tuple[object, str]]) -> None:
        """
        To be called at short intervals.

        @param waiting: what waits now, and the words for it.
        """
        now, before = self._clock().seconds(), self._waited
        passed, self._looked = min(now - self._looked, _BETWEEN), now
        self._waited, is_late = {}, False
        for each, words in waiting:
            old = before.get(each)
            self._waited[each] = waited = 0.0 if old is None else old + passed
            is_late |= waited >= PATIENCE
            if old is not None and waited // PATIENCE > old // PATIENCE:
                self._warning.met(f"{words} has waited for {PATIENCE:.0f} s or more")
        if not is_late:
            self._warning.succeeded()

    def forget(self) -> None:
        """
        The broker reads nothing for now, and has said so.
        """
        self._waited = {}

    def end(self) -> None:
        """
        Warn no more.
        """
        self._warning.end()
