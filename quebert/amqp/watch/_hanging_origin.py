"""
What a watch knows of one origin, while some are slow, or some tasks wait for one.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from quebert.amqp.watch._delivered_message import DeliveredMessage
from quebert.limits import WhenFree

__all__ = ["HangingOrigin"]


@attrs.define(eq=False)
class HangingOrigin:
    """
    The requests to one origin, and the tasks that wait to make one.

    @ivar since: when it became known.
    @ivar placed: its requests that have places.
    @ivar outside: its requests that have left theirs.
    @ivar due: tasks whose turn it is, and that have not begun.
    @ivar line: tasks that wait for their turn.
    @ivar slow: how many of its requests were slow at the last look.
    @ivar prompt: its quick answers: requests that began and were answered since then.
    @ivar trusted: C{prompt} of the interval before.
    @ivar is_quick: whether it has more quick answers than slow requests.
    @ivar hangs: whether the log has told of it.
    @ivar refuses_until: when it may take requests again, since one was not admitted; 0
        where it may now.
    @ivar when_free: has a function called once when it takes one; C{None} where nothing
        tells that.
    @ivar told_by: what will call ours.
    @ivar tries: how many tasks of the line may begin although it refuses: for each, a
        request has ended.
    @ivar refusals: how many requests were not admitted.
    @ivar successes: how many tasks of the line made their requests since then.
    @ivar failures: how often it has refused since a request ended.
    @ivar begun: when the last task of the line began.
    @ivar slow_due: how many of C{due} nobody waits for: their hooks take long.
    @ivar timed: the C{refuses_until} for which there is a timer.
    """

    name: str
    since: float
    placed: set[DeliveredMessage] = attrs.field(factory=set)
    outside: set[DeliveredMessage] = attrs.field(factory=set)
    due: set[DeliveredMessage] = attrs.field(factory=set)
    line: OrderedDict[DeliveredMessage, None] = attrs.field(factory=OrderedDict)
    slow: int = 0
    prompt: int = 0
    trusted: int = 0
    is_quick: bool = False
    hangs: bool = False
    refuses_until: float = 0.0
    when_free: WhenFree | None = None
    told_by: WhenFree | None = None
    tries: int = 0
    refusals: int = 0
    successes: int = 0
    failures: int = 0
    timed: float = 0.0
    begun: float = 0.0
    slow_due: int = 0

    @property
    def places(self) -> int:
        """
        How many it has, or is about to have.
        """
        return len(self.placed) + len(self.due)

    @property
    def is_idle(self) -> bool:
        """
        Whether it has no request, and no task waits.
        """
        return not (self.placed or self.outside or self.due or self.line)
