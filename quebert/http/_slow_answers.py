"""
Ends answers that come too slowly: a server that sends a byte now and then would
otherwise keep a connection, and who waits for the answer, for ever.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from quebert._deadlines import Deadlines

__all__ = ["Answering", "SlowAnswers"]


class Answering(Protocol):
    """
    A connection over which an answer comes.
    """

    @property
    def paused(self) -> bool:
        """
        Whether nothing is read for now, since nobody wants more.
        """

    @property
    def received(self) -> int:
        """
        How many bytes of the answer have come.
        """

    def end(self, reason: str) -> None:
        """
        Cut the answer short.
        """


@attrs.define(eq=False)
class _Coming:
    """
    @ivar received: how many bytes had come when that was last looked at.
    @ivar slowest: bytes per second that must come.
    @ivar seconds: over which that is the mean.
    """

    received: int
    slowest: float
    seconds: float


class SlowAnswers:
    """
    The answers whose rest is to come.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._deadlines: Deadlines[Answering] = Deadlines(lambda: clock, self._look)
        self._answers: dict[Answering, _Coming] = {}

    def begin(self, connection: Answering, slowest: float, seconds: float) -> None:
        """
        The rest of an answer is to come, at C{slowest} bytes per second at least, as
        the mean over so many seconds, again and again.
        """
        self._answers[connection] = _Coming(connection.received, slowest, seconds)
        self._deadlines.begin(connection, seconds)

    def end(self, connection: Answering) -> None:
        """
        It is there, or will not come.
        """
        if self._answers.pop(connection, None) is not None:
            self._deadlines.end(connection)

    def _look(self, connection: Answering) -> None:
        answer, received = self._answers[connection], connection.received
        least = answer.slowest * answer.seconds
        if connection.paused or received - answer.received >= least:
            answer.received = received
            self._deadlines.begin(connection, answer.seconds)
        else:
            connection.end(f"fewer than {least:g} bytes came in {answer.seconds:g} s")
