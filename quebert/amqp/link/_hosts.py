"""
The hosts of a broker: which of them a connection tries next, and how long it waits
before that.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from quebert.config import Address
from quebert.policy import exponential

__all__ = ["Hosts", "retry_delay"]

#: Seconds at most between two attempts at the same host, so that a broker that is back
#: is found again within five seconds.
LONGEST_WAIT = 4.0
#: Where all hosts refuse us: the seconds after the first time, which are the base of
#: the power, and at most.
FIRST_WAIT_REFUSED, LONGEST_WAIT_REFUSED = 4.0, 60.0


def retry_delay(attempt: int, jitter: float) -> float:
    """
    Seconds until attempt number C{attempt} to reconnect.

    @param jitter: from 0 to 1; the wait is multiplied by it.
    """
    return exponential(attempt, constant=1.5, maximum=LONGEST_WAIT * 4) / 4 * jitter


class Hosts:
    """
    One host after the other is tried.  A refusal may be temporary if the broker has
    ever let us in.

    @param sibling: the hosts of another connection to the same broker.
    @param optional: whether a refusal counts though the sibling was let in: the broker
        may allow the user no further connection.
    """

    def __init__(
        self, addresses: Sequence[Address], sibling: Hosts | None, *, optional: bool
    ) -> None:
        self._addresses = addresses
        self._sibling = sibling
        self._optional = optional
        self._turn = 0  # whose it is
        self._was_let_in = False
        self._refusals = 0  # in a row

    @property
    def address(self) -> Address:
        """
        The one whose turn it is.
        """
        return self._addresses[self._turn % len(self._addresses)]

    @property
    def refuse(self) -> bool:
        """
        Whether all of them refuse, and none has ever let us in.
        """
        return self._refusals >= len(self._addresses) and not self._let_in

    @property
    def _let_in(self) -> bool:
        if self._sibling is None or self._optional:
            return self._was_let_in
        return self._was_let_in or self._sibling._was_let_in

    def begin(self) -> None:
        """
        The connection is wanted: begin at the place in the list at which the sibling
        is.  Both have the same list.
        """
        if self._sibling is not None:
            self._turn = self._sibling._turn

    def succeeded(self) -> None:
        """
        One has let us in.
        """
        self._was_let_in = True
        self._refusals = 0

    def failed(self, *, refused: bool) -> None:
        """
        One has not: it is the turn of the next.
        """
        self._refusals = self._refusals + 1 if refused else 0
        self._turn += 1

    def lost(self) -> None:
        """
        The connection to one is lost: it is the turn of the next.
        """
        self._turn += 1

    def delay(self, attempt: int) -> float:
        """
        Seconds until attempt number C{attempt}.  With several hosts they are less, so
        that each is tried as often as a single one would be, unless all of them refuse.
        """
        hosts = len(self._addresses)
        refused = self._refusals // hosts  # by all of them
        if refused:
            return exponential(
                refused, constant=FIRST_WAIT_REFUSED, maximum=LONGEST_WAIT_REFUSED
            )
        # Not all mediators at the same moment; nobody gains by guessing the moment.
        jitter = random.uniform(0.5, 1.0)  # nosec B311
        return retry_delay(attempt // hosts, jitter) / hosts
