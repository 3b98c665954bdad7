"""
How much memory tasks take: one of them, and all that are at work together.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._bounds import BOUNDS, memory_of, most_values
from quebert._transport_writer import TransportWriter
from quebert.amqp.watch import DeliveredMessage
from quebert.amqp.watch._memory_budget import Budget
from quebert.amqp.watch._places import Places
from quebert.amqp.watch._task_memory import TaskMemory
from quebert.amqp.wire import Channel, Wire
from quebert.errors import BadTask
from quebert.task import Bounds, _json, _measure, decode, read_part
from quebert.test.checks import QUICK, in_one_go, refusal
from quebert.test.transports import FullTransport

MIB = 2**20
#: What holds many values in few bytes: in an array, again and again.
DENSE = (b"[],", b"{},", b"0,", b"1.5,", b'"a",', b'{"":0},', b"[[[0]]],")


def peak_of(function: Callable[..., Any], *args: Any) -> int:
    """
    How many bytes a call takes at most, beside those of its arguments.
    """
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class OneTaskTests(SynchronousTestCase):
    """
    What the JSON of one task takes.
    """

    def test_refused(self) -> None:
        """
        A body of many values is refused before it is decoded, and takes memory for two
        copies of itself.
        """
        for piece in DENSE:
            bomb = b"[" + piece * (15 * MIB // len(piece)) + b"0]"

            def refused(bomb: bytes = bomb) -> None:
                why = refusal(BadTask, decode, bomb)
                self.assertIn(f"more than {BOUNDS.values} values", why)

            self.assertLess(peak_of(refused), 2 * len(bomb) + MIB, piece)

    def test_most(self) -> None:
        """
        A body of as many values as are allowed takes 100 MiB, whatever its values are.
        """
        values = range(BOUNDS.values - 1)
        objects = (b'{"%x":1.5}' % n for n in values[::2])
        texts = (b'"%x\xf0\x9f\x98\x80"' % n for n in values)
        for members in (objects, texts):
            body = b"[%b]" % b",".join(members)
            self.assertLessEqual(most_values(body), BOUNDS.values)
            self.assertLess(peak_of(decode, body), 100 * MIB)

    def test_wide_text(self) -> None:
        """
        By one wide character, each character of a text takes two or four bytes.
        """
        for last in ("", "é", "\u2013", "\U0001f600", r"\u2013", r"\ud83d\uDE00"):
            body = b'["%b%b"]' % (b"a" * MIB, last.encode())
            tracemalloc.start()
            try:
                decoded = decode(body)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertEqual(len(decoded), 1)
            self.assertLessEqual(held, memory_of(body) + 10_000, last)
        for end in (b"", rb"\u00fc\u0026"):
            self.assertLess(memory_of(b'["%b%b"]' % (b"a" * MIB, end)), MIB + 1_000)

    def test_strings(self) -> None:
        """
        What stands in strings is no value, wherever they are cut.
        """
        strings = (r"[{,", r"\"", r"\\", r"\\\",[", "\\\\" * 9, "", "Ünal[", r"\u005b")
        for step in (1, 2, 3, 7, 16_384):
            self.patch(_measure, "PIECE", step)
            texts = ",".join(f'"{each}"' for each in strings)
            objects = ",".join(f'{{"{each}":"{each}"}}' for each in strings)
            body = f'[{texts},[{{"a,":1}}],{objects}]'.encode()
            most = 3 + 3 * len(strings)
            list(_measure.measure(body, Bounds(values=most, depth=3)))
            for bounds, told in (
                (Bounds(values=most - 1), "more than"),
                (Bounds(depth=2), "too deeply"),
            ):
                why = refusal(BadTask, list, _measure.measure(body, bounds))
                self.assertIn(told, why)

    def test_part(self) -> None:
        """
        Where the other fields are not decoded, they take no memory.
        """
        row = b'{"id":123456,"name":"x","tags":["a","b"],"price":12.5}'
        rows = b",".join([row] * (2 * MIB // len(row)))
        body = b'{"url":"/","params":[%b],"uuid":"\xc3\xa9"}' % rows
        self.assertEqual(in_one_go(read_part(body)), {"url": "/", "uuid": "é"})
        self.assertLess(peak_of(in_one_go, read_part(body)), MIB)

    def test_most_values(self) -> None:
        """
        The number of values is never more than is counted.
        """
        for text, most in (
            (b"0", 0),
            (b"[]", 1),
            (b"[0, [1], {}]", 5),
            (b'{"a": [1], "b": ",[{"}', 6),
        ):
            self.assertEqual(most_values(text), most)


class OneTaskWithoutOrjsonTests(OneTaskTests):
    """
    The same without orjson.
    """

    def setUp(self) -> None:
        """
        Have it not be there.
        """
        self.patch(_json, "orjson", None)


class Watched:
    """
    A watch, as far as a budget has to do with it.

    @ivar begun: the bodies of its messages, as they began.
    @ivar messages: those that are with the callback.
    """

    def __init__(self, budget: Budget, places: int = 0) -> None:
        self.begun: list[bytes] = []
        clock = Clock()
        self._memory = TaskMemory(budget, lambda: clock)
        self.messages: list[DeliveredMessage] = []
        self.places = Places(places, self._begin, memory=self._memory)

    def add(self, *bodies: bytes) -> None:
        """
        Messages come.
        """
        for body in bodies:
            message = DeliveredMessage("consumer", 1, False, "flow", "tasks")
            message.body, message.encoded_properties = body, b""
            self._memory.weigh(message)
            self.places.enter(message)

    def stop(self) -> None:
        """
        It is over.
        """
        self._memory.end()

    def _begin(self, message: DeliveredMessage) -> None:
        self._memory.begin(message)
        self.messages.append(message)
        self.begun.append(message.body)
        if message.body == AT_ONCE:
            self.end(AT_ONCE)

    def end(self, body: bytes) -> None:
        """
        The callback of a message ends.
        """
        message = next(each for each in self.messages if each.body == body)
        self.messages.remove(message)
        self._memory.ended(message)
        self.places.leave(message)


#: A message whose callback answers at once.
AT_ONCE = b"at once"


class BudgetTests(SynchronousTestCase):
    """
    L{Budget}: tasks wait for memory, and none is refused.
    """

    def setUp(self) -> None:
        """
        Two watches that share 100 bytes.  None of their tasks is free.
        """
        self.budget = Budget(100)
        self.one, self.other = Watched(self.budget), Watched(self.budget)

    def test_waits(self) -> None:
        """
        What does not fit begins when enough has ended, in the order in which it came.
        """
        bodies = [b"%d" % n * 40 for n in range(5)]
        alone = Watched(Budget(100))
        alone.add(*bodies)
        self.assertEqual(alone.begun, bodies[:2])
        for number, body in enumerate(bodies):
            alone.end(body)
            self.assertEqual(alone.begun, bodies[: number + 3])

    def test_half(self) -> None:
        """
        Tasks of one watch that do not end leave half of the memory to the others, and
        keep none of them waiting.
        """
        self.one.add(*[b"hangs" * 5] * 10)
        self.assertEqual(len(self.one.begun), 2)
        self.other.add(b"x" * 25, b"y" * 25)
        self.assertEqual(self.other.begun, [b"x" * 25])
        self.other.end(b"x" * 25)
        self.assertEqual(self.other.begun, [b"x" * 25, b"y" * 25])
        third = Watched(self.budget)
        third.add(b"z" * 25)
        self.assertEqual(third.begun, [b"z" * 25])

    def test_others_end(self) -> None:
        """
        A watch may take more when others take less.
        """
        self.other.add(b"x" * 40)
        self.one.add(b"a" * 20, b"b" * 20)
        self.assertEqual(self.one.begun, [b"a" * 20])
        self.other.end(b"x" * 40)
        self.assertEqual(self.one.begun, [b"a" * 20, b"b" * 20])

    def test_ended(self) -> None:
        """
        The last watch may take all.
        """
        self.other.stop()
        self.one.add(b"a" * 40, b"b" * 40)
        self.assertEqual(self.one.begun, [b"a" * 40, b"b" * 40])

    def test_free(self) -> None:
        """
        Small tasks wait for nobody, and not behind a large one either.
        """
        self.budget = Budget(2048 * 100)
        one, other = Watched(self.budget), Watched(self.budget)
        large, small = b"x" * 102_000, [b"%d" % n * 100 for n in range(9)]
        one.add(large, large, large, *small)
        other.add(large, large, *small)
        self.assertEqual(one.begun, [large, *small])
        self.assertEqual(other.begun, [large, *small])
        self.assertEqual(self.budget.taken, 2 * len(large))
        one.end(large)
        self.assertEqual(one.begun, [large, *small, large])

    def test_values(self) -> None:
        """
        What a task becomes when it is decoded counts, and not its bytes alone.
        """
        self.budget = Budget(1000)
        watched = Watched(self.budget)
        dense = b"[[],[],[]]"
        watched.add(b"x" * 10, dense, b"y" * 10)
        self.assertEqual(watched.begun, [b"x" * 10])
        watched.end(b"x" * 10)
        self.assertEqual(watched.begun, [b"x" * 10, dense])

    def test_larger_than_all(self) -> None:
        """
        A message that is larger than the whole budget begins alone.
        """
        large = b"x" * 1000
        self.one.add(b"small", large, b"next")
        self.assertEqual(self.one.begun, [b"small"])
        self.one.end(b"small")
        self.assertEqual(self.one.begun, [b"small", large])
        self.one.end(large)
        self.assertEqual(self.one.begun, [b"small", large, b"next"])

    def test_shared(self) -> None:
        """
        Watches of a client wait for each other.
        """
        self.one.add(b"x" * 90)
        self.other.add(b"y" * 20)
        self.assertEqual(self.other.begun, [])
        self.one.end(b"x" * 90)
        self.assertEqual(self.other.begun, [b"y" * 20])

    def test_large_is_not_overtaken(self) -> None:
        """
        Small messages that come all the time do not keep a large one waiting for ever.
        """
        self.one.add(b"a" * 30)
        self.other.add(b"x" * 90)
        self.one.add(b"b" * 20, b"c" * 20)
        self.assertEqual((self.one.begun, self.other.begun), ([b"a" * 30], []))
        self.one.end(b"a" * 30)
        self.assertEqual((self.one.begun, self.other.begun), ([b"a" * 30], [b"x" * 90]))
        self.other.end(b"x" * 90)
        self.assertEqual(self.one.begun, [b"a" * 30, b"b" * 20, b"c" * 20])

    def test_given_back(self) -> None:
        """
        A watch whose waiting messages were given back keeps no other waiting.
        """
        self.one.add(b"a" * 30)
        self.other.add(b"x" * 90)
        self.other.places.forget_waiting()
        self.one.add(b"b" * 20)
        self.assertEqual(self.one.begun, [b"a" * 30, b"b" * 20])

    def test_given_back_aside(self) -> None:
        """
        Nor is anything left of one whose messages waited for its own tasks.
        """
        self.one.add(b"a" * 40, b"b" * 40)
        self.assertEqual(len(self.budget.aside), 1)
        self.one.places.forget_waiting()
        self.assertEqual((self.budget.line, self.budget.aside), ({}, {}))

    def test_places(self) -> None:
        """
        The number of places counts, too.
        """
        watched = Watched(self.budget, places=1)
        watched.add(b"a", b"b")
        self.assertEqual(watched.begun, [b"a"])
        watched.end(b"a")
        self.assertEqual(watched.begun, [b"a", b"b"])

    def test_answered_at_once(self) -> None:
        """
        Callbacks that answer at once let all others begin.
        """
        self.one.add(b"x" * 99)
        self.other.add(*[AT_ONCE] * 100)
        self.one.add(*[AT_ONCE] * 100)
        self.assertEqual((len(self.one.begun), len(self.other.begun)), (1, 0))
        self.one.end(b"x" * 99)
        self.assertEqual((len(self.one.begun), len(self.other.begun)), (101, 100))

    @QUICK
    @given(
        st.lists(st.tuples(st.booleans(), st.integers(1, 150)), max_size=30),
        st.randoms(use_true_random=False),
    )
    def test_any_order(self, sizes: list[tuple[bool, int]], order: Random) -> None:
        """
        Whatever comes and ends, no more than the budget is at work, or one message
        alone; and all have begun in the end, in their order.
        """
        budget = Budget(100)
        watches = {True: Watched(budget), False: Watched(budget)}
        came: dict[bool, list[bytes]] = {True: [], False: []}
        running: list[tuple[bool, bytes]] = []
        steps = [*enumerate(sizes), *[None] * len(sizes)]
        for step in steps:
            if step is not None and order.random() < 0.7:
                number, (which, size) = step
                body = b"%03d" % number + b"x" * (size - 1)
                came[which].append(body)
                watches[which].add(body)
            running = [
                (which, body)
                for which, each in watches.items()
                for body in (message.body for message in each.messages)
            ]
            taken = sum(len(body) for _, body in running)
            self.assertTrue(taken <= 100 or len(running) == 1)
            if running and (step is None or order.random() < 0.5):
                which, body = order.choice(running)
                watches[which].end(body)
        for _ in sizes:
            for each in watches.values():
                for message in list(each.messages):
                    each.end(message.body)
        self.assertEqual({which: each.begun for which, each in watches.items()}, came)


class WaitingPublicationsTests(SynchronousTestCase):
    """
    What is published, and cannot be sent yet.
    """

    def test_no_copies(self) -> None:
        """
        A hundred tasks of 15 MiB that go to the dead letters at the same time have no
        copies but of the frames that the transport has room for.
        """
        body = bytes(15 * MIB)
        transport = FullTransport()
        output = TransportWriter()
        output.begin(transport)
        wire = SimpleNamespace(
            max_payload=131_064, blocked=None, clock=Clock(), output=output
        )
        channel = Channel(1, None, cast("Wire", wire))

        def publish() -> None:
            for _ in range(100):
                channel.publish("", "queue.dead", body, b"\x00\x00")

        self.assertLess(peak_of(publish), MIB)
        self.assertLess(len(transport.value()), MIB)
