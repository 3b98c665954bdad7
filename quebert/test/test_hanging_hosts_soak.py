"""
A watch, whose queue has tasks for good hosts and bad ones, in simulated time: good
tasks find places, whatever the bad hosts do.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import Any

from quebert.amqp.delays import PREFIX
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._hanging_hosts import HANG_AFTER
from quebert.amqp.watch._origin_places import LOOKS
from quebert.outcome import Retry
from quebert.test.test_watcher import WatcherTestCase

#: Seconds of a step, of the whole, and until good tasks must not wait any more.
STEP, LONG, WARM = 0.05, 60.0, 3.0
#: Places, good tasks a second, and bad ones of each kind.
PLACES, GOOD, BAD = 20, 20.0, 1.0
ATTEMPTS = 3
#: Seconds that a request takes, and whether it is answered then.
Took = tuple[float, bool]
Host = Callable[[int], Took]


def good(number: int) -> Took:
    """
    Answers at once.
    """
    return 0.0, True


def hangs(number: int) -> Took:
    """
    Never answers, until the time of the task is over.
    """
    return 20.0, False


def dies(number: int) -> Took:
    """
    Closes the connection after some seconds.
    """
    return 5.0, False


def slow(number: int) -> Took:
    """
    Answers after some seconds.
    """
    return 3.0, True


def now_and_then(number: int) -> Took:
    """
    Answers two of three at once, and never the others.
    """
    return hangs(number) if number % 3 == 0 else good(number)


def in_turns(number: int) -> Took:
    """
    Answers at once for a while, then hangs.
    """
    return good(number) if number // 10 % 2 == 0 else (6.0, False)


class SoakTestCase(WatcherTestCase):
    """
    The queue, and the hosts.

    @ivar late: how many seconds each good task has waited, and when it was due.
    @ivar requests: how many each host has had.
    """

    options = {"prefetch": PLACES, "hold_up_to": 5.0}

    def setUp(self) -> None:
        super().setUp()
        self.random = random.Random(16)
        self.queue: deque[bytes] = deque()
        self.ends: list[tuple[float, int, DeliveredMessage, bool]] = []
        self.later: list[tuple[float, int, bytes]] = []
        self.late: list[tuple[float, float]] = []
        self.attempts: Counter[bytes] = Counter()
        self.requests: Counter[str] = Counter()
        self.hosts: dict[str, Host] = {}
        self.number = count()
        self.begun_at = 0.0
        self.begin()

    def check(self) -> None:
        """
        It takes long; L{end} checks.
        """

    def callback(self, message: DeliveredMessage) -> Any:
        """
        Request the URL that is the body.
        """
        url = message.body.decode()
        if not message.may_request(url):
            message.was_unanswered()
            return Retry(after=0, attempted=False)
        host = url.split("/")[2]
        self.requests[host] += 1
        self.attempts[message.body] += 1
        took, is_answered = self.hosts[host.rstrip("0123456789")](self.requests[host])
        ends = (self.clock.seconds() + took, next(self.number), message, is_answered)
        heapq.heappush(self.ends, ends)
        return super().callback(message)

    def publish(self, host: str) -> None:
        """
        Publish a task for a host.
        """
        due = self.clock.seconds()
        self.queue.append(f"http://{host}/{due}/{next(self.number)}".encode())

    def step(self) -> None:
        """
        Let a moment pass.
        """
        self.clock.advance(STEP)
        now = self.clock.seconds()
        while self.later and self.later[0][0] <= now:
            self.queue.append(heapq.heappop(self.later)[2])
        self.work(now)

    def work(self, now: float) -> None:
        """
        Answer, deliver and confirm until there is nothing more to be done.
        """
        while True:
            while self.ends and self.ends[0][0] <= now:
                _, _, message, is_answered = heapq.heappop(self.ends)
                self.answer(message, is_answered, now)
            for each in self.client.publisher.unconfirmed:
                delay = each.delay if each.exchange.startswith(PREFIX) else 0
                due = (now + delay, next(self.number), each.body)
                heapq.heappush(self.later, due)
                self.client.publisher.confirm()
            self.client.publisher.publications.clear()
            if not self.queue or not self.deliver_next():
                return

    def deliver_next(self) -> bool:
        """
        Deliver a message, if a consumer has room.
        """
        channel = self.channel
        taken = Counter(m.consumer_tag for m in self.watcher._deliveries.ledger)
        able = (tag for tag, most in channel.consumers.items() if taken[tag] < most)
        consumer = next(able, None)
        if consumer is None:
            return False
        tag = len(channel.delivered) + 1
        message = DeliveredMessage(consumer, tag, False, "", "queue")
        message.body = self.queue.popleft()
        channel.delivered[tag] = message
        channel.on_message(message)
        return True

    def answer(self, message: DeliveredMessage, is_answered: bool, now: float) -> None:
        """
        A request has ended.
        """
        (answered,) = [each for at, each in self.running if at is message]
        _, _, host, due, _ = message.body.decode().split("/")
        if host == "good":
            self.late.append((float(due), now - float(due)))
        attempts = self.attempts[message.body]
        outcome = None
        if not is_answered:
            message.was_unanswered()
            outcome = None if attempts == ATTEMPTS else Retry(after=2**attempts)
        answered.callback(outcome)

    def soak(
        self, *bad: tuple[Callable[[int], str], Host, float], rate: float = GOOD
    ) -> None:
        """
        Publish good tasks, and others: the name of the n-th host, what it does, and how
        many tasks there are for such hosts a second.
        """
        self.hosts = {"good": good}
        for name, host, _ in bad:
            self.hosts[name(0).rstrip("0123456789")] = host
        kinds = [(named("good"), rate), *((name, often) for name, _, often in bad)]
        events = sorted(
            ((self.random.random() + n) / often, kind, n)
            for kind, (_, often) in enumerate(kinds)
            for n in range(int(LONG * often))
        )
        begin, pending = self.clock.seconds(), deque(events)
        while self.clock.seconds() < begin + LONG:
            while pending and begin + pending[0][0] <= self.clock.seconds():
                _, kind, n = pending.popleft()
                self.publish(kinds[kind][0](n))
            self.step()
        self.begun_at = begin

    def check_good(self, warm: float = 0.0, part: float = 0.99) -> None:
        """
        Of the good tasks that were due after so many seconds, this part has not waited,
        and none for longer than it takes to find out who is slow.
        """
        late = sorted(s for due, s in self.late if due >= self.begun_at + warm)
        waited = sum(seconds > 2 * STEP for seconds in late)
        self.assertGreater(len(late), (LONG - warm) * GOOD * 0.9)
        self.assertLessEqual(waited, len(late) * (1 - part), late[-20:])
        self.assertLess(late[-1], 3 * HANG_AFTER / LOOKS)


def named(name: str) -> Callable[[int], str]:
    """
    One host.
    """
    return lambda n: name


class SoakTests(SoakTestCase):
    """
    Bad hosts beside a good one.
    """

    def test_three_kinds(self) -> None:
        """
        Three hosts, each with a twentieth of the tasks, tried three times.
        """
        self.soak(
            (named("hangs"), hangs, BAD),
            (named("drips"), hangs, BAD),
            (named("dies"), dies, BAD),
        )
        self.check_good()

    def test_hangs(self) -> None:
        """
        One host with half of the tasks, which hangs.
        """
        self.soak((named("hangs"), hangs, GOOD))
        self.check_good(WARM)

    def test_dies(self) -> None:
        """
        One that closes connections.
        """
        self.soak((named("dies"), dies, GOOD))
        self.check_good(WARM)

    def test_slow(self) -> None:
        """
        One that answers, but slowly.
        """
        self.soak((named("slow"), slow, GOOD))
        self.check_good(WARM)

    def test_alone(self) -> None:
        """
        A slow host that is alone has as many requests at once as there are places.
        """
        for often in (0.0, 0.01):
            self.requests.clear()
            self.soak((named("slow"), slow, GOOD), rate=often)
            at_once = self.requests["slow"] * slow(0)[0] / LONG
            self.assertGreater(at_once, PLACES * 0.95)
            self.assertLess(at_once, PLACES * 1.05)

    def test_now_and_then(self) -> None:
        """
        A host that answers some requests at once.
        """
        self.soak((named("some"), now_and_then, GOOD))
        self.check_good(WARM)

    def test_in_turns(self) -> None:
        """
        Hosts that become quick, and hang then, again and again.
        """
        kinds = [(named(f"turns{n}"), in_turns, 2.0) for n in range(5)]
        self.soak(*kinds)
        self.check_good(WARM, 0.8)

    def test_many_hosts(self) -> None:
        """
        Many hosts that hang with one request each.
        """
        self.soak((lambda n: f"h{n}", hangs, 3 * BAD))
        self.check_good()

    def test_more_hosts(self) -> None:
        """
        More than there is time for.
        """
        self.soak((lambda n: f"h{n}", hangs, GOOD))
        self.check_good(WARM)

    def test_all(self) -> None:
        """
        All of these together.
        """
        self.soak(
            (named("hangs"), hangs, BAD),
            (named("drips"), hangs, BAD),
            (named("dies"), dies, BAD),
            (named("some"), now_and_then, BAD),
            (named("turns"), in_turns, BAD),
            (lambda n: f"h{n}", hangs, BAD),
        )
        self.check_good(WARM, 0.9)
