"""
The throttles of watches: a rate, and the weights of queues that share their places.
"""

from __future__ import annotations

import random
from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._priority_group import Member, PriorityGroup
from quebert.amqp.watch._memory_budget import Budget, Part
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._task_memory import TaskMemory
from quebert.amqp.wire import Message
from quebert.errors import ConfigError
from quebert.limits import Rate


def message(number: int = 0) -> Message:
    """
    One more.
    """
    return Message("consumer", number, False, "flow", "tasks.low")


class Queue:
    """
    A queue of a group, and what works on it.

    @ivar begun: its messages that have begun, and when.
    @ivar waits: how long each of them had waited.
    """

    def __init__(
        self, clock: Clock, group: PriorityGroup, weight: float, limit: int = 0
    ) -> None:
        self.clock = clock
        self.begun: list[Message] = []
        self.waits: list[float] = []
        self.seconds = 1.0
        self._came: dict[Message, float] = {}
        self.throttle: Member = group.join(weight, lambda: clock)
        self.places = Places(limit, self._begin, [self.throttle])

    def add(self, number: int = 1) -> None:
        """
        Messages come.
        """
        for _ in range(number):
            each = message()
            self._came[each] = self.clock.seconds()
            self.places.enter(each)

    def _begin(self, each: Message) -> None:
        self.begun.append(each)
        self.waits.append(self.clock.seconds() - self._came.pop(each))
        if self.seconds:
            self.clock.callLater(self.seconds, self.end, each)
        else:
            self.end(each)

    def end(self, each: Message) -> None:
        """
        One is done, and another comes, as long as there are fifty.
        """
        self.places.leave(each)

    @property
    def waiting(self) -> int:
        """
        How many have not begun.
        """
        return len(self._came)


