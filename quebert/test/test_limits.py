"""
Rates, breakers and limits: pure, with the time as an argument.
"""

from __future__ import annotations

import heapq
import math
import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError
from quebert.limits import (
    GIVEN_UP,
    AdaptiveLimit,
    AdaptiveSettings,
    Breaker,
    BreakerSettings,
    OriginLimits,
    Origins,
    Rate,
    TokenBucket,
    burst_of,
)
from quebert.limits._origin import Origin
from quebert.test.checks import QUICK

START = 1_700_000_000.0
ORIGIN = "http://one.example:80"


class RateTests(SynchronousTestCase):
    """
    L{Rate}: what users write.
    """

    def test_parse(self) -> None:
        """
        A number, a stroke and a unit.
        """
        table = [
            ("500/s", 500.0),
            ("30/m", 0.5),
            ("10/h", 10 / 3600),
            ("0.5/s", 0.5),
            (" 7 / s ", 7.0),
        ]
        for text, per_second in table:
            self.assertEqual(Rate.parse(text).per_second, per_second)

    def test_refused(self) -> None:
        """
        What is no rate is refused in one sentence that says what would be right.
        """
        for text in ("", "500", "500/d", "/s", "-1/s", "1e3/s", "five/s", "1/s/s"):
            error = self.assertRaises(ConfigError, Rate.parse, text)
            self.assertIn("such as 500/s, 30/m or 10/h", str(error))
        error = self.assertRaises(ConfigError, Rate.parse, "0/s")
        self.assertIn("for no limit, give no rate", str(error))

    def test_of(self) -> None:
        """
        A rate, a text or a number per second will do, and nothing else.
        """
        for each in (Rate(5), "5/s", 5, 5.0, "300/m"):
            self.assertEqual(Rate.of(each), Rate(5))
        for wrong in (True, None, b"5/s", math.inf, math.nan, 0, -1):
            self.assertRaises(ConfigError, Rate.of, wrong)

    def test_text(self) -> None:
        """
        It reads as it is written.
        """
        for text in ("500/s", "30/m", "10/h", "2.5/s", "0.5/h", "1/s", "1/m"):
            self.assertEqual(str(Rate.parse(text)), text)

    def test_computed(self) -> None:
        """
        A computed rate has the unit of which there is one, but for a millionth.
        """
        self.assertEqual(str(Rate(0.9999996)), "1/s")
        self.assertEqual(str(Rate(0.999996)), "59.9998/m")

    def test_burst(self) -> None:
        """
        A quarter of a second's at once, at least one, unless told otherwise.
        """
        self.assertEqual(burst_of(Rate(100), None), 25)
        self.assertEqual(burst_of(Rate(1), None), 1)
        self.assertEqual(burst_of(Rate(1), 50), 50)
        for wrong in (0, 0.5, -1, math.nan, math.inf):
            self.assertRaises(ConfigError, burst_of, Rate(1), wrong)


