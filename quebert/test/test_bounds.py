"""
The bounds of a task, at which all who read or write tasks draw the same line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, succeed

from quebert._bounds import most_values
from quebert.cli._dead import whole
from quebert.errors import BadTask
from quebert.executor import ExecutorResource
from quebert.operations import DeadLetter
from quebert.outcome import Discard, Done
from quebert.producer import Producer
from quebert.task import BOUNDS, _json, decode, encode
from quebert.test.mediating import Case, FakeMessage, returning

URL = "http://executor.example/run"
#: The depth of a body, whether it may be as deep, what is innermost, and what stands
#: beside it: further brackets, which are not as deep.
DEPTHS = [
    (depth, depth <= BOUNDS.depth, inner, beside)
    for depth, inner, beside in product(
        (BOUNDS.depth - 1, BOUNDS.depth, BOUNDS.depth + 1),
        (b"", b"1", b'"x"'),
        (b"", b',"more":[[],{}]'),
    )
]
_TOO_DEEP = "the body is JSON nested too deeply: more than 400 levels"


def deep(depth: int, inner: bytes, beside: bytes) -> bytes:
    """
    A task of so many levels, of which the task itself is the first.
    """
    lists = depth - 1
    params = b"[" * lists + inner + b"]" * lists
    return b'{"url":"%b","params":%b%b}' % (URL.encode(), params, beside)


class FakePublisher:
    """
    Confirms all that is published.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any],
    ) -> Deferred[None]:
        """
        Take a body.
        """
        self.bodies.append(body)
        return succeed(None)


class DepthTests(Case):
    """
    A task has at most 400 levels, whatever is in the innermost one and beside it.
    """

    def test_codec(self) -> None:
        """
        What can be read can be written again.
        """
        for depth, fits, inner, beside in DEPTHS:
            body = deep(depth, inner, beside)
            with self.subTest(depth=depth, inner=inner, beside=beside):
                if fits:
                    self.assertEqual(encode(decode(body)), body)
                else:
                    with self.assertRaisesRegex(BadTask, _TOO_DEEP):
                        decode(body)

    def test_mediator(self) -> None:
        """
        A mediator makes the request of such a task, with pre-hooks and without.
        """
        hooked = self.mediator()
        hooked.add_prehook(lambda task: task.update(hooked=True))
        for depth, fits, inner, beside in DEPTHS:
            for mediator in (self.mediator(), hooked):
                outcome = self.outcome(
                    mediator, FakeMessage(deep(depth, inner, beside))
                )
                with self.subTest(depth=depth, inner=inner, beside=beside):
                    if fits:
                        self.assertEqual(outcome, Done())
                    else:
                        assert isinstance(outcome, Discard)
                        self.assertIn(_TOO_DEEP, outcome.reason)

    def test_executor(self) -> None:
        """
        An executor runs its function for such a task.
        """
        stub: Any = StubTreq(ExecutorResource(returning(None)))
        for depth, fits, inner, beside in DEPTHS:
            requested = stub.post(
                URL.replace("executor.example", "executor"),
                data=deep(depth, inner, beside),
                headers={"Content-Type": "application/json"},
            )
            code = self.successResultOf(requested).code
            with self.subTest(depth=depth, inner=inner, beside=beside):
                self.assertEqual(code, 204 if fits else 400)

    def test_producer(self) -> None:
        """
        A producer adds such a task, and refuses any other.
        """
        for depth, fits, inner, beside in DEPTHS:
            extra = json.loads(deep(depth, inner, beside))
            publisher = FakePublisher()
            adding = Producer(publisher).add_task(
                extra.pop("url"), extra.pop("params"), extra=extra
            )
            with self.subTest(depth=depth, inner=inner, beside=beside):
                if fits:
                    self.successResultOf(adding)
                    decode(publisher.bodies[0])
                else:
                    error = self.failureResultOf(adding, BadTask)
                    self.assertEqual(error.getErrorMessage(), _TOO_DEEP)

    def test_dead_letter(self) -> None:
        """
        C{quebert dead show} shows any task, as JSON if it is no deeper.
        """
        for depth, fits, inner, beside in DEPTHS:
            letter = DeadLetter({"headers": {}}, deep(depth, inner, beside))
            with self.subTest(depth=depth, inner=inner, beside=beside):
                self.assertEqual(letter.url, URL if fits else "")
                for secrets in (False, True):
                    self.assertIn(URL, "\n".join(whole(letter, secrets)))


class SizeTests(Case):
    """
    A mediator takes what a producer adds, up to the last byte and the last value, and
    nothing beyond.
    """

    def check(self, empty: int, limit: int, params: Callable[[int], Any]) -> None:
        """
        Add a task that is as large as it may be, and then a larger one.

        @param empty: how much of C{limit} the rest of the task takes.
        @param params: makes parameters of a size.
        """
        publisher = FakePublisher()
        producer = Producer(publisher)
        self.successResultOf(producer.add_task(URL, params(limit - empty)))
        body = publisher.bodies.pop()
        self.assertEqual(self.outcome(self.mediator(), FakeMessage(body)), Done())
        adding = producer.add_task(URL, params(limit - empty + 1))
        why = self.failureResultOf(adding, BadTask).getErrorMessage()
        self.assertEqual(publisher.bodies, [])
        larger = producer.add_raw_task(
            encode({**decode(body), "params": params(limit - empty + 1)}),
            max_body=2**30,
        )
        self.successResultOf(larger)
        message = FakeMessage(publisher.bodies.pop())
        self.assertIn(why, self.discarded(self.mediator(), message))

    def test_bytes(self) -> None:
        """
        16 MiB.
        """
        publisher = FakePublisher()
        Producer(publisher).add_task(URL, "")
        self.check(len(publisher.bodies[0]), BOUNDS.body, lambda size: "," * size)

    def test_values(self) -> None:
        """
        400,000 values.
        """
        publisher = FakePublisher()
        Producer(publisher).add_task(URL, [0])
        empty = most_values(publisher.bodies[0]) - 1
        self.check(empty, BOUNDS.values, lambda count: [0] * count)


class WithoutOrjsonDepthTests(DepthTests):
    """
    All that is so without orjson, too.
    """

    def setUp(self) -> None:
        """
        Have it not be there.
        """
        super().setUp()
        self.patch(_json, "orjson", None)
