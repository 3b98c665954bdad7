"""
Telling that RabbitMQ refuses a part of the delay ladder.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IReactorTime

from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert.amqp.delays._rungs import PREFIX
from quebert.errors import BrokerError, BrokerRefused, ReplyCode

__all__ = ["LadderRefused", "Refusals"]

# How texts of RabbitMQ name a part: "access to exchange 'quebert.delay.arrivals' in …".
_OUR_PART = f" '{PREFIX}."
_NEEDS = (
    rf" (the user needs to configure, write and read {re.escape(PREFIX)}\..*, and to"
    r" write amq\.default)"
)


class LadderRefused(BrokerError):
    """
    RabbitMQ refuses the declaration of a part of the ladder.  The ladder has logged it.
    """


class Refusals:
    """
    Logs once why tasks cannot wait, however many of them there are, and however many
    parts RabbitMQ names one after the other.

    @ivar denied: for each queue whose tasks lack a permission, the first that RabbitMQ
        named.
    """

    log = Logger()

    def __init__(self) -> None:
        self.denied: dict[str, str] = {}
        self._clock: IReactorTime
        self._warning = RepeatedWarning(
            self.log,
            lambda: self._clock,
            "Tasks cannot wait in the broker for now; this is tried again",
            "Tasks can wait in the broker again",
        )

    def logged(
        self, why: BrokerRefused, queue: str, clock: IReactorTime
    ) -> LadderRefused:
        """
        Log why tasks of C{queue} cannot wait.

        @return: the error for those who need the part that RabbitMQ refuses.
        """
        self._log(why, queue, clock)
        return LadderRefused(f"tasks cannot wait in the broker: {why}")

    def tells(self, why: BrokerError, queue: str, clock: IReactorTime) -> bool:
        """
        Log a refusal that a task of C{queue} met, if the user lacks a permission on a
        part of the ladder; returns whether it is in the log.
        """
        is_denied = (
            isinstance(why, BrokerRefused) and why.code == ReplyCode.ACCESS_REFUSED
        )
        if is_denied and _OUR_PART in str(why):
            self._log(why, queue, clock)
            return True
        return isinstance(why, LadderRefused)

    def _log(self, why: BrokerError, queue: str, clock: IReactorTime) -> None:
        self._clock = clock
        text = str(why)
        if isinstance(why, BrokerRefused) and why.code == ReplyCode.ACCESS_REFUSED:
            text = self.denied.setdefault(queue, f"{text}{_NEEDS}")
        self._warning.met(text)

    def over(self) -> None:
        """
        Tasks can wait again.
        """
        self.denied.clear()
        self._warning.succeeded()

    def end(self) -> None:
        """
        Warn no more.
        """
        self._warning.end()
