"""
L{quebert.amqp.watch._hanging_hosts}: requests that take long leave their places, hosts
that are not quick leave places for others, and further tasks for them wait outside.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from quebert._consumer_timeout import LONGEST_WAIT
from quebert.amqp.watch import DeliveredMessage, _hanging_hosts, _origin_places
from quebert.amqp.watch._backlog import PAUSE
from quebert.amqp.watch._delivery import Event
from quebert.amqp.watch._hanging_hosts import HANG_AFTER, PUT_OFF_RATE
from quebert.amqp.watch._hanging_origin import HangingOrigin
from quebert.amqp.watch._origin_places import LOOKS, OriginPlaces
from quebert.amqp.wire import ERRORS
from quebert.errors import ChannelLost, ConfigError
from quebert.limits import BreakerSettings, OriginLimits, Origins
from quebert.outcome import Retry
from quebert.test.test_watcher import FakeChannel, WatcherTestCase

# Seconds after which those that hang have certainly been found.
FOUND = HANG_AFTER * (1 + 2 / LOOKS)


class HangingTestCase(WatcherTestCase):
    """
    A watcher whose callback requests the host that the body names, as a mediator does.

    @ivar turned_away: messages that were told to wait, each time.
    """

    options = {"prefetch": 4}

    def setUp(self) -> None:
        super().setUp()
        self.turned_away: list[DeliveredMessage] = []

    def begin(self, **options: Any) -> FakeChannel:
        """
        Start it, or another with these options beside ours.
        """
        return super().begin(**{**self.options, **options} if options else {})

    def callback(self, message: DeliveredMessage) -> Any:
        """
        Ask whether the request may be made, and make it.
        """
        if not message.may_request(f"http://{message.body.decode()}/"):
            self.turned_away.append(message)
            return Retry(after=0, attempted=False)
        return super().callback(message)

    def check_running(self, limit: int) -> None:
        """
        No host gets more requests at once than there are places.
        """
        hosts = Counter(message.body for message, _ in self.running)
        self.assertLessEqual(max([0, *hosts.values()]), limit or len(self.running))

    def pass_time(self, seconds: float) -> None:
        """
        Let time pass as it does, a bit at a time.
        """
        for _ in range(round(seconds * 4)):
            self.advance(0.25)

    def many(self, host: bytes, number: int) -> list[DeliveredMessage]:
        """
        Deliver messages for a host.
        """
        return [self.deliver(host) for _ in range(number)]

    @property
    def is_full(self) -> bool:
        """
        Whether one more task would get no place.
        """
        return not self.watcher._deliveries._places.has_room()

    def hang(self, host: bytes = b"a") -> list[DeliveredMessage]:
        """
        Have a host take all places, and hang.
        """
        hanging = self.many(host, 4)
        self.assertTrue(self.is_full)
        self.pass_time(FOUND)
        return hanging

    @property
    def places(self) -> OriginPlaces:
        """
        Counts the requests of the watch by their origins.
        """
        return self.watcher._deliveries._hanging_hosts.origin_places

    def known(self) -> dict[str, HangingOrigin]:
        """
        The origins that the watch knows while it counts.
        """
        return self.places.known

    def unanswered(self, message: DeliveredMessage) -> None:
        """
        The time of a request is over.
        """
        message.was_unanswered()
        self.finish(message, Retry(after=10_000))

    @property
    def bodies(self) -> list[bytes]:
        """
        What has been requested.
        """
        return [each.body for each in self.called]


class PlaceTests(HangingTestCase):
    """
    Who leaves a place, and when.
    """

    def test_waits_for_memory(self) -> None:
        """
        A task whose turn has come, and that then waits for memory for too long, leaves
        its turn to others.
        """
        self.begin()
        self.hang()
        deliveries = self.watcher._deliveries
        hosts, places = self.places, deliveries._places
        (message,) = self.many(b"b", 1)
        origin = message.origin = hosts._origin_of(message)
        origin.due.add(message)
        hosts.taken += 1
        before = hosts.taken
        places._heavy.append(message)
        deliveries.ledger.move(message, Event.TURN_AWAY)
        deliveries._put_off_heavy(message)
        self.assertEqual((hosts.taken, origin.due), (before - 1, set()))

    def test_slow_after_later(self) -> None:
        """
        A request that has left its place, and then takes longer than C{slow_after}, has
        left already.
        """
        self.begin(slow_after=2 * HANG_AFTER)
        self.many(b"a", 4)
        self.pass_time(3 * HANG_AFTER)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.watcher.in_flight, 4)

    def test_others_come(self) -> None:
        """
        When a host has answered nothing for some seconds, its requests leave their
        places to others.  They go on, and are settled as ever.
        """
        self.begin()
        hanging = self.many(b"a", 4)
        self.pass_time(HANG_AFTER - 0.25)
        self.assertEqual(
            len(self.places.known["http://a"].placed),
            3,
        )
        self.pass_time(FOUND - HANG_AFTER + 0.25)
        self.assertEqual(
            self.places.known["http://a"].placed,
            set(),
        )
        for _ in range(3):
            others = self.many(b"b", 4)
            for each in others:
                self.finish(each)
        self.assertEqual(self.cancelled, [])
        for each in hanging:
            self.finish(each)
        self.check_counts(received=16, done=16)
        self.pass_time(10)
        self.assertEqual(self.places.known, {})
        self.assertEqual(self.waits(), [])

    def test_who_answers(self) -> None:
        """
        That a host answers now and then changes nothing: requests that take long leave
        their places.  It never has more requests at once than there are places.
        """
        self.begin()
        running = self.many(b"a", 4)
        self.pass_time(FOUND)
        for _ in range(20):
            self.pass_time(HANG_AFTER / 2)
            self.finish(running.pop(0))
            running.append(self.deliver(b"a"))
            self.assertFalse(self.is_full)
            self.finish(self.deliver(b"b"))
        self.assertEqual(self.turned_away, [])

    def test_places_to_spare(self) -> None:
        """
        As long as half of the places are free, nothing is done.
        """
        self.begin()
        self.many(b"a", 2)
        self.assertEqual(self.waits(), [])
        self.pass_time(60)
        self.many(b"a", 2)
        self.assertTrue(self.is_full)

    def test_on_time(self) -> None:
        """
        A request leaves its place when it has been seen for so many seconds, not later.
        """
        self.begin()
        self.many(b"a", 4)
        self.pass_time(HANG_AFTER + HANG_AFTER / LOOKS - 0.25)
        self.assertEqual(len(self.known()["http://a"].placed), 3)
        self.pass_time(0.25)
        self.assertEqual(self.known()["http://a"].placed, set())

    def test_seen_before(self) -> None:
        """
        What was seen when the watch was busy before does not count when it is again.
        """
        self.begin()
        first, *_ = self.many(b"a", 3)
        self.pass_time(0.75)
        self.finish(first)
        self.pass_time(30)
        self.assertEqual(self.waits(), [])
        self.many(b"b", 2)
        self.pass_time(0.75)
        self.assertTrue(self.is_full)
        self.assertEqual(self.known(), {})

    def test_outside_before(self) -> None:
        """
        Requests that had left their places before anything was counted are counted.
        """
        self.begin(slow_after=2)
        self.many(b"a", 2)
        self.pass_time(2.25)
        self.many(b"a", 2)
        self.many(b"b", 1)
        self.pass_time(1.25)
        late = self.deliver(b"a")
        self.assertEqual(self.turned_away, [late])

    def test_unlimited(self) -> None:
        """
        Nor is anything done where there is no limit of places.
        """
        self.begin(prefetch=0)
        self.many(b"a", 50)
        self.assertEqual(self.waits(), [])

    def test_two_places(self) -> None:
        """
        With two places it is done.
        """
        self.begin(prefetch=2)
        self.many(b"a", 2)
        self.pass_time(FOUND)
        self.assertFalse(self.is_full)

    def test_soon(self) -> None:
        """
        With a time of less than a second, too.
        """
        self.begin(hang_after=0.5)
        self.many(b"a", 4)
        for _ in range(13):
            self.advance(0.05)
        self.assertFalse(self.is_full)

    def test_stopped(self) -> None:
        """
        A watch that is stopped looks no more, though its callbacks go on.
        """
        self.begin()
        self.many(b"a", 4)
        self.pass_time(1)
        stopped = self.watcher.stop(grace=0)
        self.pass_time(10)
        self.successResultOf(stopped)
        self.assertEqual(self.waits(), [])

    def test_no_answer(self) -> None:
        """
        A request whose time is over, or that fails without an answer, changes nothing.
        """
        self.begin(hold_up_to=5)
        first, *_ = self.many(b"a", 4)
        self.pass_time(HANG_AFTER - 1)
        self.unanswered(first)
        self.deliver(b"a")
        self.pass_time(FOUND - HANG_AFTER + 1)
        self.assertEqual(len(self.running), 4)
        self.assertFalse(self.is_full)

    def test_several(self) -> None:
        """
        Several hosts that hang, one after the other.
        """
        self.begin()
        for host in (b"a", b"b", b"c"):
            self.hang(host)
        self.finish(self.deliver(b"d"))
        self.check_counts(received=13, done=1)

    def test_off(self) -> None:
        """
        With C{hang_after=0} nothing is done.
        """
        self.begin(hang_after=0)
        self.many(b"a", 4)
        self.pass_time(60)
        self.assertTrue(self.is_full)

    def test_one_place(self) -> None:
        """
        Nor with one place, where one task follows the other.
        """
        self.begin(prefetch=1)
        self.deliver(b"a")
        self.pass_time(60)
        self.assertTrue(self.is_full)

    def test_wrong(self) -> None:
        """
        It must be a number of seconds.
        """
        for wrong in (-1.0, float("inf"), float("nan")):
            error = self.assertRaises(ConfigError, self.make, hang_after=wrong)
            self.assertIn("hang_after", str(error))

    def test_other_callbacks(self) -> None:
        """
        Nothing is known of a callback that requests nothing.
        """
        self.begin(callback=partial(WatcherTestCase.callback, self))
        self.many(b"a", 4)
        self.pass_time(60)
        self.assertTrue(self.is_full)

    def test_told(self) -> None:
        """
        One line tells that a host hangs, and one that none does any more.
        """
        self.begin()
        with capturedLogs() as events:
            hanging = self.hang()
            self.pass_time(30)
            for each in hanging:
                self.finish(each)
            self.pass_time(30)
        lines = [formatEvent(each) or "" for each in events]
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("Requests of queue 'queue' hang", lines[0])
        self.assertIn(": http://a does not answer within 5 s", lines[0])
        self.assertIn("No requests of queue 'queue' hang any more", lines[1])

    def test_told_once(self) -> None:
        """
        For each host that hangs there is one line, as long as it hangs.
        """
        self.begin()
        with capturedLogs() as events:
            for host in (b"a", b"b"):
                self.hang(host)
            self.pass_time(130)
        lines = [formatEvent(each) or "" for each in events]
        self.assertEqual(len(lines), 2, lines)
        for name, line in zip("ab", lines, strict=True):
            self.assertIn(f"http://{name} does not answer", line)

    def test_told_with_their_places(self) -> None:
        """
        So it is where requests keep their places, since too many have left theirs.
        """
        self.patch(_hanging_hosts, "MOST_OUTSIDE", 2)
        self.begin()
        with capturedLogs() as events:
            self.hang()
            self.pass_time(130)
        self.assertEqual(len(events), 1)

    def test_told_again(self) -> None:
        """
        A host that hangs again after it has answered is told again.
        """
        self.begin()
        with capturedLogs() as events:
            for _ in range(2):
                for each in self.hang():
                    self.finish(each)
                self.pass_time(130)
        self.assertEqual(len(events), 4)


class ShareTests(HangingTestCase):
    """
    How many places there are for hosts that are not quick.
    """

    options = {"prefetch": 8}

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def quick(self, number: int = 1, host: bytes = b"quick") -> None:
        """
        Have a host answer at once.
        """
        for _ in range(number):
            self.finish(self.deliver(host))

    def placed(self, host: str) -> int:
        """
        How many places a host has.
        """
        return len(self.places.known[f"http://{host}"].placed)

    def slow(self) -> None:
        """
        Have a host have more than half of the places, and be found slow.
        """
        self.many(b"slow", 5)
        self.pass_time(1)
        self.assertEqual(self.placed("slow"), 5)

    def test_for_quick_ones(self) -> None:
        """
        While a host answers at once, others have three quarters of the places, and one
        that has none has one of half of the rest.
        """
        self.slow()
        self.quick()
        self.many(b"slow", 3)
        self.many(b"other", 3)
        self.many(b"third", 1)
        self.assertEqual(self.placed("slow"), 6)
        self.assertEqual(self.placed("other"), 1)
        self.assertEqual(self.placed("third"), 0)
        self.assertEqual(self.places.waiting, 5)
        self.quick(20)

    def test_for_all(self) -> None:
        """
        When no host has answered at once for some seconds, they have all.
        """
        self.slow()
        self.quick()
        self.many(b"slow", 3)
        self.pass_time(3)
        self.assertEqual(self.places.waiting, 2)
        self.pass_time(HANG_AFTER)
        self.assertEqual(self.places.waiting, 0)
        self.assertEqual(len(self.running), 8)

    def test_fewest(self) -> None:
        """
        When one of them leaves its place, the host with the fewest places has its turn.
        """
        self.slow()
        self.quick()
        slow = self.called[0]
        self.many(b"slow", 3)
        other = self.many(b"other", 3)
        self.finish(slow)
        self.assertIs(self.called[-1], other[0])
        self.pass_time(HANG_AFTER)  # all others of the host that is slow leave
        self.assertEqual(len(self.running), 5 + 2 + 3)
        self.assertEqual(self.placed("other"), 3)

    def test_was_quick(self) -> None:
        """
        A host that was quick, and is not any more, has its part of the places, as soon
        as that is found out; so have all such hosts together.
        """
        self.slow()
        self.quick()
        self.quick(3, b"changing")
        self.many(b"changing", 3)
        self.assertTrue(self.is_full)
        self.pass_time(1)
        self.assertFalse(self.is_full)
        self.assertEqual(self.placed("slow") + self.placed("changing"), 6)
        self.assertEqual(len(self.running), 8)
        self.quick()

    def test_some_slow(self) -> None:
        """
        A host is quick while it answers more requests at once than are slow.
        """
        self.slow()
        for each in self.called[:2]:
            self.finish(each)
        self.many(b"both", 2)
        for number, is_quick in ((3, True), (2, False), (3, True)):
            self.pass_time(0.75)
            self.quick(number, b"both")
            self.pass_time(0.25)
            origin = self.places.known["http://both"]
            self.assertIs(origin.is_quick, is_quick, number)

    def test_slow_answers(self) -> None:
        """
        However many slow requests a host answers, that does not make it quick.
        """
        self.slow()
        for each in self.called[:4]:
            self.finish(each)
        self.assertFalse(self.known()["http://slow"].is_quick)

    def test_fails_at_once(self) -> None:
        """
        A host that fails at once without an answer is not quick.
        """
        self.slow()
        self.unanswered(self.deliver(b"bad"))
        self.assertFalse(self.known()["http://bad"].is_quick)
        self.quick()
        self.assertTrue(self.known()["http://quick"].is_quick)

    def test_as_many_quick_as_slow(self) -> None:
        """
        As many quick answers as slow requests are not enough.
        """
        self.slow()
        for each in self.called[:2]:
            self.finish(each)
        self.many(b"both", 2)
        self.pass_time(1)
        for is_quick in (False, False, True):
            self.quick(1, b"both")
            self.assertIs(self.known()["http://both"].is_quick, is_quick)

    def test_quick_answers_of_before(self) -> None:
        """
        A quick host may have as many places as it had quick answers since the look
        before the last, and one.
        """
        self.watcher.stop(0)
        self.begin(prefetch=16)
        self.many(b"slow", 9)
        self.pass_time(1)
        self.quick()
        self.many(b"slow", 3)
        self.quick(1, b"new")
        self.many(b"new", 2)
        self.assertEqual(self.placed("new"), 2)
        self.many(b"new", 1)
        self.assertEqual(len(self.turned_away), 1)

    def test_remembered(self) -> None:
        """
        Quick hosts are remembered while another is slow, and not too many of them.
        """
        self.patch(_origin_places, "_MOST_REMEMBERED", 4)
        self.slow()
        for number, known in ((3, 4), (4, 4)):
            for n in range(number):
                self.quick(1, b"q%d" % n)
            self.pass_time(0.75)
            self.assertEqual(len(self.known()), known)
        self.assertIn("http://slow", self.known())

    def test_forgotten(self) -> None:
        """
        A host that was not quick, and has no request any more, is forgotten.
        """
        self.slow()
        self.unanswered(self.deliver(b"bad"))
        self.pass_time(0.75)
        self.assertEqual(list(self.known()), ["http://slow"])

    def test_all_forgotten(self) -> None:
        """
        When the watch is not busy any more, and none has left its place, nothing is
        counted, also where some requests go on.
        """
        self.slow()
        self.quick()
        for each in self.called[:3]:
            self.finish(each)
        self.pass_time(1.25)
        self.assertEqual((self.known(), self.waits()), ({}, []))
        self.many(b"slow", 6)
        self.assertTrue(self.is_full)

    def check_at_hand(self, lines: int, at_hand: int) -> None:
        """
        Of each of so many lines, so many tasks stay at hand, and others do not.
        """
        self.watcher.stop(0)
        self.begin(hold_up_to=0)
        self.slow()
        self.quick()
        self.many(b"slow", 1)
        hosts = [b"h%d" % n for n in range(lines)]
        for host in hosts:
            for _ in range(at_hand + 1):
                self.channel.deliver(host, beyond_prefetch=True)
        self.pass_time(0.5)
        put_off = [each.body for each in self.client.publisher.publications]
        self.assertEqual(put_off, hosts[1:])  # of the first, one has begun

    def test_eleven_lines(self) -> None:
        """
        With more than ten lines, fewer tasks of each are at hand than there are places.
        """
        self.check_at_hand(11, 7)

    def test_twenty_lines(self) -> None:
        """
        The more lines, the fewer.
        """
        self.check_at_hand(20, 4)

    def test_reserved_for_so_long(self) -> None:
        """
        Places stay reserved for quick hosts for as many looks as there are until a
        request hangs, from when the first was slow.
        """
        self.slow()
        self.many(b"slow", 3)
        self.pass_time(2)
        for each in self.called[:5]:
            self.finish(each)
            self.many(b"slow", 1)
        self.pass_time(HANG_AFTER - 2.75)
        self.assertEqual(self.placed("slow"), 6)
        self.pass_time(0.25)
        self.assertEqual(self.placed("slow"), 8)

    def test_other_url(self) -> None:
        """
        A task that hooks send to another host each time is counted once.
        """
        self.slow()
        self.quick()
        waits = self.many(b"slow", 2)[1]
        self.assertEqual(self.turned_away, [waits])
        waits.body = b"elsewhere"
        self.finish(self.called[0])
        self.assertIs(self.called[-1], waits)
        self.assertEqual(self.placed("elsewhere"), 1)
        self.assertEqual(self.places.taken, 6)

    def test_several_requests(self) -> None:
        """
        A callback that makes several requests has one place.
        """
        self.slow()
        (message,) = self.many(b"slow", 1)
        self.assertTrue(message.may_request("http://slow/2"))
        self.assertEqual(self.placed("slow"), 6)
        self.assertTrue(message.may_request("http://other/"))
        self.assertEqual((self.placed("slow"), self.placed("other")), (5, 1))
        self.finish(message)
        self.assertEqual(self.places.taken, 5)

    def test_most_outside(self) -> None:
        """
        Not too many go on without a place, since each has a connection.
        """
        self.watcher.stop(0)
        self.patch(_hanging_hosts, "MOST_OUTSIDE", 3)
        self.begin(prefetch=8)
        self.many(b"slow", 8)
        self.pass_time(60)
        self.assertEqual(self.placed("slow"), 5)
        self.assertFalse(self.is_full)

    def test_slow_after(self) -> None:
        """
        What leaves its place after the time that the watch sets is counted, too.
        """
        self.watcher.stop(0)
        self.begin(slow_after=2)
        self.many(b"slow", 5)
        self.pass_time(1.25)
        self.assertEqual(self.places.taken, 5)
        self.pass_time(1)
        self.assertEqual(self.placed("slow"), 0)
        self.many(b"slow", 8)
        self.assertEqual(len(self.running), 8)
        self.assertEqual(self.places.waiting, 5)


class LineTests(HangingTestCase):
    """
    What becomes of further tasks for a host that hangs.
    """

    def test_order(self) -> None:
        """
        They wait outside the places, in their order, and are not attempted; as soon as
        a request of the host ends, the first begins.
        """
        self.begin()
        hanging = self.hang()
        line = self.many(b"a", 20)
        other = self.deliver(b"b")
        self.assertEqual(self.called, [*hanging, other])
        self.finish(other)
        self.pass_time(FOUND)  # now there are no tasks for another host
        for ends, begins in zip([*hanging, *line], line, strict=False):
            self.finish(ends)
            self.assertIs(self.called[-1], begins)
        for message, _ in list(self.running):
            self.finish(message)
        self.check_counts(received=25, done=25)
        self.assertEqual(self.client.publisher.publications, [])
        self.assertEqual(self.called, [*hanging, other, *line])

    def test_time_over(self) -> None:
        """
        Where a request ends without an answer, the first begins, too; the host still
        hangs, and those that wait still take no place.
        """
        self.begin(hold_up_to=5)
        hanging = self.hang()
        line = self.many(b"a", 3)
        self.unanswered(hanging[0])
        self.assertIs(self.called[-1], line[0])
        self.assertEqual(self.places.waiting, 2)
        for each in self.many(b"b", 3):
            self.finish(each)

    def test_put_off(self) -> None:
        """
        As many as there are places stay at hand; the others wait in the broker after
        some seconds, for as long as the host was silent, and that was no attempt.
        """
        self.begin(hold_up_to=5)
        self.hang()
        line = self.many(b"a", 10)
        self.pass_time(8)
        publications = self.client.publisher.publications
        self.assertEqual(len(publications), 6)
        for each in publications:
            self.assertGreater(each.delay, 5)
            self.assertNotIn(ERRORS, each.headers)
        for _ in range(6):
            self.confirm()
        self.check_counts(received=14, retried=6)
        self.assertEqual(self.channel.acked, [m.delivery_tag for m in line[4:]])
        self.assertEqual(self.places.waiting, 4)

    def test_put_off_after_a_pause(self) -> None:
        """
        So does one that comes after a pause, although no place is taken meanwhile.
        """
        self.begin(hold_up_to=5)
        self.hang()
        for change in (set.add, set.discard):
            change(self.client.pauses.paused, "queue")
            self.client.pauses.looks["queue"]()
        self.deliver(b"a")
        self.assertEqual(self.places.waiting, 1)
        self.pass_time(LONGEST_WAIT + 1)
        self.assertEqual(len(self.client.publisher.publications), 1)

    def test_little_work(self) -> None:
        """
        They go to the broker a few at a time, and those at hand at last.
        """
        self.patch(_hanging_hosts, "PUT_OFF_RATE", 4 * LOOKS / HANG_AFTER)
        self.begin(hold_up_to=0)
        self.hang()
        self.many(b"a", 24)
        publications = self.client.publisher.publications
        for n in range(1, 6):
            self.pass_time(HANG_AFTER / LOOKS)
            self.assertEqual(len(publications), 4 * n)
        self.pass_time(LONGEST_WAIT)
        self.assertEqual(len(publications), 24)
        self.assertGreater(PUT_OFF_RATE, 4)

    def test_put_off_for(self) -> None:
        """
        They wait in the broker for as long as the host was silent, for as long as it
        takes to find out that a host hangs at least, and for five minutes at most.
        """
        for known_for, delay in ((0, 5), (20, 26), (900, 300)):
            self.begin(hold_up_to=0)
            self.hang()
            self.pass_time(known_for)
            if not known_for:  # known since the second look, which is just over
                origin = self.known()["http://a"]
                origin.since = self.clock.seconds() - 1
            self.many(b"a", 5)
            self.pass_time(0.75)
            (publication,) = self.client.publisher.publications
            self.assertAlmostEqual(publication.delay, delay, delta=1)
            self.confirm()
            self.watcher.stop(0)

    def test_one_at_a_time(self) -> None:
        """
        However seldom, one of them goes.
        """
        self.patch(_hanging_hosts, "PUT_OFF_RATE", 0.1)
        self.begin(hold_up_to=0)
        self.hang()
        self.many(b"a", 8)
        for number in (1, 2, 3):
            self.pass_time(HANG_AFTER / LOOKS)
            self.assertEqual(len(self.client.publisher.publications), number)

    def test_held_at_hand(self) -> None:
        """
        Those that are not at hand wait here for C{hold_up_to} seconds.
        """
        self.begin(hold_up_to=3)
        self.hang()
        self.many(b"a", 5)
        self.pass_time(2.75)
        self.assertEqual(self.client.publisher.publications, [])
        self.pass_time(0.75)
        self.assertEqual(len(self.client.publisher.publications), 1)

    def test_turned_away_again(self) -> None:
        """
        A task that is turned away although it was its turn is the next again.
        """
        self.begin()
        hanging, other = self.hang(b"a"), self.hang(b"b")
        (changes,), (waits,) = self.many(b"a", 1), self.many(b"b", 1)
        changes.body = b"b"
        self.finish(hanging[0])
        self.assertEqual(self.called, [*hanging, *other])
        for each in (changes, waits):
            self.finish(other.pop())
            self.assertIs(self.called[-1], each)

    def test_due_when_lost(self) -> None:
        """
        A task whose turn has come, and that has not begun when the connection is lost,
        keeps nothing from others.
        """
        self.begin()
        hanging = self.hang()
        line = self.many(b"a", 2)
        self.watcher._deliveries.close("test")
        self.finish(hanging[0])
        self.assertEqual(self.called, hanging)
        self.channel.lose(ChannelLost("gone"))
        self.watcher._deliveries.open("test")
        self.advance(1)
        for each in hanging[1:]:
            self.finish(each)
        self.assertEqual(self.known()["http://a"].due, set())
        again = self.many(b"a", 4)
        self.assertEqual(self.called, [*hanging, *again])
        self.assertEqual(self.places.taken, 4)
        self.assertNotIn(line[0], self.called)

    def test_looks_no_more(self) -> None:
        """
        When the queue is paused, or the channel lost, nothing is looked at until the
        watch is busy again.
        """
        for lost in (False, True):
            self.begin(hang_after=HANG_AFTER)
            self.many(b"a", 4)
            self.assertEqual(len(self.waits()), 1)
            if lost:
                self.channel.lose(ChannelLost("gone"))
            else:
                self.client.pauses.paused.add("queue")
                self.client.pauses.looks["queue"]()
            self.assertEqual(self.waits(), [])
            self.client.pauses.paused.clear()
            self.watcher.stop(0)

    def test_given_back(self) -> None:
        """
        When the queue is paused, they go back to it.
        """
        self.begin()
        hanging = self.hang()
        line = self.many(b"a", 3)
        self.client.pauses.paused.add("queue")
        self.client.pauses.looks["queue"]()
        self.assertEqual(self.channel.given_back, [each.delivery_tag for each in line])
        self.finish(hanging[0])
        self.assertEqual(self.called, hanging)
        self.check_counts(received=7, done=1, returned=3)

    def test_stop(self) -> None:
        """
        When the watch is stopped, they go back at once, and none begins.
        """
        self.begin()
        hanging = self.hang()
        line = self.many(b"a", 3)
        stopped = self.watcher.stop(grace=30)
        self.assertEqual(self.channel.given_back, [each.delivery_tag for each in line])
        for each in hanging:
            self.finish(each)
        self.successResultOf(stopped)
        self.assertEqual(self.called, hanging)
        self.check_counts(received=7, done=4, returned=3)

    def test_turned_away_late(self) -> None:
        """
        One that is turned away after the watch was stopped goes back, too.
        """
        self.begin()
        self.hang()
        hook: Deferred[None] = Deferred()
        admitted = self.callback

        def callback(message: DeliveredMessage) -> Any:
            return hook.addCallback(lambda _: admitted(message))

        self.watcher._deliveries._handler._callback = callback
        late = self.deliver(b"a")
        self.watcher.stop(grace=30)
        hook.callback(None)
        self.assertEqual(self.turned_away, [late])
        self.assertIn(late.delivery_tag, self.channel.given_back)

    def test_turned_away_and_forgotten(self) -> None:
        """
        One whose callback ends only after the host is forgotten begins at once.
        """
        self.begin()
        hanging = self.hang()
        hook: Deferred[None] = Deferred()
        admitted = self.callback

        def callback(message: DeliveredMessage) -> Any:
            answer = admitted(message)
            return hook.addCallback(lambda _: answer)

        handler = self.watcher._deliveries._handler
        handler._callback = callback
        late = self.deliver(b"a")
        self.assertEqual(self.turned_away, [late])
        handler._callback = self.callback
        for each in hanging:
            self.finish(each)
        self.pass_time(3 * FOUND)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        hook.callback(None)
        self.assertEqual(self.called[-1], late)

    def test_lost(self) -> None:
        """
        When the connection is lost, they are the broker's; none of them begins here.
        """
        self.begin()
        hanging = self.hang()
        self.many(b"a", 3)
        self.channel.lose(ChannelLost("gone"))
        self.advance(1)
        for each in hanging:
            self.finish(each)
        self.assertEqual(self.called, hanging)
        self.check_counts(received=7, returned=7)

    def test_rate(self) -> None:
        """
        One that has waited counts once for a rate.
        """
        self.begin(rate="1/s", burst=10, share_rate=False)
        hanging = self.hang()
        pace = self.pace
        line = self.many(b"a", 2)
        before = pace.bucket.tokens
        for each in hanging[:2]:
            self.finish(each)
        self.assertEqual(self.called[-2:], line)
        self.assertEqual(pace.bucket.tokens, before)

    def test_all_ends_at_once(self) -> None:
        """
        Thousands that wait and end as soon as they begin need no deep stack.
        """
        self.begin()
        hanging = self.hang()
        for _ in range(2_000):
            self.channel.deliver(b"a", beyond_prefetch=True)
        self.at_once[b"a"] = None
        self.finish(hanging[0])
        self.assertEqual(self.flushLoggedErrors(RecursionError), [])
        self.check_counts(received=2_004, done=2_001)


class RefusedTests(HangingTestCase):
    """
    A watch of four places, with admission control: each host gets two requests at once
    at most.
    """

    options = {"prefetch": 4, "hold_up_to": 5}

    def setUp(self) -> None:
        super().setUp()
        self.origins = Origins(OriginLimits(concurrency=2))
        self.asked: list[DeliveredMessage] = []

    def callback(self, message: DeliveredMessage) -> Any:
        """
        Ask for admission, too, as a mediator does.
        """
        url = f"http://{message.body.decode()}"
        if message.may_request(url):
            self.asked.append(message)
            if wait := self.origins.admit(url, self.clock.seconds()):
                message.was_refused(wait, self.origins.when_free(url))
                return Retry(after=wait, attempted=False)
        answer = super().callback(message)
        if isinstance(answer, Deferred):
            answer.addBoth(self.ended, url)
        return answer

    def ended(self, result: Any, url: str) -> Any:
        """
        A request has ended.
        """
        self.origins.ended(url, self.clock.seconds(), 200, 0.1)
        return result

    def test_begins_when_one_ends(self) -> None:
        """
        A task whose request is refused waits, and so do all that follow for its host,
        without asking; each begins when a request has ended, and nothing is published.
        """
        self.begin()
        messages = self.many(b"a", 4)
        self.assertEqual(self.called, messages[:2])
        self.assertEqual(self.asked, messages[:3])
        for each in messages:
            self.finish(each)
        self.assertEqual(self.called, messages)
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=4, done=4)

    def test_other_hosts(self) -> None:
        """
        Those that wait have no place: tasks for other hosts begin.
        """
        self.begin()
        messages = self.many(b"a", 4)
        others = self.many(b"b", 2)
        self.assertEqual(self.called, [*messages[:2], *others])
        self.assertTrue(self.is_full)

    def test_fetched_step_by_step(self) -> None:
        """
        More are fetched, since others may be for other hosts, but not thousands at
        once: the limit may be about to grow.
        """
        self.begin()
        numbers = []
        for _ in range(4):
            before = self.received
            with self.assertRaisesRegex(AssertionError, "no consumer may be given"):
                self.many(b"a", 100)
            numbers.append(self.received - before)
            self.advance(PAUSE)
        self.assertEqual(numbers, [8, 6, 12, 24])

    def test_fetched_in_vain(self) -> None:
        """
        Once a host takes as many requests as there are places, no more are fetched than
        there are places, although there are more: then none waits in a line, nor is
        turned away.
        """
        self.begin()
        for _ in range(4):
            self.fill()
            self.advance(PAUSE)
        self.assertGreater(self.places.waiting, 40)
        self.origins._known["http://a"]._most = 4
        numbers = []
        for _ in range(200):
            self.fill()
            self.finish(self.running[0][0])
            self.advance(0.02)
            numbers.append(self.places.waiting)
        self.assertEqual((max(numbers[-20:]), self.known()), (0, {}))
        self.assertEqual(self.client.publisher.publications, [])

    def fill(self) -> None:
        """
        Deliver messages for one host as long as a consumer may be given any.
        """
        while self.channel.room() is not None:
            self.deliver(b"a")

    @property
    def received(self) -> int:
        """
        How many messages were delivered.
        """
        return self.watcher.counts.received

    def test_time(self) -> None:
        """
        The first asks again when the time is over that it was told, even if no
        request of this watch ends: there may be other watches.
        """
        self.begin()
        for _ in range(2):
            self.origins.admit("http://a", 0)
        message = self.deliver(b"a")
        self.advance(0.04)
        self.assertEqual(self.called, [])
        self.origins.ended("http://a", self.clock.seconds(), 200, 1)
        self.advance(0.02)
        self.assertEqual(self.called, [message])

    def test_long(self) -> None:
        """
        One that would have to wait for longer than C{hold_up_to} is put back.
        """
        self.begin()
        open_at = self.clock.seconds()
        limits = OriginLimits(breaker=BreakerSettings(failures=1, pause=6.0))
        self.origins = Origins(limits)
        self.origins.admit("http://a", open_at)
        self.origins.ended("http://a", open_at, None, 0.1)
        self.deliver(b"a")
        (publication,) = self.client.publisher.publications
        self.assertGreater(publication.delay, 5)
        self.confirm()
        self.check_counts(received=1, retried=1)
        self.assertEqual(self.known(), {})

    def test_off(self) -> None:
        """
        Where no host is looked at, it waits for the time that it was told, and for no
        more.
        """
        self.begin(hang_after=0)
        messages = self.many(b"a", 3)
        self.finish(messages[0])
        self.assertEqual(self.called, messages[:2])
        self.assertEqual((messages[2].turned_away, messages[2].origin), (False, None))
        self.advance(0.1)
        self.assertEqual(self.called, messages)

    def test_stopped(self) -> None:
        """
        When the watch is stopped, those that wait are RabbitMQ's again.
        """
        self.begin()
        messages = self.many(b"a", 4)
        stopped = self.watcher.stop()
        for each in messages[:2]:
            self.finish(each)
        self.successResultOf(stopped)
        self.check_counts(received=4, done=2, returned=2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """
        When the connection is lost, none of them begins here.
        """
        self.begin()
        messages = self.many(b"a", 4)
        self.channel.lose(ChannelLost("gone"))
        for each in messages[:2]:
            self.finish(each)
        self.advance(10)
        self.assertEqual(self.called, messages[:2])
        self.check_counts(received=4, returned=4)

    def test_rate(self) -> None:
        """
        A rate is reached, however long tasks wait; and nothing is published.
        """
        self.begin()
        self.origins = Origins(OriginLimits(rate="2/s", burst=1))
        self.at_once[b"a"] = None
        for _ in range(30):
            self.channel.deliver(b"a", beyond_prefetch=True)
        for _ in range(59):
            self.advance(0.25)
        self.assertEqual(self.client.publisher.publications, [])
        self.check_counts(received=30, done=30)

    def test_not_refused_for_long(self) -> None:
        """
        One that has waited longer than C{hold_up_to} waits on, if it will not be long.
        """
        self.begin()
        messages = self.many(b"a", 4)
        self.advance(6)
        self.finish(messages[0])
        self.assertEqual(self.called, messages[:3])
        self.assertEqual(self.client.publisher.publications, [])

    def test_done_all_the_same(self) -> None:
        """
        A callback that finds another way is done.
        """

        def callback(message: DeliveredMessage) -> Any:
            message.may_request("http://a/")
            message.was_refused(1.0)
            return None

        self.begin(callback=callback)
        self.deliver(b"a")
        self.check_counts(received=1, done=1)
        self.assertEqual(self.known(), {})

    def test_forgotten(self) -> None:
        """
        Once none waits, nothing is counted any more, although the watch is busy.
        """
        self.begin()
        messages = self.many(b"a", 3)
        others = self.many(b"b", 2)
        self.finish(messages[0])
        self.finish(others[0])
        self.assertEqual(set(self.known()), {"http://a", "http://b"})
        self.advance(HANG_AFTER / LOOKS)
        self.assertEqual(self.known(), {})
        self.assertTrue(self.watcher._deliveries._places.is_busy)
