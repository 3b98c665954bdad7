"""
Tests for L{quebert._deadlines}: many time limits on one timer.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._deadlines import Deadlines
from quebert.test.checks import QUICK, one_turn

# What hypothesis does: begin something with a limit of tenths of a second, end
# what was begun so long ago, or let tenths of a second pass.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 50)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.integers(0, 20)),
    ),
    max_size=60,
)


class DeadlinesTests(SynchronousTestCase):
    """
    What is late is told, once, in time.
    """

    def setUp(self) -> None:
        """
        Nothing is under way.
        """
        self.clock = Clock()
        self.late: list[tuple[str, float]] = []
        self.deadlines = Deadlines[str](lambda: self.clock, self.note)

    def note(self, thing: str) -> None:
        """
        Note what is late, and when that was told.
        """
        self.late.append((thing, round(self.clock.seconds(), 3)))

    def test_late(self) -> None:
        """
        What has not ended in its time is late at that very time, once.
        """
        self.deadlines.begin("a", 10)
        self.clock.advance(9.99)
        self.assertEqual(self.late, [])
        self.clock.advance(0.01)
        self.assertEqual(self.late, [("a", 10)])
        self.clock.advance(100)
        self.assertEqual(self.late, [("a", 10)])

    def test_in_time(self) -> None:
        """
        What ends in its time is never late, and leaves no timer.
        """
        self.deadlines.begin("a", 10)
        self.deadlines.end("a")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.assertEqual(self.late, [])

    def test_one_timer(self) -> None:
        """
        However many things are under way, there is one timer.
        """
        for n in range(1000):
            self.deadlines.begin(str(n), 600 - n / 10)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            if n:
                self.deadlines.end(str(n - 1))
        self.deadlines.end("999")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shorter(self) -> None:
        """
        A short limit is kept beside a long one that began before it.
        """
        self.deadlines.begin("long", 600)
        self.deadlines.begin("short", 0.5)
        self.clock.advance(0.5)
        self.assertEqual(self.late, [("short", 0.5)])
        self.clock.pump([1] * 600)
        self.assertEqual([thing for thing, _ in self.late], ["short", "long"])

    def test_no_crowd(self) -> None:
        """
        With thousands of different limits it looks ten times a second, not
        thousands of times, and what is late is told within a tenth.
        """
        for n in range(5000):
            self.deadlines.begin(str(n), 1 + n / 5000)
        looks = 0
        while self.clock.getDelayedCalls():
            (call,) = self.clock.getDelayedCalls()
            self.clock.advance(call.getTime() - self.clock.seconds())
            looks += 1
        self.assertLessEqual(looks, 12)
        self.assertEqual(len(self.late), 5000)
        for thing, when in self.late:
            due = 1 + int(thing) / 5000
            self.assertTrue(due - 0.001 <= when <= due + 0.101, (due, when))

    def test_one_a_turn(self) -> None:
        """
        Of those that are late together, each short turn of the reactor tells one.
        """
        for thing in "abc":
            self.deadlines.begin(thing, 1)
        self.clock.rightNow = 1.05
        for told in ("a", "ab", "abc"):
            one_turn(self.clock)
            self.assertEqual("".join(thing for thing, _ in self.late), told)

    def test_more_a_turn(self) -> None:
        """
        Where turns of the reactor take long, each tells as many as take a tenth of the
        time: else more might become late than are told.
        """

        def late(thing: str) -> None:
            self.note(thing)
            self.clock.rightNow += 0.001

        deadlines = Deadlines[str](lambda: self.clock, late)
        for n in range(50):
            deadlines.begin(str(n), 1)
        self.clock.rightNow = 1.0
        told = []
        for took in (0.0, 0.001, 0.095, 0.0, 0.055):
            self.clock.rightNow += took
            one_turn(self.clock)
            told.append(len(self.late))
        self.assertEqual(told, [1, 2, 12, 13, 19])

    def test_ended_before_told(self) -> None:
        """
        Of those that are late together, one that ends before its turn is not told; nor
        is one that has begun again, until its new time has passed.
        """
        for thing in "abcd":
            self.deadlines.begin(thing, 1)
        self.clock.rightNow = 1.0
        one_turn(self.clock)
        self.deadlines.end("b")
        self.deadlines.begin("c", 1)
        self.clock.advance(0)
        self.assertEqual(self.late, [("a", 1), ("d", 1)])
        self.clock.advance(1)
        self.assertEqual(self.late[2:], [("c", 2)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended_while_told(self) -> None:
        """
        Where the last one ends that was still to be told, no timer is left, and what
        begins then is told in its time.
        """
        for thing in "ab":
            self.deadlines.begin(thing, 1)
        self.clock.rightNow = 1.0
        one_turn(self.clock)
        self.deadlines.end("b")
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.begin("b", 1)
        self.clock.advance(0.99)
        self.assertEqual(self.late, [("a", 1)])
        self.clock.advance(0.01)
        self.assertEqual(self.late, [("a", 1), ("b", 2)])

    def test_ended_by_another(self) -> None:
        """
        What ends because another is late is not late itself; what begins then
        has its own time.
        """

        def late(thing: str) -> None:
            self.note(thing)
            if thing == "a":
                deadlines.end("b")
                deadlines.begin("c", 1)

        deadlines = Deadlines[str](lambda: self.clock, late)
        deadlines.begin("a", 1)
        deadlines.begin("b", 1)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.late, [("a", 1), ("c", 2)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failing(self) -> None:
        """
        One that cannot be told does not keep the others from being told.
        """

        def late(thing: str) -> None:
            if thing == "a":
                raise ZeroDivisionError
            self.note(thing)

        deadlines = Deadlines[str](lambda: self.clock, late)
        for thing in "ab":
            deadlines.begin(thing, 1)
        self.clock.advance(1)
        self.assertEqual(self.late, [("b", 1)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_clock_set_back(self) -> None:
        """
        A clock that was a day ahead, and is set right, does not keep what begins
        then from being late.
        """
        self.deadlines.begin("a", 5)
        self.clock.advance(86_400)
        self.clock.rightNow -= 86_400
        self.deadlines.begin("b", 5)
        self.clock.pump([0.1] * 60)
        self.assertEqual([thing for thing, _ in self.late], ["a", "b"])

    @QUICK
    @given(STEPS)
    def test_anything(self, steps: list[tuple[str, int]]) -> None:
        """
        In any order of events: what is late is told in its tenth of a second
        and not before, and what has ended never.
        """
        self.setUp()
        due: dict[str, float] = {}
        for n, (what, tenths) in enumerate(steps):
            if what == "begin":
                due[str(n)] = self.clock.seconds() + tenths / 10
                self.deadlines.begin(str(n), tenths / 10)
            elif what == "end":
                due.pop(str(n - tenths), None)
                self.deadlines.end(str(n - tenths))
            else:
                self.clock.pump([0.01] * tenths * 10)
            now = self.clock.seconds()
            for thing, when in self.late:
                if thing in due:
                    end = due.pop(thing)
                    self.assertTrue(end - 0.001 <= when <= end + 0.111, thing)
            self.assertTrue(all(end > now - 0.12 for end in due.values()))
            self.assertEqual(len(self.clock.getDelayedCalls()), bool(due))
