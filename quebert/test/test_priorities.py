"""
The throttles of watches: a rate, and the weights of queues that share their places.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert.amqp.coordination._pace import Pace
from quebert.amqp.coordination._priority_group import Member, PriorityGroup
from quebert.amqp.watch import DeliveredMessage, PaceStatus
from quebert.amqp.watch._memory_budget import Budget, Part
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._task_memory import TaskMemory
from quebert.errors import ConfigError
from quebert.limits import Rate


def message(number: int = 0) -> DeliveredMessage:
    """
    One more.
    """
    return DeliveredMessage("consumer", number, False, "flow", "tasks.low")


class Queue:
    """
    A queue of a group, and what works on it.

    @ivar begun: its messages that have begun, and when.
    @ivar waits: how long each of them had waited.
    """

    def __init__(
        self, clock: Clock, group: PriorityGroup, weight: float, prefetch: int = 0
    ) -> None:
        self.clock = clock
        self.begun: list[DeliveredMessage] = []
        self.waits: list[float] = []
        self.seconds = 1.0
        self._came: dict[DeliveredMessage, float] = {}
        self.throttle: Member = group.join(weight, lambda: clock)
        self.places = Places(prefetch, self._begin, [self.throttle])

    def add(self, number: int = 1) -> None:
        """
        Messages come.
        """
        for _ in range(number):
            each = message()
            self._came[each] = self.clock.seconds()
            self.places.enter(each)

    def _begin(self, each: DeliveredMessage) -> None:
        self.begun.append(each)
        self.waits.append(self.clock.seconds() - self._came.pop(each))
        if self.seconds:
            self.clock.callLater(self.seconds, self.end, each)
        else:
            self.end(each)

    def end(self, each: DeliveredMessage) -> None:
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

    def queue(self, weight: float, messages: int = 0, prefetch: int = 0) -> Queue:
        """
        One more queue.
        """
        queue = Queue(self.clock, self.group, weight, prefetch)
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
        one, two = self.queue(9, prefetch=2), self.queue(1)
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
        queues = [self.queue(weight, prefetch=8) for weight in (5, 2, 1)]
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


class TurnTests(SynchronousTestCase):
    """
    Whose turn it is in a group, asked of its members.
    """

    def setUp(self) -> None:
        """
        A group with one place, which is taken.
        """
        self.clock = Clock()
        self.group = PriorityGroup(1, ageing=30)
        self.turns: list[Member] = []
        self.busy, self.first, self.second = (self.member() for _ in range(3))
        self.running = message()
        self.busy.entered()
        self.assertTrue(self.busy.may_begin(lambda: None))
        self.busy.begun(self.running)

    def member(self, weight: float = 1) -> Member:
        """
        One more.
        """
        return self.group.join(weight, lambda: self.clock)

    def want(self, member: Member) -> bool:
        """
        Ask whether a member may begin; its turns are noted.
        """
        return member.may_begin(lambda: self.turns.append(member))

    def timers(self) -> list[float]:
        """
        When the group looks who has waited too long.
        """
        return [each.getTime() for each in self.clock.getDelayedCalls()]

    def test_defaults(self) -> None:
        group = PriorityGroup()
        self.assertEqual((group.concurrency, group.ageing), (100, 60.0))
        self.assertEqual((group.running, self.first.progress), (0, 0.0))

    def test_least_that_makes_sense(self) -> None:
        group = PriorityGroup(1, 1e-9)
        self.assertEqual((group.concurrency, group.ageing), (1, 1e-9))
        self.assertEqual(group.join(1e-9, lambda: self.clock).weight, 1e-9)

    def test_what_makes_no_sense(self) -> None:
        """
        The error names the value.
        """
        nan = float("nan")
        for make, text in (
            (lambda: PriorityGroup(0), "concurrency=0 must be at least 1"),
            (lambda: PriorityGroup(1, 0), "ageing=0 must be more than 0 seconds"),
            (lambda: PriorityGroup(1, nan), "ageing=nan must be more than 0 seconds"),
            (lambda: self.member(0), "weight=0 must be more than 0"),
        ):
            self.assertEqual(str(self.assertRaises(ConfigError, make)), text)

    def test_nothing_came(self) -> None:
        """
        A queue without messages is never too old, and begins no timer that ends.
        """
        self.assertEqual(self.first.since, float("inf"))

    def test_one_timer_for_the_oldest(self) -> None:
        """
        There is one timer, for the message that is too old first, whoever asks first;
        and none once nobody wants to begin.
        """
        self.first.entered()
        self.clock.advance(10)
        self.second.entered()
        self.assertFalse(self.want(self.second))
        self.assertEqual(self.timers(), [40.0])
        self.assertFalse(self.want(self.first))
        self.assertEqual(self.timers(), [30.0])
        self.assertFalse(self.want(self.second))
        self.assertEqual(self.timers(), [30.0])
        self.first.withdrawn(1)
        self.assertEqual(self.timers(), [30.0])
        self.second.withdrawn(1)
        self.assertEqual(self.timers(), [])

    def test_too_old_when_it_asks(self) -> None:
        """
        A message that has waited too long before its queue asks begins beyond the
        places, and the next one of the queue waits until that has left.
        """
        self.first.entered()
        self.clock.advance(30)
        self.assertTrue(self.want(self.first))
        old = message()
        self.first.begun(old)
        self.assertEqual(self.group.running, 1)
        self.first.entered()
        self.assertFalse(self.want(self.first))
        self.assertEqual(self.timers(), [])
        self.clock.advance(30)
        self.assertFalse(self.want(self.first))
        self.first.left(old)
        self.assertEqual((self.turns, self.group.running), ([self.first], 1))

    def test_just_not_too_old(self) -> None:
        self.first.entered()
        self.clock.advance(29.75)
        self.assertFalse(self.want(self.first))
        self.clock.advance(0.25)
        self.assertEqual(self.turns, [self.first])

    def test_oldest_first(self) -> None:
        """
        Of those that have waited too long the one goes first that has waited longest,
        although it had more turns than others.
        """
        self.first.entered()
        self.clock.advance(1)
        self.second.entered()
        self.first.progress = 100.0
        self.want(self.second)
        self.want(self.first)
        self.clock.advance(40)
        self.assertEqual(self.turns, [self.first, self.second])

    def test_who_is_behind_first(self) -> None:
        """
        Of the others, the one goes first that had fewest turns by its weight.
        """
        self.first.entered()
        self.clock.advance(1)
        self.second.entered()
        self.first.progress = 100.0
        self.want(self.first)
        self.want(self.second)
        self.second.again = lambda: self.take(self.second)
        self.busy.left(self.running)
        self.assertEqual(self.turns, [self.second])

    def take(self, member: Member) -> None:
        """
        A member uses its turn.
        """
        self.turns.append(member)
        self.assertTrue(self.group.may_begin(member))
        member.begun(message())

    def test_one_at_a_time(self) -> None:
        """
        While it is the turn of one queue, no other one begins; its message that is
        done at once gives the place to the next.
        """
        for each in (self.first, self.second):
            each.entered()
            self.want(each)
        self.first.progress = -1.0

        def first() -> None:
            self.assertFalse(self.want(self.second))
            self.turns.append(self.first)
            self.assertTrue(self.group.may_begin(self.first))
            done = message()
            self.first.begun(done)
            self.first.left(done)
            self.assertEqual(self.turns, [self.first])

        self.first.again = first
        self.busy.left(self.running)
        self.assertEqual(self.turns, [self.first, self.second])
        self.second.withdrawn(1)
        self.first.entered()
        self.assertTrue(self.want(self.first))

    def test_turn_that_is_not_used(self) -> None:
        """
        A queue that does not use its turn keeps no other from its own.
        """
        for each in (self.first, self.second):
            each.entered()
            self.want(each)
        self.first.progress = -1.0
        self.busy.left(self.running)
        self.assertEqual(self.turns, [self.first, self.second])
        self.assertTrue(self.want(self.second))

    def test_catches_up(self) -> None:
        """
        One that had nothing begins where the others are; one that had something does
        not, and nobody is set back.
        """
        self.busy.progress = 7.0
        self.busy.entered()
        self.busy.begun(message())
        self.first.entered()
        self.assertEqual(self.first.progress, 7.0)
        self.first.progress = 3.0
        self.first.entered()
        self.assertEqual(self.first.progress, 3.0)
        self.second.progress = 9.0
        self.second.entered()
        self.assertEqual(self.second.progress, 9.0)

    def test_withdrawn(self) -> None:
        """
        The messages that are withdrawn are the first ones; the others still want to
        begin.
        """
        for _ in range(3):
            self.first.entered()
            self.clock.advance(1)
        self.want(self.first)
        self.first.withdrawn(2)
        self.assertEqual(self.first.since, 2.0)
        self.busy.left(self.running)
        self.assertEqual(self.turns, [self.first])


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
        begun: list[DeliveredMessage] = []
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
        budget, begun = Budget(4_096), list[DeliveredMessage]()
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

    def begin(self, each: DeliveredMessage) -> None:
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
        for rate, prefetch, fit in table:
            pace = Pace(Rate.parse(rate), None, lambda: self.clock)
            self.assertEqual(pace.prefetch(prefetch), fit)

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

    def slow(self, rate: float = 1, burst: float = 1) -> Pace:
        """
        A pace whose burst has begun.
        """
        pace = Pace(Rate(rate), burst, lambda: self.clock)
        for _ in range(int(burst)):
            self.assertTrue(pace.may_begin(self.fail))
            pace.begun(message())
        return pace

    def timers(self) -> list[float]:
        """
        In how many seconds it does something.
        """
        now = self.clock.seconds()
        calls = self.clock.getDelayedCalls()
        return [round(each.getTime() - now, 6) for each in calls]

    def test_status_at_first(self) -> None:
        pace = Pace(Rate(10), 3, lambda: self.clock)
        self.assertEqual(pace.status, PaceStatus(10, 10, 1, 0, 0.0, 0.0))
        self.assertEqual(pace.burst, 3)
        self.assertTrue(pace.limits_fetching)

    def test_status(self) -> None:
        pace = self.slow(10)
        pace.shared_by(2)
        pace.passed_on, pace.got = 3.0, 4.0
        for _ in range(3):
            self.assertFalse(pace.may_begin(lambda: None))
        self.assertEqual(pace.status, PaceStatus(10, 5, 2, 1, 3.0, 4.0))

    def test_asks_again(self) -> None:
        """
        A queue that had to wait may ask again when the next message may begin, once,
        and may have to wait again.
        """
        pace, again = self.slow(), list[float]()
        for _ in range(2):
            start = self.clock.seconds()
            for _ in range(2):
                self.assertFalse(
                    pace.may_begin(lambda: again.append(self.clock.seconds()))
                )
            self.assertEqual(self.timers(), [1.0])
            self.clock.advance(0.75)
            self.assertEqual(again, [])
            self.clock.advance(0.25)
            self.assertEqual(again, [start + 1.0])
            again.clear()
            pace.begun(message())
        self.assertEqual(pace.delayed, 2)

    def test_high_rate(self) -> None:
        """
        It looks every two milliseconds at most.
        """
        pace = self.slow(10_000)
        pace.may_begin(lambda: None)
        self.assertEqual(self.timers(), [0.002])

    def test_counts_once(self) -> None:
        """
        A message that was at work before takes nothing from the rate.
        """
        pace = self.slow()
        pace.bucket.tokens = 1.0
        again = message()
        again.was_begun = True
        pace.begun(again)
        self.assertEqual(pace.wait, 0.0)
        pace.begun(message())
        self.assertEqual(pace.wait, 1.0)

    def test_share_changes(self) -> None:
        """
        Whoever waits is asked at once when the share changes, and is woken when the
        next message may begin by the new share.
        """
        pace = self.slow(1, 2)
        woken: list[int] = []
        pace.shared_by(2)
        self.assertEqual((pace.bucket.rate, pace.bucket.burst), (0.5, 1.0))
        self.assertEqual(self.timers(), [])
        pace.may_begin(lambda: None)
        pace.call_when_near(lambda: woken.append(1))
        self.assertEqual(self.timers(), [2.0, 2.0])
        pace.shared_by(1)
        self.assertEqual(self.timers(), [0.0, 1.0])
        self.clock.advance(1)
        self.assertEqual(woken, [1])
        pace.shared_by(2)
        pace.shared_by(1)
        self.assertEqual(self.timers(), [])

    def test_woken_no_sooner_than_in_a_tick(self) -> None:
        pace = Pace(Rate(1), 1, lambda: self.clock)
        pace.call_when_near(lambda: None)
        self.assertEqual(self.timers(), [0.002])
        pace.shared_by(1)
        self.assertEqual(self.timers(), [0.002])

    def test_woken_once(self) -> None:
        """
        Whoever wants to be woken again is woken once.
        """
        pace, woken = self.slow(), list[int]()
        for number in range(3):
            pace.call_when_near(partial(woken.append, number))
        self.assertEqual(self.timers(), [1.0])
        self.clock.advance(1)
        self.assertEqual(woken, [2])
        pace.call_when_near(lambda: woken.append(3))
        self.clock.advance(1)
        self.assertEqual(woken, [2, 3])

    def test_leave(self) -> None:
        """
        Nothing is left of a queue that is watched no more, whenever that is.
        """
        pace = self.slow()
        for begin in (
            lambda: None,
            lambda: pace.may_begin(lambda: None),
            lambda: pace.call_when_near(lambda: None),
            lambda: self.clock.advance(10),
        ):
            begin()
            self.successResultOf(Deferred.fromCoroutine(pace.leave()))
            self.assertEqual(self.timers(), [])
        pace.begun(message())
        self.assertFalse(pace.may_begin(lambda: None))
        pace.call_when_near(lambda: None)
        self.clock.advance(2)
        self.successResultOf(Deferred.fromCoroutine(pace.leave()))

    def test_far(self) -> None:
        """
        The next message is far if it begins later than in a minute.
        """
        pace = self.slow(1 / 60)
        self.assertFalse(pace.is_far)
        pace = self.slow(1 / 61)
        self.assertTrue(pace.is_far)
        self.clock.advance(1)
        self.assertFalse(pace.is_far)