class TokenBucketTests(SynchronousTestCase):
    """
    L{TokenBucket}: so many per second, and so many at once.
    """

    @QUICK
    @given(
        st.floats(0.01, 10_000),
        st.floats(1, 1_000),
        st.lists(st.floats(0, 20), max_size=60),
        st.integers(1, 50),
    )
    def test_never_more(
        self, rate: float, burst: float, steps: list[float], asked: int
    ) -> None:
        """
        From any moment to any other there are C{burst + rate * t} at most.
        """
        taken: list[float] = []
        bucket, now = TokenBucket(rate, burst), START
        for step in steps:
            now += step
            for _ in range(asked):
                if not bucket.take(now):
                    taken.append(now)
        for first, since in enumerate(taken):
            for last in range(first, len(taken)):
                most = burst + rate * (taken[last] - since)
                self.assertLessEqual(last - first + 1, most * (1 + 1e-9) + 1e-6)

    def test_no_drift(self) -> None:
        """
        Who comes when told to, or somewhat later, gets what the rate says, after a
        hundred thousand, too.
        """
        bucket, now, taken = TokenBucket(300.0, 75), START, 0
        chance = random.Random(7)
        while taken < 100_000:
            wait = bucket.take(now)
            taken += not wait
            if wait:
                now += max(wait, 0.001) + chance.random() * 0.1
        self.assertLess(abs(taken - (75 + 300 * (now - START))), 75)

    def test_wait(self) -> None:
        """
        The wait is until the next token, and no longer.
        """
        bucket = TokenBucket(0.5, 1)
        self.assertEqual([bucket.take(START) for _ in range(3)], [0, 2, 2])
        self.assertEqual(bucket.take(START + 1), 1)
        self.assertEqual(bucket.take(START + 2), 0)

    @QUICK
    @given(st.lists(st.floats(-1e9, 10), max_size=40))
    def test_clock_set_back(self, steps: list[float]) -> None:
        """
        While the clock is set back, nothing is given and nothing blocked: a wait is
        never longer than until the next token.
        """
        bucket, now, forward, taken = TokenBucket(10, 5), START, 0.0, 0
        for step in steps:
            now += step
            forward += max(0.0, step)
            wait = bucket.take(now)
            taken += not wait
            self.assertLessEqual(wait, 0.1 + 1e-9)
        self.assertLessEqual(taken, 5 + 10 * forward + 1e-3)

    def test_change(self) -> None:
        """
        Another rate counts from then on, and brings no tokens.
        """
        bucket = TokenBucket(100, 50)
        while not bucket.take(START):
            pass
        bucket.change(10, 100, START + 0.1)  # of the old rate: 10
        self.assertAlmostEqual(bucket.tokens, 10, places=4)
        bucket.change(10, 5, START + 0.1)
        self.assertEqual(bucket.tokens, 5)

    def test_add(self) -> None:
        """
        What is added comes evenly, over the seconds that it is to come in.
        """
        bucket = TokenBucket(10, 100)
        while not bucket.take(START):
            pass
        bucket.add(20, 2, START)
        bucket.wait(START + 1)
        self.assertAlmostEqual(bucket.tokens, 20)
        bucket.add(30, 2, START + 1)  # with the 10 that are left: 20 per second
        bucket.wait(START + 2)
        self.assertAlmostEqual(bucket.tokens, 50)
        bucket.wait(START + 4)
        self.assertAlmostEqual(bucket.tokens, 90)

    def test_added_later(self) -> None:
        """
        What is added comes from then on, and not for the time before.
        """
        bucket = TokenBucket(10, 100)
        while not bucket.take(START):
            pass
        bucket.add(20, 2, START + 2)
        bucket.wait(START + 3)
        self.assertAlmostEqual(bucket.tokens, 40)

    def test_wait_while_added(self) -> None:
        """
        A wait is as long as it takes with what is added, and without it from when that
        is over.
        """
        for extra, seconds, wait in ((1, 1, 0.5), (2, 4, 2 / 3), (0.5, 0.5, 0.5)):
            bucket = TokenBucket(1, 1)
            bucket.take(START)
            bucket.add(extra, seconds, START)
            self.assertAlmostEqual(bucket.take(START), wait)
            self.assertGreater(bucket.take(START + wait * 0.99), 0)
            self.assertEqual(bucket.take(START + wait), 0)
        bucket = TokenBucket(1, 1)
        bucket.take(START)
        bucket.add(0.25, 0.5, START)
        self.assertAlmostEqual(bucket.take(START), 0.75)

    def test_added_is_over(self) -> None:
        """
        Once all that was added has come, it holds as many as before.
        """
        bucket = TokenBucket(10, 5)
        bucket.add(20, 2, START)
        bucket.wait(START + 2)
        self.assertAlmostEqual(bucket.tokens, 10)
        bucket.wait(START + 3)
        self.assertAlmostEqual(bucket.tokens, 5)

    def test_spilled(self) -> None:
        """
        It counts what had no room.
        """
        bucket = TokenBucket(10, 5)
        self.assertEqual(bucket.spilled(START), 0)
        self.assertEqual(bucket.spilled(START + 1), 10)
        self.assertEqual(bucket.take(START + 1), 0)
        self.assertEqual(bucket.spilled(START + 2), 9)
        self.assertEqual(bucket.spilled(START + 2), 0)


