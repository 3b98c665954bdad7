"""
What the broker leaves without an answer, for the log.

A RabbitMQ whose quorum queue has lost the majority of its nodes confirms nothing that
is published to the queue, and may hang in other calls.  It still sends heartbeats, so
the connection stays.  Whoever has called waits, and the log tells for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning

__all__ = ["PATIENCE", "Unanswered"]

#: Seconds without an answer after which the log tells.
PATIENCE = 60.0


class Unanswered:
    """
    Warns of what waits for long on one connection.

    @param clock: gives the clock.
    @param name: what the broker calls the connection.
    """

    log = Logger()

    def __init__(self, clock: Callable[[], IReactorTime], name: str) -> None:
        self._clock = clock
        self._since: dict[object, float] = {}  # when each was seen first
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
        now, words = self._clock().seconds(), dict(waiting)
        self._since = {each: self._since.get(each, now) for each in words}
        late = [each for each, at in self._since.items() if now - at >= PATIENCE]
        for each in late:
            self._warning.met(f"{words[each]} has waited for {PATIENCE:.0f} s or more")
        if not late:
            self._warning.succeeded()

    def end(self) -> None:
        """
        Warn no more.
        """
        self._warning.end()
