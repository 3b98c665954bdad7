"""
Tests for what the embedded broker knows and decides without a reactor:
its timers, queues, exchanges, headers of dead letters and properties of messages.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import decode_properties, encode_properties
from quebert._protocol.values import encode_table
from quebert.broker.state import Timers, read_properties
from quebert.broker.state._death_header import dead_properties, goes_in_circles
from quebert.broker.state._entry import Entry
from quebert.broker.state._exchange import Exchange, destinations
from quebert.broker.state._ready import Ready
from quebert.test.checks import QUICK


class TimersTests(SynchronousTestCase):
    """
    What is to be done at its time.
    """

    def setUp(self) -> None:
        """
        Timers that begin at 100.
        """
        self.timers = Timers(100)
        self.done: list[tuple[str, float]] = []

    def at(self, time: float, name: str) -> None:
        """
        Note C{name} at C{time}, with what time it was then.
        """
        self.timers.at(time, lambda: self.done.append((name, self.timers.now)))

    def test_order(self) -> None:
        """
        All that is due is done in its order, each at its own time.
        """
        for time, name in ((130, "c"), (110, "a"), (110, "b"), (200, "later")):
            self.at(time, name)
        self.timers.move_to(150)
        self.assertEqual(self.done, [("a", 110), ("b", 110), ("c", 130)])
        self.assertEqual((self.timers.now, self.timers.next), (150, 200))

    def test_what_follows(self) -> None:
        """
        What one thing brings about in time is done at its time, too.
        """
        self.timers.at(110, lambda: self.at(120, "next"))
        self.timers.move_to(150)
        self.assertEqual(self.done, [("next", 120)])

    def test_cancelled(self) -> None:
        """
        What is cancelled is not done.
        """
        cancelled = self.timers.at(110, lambda: self.fail("it was cancelled"))
        self.at(120, "kept")
        cancelled.cancel()
        self.assertEqual(self.timers.next, 120)
        self.timers.move_to(150)
        self.assertEqual(self.done, [("kept", 120)])

    def test_many_cancelled(self) -> None:
        """
        What was cancelled takes no memory until its time; the rest is done.
        """
        self.at(110, "kept")
        for number in range(5_000):
            self.timers.at(1e9 + number, lambda: self.fail("cancelled")).cancel()
        self.assertLessEqual(len(self.timers._heap), 1_000)
        for number in range(3_000):
            self.at(120 + number, "kept, too")
        self.timers.move_to(1e10)
        self.assertEqual(len(self.done), 3_001)
        times = [time for _, time in self.done]
        self.assertEqual(times, sorted(times))

    def test_some_cancelled(self) -> None:
        """
        What was cancelled is forgotten when there are a thousand, and then when there
        are twice as many as were left.
        """
        for number in range(1_000):
            self.at(200 + number, "kept")
        cancelled = [self.timers.at(9e9, lambda: None) for _ in range(1_000)]
        for each in cancelled:
            each.cancel()
        self.assertEqual(len(self.timers._heap), 2_000)
        self.at(150, "first")
        self.assertEqual(len(self.timers._heap), 1_001)
        self.assertEqual(self.timers.next, 150)

    def test_nothing_to_do(self) -> None:
        """
        Time passes where nothing is to be done, and a timer knows whether it is due.
        """
        self.assertIsNone(self.timers.next)
        timer = self.timers.at(150, lambda: None)
        self.timers.move_to(149)
        self.assertEqual((self.timers.now, timer.cancelled), (149, False))
        self.timers.move_to(150)
        self.assertTrue(timer.cancelled)
        timer.fire()
        self.timers.at(160, lambda: None).cancel()
        self.assertIsNone(self.timers.next)
        self.assertEqual((Timers().now, Timers().ahead), (0, 0))

    def test_late(self) -> None:
        """
        What should have been done before is done now, and time does not go back.
        """
        self.at(50, "late")
        self.timers.move_to(101)
        self.assertEqual(self.done, [("late", 100)])


def entry(id: int, priority: int = 0, expires: float | None = None) -> Entry:
    """
    A message in a queue.
    """
    return Entry(id, 1, priority, expires, False, None)


STEPS = st.lists(
    st.tuples(st.sampled_from(("push", "push", "pop", "put back")), st.integers(0, 99)),
    max_size=60,
)


class ReadyTests(SynchronousTestCase):
    """
    What waits in a queue.
    """

    @QUICK
    @given(STEPS, st.integers(0, 3))
    def test_order(self, steps: list[tuple[str, int]], most: int) -> None:
        """
        The most urgent comes first, then the oldest, wherever it has been
        meanwhile.
        """
        ready, model, out = Ready(most), [], []
        for n, (step, number) in enumerate(steps):
            if step == "push":
                model.append(entry(n, number % 5))
                ready.push(model[-1])
            elif step == "pop" and model:
                model.sort(key=lambda each: (-min(each.priority, most), each.id))
                assert ready.head() is model[0]
                out.append(model.pop(0))
                assert ready.pop() is out[-1]
            elif step == "put back" and out:
                model.append(out.pop(number % len(out)))
                ready.put_back(model[-1])
            assert len(ready) == ready.bytes == len(model)
            assert set(ready) == set(model)

    def test_returned_first(self) -> None:
        """
        In a quorum queue what was given back comes before all else of its priority, in
        the order in which it came back.
        """
        ready = Ready(1, returned_first=True)
        for each in (entry(1), entry(2), entry(3), entry(4, 1)):
            ready.push(each)
        out = [ready.pop() for _ in range(3)]
        self.assertEqual([each.id for each in out], [4, 1, 2])
        for each in reversed(out):
            ready.put_back(each)
        self.assertEqual(ready.head().id, 4)
        self.assertEqual([ready.pop().id for _ in range(4)], [4, 2, 1, 3])
        self.assertEqual((len(ready), ready.bytes), (0, 0))
        self.assertRaises(StopIteration, ready.pop)
        self.assertIsNone(ready.next_expiry())

    def test_expired_at_the_head(self) -> None:
        """
        What has expired goes as far as it is at the head, of each priority.
        """
        ready = Ready(1)
        for each in (
            entry(1, 0, 50),
            entry(2, 0, None),
            entry(3, 0, 40),
            entry(4, 1, 70),
            entry(5, 1, 60),
        ):
            ready.push(each)
        self.assertEqual(ready.next_expiry(), 50)
        self.assertEqual([each.id for each in ready.pop_expired(65)], [1])
        self.assertEqual(ready.next_expiry(), 70)
        self.assertEqual([each.id for each in ready.pop_expired(70)], [4, 5])
        self.assertEqual([each.id for each in ready], [2, 3])


WORDS = st.lists(st.sampled_from(("a", "b", "")), max_size=4).map(".".join)
PATTERNS = st.lists(st.sampled_from(("a", "b", "", "*", "#")), max_size=4).map(".".join)


def topic_expression(pattern: str) -> re.Pattern[str]:
    """
    The same as a regular expression, over words that each end with a dot.
    """
    words = pattern.split(".") if pattern else []
    spelled = {"*": r"[^.]*\.", "#": r"([^.]*\.)*"}
    return re.compile(
        "".join(spelled.get(word, re.escape(word) + r"\.") for word in words)
    )


class ExchangeTests(SynchronousTestCase):
    """
    Where messages go.
    """

    @QUICK
    @given(PATTERNS, WORDS)
    def test_topic(self, pattern: str, key: str) -> None:
        """
        A pattern matches what it says.
        """
        exchange, other = Exchange("x", "topic"), Exchange("y", "fanout")
        exchange.add(exchange.binding(other, pattern, {}, encode_table({})))
        words = key + "." if key else ""
        wanted = topic_expression(pattern).fullmatch(words) is not None
        assert bool(exchange.matching(key, {})) is wanted

    def test_many_wildcards(self) -> None:
        """
        A pattern of many wildcards is matched quickly.
        """
        exchange, other = Exchange("x", "topic"), Exchange("y", "fanout")
        exchange.add(exchange.binding(other, "#.a." * 30 + "b", {}, encode_table({})))
        self.assertFalse(exchange.matching("a." * 100 + "c", {}))

    def test_routes_are_remembered(self) -> None:
        """
        A new binding counts for keys that were seen before.
        """
        exchange, other = Exchange("x", "topic"), Exchange("y", "fanout")
        self.assertFalse(exchange.matching("a", {}))
        binding = exchange.binding(other, "#", {}, encode_table({}))
        exchange.add(binding)
        self.assertTrue(exchange.matching("a", {}))
        exchange.remove(binding)
        self.assertFalse(exchange.matching("a", {}))

    def test_circles(self) -> None:
        """
        Exchanges that are bound in a circle, or are each other's alternate, end.
        """
        one, two = Exchange("one", "fanout"), Exchange("two", "direct")
        one.add(one.binding(two, "", {}, encode_table({})))
        two.add(two.binding(one, "key", {}, encode_table({})))
        two.alternate = "one"
        way_in = Exchange("way-in", "fanout")
        way_in.add(way_in.binding(one, "", {}, encode_table({})))
        exchanges = {"one": one, "two": two, "way-in": way_in}
        for exchange in (one, way_in):
            for key in ("key", "other"):
                self.assertEqual(destinations(exchange, [key], {}, exchanges), [])


class DeathTests(SynchronousTestCase):
    """
    What is written into dead letters.
    """

    def die(
        self, properties: bytes, reason: str = "expired", queue: str = "q"
    ) -> bytes:
        """
        Die once.
        """
        return dead_properties(
            properties,
            reason=reason,
            queue=queue,
            exchange="x",
            routing_keys=["key"],
            now=1_000.9,
            keeps_copies=False,
        )

    def test_names_that_are_no_utf8(self) -> None:
        """
        A client may choose names that are no UTF-8, and the message dies all the same.
        """
        raw = dead_properties(
            encode_properties({}),
            reason="rejected",
            queue="\udcff",
            exchange="\udcfe",
            routing_keys=["\udcfd", "a"],
            now=1.0,
            keeps_copies=False,
        )
        headers = decode_properties(raw)["headers"]
        (death,) = headers["x-death"]
        names = death["queue"], death["exchange"], death["routing-keys"]
        self.assertEqual(names, (b"\xff", b"\xfe", [b"\xfd", "a"]))
        self.assertFalse(goes_in_circles(headers, "\udcff"))  # it was rejected

    def test_what_cannot_be_written_again(self) -> None:
        """
        Deaths of a client's making that AMQP cannot hold are forgotten.
        """
        strange = encode_properties({"headers": {"x-death": [{"n": 1}]}})
        infinite = strange.replace(b"\x01nI\0\0\0\x01", b"\x01nf\x7f\x80\0\0")
        headers = decode_properties(self.die(infinite))["headers"]
        self.assertEqual(len(headers["x-death"]), 1)

    def test_counts_of_a_clients_making(self) -> None:
        """
        A count that is no number, or cannot grow, does not keep a message from dying.
        """
        wanted = ((None, 1), ("many", 1), (7, 8), (2**63 - 1, 2**63 - 1))
        for count, after in wanted:
            known = {"queue": "q", "reason": "expired", "count": count}
            strange = encode_properties({"headers": {"x-death": [known]}})
            headers = decode_properties(self.die(strange))["headers"]
            (death,) = headers["x-death"]
            self.assertEqual(death["count"], after)

    def test_time(self) -> None:
        """
        The time of a death is in whole seconds.
        """
        properties = self.die(encode_properties({"expiration": "5", "priority": 1}))
        found = decode_properties(properties)
        self.assertNotIn("expiration", found)
        self.assertEqual(found["priority"], 1)
        (death,) = found["headers"]["x-death"]
        self.assertEqual(death["time"].timestamp(), 1_000)
        self.assertEqual((death["count"], death["original-expiration"]), (1, "5"))

    def test_first_death(self) -> None:
        """
        It is told once, also where a client has written that there was one.
        """
        names = {f"x-first-death-{n}" for n in ("reason", "queue", "exchange")}
        mine: dict[str, Any] = {"x-first-death-reason": "mine"}
        tables: tuple[dict[str, Any], ...] = ({}, {"x-death": []}, mine)
        for headers in tables:
            told = decode_properties(self.die(encode_properties({"headers": headers})))
            found = names & told["headers"].keys()
            self.assertEqual(found, mine.keys() & headers.keys() if headers else names)

    def test_deaths_of_a_clients_making(self) -> None:
        """
        What is no list of tables is no death.
        """
        for deaths in ("often", 5, {"queue": "q"}, [], [1, "q"]):
            properties = encode_properties({"headers": {"x-death": deaths}})
            headers = decode_properties(self.die(properties))["headers"]
            self.assertEqual(len(headers["x-death"]), 1)
            self.assertFalse(goes_in_circles({"x-death": deaths}, "q"))

    def test_one_for_each_queue_and_reason(self) -> None:
        properties = encode_properties({})
        for reason, queue in (
            ("expired", "q"),
            ("rejected", "q"),
            ("expired", "other"),
            ("expired", "q"),
        ):
            properties = self.die(properties, reason, queue)
        deaths = decode_properties(properties)["headers"]["x-death"]
        found = [(each["reason"], each["queue"], each["count"]) for each in deaths]
        wanted = [("expired", "q", 2), ("expired", "other", 1), ("rejected", "q", 1)]
        self.assertEqual(found, wanted)

    def test_circles(self) -> None:
        """
        Who comes back without anybody having rejected it goes in circles.
        """
        properties = self.die(encode_properties({}))
        headers = read_properties(properties).headers
        self.assertTrue(goes_in_circles(headers, "q"))
        self.assertFalse(goes_in_circles(headers, "other"))
        properties = self.die(properties, "rejected", "other")
        headers = read_properties(properties).headers
        self.assertFalse(goes_in_circles(headers, "q"))
        self.assertFalse(goes_in_circles(headers, "other"))