class BreakerTests(SynchronousTestCase):
    """
    L{Breaker}: who fails again and again is left in peace.
    """

    def setUp(self) -> None:
        """
        One that opens after three failures, for 5, 10, and at most 20 seconds.
        """
        settings = BreakerSettings(failures=3, pause=5, longest_pause=20)
        self.breaker = Breaker(settings)

    def request(self, now: float, good: bool, seconds: float = 0.0) -> None:
        """
        One that goes at C{now}, if it may.
        """
        self.assertEqual(self.breaker.wait(now), 0)
        self.breaker.begun(now)
        self.breaker.ended(now + seconds, now, good)

    def test_opens(self) -> None:
        """
        It opens after so many failures in a row, and no sooner.
        """
        for good in (False, False, True, False, False):
            self.request(START, good)
        self.assertEqual(self.breaker.state, "closed")
        self.request(START, False)
        self.assertEqual(self.breaker.state, "open")
        self.assertEqual(self.breaker.wait(START), 5)
        self.assertEqual(self.breaker.wait(START + 4), 1)

    def test_growing_pause(self) -> None:
        """
        Each probe that fails doubles the pause, up to the longest.
        """
        now = START
        for _ in range(3):
            self.request(now, False)
        for pause in (5, 10, 20, 20):
            self.assertEqual(self.breaker.wait(now), pause)
            now += pause
            self.request(now, False)
        self.assertEqual(self.breaker.opened, 5)

    def test_closes(self) -> None:
        """
        A probe that succeeds closes it; then it takes as many failures as ever,
        and the pause is the first again.
        """
        for _ in range(3):
            self.request(START, False)
        self.request(START + 5, True)
        self.assertEqual(self.breaker.state, "closed")
        for _ in range(3):
            self.request(START + 6, False)
        self.assertEqual(self.breaker.wait(START + 6), 5)

    def test_one_probe(self) -> None:
        """
        One probe goes at a time, however many ask.
        """
        for _ in range(3):
            self.request(START, False)
        now = START + 5
        self.assertEqual(self.breaker.wait(now), 0)
        self.breaker.begun(now)
        waits = {self.breaker.wait(now + n * 0.01) for n in range(100)}
        self.assertEqual(waits, {5})
        self.breaker.ended(now + 2, now, True)
        self.assertEqual(self.breaker.wait(now + 2), 0)

    def test_lost_probe(self) -> None:
        """
        A probe that nobody hears of any more does not keep it open for ever.
        """
        for _ in range(3):
            self.request(START, False)
        self.assertEqual(self.breaker.wait(START + 5), 0)
        self.breaker.begun(START + 5)
        self.assertEqual(self.breaker.wait(START + 24), 1)
        self.assertEqual(self.breaker.wait(START + 25), 0)

    def test_stragglers(self) -> None:
        """
        Requests from before it opened say nothing of how things are now.
        """
        for _ in range(3):
            self.request(START, False)
        self.breaker.ended(START + 1, START - 1, True)
        self.assertEqual(self.breaker.state, "open")
        self.assertEqual(self.breaker.wait(START + 5), 0)
        self.breaker.begun(START + 5)
        for good in (True, False):
            self.breaker.ended(START + 6, START - 1, good)
            self.assertEqual(self.breaker.state, "half-open")

    def test_clock_set_back(self) -> None:
        """
        A clock that is set back does not make the pause longer.
        """
        for _ in range(3):
            self.request(START, False)
        self.assertEqual(self.breaker.wait(START - 1e6), 5)
        self.assertEqual(self.breaker.wait(START - 1e6 + 5), 0)
        self.breaker.begun(START)
        self.assertEqual(self.breaker.wait(START - 1e6 + 5), 5)
        self.assertEqual(self.breaker.wait(START - 1e6 + 30), 0)

    def test_refused(self) -> None:
        """
        Settings that make no sense are refused.
        """
        for wrong in (
            {"failures": 0},
            {"pause": 0},
            {"pause": 10, "longest_pause": 5},
            {"longest_pause": math.inf},
        ):
            self.assertRaises(ConfigError, BreakerSettings, **wrong)


class ProbeTests(SynchronousTestCase):
    """
    A request that seems to have begun a moment before it was let go is the probe, too.
    """

    def setUp(self) -> None:
        self.breaker = Breaker(BreakerSettings(failures=1, pause=5, longest_pause=20))
        self.breaker.ended(-10, -10, False)
        self.assertEqual(self.breaker.wait(0.005), 0)
        self.breaker.begun(0.005)

    def test_ended(self) -> None:
        self.breaker.ended(1, 0.0, True)
        self.assertEqual(self.breaker.state, "closed")

    def test_given_up(self) -> None:
        self.breaker.given_up(0.0)
        self.assertEqual(self.breaker.wait(1), 0)

    def test_given_up_from_before(self) -> None:
        self.breaker.given_up(-0.1)
        self.assertGreater(self.breaker.wait(1), 0)

    def test_closed_forgets_it(self) -> None:
        """
        When it opens again, a request from after the last probe, and before it has
        opened, says nothing.
        """
        self.breaker.ended(1, 0.005, True)
        self.breaker.ended(2, 1, False)
        self.breaker.ended(3, 1, True)
        self.assertEqual(self.breaker.state, "open")


class SettingsTests(SynchronousTestCase):
    """
    What is not set, and what may just be set.
    """

    def test_defaults(self) -> None:
        adaptive, breaker = AdaptiveSettings(), BreakerSettings()
        self.assertEqual(
            (adaptive.floor, adaptive.ceiling, adaptive.start), (1, 250, 20)
        )
        self.assertEqual((adaptive.latency, adaptive.decrease), (None, 0.7))
        self.assertEqual(
            (breaker.failures, breaker.pause, breaker.longest_pause), (5, 5, 300)
        )

    def test_equal_bounds(self) -> None:
        """
        Both bounds may be the same: then nothing moves.
        """
        adaptive = AdaptiveLimit(AdaptiveSettings(floor=1, ceiling=1))
        self.assertEqual(adaptive.limit, 1)
        breaker = Breaker(BreakerSettings(failures=1, pause=5, longest_pause=5))
        now = START
        for _ in range(3):
            self.assertEqual(breaker.wait(now), 0)
            breaker.begun(now)
            breaker.ended(now, now, False)
            self.assertEqual(breaker.wait(now), 5)
            now += 5


