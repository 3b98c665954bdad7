"""
Tells telemetry of each message that a producer sends.  Pure.

Another way to publish needs a L{OutgoingLetter} for each message, told of its end.
"""

from __future__ import annotations

from types import TracebackType

import attrs

from quebert.producer._letter import Letter
from quebert.telemetry import SendSpan, sender

__all__ = ["OutgoingLetter"]


class OutgoingLetter:
    """
    A message that is being sent.  As a context manager, it ends with the block.

    @ivar letter: what is to be sent: with headers that tell of the trace, if there is
        one.
    """

    __slots__ = ("_span", "letter")

    def __init__(self, exchange: str, letter: Letter) -> None:
        self.letter = letter
        self._span: SendSpan | None = None
        telemetry = sender()
        if telemetry is not None:
            self._span = telemetry.begin(
                exchange,
                letter.routing_key,
                letter.uuid,
                len(letter.body),
                letter.properties,
            )
        if self._span is not None:
            self.letter = attrs.evolve(letter, properties=self._span.properties)

    @property
    def is_traced(self) -> bool:
        """
        Whether its end is to be told.
        """
        return self._span is not None

    def ended(self, error: BaseException | None) -> None:
        """
        The broker has confirmed it, or C{error} says why not.
        """
        if self._span is not None:
            self._span.ended(error)

    def __enter__(self) -> Letter:
        return self.letter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended(error)
