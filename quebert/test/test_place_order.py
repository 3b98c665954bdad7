"""
Tests for L{quebert.amqp.watch._places}: who gets a place, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch import Budget, DeliveredMessage
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._task_memory import TaskMemory
from quebert.amqp.watch._throttle import Throttle


class Noting(Throttle):
    """
    A throttle that lets so many messages begin, and notes what it is told.
    """

    def __init__(self) -> None:
        self.lets = 100
        self.told: list[object] = []
        self.again: list[Callable[[], None]] = []

    def may_begin(self, again: Callable[[], None]) -> bool:
        if not self.lets:
            self.again.append(again)
        return self.lets > 0

    def entered(self) -> None:
        self.told.append("entered")

    def begun(self, message: DeliveredMessage) -> None:
        self.lets -= 1
        self.told.append("begun")

    def left(self, message: DeliveredMessage) -> None:
        self.told.append("left")

    def withdrawn(self, number: int) -> None:
        self.told.append(number)


class PlacesTests(SynchronousTestCase):
    """
    Places of which the test says how many there are.
    """

    def make(self, prefetch: int, *throttles: Throttle) -> Places:
        """
        So many places.
        """
        self.begun: list[DeliveredMessage] = []
        self.busy = 0
        self.clock = Clock()
        self.budget = Budget(2_048_000)
        self.late: list[DeliveredMessage] = []
        self.memory = TaskMemory(self.budget, lambda: self.clock, self.late.append)
        return Places(prefetch, self.begin, throttles, self.memory, self.note_busy)

    def begin(self, message: DeliveredMessage) -> None:
        """
        A message has its place.
        """
        if message.memory:
            self.memory.begin(message)
        self.begun.append(message)

    def note_busy(self) -> None:
        """
        A message has come, and the places are busy.
        """
        self.busy += 1

    def message(self, memory: int = 0) -> DeliveredMessage:
        """
        A message that takes so much memory.
        """
        message = DeliveredMessage("consumer", 1, False, "flow", "queue")
        message.memory = memory
        return message

    def test_room(self) -> None:
        """
        There is room while fewer have places than there are, and none waits; it is busy
        with more than half.
        """
        places = self.make(4)
        for number in range(1, 6):
            places.enter(self.message())
            self.assertEqual(places.has_room(), number < 4)
            self.assertEqual(places.is_busy, number > 2)
            self.assertEqual(self.busy, max(0, number - 2))
        self.assertEqual(len(self.begun), 4)
        for number in range(3, -1, -1):
            places.leave(self.begun[3 - number])
            self.assertEqual(places.has_room(), number < 3)
            self.assertEqual(places.is_busy, number > 1)

    def test_taken(self) -> None:
        """
        A free place is taken at once, and counts as any other: nobody else begins the
        message.
        """
        places = self.make(4)
        taken = [self.message() for _ in range(5)]
        for number, message in enumerate(taken, 1):
            self.assertEqual(places.take(message), number < 5)
            places.is_beginning = False
            self.assertEqual(places.has_place(message), number < 5)
            self.assertEqual(self.busy, max(0, min(number, 4) - 2))
        self.assertEqual(self.begun, [])
        places.enter(taken[4])
        self.assertEqual(self.begun, [])
        places.leave(taken[0])
        self.assertEqual(self.begun, [taken[4]])

    def test_put_off(self) -> None:
        """
        While a message begins that has taken its place, no other one does; those that
        came meanwhile begin after it.
        """
        places = self.make(4)
        self.assertTrue(places.take(self.message()))
        later = [self.message() for _ in range(2)]
        for each in later:
            self.assertFalse(places.take(each))
            places.enter(each)
        self.assertEqual((self.begun, places.is_put_off), ([], True))
        places.is_beginning = False
        places.begin_put_off()
        self.assertEqual((self.begun, places.is_put_off), (later, False))
        self.assertTrue(places.take(self.message()))

    def test_not_taken(self) -> None:
        """
        No place is taken before a message that waits for memory; by a message that
        takes memory; where a throttle decides; or while no message begins.
        """
        heavy = 1_500_000
        for case in ("waits", "is heavy", "throttle", "closed"):
            throttles = [Noting()] if case == "throttle" else []
            places = self.make(2, *throttles)
            if case == "waits":
                places.enter(self.message(heavy))
                places.enter(self.message(heavy))
            elif case == "closed":
                places.close("test")
            message = self.message(heavy if case == "is heavy" else 0)
            self.assertFalse(places.take(message), case)
            self.assertFalse(places.has_place(message))

    def test_not_taken_before_others(self) -> None:
        """
        No place is taken before a message that waits for a place, also if that one is
        about to get it.
        """
        places = self.make(2)
        places.close("test")
        for _ in range(2):
            places.enter(self.message())
        taken: list[bool] = []
        self.patch(
            places, "_begin", lambda _: taken.append(places.take(self.message()))
        )
        places.open("test")
        self.assertEqual(taken, [False, False])

    def test_busy_while_closed(self) -> None:
        """
        It is busy while a message waits, although no place is taken, and whether or not
        it is a heavy one.
        """
        for memory in (0, 1_500_000):
            places = self.make(4)
            places.close("test")
            places.enter(self.message(memory))
            self.assertEqual((self.begun, places.is_busy), ([], True))
            self.assertFalse(places.has_room())

    def test_no_limit(self) -> None:
        """
        0 is no limit.
        """
        places = self.make(0)
        for _ in range(500):
            places.enter(self.message())
        self.assertEqual(len(self.begun), 500)
        self.assertTrue(places.has_room())
        self.assertFalse(places.is_busy)

    def test_left_twice(self) -> None:
        """
        A place is left once.
        """
        places = self.make(1)
        first, second, third = (self.message() for _ in range(3))
        for each in (first, second, third):
            places.enter(each)
        self.assertTrue(places.has_place(first))
        self.assertFalse(places.has_place(second))
        places.leave(first)
        places.leave(first)
        self.assertFalse(places.has_place(first))
        self.assertEqual(self.begun, [first, second])

    def test_forgotten(self) -> None:
        """
        Those that wait are taken out, the heavy ones first, and none begins.
        """
        places = self.make(9)
        heavy = [self.message(1_500_000) for _ in range(3)]
        for each in heavy:
            places.enter(each)
        places.close("test")
        light = self.message()
        places.enter(light)
        self.assertFalse(places.has_room())
        self.assertTrue(places.is_busy)
        self.assertEqual(places.forget_waiting(), [*heavy[1:], light])
        self.assertEqual(places.forget_waiting(), [])
        self.assertTrue(places.has_room())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        places.open("test")
        self.memory.ended(heavy[0])
        places.leave(heavy[0])
        self.assertEqual(self.begun, heavy[:1])
        self.assertEqual((self.budget.line, self.budget.aside), ({}, {}))

    def test_closed_for_two_reasons(self) -> None:
        """
        What is closed for two reasons is open when neither is left.
        """
        places = self.make(9)
        for reason in ("paused", "stopped", "paused"):
            places.close(reason)
        message = self.message()
        places.enter(message)
        places.open("another")
        places.open("paused")
        self.assertEqual(self.begun, [])
        places.open("stopped")
        self.assertEqual(self.begun, [message])

    def test_heavy(self) -> None:
        """
        Light messages overtake one that waits for memory; heavy ones follow in their
        order.
        """
        places = self.make(9)
        heavy = [self.message(1_500_000) for _ in range(3)]
        light = self.message()
        for each in (*heavy, light):
            places.enter(each)
        self.assertEqual(self.begun, [heavy[0], light])
        self.assertEqual(self.busy, 3)
        for number in (0, 1):
            self.memory.ended(heavy[number])
            places.leave(heavy[number])
            self.assertEqual(self.begun, [heavy[0], light, *heavy[1 : number + 2]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heavy_before_light(self) -> None:
        """
        Those that waited for a place together are looked at one by one: a heavy one
        begins when there is memory for it, and the light one behind it at once.
        """
        places = self.make(9)
        places.enter(first := self.message(1_500_000))
        places.close("test")
        places.enter(heavy := self.message(1_500_000))
        places.enter(light := self.message())
        places.open("test")
        self.assertEqual(self.begun, [first, light])
        self.memory.ended(first)
        self.assertEqual(self.begun, [first, light, heavy])

    def test_waits_too_long(self) -> None:
        """
        What has waited for memory for too long is told once, and may be taken out: then
        nobody waits for memory.
        """
        throttle = Noting()
        places = self.make(9, throttle)
        first, second = self.message(1_500_000), self.message(1_500_000)
        for each in (first, second):
            places.enter(each)
        throttle.told.clear()
        self.clock.advance(LONGEST_WAIT - 1)
        self.assertEqual(self.late, [])
        self.clock.advance(1)
        self.assertEqual(self.late, [second])
        places.take_out(second)
        self.assertEqual(throttle.told, [1])
        self.assertEqual((self.budget.line, self.budget.aside), ({}, {}))
        self.assertTrue(places.has_room())

    def test_one_of_two_taken_out(self) -> None:
        """
        While another heavy one waits, it has its turn.
        """
        places = self.make(9)
        first, second, third = (self.message(1_500_000) for _ in range(3))
        for each in (first, second, third):
            places.enter(each)
        places.take_out(second)
        self.memory.ended(first)
        places.leave(first)
        self.assertEqual(self.begun, [first, third])

    def test_throttle(self) -> None:
        """
        A throttle is told of each message when it comes, begins, leaves or is
        withdrawn; who is refused asks again when told to.
        """
        throttle = Noting()
        places = self.make(9, throttle)
        first, second, third = (self.message() for _ in range(3))
        places.enter(first)
        self.assertEqual(throttle.told, ["entered", "begun"])
        throttle.lets = 0
        places.enter(second)
        places.enter(third)
        self.assertEqual(self.begun, [first])
        throttle.told.clear()
        places.leave(first)
        self.assertEqual(throttle.told, ["left"])
        throttle.lets = 1
        throttle.again[-1]()
        self.assertEqual(self.begun, [first, second])
        throttle.told.clear()
        self.assertEqual(places.forget_waiting(), [third])
        self.assertEqual(throttle.told, [1])

    def test_throttled(self) -> None:
        """
        It is told each time that a throttle has let no message begin, and all that wait
        may be taken out then.
        """
        throttle, taken = Noting(), list[DeliveredMessage]()
        throttle.lets = 0
        places = Places(
            9,
            self.fail,
            [throttle],
            throttled=lambda: taken.extend(places.forget_waiting()),
        )
        places.close("for now")
        first, second = self.message(), self.message()
        places.enter(first)
        self.assertEqual(taken, [])
        places.open("for now")
        self.assertEqual(taken, [first])
        places.enter(second)
        self.assertEqual(taken, [first, second])
        self.assertTrue(places.has_room())

    def test_leaves_at_once(self) -> None:
        """
        A message may leave as soon as it begins, and others come meanwhile.
        """
        places = self.make(1)
        seen: list[DeliveredMessage] = []

        def begin(message: DeliveredMessage) -> None:
            seen.append(message)
            if len(seen) < 1_000:
                places.enter(self.message())
            places.leave(message)

        places = Places(1, begin)
        places.enter(self.message())
        self.assertEqual(len(seen), 1_000)
        self.assertTrue(places.has_room())