class GivenUpTests(SynchronousTestCase):
    """
    A request that was ended here says nothing of its origin.
    """

    def test_probe(self) -> None:
        """
        Where it was to tell how the origin is, another one may go.
        """
        origin = Origin(OriginLimits(breaker=BreakerSettings(failures=1, pause=10.0)))
        origin.admit(0.0)
        origin.ended(1.0, None, 1.0)
        self.assertEqual(origin.status.breaker, "open")
        self.assertEqual(origin.admit(12.0), 0.0)
        origin.ended(13.0, GIVEN_UP, 1.0)
        self.assertEqual(origin.status.breaker, "half-open")
        self.assertEqual(origin.admit(13.0), 0.0)
        origin.ended(14.0, 200, 1.0)
        self.assertEqual(origin.status.breaker, "closed")
        self.assertEqual(origin.in_flight, 0)

    def test_changes_no_breaker(self) -> None:
        """
        Only a breaker that opens or closes is told of.
        """
        settings = BreakerSettings(failures=1)
        for limits, status in (
            (OriginLimits(breaker=settings), GIVEN_UP),
            (OriginLimits(), 500),
        ):
            origin = Origin(limits)
            origin.admit(START)
            self.assertFalse(origin.ended(START, status, 0.1))

    def test_failures(self) -> None:
        """
        It does not end a row of failures, and lets no limit grow.
        """
        limits = OriginLimits(
            breaker=BreakerSettings(failures=2), adaptive=AdaptiveSettings()
        )
        origin = Origin(limits)
        limit = origin.concurrency
        for status in (GIVEN_UP, None, GIVEN_UP, None):
            origin.admit(0.0)
            origin.ended(0.0, status, 0.0)
        self.assertEqual(origin.status.breaker, "open")
        assert origin.concurrency is not None
        assert limit is not None
        self.assertLess(origin.concurrency, limit)


class AdaptiveLimitTests(SynchronousTestCase):
    """
    L{AdaptiveLimit}: how many an origin can take.
    """

    def limit(self, **settings: float) -> AdaptiveLimit:
        """
        One that begins with ten.
        """
        chosen: dict[str, float] = {"floor": 2, "ceiling": 12, "start": 10, **settings}
        return AdaptiveLimit(AdaptiveSettings(**chosen))  # type: ignore[arg-type]

    def test_increase(self) -> None:
        """
        A round of answers brings one more, up to the ceiling.
        """
        adaptive = self.limit()
        for _ in range(11):
            adaptive.ended(START, 200, 0.1, 10)
        self.assertEqual(int(adaptive.limit), 11)
        for _ in range(100):
            adaptive.ended(START, 404, 0.1, 10)
        self.assertEqual(adaptive.limit, 12)

    def test_unused(self) -> None:
        """
        It does not grow while it is not put to the test.
        """
        adaptive = self.limit()
        for _ in range(100):
            adaptive.ended(START, 200, 0.1, 4)
        self.assertEqual(adaptive.limit, 10)

    def test_decrease(self) -> None:
        """
        429, 503, no answer and a late one take a part of it, down to the floor.
        """
        table = [(429, 0.1), (503, 0.1), (None, 0.1), (200, 1.1)]
        for status, seconds in table:
            adaptive = self.limit(latency=1.0)
            adaptive.ended(START, status, seconds, 10)
            self.assertAlmostEqual(adaptive.limit, 7)
            for n in range(1, 20):
                adaptive.ended(START + n * 10, status, seconds, 10)
            self.assertEqual(adaptive.limit, 2)

    def test_once_a_round(self) -> None:
        """
        Those that were under way when it was decreased do not decrease it again.
        """
        adaptive = self.limit()
        for n in range(10):
            adaptive.ended(START + n * 0.01, 503, 0.5, 10)
        self.assertAlmostEqual(adaptive.limit, 7)

    def test_next_round(self) -> None:
        """
        One that began when it was decreased knows of the new limit.
        """
        adaptive = self.limit()
        adaptive.ended(START, 503, 0.0, 10)
        adaptive.ended(START + 1, 503, 1.0, 10)
        self.assertAlmostEqual(adaptive.limit, 4.9)

    def test_in_time(self) -> None:
        """
        An answer that takes as long as it may is in time, and half of the limit in
        flight puts it to the test.
        """
        adaptive = self.limit(latency=1.0)
        adaptive.ended(START, 200, 1.0, 5)
        self.assertEqual(adaptive.limit, 10.1)

    def test_clock_set_back(self) -> None:
        """
        When the clock is set back it is decreased all the same.
        """
        adaptive = self.limit()
        adaptive.ended(START, 503, 0.1, 10)
        adaptive.ended(START - 1000, 503, 0.1, 10)
        adaptive.ended(START - 999, 503, 0.1, 10)
        self.assertAlmostEqual(adaptive.limit, 4.9)

    def test_finds_it(self) -> None:
        """
        Where an origin takes eight at once, it stays about there.
        """
        adaptive = self.limit(ceiling=100, floor=1)
        now, sum_ = START, 0.0
        for _ in range(400):
            at_once = int(adaptive.limit)
            now += 0.1
            for n in range(at_once):
                adaptive.ended(now, 200 if n < 8 else 503, 0.1, at_once)
            sum_ += adaptive.limit
        self.assertGreater(sum_ / 400, 6)
        self.assertLess(sum_ / 400, 9)

    def test_refused(self) -> None:
        """
        Settings that make no sense are refused.
        """
        for wrong in (
            {"floor": 0},
            {"floor": 5, "ceiling": 4},
            {"latency": 0.0},
            {"decrease": 1.0},
            {"decrease": 0.0},
        ):
            self.assertRaises(ConfigError, self.limit, **wrong)


