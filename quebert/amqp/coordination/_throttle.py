"""
The limits of one watched queue: messages per second, alone or shared, and its priority
group.  Limits of an origin are in L{quebert.limits}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from quebert.amqp.coordination._door import Door
from quebert.amqp.coordination._pace import HELD, Pace
from quebert.amqp.coordination._priority_group import PriorityGroup
from quebert.amqp.coordination._shared_rate import SharedRate

if TYPE_CHECKING:
    from quebert.amqp.link import Session
    from quebert.amqp.wire import Wire
    from quebert.limits import Rate

__all__ = ["PaceStatus", "Throttle"]


@attrs.frozen
class PaceStatus:
    """
    How a rate is kept to.

    @ivar rate: per second, of all together.
    @ivar share: per second, of this one.
    @ivar members: how many share it.
    @ivar delayed: how often messages had to wait for their turn.
    @ivar passed_on: for how many messages others had the turn, ...
    @ivar got: ... and for how many this one had that of others.
    """

    rate: float
    share: float
    members: int
    delayed: int
    passed_on: float
    got: float


class Throttle:
    """
    @param rate: of the messages that begin; C{None} for no limit.
    @param burst: how many begin at once; nothing without a rate.
    @param shared: whether all who watch the queue keep to it together.
    @param quorum: whether it is a quorum queue.
    @ivar doors: what is asked before a message gets a place.
    @ivar pace: C{None} without a rate.
    """

    def __init__(
        self,
        session: Session,
        queue: str,
        rate: Rate | None,
        burst: float | None,
        shared: bool,
        group: PriorityGroup | None,
        weight: float,
        *,
        quorum: bool = False,
    ) -> None:
        self.doors: list[Door] = []
        self.pace: Pace | None = None
        self._share: SharedRate | None = None
        if rate is not None:
            self.pace = Pace(rate, burst, lambda: session.reactor)
            self.doors.append(self.pace)
        if self.pace is not None and shared:
            publisher = session.make_publisher()
            self._share = SharedRate(
                queue, self.pace, publisher, lambda: session.reactor, quorum=quorum
            )
        if group is not None:
            self.doors.append(group.join(weight, lambda: session.reactor))

    async def join(self, wire: Wire) -> None:
        """
        Find out what our share is.

        @raise BrokerError: the broker does not let us.
        """
        if self._share is not None:
            await self._share.join(wire)

    async def leave(self) -> None:
        """
        Let others have our share.
        """
        if self.pace is not None:
            self.pace.stop()
        if self._share is not None:
            await self._share.leave()

    def prefetch(self, most: int) -> int:
        """
        How many messages to fetch, C{most} but for a rate; 0 for no limit.
        """
        return most if self.pace is None else self.pace.prefetch(most)

    @property
    def is_far(self) -> bool:
        """
        Whether what is fetched now could not begin soon, within L{HELD} seconds.
        """
        return self.pace is not None and self.pace.wait > HELD

    @property
    def status(self) -> PaceStatus | None:
        """
        How the rate is kept to, where there is one.
        """
        pace, share = self.pace, self._share
        if pace is None:
            return None
        return PaceStatus(
            pace.rate,
            pace.bucket.rate,
            share.members if share else 1,
            pace.delayed,
            share.passed_on if share else 0.0,
            share.got if share else 0.0,
        )
