"""
L{quebert.amqp.watch._origin_places}: how many places an origin has, and who begins
next.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch._delivered_message import WhenFree
from quebert.amqp.watch._origin_places import HangingOrigin, OriginPlaces
from quebert.limits import OriginLimits, Origins


@attrs.define(eq=False, slots=False)
class FakeMessage:
    """
    A message whose callback makes a request.
    """

    url: str
    origin: HangingOrigin | None = None
    turned_away: bool = False
    waits_since: float | None = None
    refused_for: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.first_url = self.url


class FakeWatch:
    """
    A watch that notes which messages leave, and which begin again.
    """

    def __init__(self) -> None:
        self.gone: list[Any] = []
        self.begun: list[Any] = []
        self.refuse: dict[Any, float] = {}
        self.end: set[Any] = set()
        self.hooks_run = False
        self.places: OriginPlaces

    def has_place(self, message: Any) -> bool:
        """
        Whether it has one.
        """
        return message not in self.gone

    def leave(self, message: Any) -> None:
        """
        It leaves.
        """
        self.gone.append(message)

    def begin_again(self, message: Any) -> None:
        """
        It begins, and makes its request, or its hooks run first.
        """
        self.begun.append(message)
        if not self.hooks_run:
            self.request(message)

    def request(self, message: Any) -> None:
        """
        It makes its request, which may be refused, or end, at once.
        """
        message.url = message.first_url
        if self.places.admits(message):
            if message in self.refuse:
                self.places.refused(message, self.refuse[message], None)
            elif message in self.end:
                self.places.ended(message, is_quick=True)
        if message.turned_away:
            self.places.wait(message)


class OriginPlacesTests(SynchronousTestCase):
    """
    Eight places, of which six are not for quick origins alone.
    """

    def setUp(self) -> None:
        """
        A slow origin has five requests with places, and one that has left its place.
        """
        self.watch = FakeWatch()
        self.clock = Clock()
        self.places = OriginPlaces(self.watch, 8, lambda: self.clock)
        self.watch.places = self.places
        self.slow = [FakeMessage("http://slow/") for _ in range(6)]
        self.watch.gone.append(self.slow[0])
        self.places.count(cast(Any, self.slow), self.watch.has_place)
        self.places.judge(cast(Any, self.slow[1:]))

    def admits(self, host: str) -> Any:
        """
        Another message, if it may make its request now.
        """
        message: Any = FakeMessage(f"http://{host}/")
        return message if self.places.admits(message) else None

    def wait(self, host: str) -> Any:
        """
        A message that is turned away, and waits.
        """
        message: Any = FakeMessage(f"http://{host}/")
        self.assertFalse(self.places.admits(message))
        self.places.wait(message)
        return message

    def test_counted(self) -> None:
        """
        Requests with places are counted apart from those without.
        """
        origin = self.places.known["http://slow"]
        self.assertEqual((origin.places, len(origin.outside)), (5, 1))
        self.assertEqual((self.places.taken, self.places.share), (5, 6))

    def test_one_reserved(self) -> None:
        """
        A further origin may use one of half of the reserved places.
        """
        self.assertIsNotNone(self.admits("slow"))
        self.assertIsNone(self.admits("slow"))
        self.assertIsNotNone(self.admits("new"))
        self.assertIsNone(self.admits("other"))

    def test_quick(self) -> None:
        """
        One that has answered at once may use as many as it had answers, and one.
        """
        self.admits("slow")
        self.places.ended(self.admits("quick"), is_quick=True)
        quick = [self.admits("quick") for _ in range(3)]
        self.assertEqual([each is not None for each in quick], [True, True, False])

    def test_next(self) -> None:
        """
        When a request ends, the first in the line of the origin with the fewest places
        begins.
        """
        self.admits("slow")
        first, second = self.wait("slow"), self.wait("slow")
        self.assertEqual((self.places.waiting, self.watch.begun), (2, []))
        self.places.ended(cast(Any, self.slow[1]), is_quick=False)
        self.assertEqual((self.places.waiting, self.watch.begun), (1, [first]))
        self.assertTrue(self.places.admits(first))
        self.assertEqual(self.places.forget_waiting(), [second])
        self.assertEqual((self.places.waiting, self.places.lined), (0, []))

    def test_forgotten(self) -> None:
        """
        Once no request is outside and the watch is not busy, nothing is known.
        """
        self.places.forget(is_busy=False)
        self.assertEqual(set(self.places.known), {"http://slow"})
        self.places.ended(cast(Any, self.slow[0]), is_quick=False)
        self.places.forget(is_busy=True)
        self.assertEqual(set(self.places.known), {"http://slow"})
        self.places.forget(is_busy=False)
        self.assertEqual((self.places.known, self.places.taken), ({}, 0))

    def test_forgotten_quick(self) -> None:
        """
        Where none was slow, nothing is known any more once none waits.
        """
        places = OriginPlaces(self.watch, 8, lambda: self.clock)
        message: Any = FakeMessage("http://limited/")
        places.refused(message, 1, None)
        places.wait(message)
        places.forget(is_busy=True)
        self.assertEqual(set(places.known), {"http://limited"})
        self.clock.advance(1)
        self.assertTrue(places.admits(message))
        places.forget(is_busy=True)
        self.assertEqual((places.known, places.taken), ({}, 0))


class RefusedTests(SynchronousTestCase):
    """
    Eight places, and origins that take no more requests for some seconds.
    """

    def setUp(self) -> None:
        """
        Count nothing yet.
        """
        self.clock = Clock()
        self.watch = FakeWatch()
        self.places = OriginPlaces(self.watch, 8, lambda: self.clock)
        self.watch.places = self.places

    def requested(self, host: str = "a") -> Any:
        """
        A message that makes a request.
        """
        message: Any = FakeMessage(f"http://{host}/")
        self.assertTrue(self.places.admits(message))
        return message

    def refused(
        self, seconds: float, host: str = "a", when_free: WhenFree | None = None
    ) -> Any:
        """
        A message that may make no request for so long.
        """
        message = self.requested(host)
        self.places.refused(message, seconds, when_free)
        self.places.wait(message)
        return message

    def test_time(self) -> None:
        """
        The first in the line begins when the time is over, and the next one then, too,
        unless the first is refused again.
        """
        first, second, third = self.refused(2), self.refused_line(), self.refused_line()
        self.assertTrue(self.places.some_refuse)
        self.clock.advance(1.9)
        self.assertEqual(self.watch.begun, [])
        self.watch.refuse[first] = 3
        self.clock.advance(0.1)
        self.assertEqual(self.watch.begun, [first])
        self.clock.advance(2.9)
        self.assertEqual(self.watch.begun, [first])
        self.watch.refuse.clear()
        self.clock.advance(0.1)
        self.assertEqual(self.watch.begun, [first, first, second, third])
        self.assertFalse(self.places.some_refuse)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def refused_line(self) -> Any:
        """
        A message that waits since another does.
        """
        message: Any = FakeMessage("http://a/")
        self.assertFalse(self.places.admits(message))
        self.places.wait(message)
        return message

    def test_told(self) -> None:
        """
        The first in the line begins when it is told that one more may, and asks to be
        told again, while more wait.
        """
        waiting: list[Callable[[], bool]] = []
        first = self.refused(2, when_free=waiting.append)
        second = self.refused_line()
        for begun in ([first], [first, second]):
            (again,) = waiting
            waiting.clear()
            self.assertTrue(again())
            self.assertEqual(self.watch.begun, begun)
        self.assertEqual((waiting, self.clock.getDelayedCalls()), ([], []))

    def test_told_late(self) -> None:
        """
        When it is told so, and none waits any more, or there is no place, it says that
        no request is made.
        """
        waiting: list[Callable[[], bool]] = []
        self.refused(2, when_free=waiting.append)
        self.places.forget_waiting()
        self.assertFalse(waiting.pop()())
        self.refused(2, when_free=waiting.append)
        for _ in range(8):
            self.requested("b")
        self.assertFalse(waiting.pop()())
        self.assertEqual(self.watch.begun, [])

    def test_ended_at_once(self) -> None:
        """
        If the first has ended when it has begun, the next one begins.
        """
        waiting: list[Callable[[], bool]] = []
        first = self.refused(2, when_free=waiting.append)
        second, third = self.refused_line(), self.refused_line()
        self.watch.end = {first, second}
        self.assertTrue(waiting.pop()())
        self.assertEqual(self.watch.begun, [first, second, third])

    def test_hooks(self) -> None:
        """
        While it is not known what becomes of the first that began, since its hooks run,
        no other begins; then as many more as were successful.
        """
        line = [self.refused(2), *(self.refused_line() for _ in range(5))]
        self.watch.hooks_run = True
        self.clock.advance(2)
        numbers = []
        for number in range(3):
            numbers.append(len(self.watch.begun))
            self.watch.request(line[number])
            self.clock.advance(0)
        self.assertEqual(numbers, [1, 3, 5])

    def test_times(self) -> None:
        """
        A time that nobody can wait for is brought within bounds.
        """
        for seconds, soon in ((-1.0, 0.02), (math.nan, 0.02), (1e-6, 0.02)):
            self.watch.begun.clear()
            message = self.refused(seconds)
            self.assertEqual(self.watch.begun, [])
            self.clock.advance(soon)
            self.assertEqual(self.watch.begun, [message])
            self.places.ended(message, is_quick=True)
        message = self.refused(math.inf)
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual(self.watch.begun[-1], message)

    def test_refused_while_others_wait(self) -> None:
        """
        If the first does not wait here when it was refused, those behind it begin in
        their time.
        """
        first, second = self.refused(2), self.refused_line()
        self.watch.hooks_run = True
        self.clock.advance(2)
        self.assertEqual(self.watch.begun, [first])
        first.url = first.first_url
        self.assertTrue(self.places.admits(first))
        self.places.refused(first, 3, None)
        self.places.give_up(first)
        self.clock.advance(3)
        self.assertEqual(self.watch.begun, [first, second])

    def test_earliest(self) -> None:
        """
        Each origin has its time.
        """
        late, soon = self.refused(3, "a"), self.refused(1, "b")
        self.clock.advance(1)
        self.assertEqual(self.watch.begun, [soon])
        self.clock.advance(2)
        self.assertEqual(self.watch.begun, [soon, late])

    def test_other_object(self) -> None:
        """
        A message that was refused before anything was counted joins the line of those
        that were counted since.
        """
        message: Any = FakeMessage("http://a/")
        self.places.refused(message, 2, None)
        self.assertEqual(self.places.known, {})
        running: Any = FakeMessage("http://a/")
        self.places.count([running], lambda _: True)
        self.places.wait(message)
        self.assertIs(message.origin, running.origin)
        self.assertTrue(self.places.some_refuse)

    def test_given_up(self) -> None:
        """
        One that does not wait here leaves no trace.
        """
        message = self.requested()
        self.places.refused(message, 2, None)
        self.places.give_up(message)
        self.assertEqual((message.origin, self.places.taken), (None, 0))
        self.assertEqual((message.turned_away, message.refused_for), (False, 0.0))

    def test_forget_waiting(self) -> None:
        """
        When all are taken out, no time is kept any more.
        """
        message = self.refused(2)
        self.assertEqual(self.places.forget_waiting(), [message])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """
        It does not matter how many origins refuse at the same time.
        """
        messages = [self.refused(2, f"h{number}") for number in range(300)]
        self.watch.refuse = dict.fromkeys(messages, 3.0)
        self.clock.advance(2)
        self.assertEqual(len(self.watch.begun), 300)
        self.assertEqual(self.places.waiting, 300)


class SharedTests(SynchronousTestCase):
    """
    Two watches that ask the same admission control.
    """

    def test_fair(self) -> None:
        """
        Both get as many requests done, although one had begun with all of them.
        """
        clock, origins = Clock(), Origins(OriginLimits(concurrency=2))
        running: list[tuple[int, Any, OriginPlaces]] = []
        done: Counter[int] = Counter()

        def watch(number: int) -> OriginPlaces:
            def request(message: Any) -> None:
                message.url = message.first_url
                if places.admits(message):
                    if wait := origins.admit("http://a", 0.0):
                        places.refused(message, wait, origins.when_free("http://a"))
                    else:
                        running.append((number, message, places))
                if message.turned_away:
                    places.wait(message)

            made = FakeWatch()
            places = OriginPlaces(made, 8, lambda: clock)
            made.begin_again = request  # type: ignore[method-assign]
            for _ in range(50):
                request(FakeMessage("http://a/"))
            return places

        watches = [watch(0), watch(1)]
        for _ in range(40):
            number, message, places = running.pop(0)
            done[number] += 1
            origins.ended("http://a", 0.0, 200, 0.1)
            places.ended(message, is_quick=True)
            self.assertEqual(len(running), 2)
        self.assertEqual(set(done.values()), {19, 21})
        for each in watches:
            each.forget_waiting()
        self.assertEqual(clock.getDelayedCalls(), [])