class OriginsTests(SynchronousTestCase):
    """
    L{Origins}: each origin within its limits.
    """

    def test_no_limits(self) -> None:
        """
        Without limits everything goes.
        """
        origins = Origins()
        for _ in range(10_000):
            self.assertEqual(origins.admit(ORIGIN, START), 0)
        self.assertEqual(origins.snapshot()[ORIGIN].in_flight, 10_000)

    def test_concurrency(self) -> None:
        """
        No more are there at once than may be; one that ends makes room.
        """
        origins = Origins(OriginLimits(concurrency=2))
        waits = [origins.admit(ORIGIN, START) for _ in range(3)]
        self.assertEqual(waits[:2], [0, 0])
        self.assertGreater(waits[2], 0)
        origins.ended(ORIGIN, START + 1, 200, 1.0)
        self.assertEqual(origins.admit(ORIGIN, START + 1), 0)
        status = origins.snapshot()[ORIGIN]
        self.assertEqual(
            (status.admitted, status.refused, status.concurrency), (3, 1, 2)
        )

    def test_snapshot(self) -> None:
        """
        It tells until when a breaker is open; of very many origins, those that were
        used last.
        """
        breaker = BreakerSettings(failures=1, pause=7.0)
        origins = Origins(OriginLimits(breaker=breaker))
        for name in "abca":
            origins.admit(name, START)
        self.assertEqual(list(origins.snapshot(2)), ["c", "a"])
        self.assertEqual(len(origins.snapshot(5)), 3)
        self.assertIsNone(origins.snapshot()["c"].open_until)
        origins.ended("c", START, 500, 0.0)
        self.assertEqual(origins.snapshot()["c"].open_until, START + 7.0)

    def test_apart(self) -> None:
        """
        What one origin does is nothing to another.
        """
        limits = OriginLimits(rate="1/s", breaker=BreakerSettings(failures=1))
        origins = Origins(limits)
        self.assertEqual(origins.admit(ORIGIN, START), 0)
        origins.ended(ORIGIN, START, 500, 0.0)
        self.assertGreater(origins.admit(ORIGIN, START), 0)
        self.assertEqual(origins.admit("http://two.example:80", START), 0)

    def test_hosts(self) -> None:
        """
        Some have limits of their own, by origin or by host.
        """
        one, two = OriginLimits(concurrency=1), OriginLimits(concurrency=2)
        hosts = {"https://ONE.example": one, "two.example:81": two}
        origins = Origins(OriginLimits(), hosts)
        table = {
            "https://one.example": 1,
            "http://one.example": None,
            "http://two.example:81": 2,
            "https://two.example:81": 2,
            "https://two.example": None,
        }
        for origin in table:
            origins.admit(origin, START)
        limits = {
            origin: each.concurrency for origin, each in origins.snapshot().items()
        }
        self.assertEqual(limits, table)

    def test_in_line(self) -> None:
        """
        Those that wait are not all told the same time: they come as quickly as they
        may go, so that none is refused often.
        """
        origins = Origins(OriginLimits(rate="10/s", burst=1))
        waits = [origins.admit(ORIGIN, START) for _ in range(101)]
        for n, wait in enumerate(waits[:51]):
            self.assertAlmostEqual(wait, n / 10, places=5)
        self.assertEqual(waits, sorted(waits))
        self.assertLess(abs(waits[100] - 10), 0.2)
        for wait in waits[1:50]:
            self.assertEqual(origins.admit(ORIGIN, START + wait * 1.0001), 0)

    def test_lined_up(self) -> None:
        """
        Beyond five seconds a line of its own begins.
        """
        origins = Origins(OriginLimits(rate="1/s", burst=1))
        waits = [origins.admit(ORIGIN, 0.0) for _ in range(10)]
        self.assertEqual(waits, [0, 1, 2, 3, 4, 5, 5, 6, 7, 8])

    def test_apart_by_answers(self) -> None:
        """
        Where so many may be in flight, those that wait are told times as far apart as
        answers make room.
        """
        origins = Origins(OriginLimits(concurrency=2))
        waits = [origins.admit(ORIGIN, START) for _ in range(6)]
        for wait, expected in zip(waits, (0, 0, 0.05, 0.1, 0.15, 0.2), strict=True):
            self.assertAlmostEqual(wait, expected, places=5)

    def test_mean_seconds(self) -> None:
        """
        How long an answer takes is the mean of about the last eight.
        """
        origins = Origins()
        origins.admit(ORIGIN, START)
        origins.ended(ORIGIN, START, 200, 0.9)
        self.assertAlmostEqual(origins.snapshot()[ORIGIN].seconds, 0.2)

    def test_adaptive_concurrency(self) -> None:
        """
        The one that ends is one of those that put the limit to the test.
        """
        for start, grows in ((2, True), (4, False)):
            adaptive = AdaptiveSettings(start=start)
            origins = Origins(OriginLimits(adaptive=adaptive))
            origins.admit(ORIGIN, START)
            origins.ended(ORIGIN, START, 200, 0.1)
            limit = origins.snapshot()[ORIGIN].concurrency
            assert limit is not None
            self.assertEqual(limit > start, grows)

    def test_fixed_and_adaptive(self) -> None:
        """
        Of two limits the lower one holds.
        """
        for fixed, limit in ((3, 3), (30, 20)):
            limits = OriginLimits(concurrency=fixed, adaptive=AdaptiveSettings())
            self.assertEqual(Origin(limits).concurrency, limit)

    def test_part_of_one(self) -> None:
        """
        A part of one more request admits none, whichever of two limits is the lower.
        """
        for start, fixed, admitted in (
            (2, None, 2),
            (2, 9, 2),
            (9, 3, 3),
            (9, None, 9),
        ):
            adaptive = AdaptiveSettings(start=start)
            origin = Origin(OriginLimits(concurrency=fixed, adaptive=adaptive))
            for _ in range(start):
                if not origin.admit(START):
                    origin.ended(START, 200, 0.1)  # which is a part of one more
            waits = [origin.admit(START) for _ in range(20)]
            self.assertEqual(waits.count(0), admitted, (start, fixed))

    def test_good_and_bad(self) -> None:
        """
        An answer up to 499 is that of a healthy origin.
        """
        for status, state in ((499, "closed"), (500, "open"), (None, "open")):
            origin = Origin(OriginLimits(breaker=BreakerSettings(failures=1)))
            origin.admit(START)
            changed = origin.ended(START, status, 0.1)
            self.assertEqual(origin.status.breaker, state)
            self.assertEqual(
                (changed, origin.is_well), (state != "closed", not changed)
            )

    def test_good_between(self) -> None:
        """
        A good answer makes up for the failures before it, and the last one for none.
        """
        table = (((200,) * 9, "closed"), ((500, 500, 200) * 3, "closed"))
        for statuses, state in (*table, ((200, 500, 500, 500), "open")):
            origin = Origin(OriginLimits(breaker=BreakerSettings(failures=3)))
            for status in statuses:
                self.assertEqual(origin.admit(START), 0)
                origin.ended(START, status, 0.1)
            self.assertEqual(origin.status.breaker, state, statuses)

    def test_zero_is_given_up(self) -> None:
        """
        The status 0 is for a request that was ended here.
        """
        origins = Origins(OriginLimits(breaker=BreakerSettings(failures=2)))
        for status in (500, 0, 500):
            origins.admit(ORIGIN, START)
            origins.ended(ORIGIN, START, status, 0.1)
        self.assertEqual(origins.snapshot()[ORIGIN].breaker, "open")

    def test_open(self) -> None:
        """
        While a breaker is open all are told to come after it, one after the other.
        """
        settings = BreakerSettings(failures=1, pause=60)
        for concurrency in (10, None):
            limits = OriginLimits(concurrency=concurrency, breaker=settings)
            origins = Origins(limits)
            origins.admit(ORIGIN, START)
            origins.ended(ORIGIN, START, None, 1.0)
            waits = [origins.admit(ORIGIN, START) for _ in range(1000)]
            self.assertEqual(waits[0], 60)
            self.assertEqual(len(set(waits)), 1000)
            self.assertLess(waits[-1], 120)
            self.assertEqual(origins.snapshot()[ORIGIN].breaker, "open")

    def test_told(self) -> None:
        """
        It is told when a breaker opens, and when it has closed again, and not each
        time that it stays open.
        """
        told: list[tuple[str, str | None]] = []
        origins = Origins(
            OriginLimits(breaker=BreakerSettings(failures=2, pause=5)),
            told=lambda origin, status: told.append((origin, status.breaker)),
        )
        now = START
        for status in (503, 503, 503, 200, 200):
            now += 20
            self.assertEqual(origins.admit(ORIGIN, now), 0)
            origins.ended(ORIGIN, now, status, 0.0)
        self.assertEqual(told, [(ORIGIN, "open"), (ORIGIN, "closed")])

    def test_well_again(self) -> None:
        """
        A thousand tasks that waited for an origin to be well again are all admitted
        soon after, and were refused but a few times each.
        """
        settings = BreakerSettings(failures=1, pause=5)
        origins = Origins(OriginLimits(breaker=settings))
        origins.admit(ORIGIN, START)
        origins.ended(ORIGIN, START, 503, 0.1)
        due = [(START + origins.admit(ORIGIN, START), n) for n in range(1000)]
        heapq.heapify(due)
        refused, last = 0, START
        ends: list[float] = []
        while due:
            now, n = heapq.heappop(due)
            while ends and ends[0] <= now:
                origins.ended(ORIGIN, ends.pop(0), 200, 0.1)
            wait = origins.admit(ORIGIN, now)
            if wait:
                refused += 1
                heapq.heappush(due, (now + wait, n))
            else:
                last = now
                ends.append(now + 0.1)
        self.assertLess(refused, 200)
        self.assertLess(last, START + 15)

    def test_never_for_ever(self) -> None:
        """
        However many wait, none is told to for more than an hour; a clock that is set
        back makes it no longer.
        """
        origins = Origins(OriginLimits(rate="1/s"))
        waits = [origins.admit(ORIGIN, START) for _ in range(10_000)]
        self.assertEqual(waits, sorted(waits))
        self.assertEqual(waits[-1], 3600)
        self.assertLess(origins.admit(ORIGIN, START - 1e6), 6)

    @QUICK
    @given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=200))
    def test_in_flight_adds_up(self, steps: list[tuple[int, float]]) -> None:
        """
        Whatever happens, as many are in flight as were admitted and have not ended,
        and never more than may be.
        """
        adaptive = AdaptiveSettings(start=3, ceiling=5)
        breaker = BreakerSettings(failures=2)
        limits = OriginLimits(rate=2, concurrency=4, breaker=breaker, adaptive=adaptive)
        began: list[float] = []
        origins, now = Origins(limits), START
        for kind, step in steps:
            now += step
            if kind == 0 and began:
                begun = began.pop(0)
                origins.ended(ORIGIN, now, [200, 503, None][int(step) % 3], now - begun)
            else:
                wait = origins.admit(ORIGIN, now)
                self.assertGreaterEqual(wait, 0)
                if not wait:
                    began.append(now)
            known = origins.snapshot().get(ORIGIN)
            if known is not None:
                self.assertEqual(known.in_flight, len(began))
                self.assertLessEqual(len(began), 4)

    def test_forgotten(self) -> None:
        """
        Origins that nobody asks for are forgotten when others come.
        """
        origins = Origins(OriginLimits(concurrency=5), idle=60)
        for n in range(100):
            origins.admit(f"http://{n}", START)
            origins.ended(f"http://{n}", START, 200, 0.1)
        self.assertEqual(len(origins.snapshot()), 100)
        for n in range(100, 200):
            origins.admit(f"http://{n}", START + 61)
        self.assertEqual(
            set(origins.snapshot()), {f"http://{n}" for n in range(100, 200)}
        )

    def known(self, origins: Origins, new: str, now: float) -> list[str]:
        """
        Of which origins it knows when another one has come.
        """
        origins.admit(new, now)
        return list(origins.snapshot())

    def idle(self, *names: str) -> Origins:
        """
        Some origins that were used, one after the other, and forgets after a minute.
        """
        origins = Origins(idle=60)
        for name in names:
            origins.admit(name, START)
            origins.ended(name, START, 200, 0.1)
        return origins

    def test_forgotten_after(self) -> None:
        """
        An origin is forgotten when it was idle for so long, and no sooner.
        """
        self.assertEqual(self.known(self.idle("a"), "b", START + 59), ["a", "b"])
        self.assertEqual(self.known(self.idle("a"), "b", START + 60), ["b"])

    def test_used_again(self) -> None:
        """
        One that was used again meanwhile does not keep others from being forgotten.
        """
        origins = self.idle("a", "b")
        origins.admit("a", START + 50)
        origins.ended("a", START + 50, 200, 0.1)
        self.assertEqual(self.known(origins, "c", START + 70), ["a", "c"])

    def test_forgotten_by_a_clock_set_back(self) -> None:
        """
        Where the clock was set back nobody knows how long one was idle.
        """
        self.assertEqual(self.known(self.idle("a"), "b", START - 1), ["b"])

    def test_few_at_a_time(self) -> None:
        """
        A new origin pays for four old ones at most.
        """
        origins = self.idle(*"abcdef")
        self.assertEqual(self.known(origins, "g", START + 99), ["e", "f", "g"])

    def test_ten_thousand(self) -> None:
        """
        It knows ten thousand unless told otherwise.
        """
        origins = Origins()
        for n in range(10_000):
            origins.admit(str(n), START)
            origins.ended(str(n), START, 200, 0.1)
        self.assertEqual(len(origins.snapshot()), 10_000)
        self.assertEqual(len(self.known(origins, "one more", START)), 10_000)

    def test_not_forgotten(self) -> None:
        """
        What is in flight is not, nor whose breaker is open.
        """
        breaker = BreakerSettings(failures=1, pause=5)
        origins = Origins(OriginLimits(breaker=breaker), idle=1)
        origins.admit("http://busy", START)
        origins.admit("http://ill", START)
        origins.ended("http://ill", START, 500, 0.1)
        for n in range(100):
            origins.admit(f"http://{n}", START + 5 * n)
            origins.ended(f"http://{n}", START + 5 * n, 200, 0.1)
        known = origins.snapshot()
        self.assertEqual(known["http://busy"].in_flight, 1)
        self.assertEqual(known["http://ill"].breaker, "open")
        self.assertLess(len(known), 6)

    def test_most(self) -> None:
        """
        However many hosts there are, memory has its limit.
        """
        breaker = BreakerSettings(failures=1)
        origins = Origins(OriginLimits(breaker=breaker), most=50)
        for n in range(1000):
            origins.admit(f"http://{n}", START)
            origins.ended(f"http://{n}", START, 500, 0.1)
        self.assertLessEqual(len(origins.snapshot()), 50)

    def test_forgotten_behind_others(self) -> None:
        """
        Origins that are in flight for long do not keep others from being forgotten.
        """
        origins = Origins(OriginLimits(), idle=1)
        for n in range(20):
            origins.admit(f"http://busy-{n}", START)
        for n in range(100):
            now = START + 10 * n
            origins.admit(f"http://{n}", now)
            origins.ended(f"http://{n}", now, 200, 0.1)
        self.assertLess(len(origins.snapshot()), 40)
        busy = [name for name in origins.snapshot() if "busy" in name]
        self.assertEqual(len(busy), 20)

    def test_status_without_limits(self) -> None:
        """
        An origin without limits tells of no breaker and no rate.
        """
        origin = Origin(OriginLimits())
        origin.admit(START)
        status = origin.status
        self.assertEqual((status.in_flight, status.concurrency), (1, None))
        self.assertEqual((status.breaker, status.opened, status.rate), (None, 0, None))

    def test_unknown(self) -> None:
        """
        An end that nobody began is nothing.
        """
        origins = Origins()
        origins.ended(ORIGIN, START, 200, 0.1)
        origins.admit(ORIGIN, START)
        origins.ended(ORIGIN, START, 200, 0.1)
        origins.ended(ORIGIN, START, 200, 0.1)
        self.assertEqual(origins.snapshot()[ORIGIN].in_flight, 0)

    def test_refused(self) -> None:
        """
        Limits that make no sense are refused.
        """
        for wrong in (
            {"burst": 5},
            {"rate": "x"},
            {"rate": 1, "burst": 0.5},
            {"concurrency": 0},
        ):
            self.assertRaises(ConfigError, OriginLimits, **wrong)


