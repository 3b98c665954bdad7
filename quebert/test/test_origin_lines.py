"""
L{quebert.amqp.watch._origin_lines}, seen from the places of a watch: tasks that wait
since their origins take no more requests now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch._origin_lines import LONGEST_PAUSE, PATIENCE
from quebert.amqp.watch._origin_places import OriginPlaces
from quebert.limits import OriginLimits, Origins, WhenFree
from quebert.test.test_origin_places import FakeMessage, FakeWatch


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
        requested = [self.requested("b") for _ in range(8)]
        again = waiting.pop()
        self.assertFalse(again())
        self.assertEqual(self.watch.begun, [])
        self.places.ended(requested[0], is_quick=True)
        self.assertEqual(len(self.watch.begun), 1)

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

    def test_long_hooks(self) -> None:
        """
        One whose hooks take long keeps the others waiting for C{PATIENCE} seconds only,
        though these are refused now and then.
        """
        first, second, third = self.refused(2), self.refused_line(), self.refused_line()
        self.watch.hooks_run = True
        self.clock.advance(2)
        self.watch.hooks_run = False
        self.watch.refuse[second] = 0.5
        self.clock.advance(PATIENCE)
        self.assertEqual(self.watch.begun, [first, second])
        self.watch.refuse.clear()
        self.clock.advance(0.5)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.watch.begun, [first, second, second, third])
        self.watch.request(first)
        self.assertEqual(first.origin.slow_due, 0)

    def test_hangs(self) -> None:
        """
        Where it is told when one may begin, and nothing ends, it seldom asks.
        """
        waiting: list[Callable[[], bool]] = []
        first = self.refused(0.02, when_free=waiting.append)
        self.watch.refuse[first] = 0.02
        self.watch.when_free = waiting.append
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertLessEqual(len(self.watch.begun), 7 + 60 / LONGEST_PAUSE)
        self.assertEqual(len(waiting), 1)

    def test_another_admission_control(self) -> None:
        """
        One that has been replaced tells nothing any more.
        """
        before: list[Callable[[], bool]] = []
        now: list[Callable[[], bool]] = []
        first = self.refused(2, when_free=before.append)
        self.watch.refuse[first] = 2
        self.watch.when_free = now.append
        self.clock.advance(2)
        self.assertEqual((len(before), len(now)), (1, 1))
        self.assertFalse(before.pop()())
        self.assertEqual(self.watch.begun, [first])
        self.watch.refuse.clear()
        self.assertTrue(now.pop()())
        self.assertEqual(self.watch.begun, [first, first])

    def test_no_timer_is_left(self) -> None:
        """
        When the last line ends, no time is kept, not even one that is over.
        """
        first = self.refused(2)
        self.places.forget_waiting()
        second = self.refused(100)
        self.watch.end = {first, second}
        self.clock.advance(100)
        self.assertEqual(self.clock.getDelayedCalls(), [])

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