class PriorityGroupTests(SynchronousTestCase):
    """
    L{PriorityGroup}: places are shared by weight.
    """

    def setUp(self) -> None:
        """
        Ten places.
        """
        self.clock = Clock()
        self.group = PriorityGroup(10, ageing=30)

    def queue(self, weight: float, messages: int = 0, limit: int = 0) -> Queue:
        """
        One more queue.
        """
        queue = Queue(self.clock, self.group, weight, limit)
        queue.add(messages)
        return queue

    def pass_time(self, seconds: float, *full: Queue, at_least: int = 50) -> None:
        """
        Let time pass, while some queues never run empty.
        """
        for _ in range(int(seconds * 20)):
            for each in full:
                each.add(max(0, at_least - each.waiting))
            self.clock.advance(0.05)

    def test_counts_once(self) -> None:
        """
        A message that begins again, since it had to wait for a host, has counted.
        """
        queue = self.queue(weight=2)
        again = message()
        again.was_begun = True
        for each in (message(), again):
            queue.throttle.entered()
            queue.throttle.begun(each)
        self.assertEqual(queue.throttle.progress, 1 / 2)

    def test_weights(self) -> None:
        """
        Where all are full, each begins by its weight, however long they take.
        """
        chance = random.Random(5)
        queues = [self.queue(weight) for weight in (6, 3, 1)]
        for each in queues:
            each.seconds = chance.uniform(0.1, 0.4)
        self.pass_time(100, *queues)
        begun = [len(each.begun) for each in queues]
        for number, part in zip(begun, (0.6, 0.3, 0.1), strict=True):
            self.assertLess(abs(number / sum(begun) - part), 0.01)
        self.assertLessEqual(self.group.running, 10)

    def test_many_that_end_at_once(self) -> None:
        """
        Messages that end as soon as they begin take no deeper stack, however many wait.
        """
        busy = self.queue(1, 10)
        quick = [self.queue(1) for _ in range(2)]
        for each in quick:
            each.seconds = 0
            each.add(3_000)
        self.clock.advance(busy.seconds)
        self.assertEqual([len(each.begun) for each in quick], [3_000, 3_000])

    def test_each_ages(self) -> None:
        """
        Where no place is left, a message of each queue begins when it is too old, also
        of those that came later.
        """
        busy = self.queue(1)
        busy.seconds = 10_000
        busy.add(10)
        late = [self.queue(1) for _ in range(3)]
        for each in late:
            each.seconds = 10_000
            each.add()
            self.clock.advance(10)
        for n in range(1, 4):
            self.assertEqual(
                [len(each.begun) for each in late], [1] * n + [0] * (3 - n)
            )
            self.clock.advance(10)

    def test_no_timer_left(self) -> None:
        """
        Once all have begun, no timer is left for those that waited.
        """
        self.queue(1, 10)
        self.queue(1, 3)
        self.clock.pump([0.5] * 6)
        self.assertEqual(self.group.running, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_more_than_places(self) -> None:
        """
        All of them together have no more places than there are.
        """
        queues = [self.queue(1, 20) for _ in range(3)]
        self.assertEqual([len(each.begun) for each in queues], [10, 0, 0])
        self.assertEqual(self.group.running, 10)

    def test_all_for_one(self) -> None:
        """
        One that is alone has all places, whatever its weight.
        """
        self.queue(100)
        low = self.queue(1)
        self.pass_time(10, low)
        self.assertGreaterEqual(len(low.begun), 90)

    def test_no_making_up(self) -> None:
        """
        One that had nothing for a while does not make up for it.
        """
        one, two = self.queue(1), self.queue(1)
        self.pass_time(20, one)
        before = len(one.begun)
        self.pass_time(20, one, two)
        self.assertLess(abs((len(one.begun) - before) - len(two.begun)), 12)

    def test_ageing(self) -> None:
        """
        None waits longer than it may, whatever the weights.
        """
        high, low = self.queue(1000), self.queue(1)
        for _ in range(20):
            low.add()
            self.pass_time(10, high)
        self.pass_time(31, high)
        self.assertEqual(low.waiting, 0)
        self.assertLessEqual(max(low.waits), 30.05)

    def test_hanging(self) -> None:
        """
        Where all places hang, each queue still has one message at a time begin, when
        it has waited for long enough.
        """
        high, low = self.queue(1000), self.queue(1)
        high.seconds = 1e6
        high.add(50)
        low.add(3)
        self.clock.advance(29.9)
        self.assertEqual(len(low.begun), 0)
        self.clock.advance(0.1)
        self.assertEqual((len(high.begun), len(low.begun)), (11, 1))
        self.clock.advance(1)
        self.assertEqual(len(low.begun), 2)
        self.pass_time(5)
        self.assertEqual((len(high.begun), len(low.begun)), (11, 3))
        self.assertEqual(self.group.running, 10)

    def test_at_once(self) -> None:
        """
        Where callbacks end at once nothing waits, and no place is lost.
        """
        queues = [self.queue(weight) for weight in (6, 3, 1)]
        for each in queues:
            each.seconds = 0
            each.add(1000)
        self.assertEqual([each.waiting for each in queues], [0, 0, 0])
        self.assertEqual(self.group.running, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_own_limit(self) -> None:
        """
        A queue that has its own limit leaves the rest to others.
        """
        one, two = self.queue(9, limit=2), self.queue(1)
        self.pass_time(20, one, two)
        self.assertLess(abs(len(one.begun) - 40), 5)
        self.assertLess(abs(len(two.begun) - 160), 10)

    def test_closed(self) -> None:
        """
        Places that are closed hold nobody up.
        """
        one, two = self.queue(9), self.queue(1)
        self.pass_time(5, one, two)
        one.places.close("paused")
        before = len(two.begun)
        self.pass_time(10, two)
        self.assertGreaterEqual(len(two.begun) - before, 85)
        one.places.forget_waiting()
        one.places.open("paused")
        self.assertEqual(one.throttle.since, float("inf"))

    def test_any_order(self) -> None:
        """
        Whatever comes and goes, as many places are taken as there are messages that
        run, and none is left free while one waits.
        """
        chance = random.Random(3)
        queues = [self.queue(weight, limit=8) for weight in (5, 2, 1)]
        running: Counter[int] = Counter()
        for n, each in enumerate(queues):
            each.seconds = 0.3 * (n + 1)
        for _ in range(3000):
            each = chance.choice(queues)
            if each.waiting < 30:
                each.add(chance.randrange(4))
            self.clock.advance(chance.random() * 0.1)
            running = Counter({n: len(q.places._placed) for n, q in enumerate(queues)})
            beyond = sum(q.throttle.beyond is not None for q in queues)
            self.assertEqual(self.group.running + beyond, running.total())
            self.assertLessEqual(self.group.running, 10)
            for n, queue in enumerate(queues):
                if queue.waiting and running[n] < 8:
                    self.assertEqual(self.group.running, 10)

    def test_refused(self) -> None:
        """
        What makes no sense is refused.
        """
        self.assertRaises(ConfigError, PriorityGroup, 0)
        self.assertRaises(ConfigError, PriorityGroup, 1, 0)
        for weight in (0, -1, float("inf"), float("nan")):
            self.assertRaises(ConfigError, self.group.join, weight, lambda: self.clock)


class PutOffTests(SynchronousTestCase):
    """
    A message that has waited for memory, and does so no more.
    """

    def test_put_off(self) -> None:
        """
        Its queue does not count as one that has had to wait for long.
        """
        clock, budget = Clock(), Budget(4_096)
        group = PriorityGroup(1)
        first, second = (Queue(clock, group, weight) for weight in (1, 9))
        begun: list[Message] = []
        others = Part(budget)
        others.take(budget.most)
        memory = TaskMemory(budget, lambda: clock)
        first.places = Places(0, begun.append, [first.throttle], memory)
        put_off = message()
        put_off.memory = 1
        first.places.enter(put_off)
        first.places.take_out(put_off)
        others.give(budget.most)
        clock.advance(group.ageing)
        second.add(5)
        first.places.enter(message())
        self.assertEqual((len(begun), len(second.begun)), (0, 1))
        second.places.forget_waiting()
        first.places.forget_waiting()


class MemoryTests(SynchronousTestCase):
    """
    Messages that wait for memory.
    """

    def test_one_is_put_off(self) -> None:
        """
        Where one of two is put off, the other begins when there is memory.
        """
        budget, begun = Budget(4_096), list[Message]()
        others = Part(budget)
        others.take(budget.most)
        clock = Clock()
        places = Places(0, begun.append, [], TaskMemory(budget, lambda: clock))
        one, other = message(), message()
        for each in (one, other):
            each.memory = 1
            places.enter(each)
        places.take_out(one)
        self.assertEqual(begun, [])
        others.give(budget.most)
        self.assertEqual(begun, [other])


class PaceTests(SynchronousTestCase):
    """
    L{Pace}: messages begin no faster.
    """

    def setUp(self) -> None:
        """
        A rate, and no end of places.
        """
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.begun: list[float] = []
        self.pace = Pace(Rate(100), None, lambda: self.clock)
        self.places = Places(0, self.begin, [self.pace])

    def begin(self, each: Message) -> None:
        """
        One begins, and is done.
        """
        self.begun.append(self.clock.seconds())
        self.places.leave(each)

    def enter(self, number: int) -> None:
        """
        Messages come.
        """
        for _ in range(number):
            self.places.enter(message())

    def test_rate(self) -> None:
        """
        The burst begins at once, the others as the rate says.
        """
        self.enter(1000)
        self.assertEqual(len(self.begun), 25)
        for _ in range(500):
            self.clock.advance(0.01)
        self.assertLessEqual(abs(len(self.begun) - 525), 1)

    def test_one_timer(self) -> None:
        """
        There is one timer, and none where nothing waits.
        """
        self.enter(200)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for _ in range(400):
            self.clock.advance(0.01)
        self.assertEqual(len(self.begun), 200)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_timers(self) -> None:
        """
        A process that is kept from its work now and then makes up for it.
        """
        self.enter(1000)
        for _ in range(25):
            self.clock.advance(0.2)
        self.assertLessEqual(abs(len(self.begun) - 525), 1)

    def test_share(self) -> None:
        """
        Those that share it have a part each, from the moment that it changes.
        """
        self.enter(1000)
        self.pace.shared_by(4)
        self.assertEqual(self.pace.bucket.rate, 25)
        for _ in range(400):
            self.clock.advance(0.01)
        self.assertLessEqual(abs(len(self.begun) - 125), 1)
        self.pace.shared_by(1)
        for _ in range(100):
            self.clock.advance(0.01)
        self.assertLessEqual(abs(len(self.begun) - 225), 1)

    def test_prefetch(self) -> None:
        """
        No more is fetched than begins in a minute; one at least.
        """
        table = [("100/s", 100, 100), ("30/m", 100, 30), ("10/h", 100, 1)]
        table += [("100/s", 0, 6000), ("10/h", 0, 1), ("9999/s", 0, 65535)]
        for rate, most, fit in table:
            pace = Pace(Rate.parse(rate), None, lambda: self.clock)
            self.assertEqual(pace.prefetch(most), fit)

    def test_with_a_group(self) -> None:
        """
        A queue that waits for its rate holds up no other, and takes no turn that it
        cannot use.
        """
        group = PriorityGroup(2)
        begun: list[str] = []
        slow = Places(
            0,
            lambda each: begun.append("slow"),
            [Pace(Rate(1), 1, lambda: self.clock), group.join(9, lambda: self.clock)],
        )
        other = Queue(self.clock, group, 1)
        other.seconds = 0.3
        for _ in range(5):
            slow.enter(message())
        other.add(20)
        for _ in range(30):
            self.clock.advance(0.1)
        self.assertEqual(begun, ["slow", "slow"])  # which never leave
        self.assertEqual(group.running, 2)
        self.assertIn(len(other.begun), (3, 4))
