"""
What the headers of a message tell of the mediators that ended with it.  Pure.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import attrs

from quebert.amqp.wire import ALONE, ENDS, FLIGHT, IN_QUESTION, Message

__all__ = ["POISONOUS", "SUSPECT", "Record"]

#: After so many ends of mediators a message is attempted alone.  A message that
#: RabbitMQ says has come back as often is replaced by a copy.
SUSPECT = 3
#: After so many sudden ends that found it alone at work, it is buried as poison.
POISONOUS = 3

# In the header: the suspect is yet to wait.
_WAITS = 2
# What is counted no further: anybody can write headers.
_MOST = 1e6
_FLIGHT = re.compile(r"[0-9a-f]{32}")


@attrs.frozen
class Record:
    """
    What the headers of a message tell of the mediators that ended with it.

    @ivar ends: how many mediators have ended while they may have had the message.
    @ivar alone: how many of these ended suddenly while nothing else was at work.
    @ivar flight: names this copy; empty for a message that is no copy.
    @ivar in_question: whether a mediator looks first how the last mediator of this
        suspect has ended.
    @ivar waits: whether the suspect must first wait in RabbitMQ, and is looked at after
        that.
    """

    ends: int = 0
    alone: int = 0
    flight: str = ""
    in_question: bool = False
    waits: bool = False

    @classmethod
    def of(cls, message: Message) -> Record:
        """
        The record in a message's headers, if a mediator may have written it: anybody
        can write headers, and a suspect has all other tasks wait.
        """
        if not message.was_put_back or not message.may_be_ours:  # nearly always
            return _NO_RECORD
        ends, alone = (
            int(min(max(0.0, message.number_in(header)), _MOST))
            for header in (ENDS, ALONE)
        )
        flight = message.text_in(FLIGHT)
        flight = flight if _FLIGHT.fullmatch(flight) else ""
        question = message.number_in(IN_QUESTION)
        return cls(ends, alone, flight, bool(question), question == _WAITS)

    def counted(self, *, alone: bool = False) -> Record:
        """
        The record after one more end.
        """
        return attrs.evolve(self, ends=self.ends + 1, alone=self.alone + alone)

    def copied(self) -> dict[str, Any]:
        """
        The headers of the next copy, which gets a name of its own.
        """
        return self._headers(uuid.uuid4().hex, None)

    def questioned(self, *, waits: bool = False) -> dict[str, Any]:
        """
        The headers of a copy that waits until a mediator can look how this one ended.
        Without a name nobody would ever find out.

        @param waits: whether the copy is yet to wait.
        """
        flight = self.flight or uuid.uuid4().hex
        return self._headers(flight, _WAITS if waits else 1)

    def _headers(self, flight: str, in_question: int | None) -> dict[str, Any]:
        return {
            ENDS: self.ends,
            ALONE: self.alone or None,
            FLIGHT: flight,
            IN_QUESTION: in_question,
        }

    @property
    def is_copy(self) -> bool:
        """
        Whether the message has taken the place of another.
        """
        return bool(self.flight or self.ends)

    @property
    def suspect(self) -> bool:
        """
        Whether the message is to be attempted alone.
        """
        return self.ends >= SUSPECT

    @property
    def poisonous(self) -> bool:
        """
        Whether the message is to be buried as poison.
        """
        return self.alone >= POISONOUS

    def __str__(self) -> str:
        times = f"{self.ends} times" if self.ends > 1 else "once"
        return (
            f"its mediator ended {times} while this task was in flight,"
            f" {self.alone} of them suddenly with no other task at work"
        )


_NO_RECORD = Record()
