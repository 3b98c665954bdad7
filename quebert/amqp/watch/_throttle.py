"""
Throttles: what decides, beside the number of places, when a message begins.

The throttles that there are, such as a rate, stand in L{quebert.amqp.coordination},
which this room does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from quebert.amqp.watch._delivered_message import DeliveredMessage
    from quebert.amqp.wire import Wire

__all__ = ["PaceStatus", "Throttle", "ThrottleGroup", "Throttles"]


@attrs.frozen
class PaceStatus:
    """
    How a rate of messages is kept to.

    @ivar rate: messages per second, of all watches together.
    @ivar share: per second, of this watch.
    @ivar members: how many watches share it.
    @ivar delayed: how often messages had to wait for their turn.
    @ivar passed_on: how many turns this watch has given to others.
    @ivar got: how many turns others have given to this watch.
    """

    rate: float
    share: float
    members: int
    delayed: int
    passed_on: float
    got: float


class Throttle(Protocol):
    """
    Says when the next message of one watch may begin, and how many messages the watch
    fetches.

    The watch tells a throttle of each message: L{entered} when it begins to wait, then
    L{begun} or L{withdrawn}, and L{left} after L{begun}.  If L{may_begin} is C{True},
    L{begun} follows at once, unless another throttle of the watch says C{False}.
    Throttles are not asked about suspects, nor told of them: L{OneSuspect
    <quebert.amqp.watch.OneSuspect>} begins these outside of the places.  A suspect that
    has come closes all watches of the client until it has ended.  So what is to hold
    suspects back for long returns them in C{_enter} of C{_examinations}, before
    C{OneSuspect.add}.

    By default a throttle restricts nothing.  It overrides the methods that concern it:

      - L{may_begin}, and L{leave}, which cancels its timers.
      - C{limits_fetching}, L{is_far} and L{call_when_near}, if it may delay messages
        for long: the watch consumes nothing meanwhile, and the messages stay in
        RabbitMQ.  L{prefetch}, too, if the watch would fetch more messages than may
        begin in the next minute.
      - L{entered}, L{begun}, L{left} and L{withdrawn}, if it counts messages.
      - L{join}, if it agrees with others through RabbitMQ.

    Another kind of throttle is made in C{throttles_of} in C{amqp/coordination}, if an
    option in L{WatchOptions<quebert.amqp.WatchOptions>} asks for it.  The L{Session
    <quebert.amqp.link.Session>} there has the reactor, for timers, and the time of day.

    @ivar limits_fetching: whether this throttle may ever lower the prefetch, or be far.
        It is read once, when the watch is made.
    """

    limits_fetching: bool = False

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        Whether the message that waits first may begin now.

        @param again: is to be called after C{False}, when a message may begin, or when
            the throttle has become far.  It may also be called at any time because
            L{prefetch} has another answer.  A watch always passes the same function.
        """
        return True

    def entered(self) -> None:
        """
        One more message waits.
        """
        return

    def begun(self, message: DeliveredMessage) -> None:
        """
        A message that has waited begins: all throttles have let it.  One that had to
        wait for its host begins a second time (C{message.was_begun}): count it once.
        """
        return

    def left(self, message: DeliveredMessage) -> None:
        """
        A message that had begun has left its place.  Its callback may still run
        (C{slow_after}, or a host that hangs), or the message may be held until its
        retry.  A limit that is to count a message until its callback has ended counts
        in C{Deliveries._decided}.
        """
        return

    def withdrawn(self, number: int) -> None:
        """
        So many of the messages that wait do so no more, and do not begin: forget that
        many, the oldest first.  It may be 0.
        """
        return

    def prefetch(self, prefetch: int) -> int:
        """
        How many messages each consumer of the watch fetches.  This does not limit the
        messages at work: where messages that are held have used up the prefetch,
        another consumer takes over, and L{may_begin} must refuse the rest.  A queue
        with a single active consumer keeps the prefetch that its consumer began with.

        @param prefetch: how many without this throttle; 0 for no limit, here and there.
            A throttle can lower it, and not raise it.
        """
        return prefetch

    @property
    def is_far(self) -> bool:
        """
        Whether a message that is fetched now could begin only after so long that others
        are to have it.  The watch consumes nothing then, and returns the messages that
        wait.  It asks when a message comes, begins or leaves, when L{may_begin} has
        said C{False}, and when it is to consume.  Time alone may change the answer:
        then a watch without messages fetches one, and gives it back.  Where messages
        wait, the throttle calls C{again}.
        """
        return False

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        Call C{wake} once when one may begin, soon if one may now.  It replaces what was
        asked before.
        """
        return

    async def join(self, wire: Wire) -> None:
        """
        Called with each new connection, before anything is fetched: agree with others.

        @raise BrokerError: RabbitMQ refuses it, or the connection is lost.
        """
        return

    async def leave(self) -> None:
        """
        The watch ends: call nothing any more, and let others have its share.
        """
        return

    @property
    def status(self) -> PaceStatus | None:
        """
        How a rate of messages is kept to; C{None} from a throttle without one.
        """
        return None


class ThrottleGroup(Protocol):
    """
    What several watches share, such as L{PriorityGroup
    <quebert.amqp.coordination.PriorityGroup>}.
    """

    def join(self, weight: float, clock: Callable[[], IReactorTime]) -> Throttle:
        """
        The throttle of one more watch.

        @param weight: its share, beside that of others.
        """


class Throttles:
    """
    All throttles of one watch: a message begins when each lets it, and the strictest
    limits what is fetched.

    @ivar all: these; nearly always none.  With one, messages no longer get their places
        the quick way, by C{Places.take}: make one only if an option asks for it.
    @ivar limit_fetching: whether one of them limits what is fetched.
    """

    def __init__(self, throttles: Iterable[Throttle] = ()) -> None:
        self.all = tuple(throttles)
        self.limit_fetching = any(each.limits_fetching for each in self.all)

    def prefetch(self, prefetch: int) -> int:
        """
        See L{Throttle.prefetch}.
        """
        for each in self.all:
            prefetch = each.prefetch(prefetch)
        return prefetch

    @property
    def are_far(self) -> bool:
        """
        See L{Throttle.is_far}.
        """
        return any(each.is_far for each in self.all)

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        Call C{wake} as soon as one that is far is far no longer; soon, if none is far
        by now.
        """
        # One that is near would call at once, again and again, while another is far.
        for each in [each for each in self.all if each.is_far] or self.all:
            each.call_when_near(wake)

    async def join(self, wire: Wire) -> None:
        """
        See L{Throttle.join}.
        """
        for each in self.all:
            await each.join(wire)

    async def leave(self) -> None:
        """
        See L{Throttle.leave}.
        """
        for each in self.all:
            await each.leave()

    @property
    def status(self) -> PaceStatus | None:
        """
        See L{Throttle.status}.  Only that of the first throttle with a rate is told.
        """
        found = (each.status for each in self.all)
        return next((each for each in found if each is not None), None)
