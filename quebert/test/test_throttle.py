"""
L{Throttles<quebert.amqp.watch._throttle.Throttles>}: several throttles of one watch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._throttle import PaceStatus, Throttle, Throttles
from quebert.errors import ChannelLost


class Rationed(Throttle):
    """
    A throttle that is told what to say, and notes what it is told.
    """

    limits_fetching = True

    def __init__(self, most: int = 0, far: bool = False) -> None:
        self.most = most
        self.far = far
        self.tokens = 0
        self.told: list[str] = []
        self.agains: list[Callable[[], None]] = []
        self.wakes: list[Callable[[], None]] = []

    def may_begin(self, again: Callable[[], None]) -> bool:
        """
        See L{Throttle.may_begin}.
        """
        if not self.tokens:
            self.agains.append(again)
        return bool(self.tokens)

    def entered(self) -> None:
        """
        See L{Throttle.entered}.
        """
        self.told.append("entered")

    def begun(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.begun}.
        """
        self.tokens -= 1
        self.told.append("begun")

    def left(self, message: DeliveredMessage) -> None:
        """
        See L{Throttle.left}.
        """
        self.told.append("left")

    def withdrawn(self, number: int) -> None:
        """
        See L{Throttle.withdrawn}.
        """
        self.told.append(f"withdrawn {number}")

    def prefetch(self, prefetch: int) -> int:
        """
        See L{Throttle.prefetch}.
        """
        return min(prefetch, self.most) if prefetch else self.most

    @property
    def is_far(self) -> bool:
        """
        See L{Throttle.is_far}.
        """
        return self.far

    def call_when_near(self, wake: Callable[[], None]) -> None:
        """
        See L{Throttle.call_when_near}.
        """
        self.wakes.append(wake)

    async def join(self, wire: Any) -> None:
        """
        See L{Throttle.join}.
        """
        self.told.append("join")

    async def leave(self) -> None:
        """
        See L{Throttle.leave}.
        """
        self.told.append("leave")

    @property
    def status(self) -> PaceStatus | None:
        """
        See L{Throttle.status}.
        """
        return PaceStatus(self.most, self.most, 1, 0, 0.0, 0.0)


class Refusing(Throttle):
    """
    A throttle that cannot agree with others.
    """

    async def join(self, wire: Any) -> None:
        """
        See L{Throttle.join}.
        """
        raise ChannelLost("gone")


def run(step: Any) -> Deferred[None]:
    """
    Run a coroutine.
    """
    return Deferred.fromCoroutine(step)


class NoThrottle(Throttle):
    """
    A throttle that overrides nothing.
    """


class ThrottlesTests(SynchronousTestCase):
    """
    L{Throttles}: the strictest counts.
    """

    wire: Any = None

    def check_free(self, throttles: Throttles) -> None:
        """
        Nothing is held back.
        """
        self.assertFalse(throttles.limit_fetching)
        self.assertEqual([throttles.prefetch(each) for each in (0, 7)], [0, 7])
        self.assertFalse(throttles.are_far)
        self.assertIsNone(throttles.status)
        throttles.call_when_near(self.fail)
        for step in (throttles.join(self.wire), throttles.leave()):
            self.successResultOf(run(step))

    def test_none(self) -> None:
        """
        Without a throttle, and with one that overrides nothing, nothing is held back.
        """
        self.check_free(Throttles())
        self.check_free(Throttles([NoThrottle()]))

    def test_overrides_nothing(self) -> None:
        """
        Messages come, begin and leave as if there were no throttle.
        """
        begun: list[DeliveredMessage] = []
        places = Places(1, begun.append, [NoThrottle()])
        first, second, third = (
            DeliveredMessage("", n, False, "", "") for n in range(3)
        )
        for each in (first, second, third):
            places.enter(each)
        places.leave(first)
        self.assertEqual(begun, [first, second])
        self.assertEqual(places.forget_waiting(), [third])

    def test_fetching(self) -> None:
        """
        The least is fetched that one of them wants, and nothing while one is far: then
        those that are far are asked to wake the watch, or all if none is any more.
        """
        one, two = Rationed(5), Rationed(3, far=True)
        throttles = Throttles([NoThrottle(), one, two])
        self.assertTrue(throttles.limit_fetching)
        self.assertEqual([throttles.prefetch(n) for n in (0, 2, 9)], [3, 2, 3])
        self.assertTrue(throttles.are_far)
        throttles.call_when_near(self.fail)
        self.assertEqual((one.wakes, two.wakes), ([], [self.fail]))
        two.far = False
        self.assertFalse(throttles.are_far)
        throttles.call_when_near(self.fail)
        self.assertEqual((len(one.wakes), len(two.wakes)), (1, 2))

    def test_join_and_leave(self) -> None:
        """
        All join, up to one that cannot, and all leave.
        """
        one, two = Rationed(), Rationed()
        throttles = Throttles([one, Refusing(), two])
        self.failureResultOf(run(throttles.join(self.wire)), ChannelLost)
        self.successResultOf(run(throttles.leave()))
        self.assertEqual((one.told, two.told), (["join", "leave"], ["leave"]))

    def test_status(self) -> None:
        """
        The status is that of the first one that keeps to a rate.
        """
        status = Throttles([NoThrottle(), Rationed(4), Rationed(5)]).status
        assert status is not None
        self.assertEqual(status.rate, 4)

    def test_all_must_let_it(self) -> None:
        """
        A message begins when both let it; only then both are told.
        """
        one, two, begun = Rationed(), Rationed(), list[DeliveredMessage]()
        places = Places(0, begun.append, [one, two])
        message = DeliveredMessage("", 1, False, "", "")
        one.tokens = 1
        places.enter(message)
        self.assertEqual((one.tokens, one.told), (1, ["entered"]))
        two.tokens = 1
        two.agains.pop()()
        places.leave(message)
        self.assertEqual(begun, [message])
        for each in (one, two):
            self.assertEqual(each.tokens, 0)
            self.assertEqual(each.told, ["entered", "begun", "left"])

    def test_withdrawn(self) -> None:
        """
        Messages that wait no more are told with their number.
        """
        one = Rationed()
        places = Places(0, self.fail, [one])
        for number in range(3):
            places.enter(DeliveredMessage("", number, False, "", ""))
        places.forget_waiting()
        places.forget_waiting()
        self.assertEqual(one.told[3:], ["withdrawn 3", "withdrawn 0"])