class WhenFreeTests(SynchronousTestCase):
    """
    L{Origins.when_free}: who waits for the end of another request.
    """

    def setUp(self) -> None:
        """
        An origin that gets one request at a time has one.
        """
        self.origins = Origins(OriginLimits(concurrency=1))
        self.origins.admit(ORIGIN, START)
        self.called: list[str] = []

    def wait(self, name: str, makes_request: bool = True) -> None:
        """
        Wait.
        """

        def again() -> bool:
            self.called.append(name)
            return makes_request and not self.origins.admit(ORIGIN, START)

        when_free = self.origins.when_free(ORIGIN)
        assert when_free is not None
        when_free(again)

    def end(self) -> None:
        """
        The request ends.
        """
        self.origins.ended(ORIGIN, START, 200, 0.0)

    def test_in_turn(self) -> None:
        """
        Each request that ends calls one of those that wait, in their order.
        """
        for name in "abc":
            self.wait(name)
        for called in ("a", "ab", "abc"):
            self.end()
            self.assertEqual("".join(self.called), called)
        self.end()
        self.assertEqual("".join(self.called), "abc")

    def test_makes_none(self) -> None:
        """
        One that makes no request gives way to the next.
        """
        self.wait("a", makes_request=False)
        self.wait("b")
        self.wait("c")
        self.end()
        self.assertEqual("".join(self.called), "ab")

    def test_waits_again(self) -> None:
        """
        One that waits again at once is not called again for the same end.
        """
        when_free = self.origins.when_free(ORIGIN)
        assert when_free is not None
        waiting = when_free

        def again() -> bool:
            self.called.append("a")
            waiting(again)
            return False

        waiting(again)
        self.end()
        self.assertEqual("".join(self.called), "a")

    def test_full(self) -> None:
        """
        Nobody is called while others take all there is.
        """
        self.origins = Origins(OriginLimits(adaptive=AdaptiveSettings(start=2)))
        for _ in range(2):
            self.origins.admit(ORIGIN, START)
        self.wait("a")
        self.origins.ended(ORIGIN, START, 503, 0.0)  # one at a time from now on
        self.assertEqual(self.called, [])
        self.end()
        self.assertEqual(self.called, ["a"])

    def test_not_for_time(self) -> None:
        """
        Where a request waits for time to pass, the end of another changes nothing.
        """
        origins = Origins(OriginLimits(rate="1/s", burst=1))
        self.assertIsNone(origins.when_free(ORIGIN))
        origins.admit(ORIGIN, START)
        self.assertGreater(origins.admit(ORIGIN, START), 0)
        self.assertIsNone(origins.when_free(ORIGIN))
