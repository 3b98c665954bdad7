"""
C{Producer.add_tasks}: many tasks, of which a window is unconfirmed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import (
    BadTask,
    BrokerRefused,
    BrokerUnreachable,
    ChannelLost,
    ConfigError,
    MessageRefused,
    PublishRefused,
    ReplyCode,
    Unroutable,
)
from quebert.producer import Producer, TaskResult, _add_many
from quebert.test.checks import refusal
from quebert.test.test_producer import NOW, FakePublisher


class AddTasksTests(SynchronousTestCase):
    """
    L{Producer.add_tasks} over a publisher that only pretends.
    """

    def setUp(self) -> None:
        """
        A producer, and a place for results.
        """
        self.publisher = FakePublisher()
        self.producer = Producer(self.publisher, now=lambda: NOW)
        self.results: list[TaskResult] = []
        self.read = 0

    def items(self, count: int) -> Iterator[dict[str, Any]]:
        """
        Items, counted when they are read.
        """
        for number in range(count):
            self.read += 1
            yield {"url": f"/{number}", "uuid": f"u{number}"}

    def add(self, items: Any, window: int = 3) -> Deferred[int]:
        """
        Add them, and note the results.
        """
        return self.producer.add_tasks(items, self.results.append, window=window)

    def confirm(self, *places: int) -> None:
        """
        Confirm what was published first, second...
        """
        for place in places:
            self.publisher.confirms[place].callback(None)

    def told(self) -> list[tuple[int, str | None, type | None]]:
        """
        The results so far, with the types of the errors.
        """
        return [
            (each.index, each.uuid, None if each.error is None else type(each.error))
            for each in self.results
        ]

    def test_window(self) -> None:
        """
        No more items are read than there is room for tasks without a confirm.
        """
        adding = self.add(self.items(5))
        self.assertEqual((self.read, len(self.publisher.published)), (3, 3))
        self.confirm(1)
        self.assertEqual((self.read, len(self.publisher.published)), (4, 4))
        self.assertEqual(self.told(), [(1, "u1", None)])
        self.confirm(0, 2, 3)
        self.assertNoResult(adding)
        self.confirm(4)
        self.assertEqual(self.successResultOf(adding), 5)
        self.assertEqual([each.index for each in self.results], [1, 0, 2, 3, 4])
        self.assertTrue(all(each.added for each in self.results))

    def test_no_window(self) -> None:
        """
        A window in which there is room for no task is refused, not waited for.
        """
        for size in (0, -1):
            told = refusal(ConfigError, self.add, self.items(1), window=size)
            self.assertIn("window must be 1 or more", told)
        self.assertEqual(self.read, 0)

    def test_keywords(self) -> None:
        """
        An item has the keywords of C{add_task}, and its task is the same.
        """
        fields: dict[str, Any] = {
            "params": {"a": 1},
            "kind": "mail",
            "priority": "high",
            "uuid": "u",
            "delay": 5,
            "headers": {"X-A": "b"},
            "extra": {"own": 1},
            "max_body": 1_000,
        }
        self.add([{"url": "/a", **fields}])
        self.producer.add_task("/a", **fields)
        many, one = self.publisher.published
        self.assertEqual(many, one)
        self.assertEqual(many[1], "mail.high")

    def test_bytes(self) -> None:
        """
        The bodies of a window have a number of bytes at most, unless it is one body.
        """
        self.patch(_add_many, "WINDOW_BYTES", 500)
        large = {"url": "/", "params": "x" * 1_000}
        adding = self.add(iter([large, large]))
        self.assertEqual(len(self.publisher.published), 1)
        self.confirm(0)
        self.assertEqual(len(self.publisher.published), 2)
        self.confirm(1)
        self.assertEqual(self.successResultOf(adding), 2)

    def test_bad_items(self) -> None:
        """
        Bad ones have their results, and the rest go on.
        """
        items: list[Any] = [
            {"url": "ftp://h/", "uuid": "u0"},
            {"url": "/", "uuid": "u1"},
            {"params": 1},
            {"url": "/", "parms": 1},
            ["/"],
            None,
            {"url": "/", 5: 1},
            {"url": "/", "kind": ""},
            {"url": "/", "uuid": "u8"},
        ]
        adding = self.add(items)
        self.confirm(0, 1)
        self.assertEqual(self.successResultOf(adding), 2)
        bad = {each.index: str(each.error) for each in self.results if not each.added}
        self.assertEqual(sorted(bad), [0, 2, 3, 4, 5, 6, 7])
        self.assertEqual(self.results[0].uuid, "u0")
        self.assertIs(self.results[0].item, items[0])
        for index, text in (
            (2, "url is missing"),
            (3, "did you mean params?"),
            (4, "an item must be a mapping, not of type list"),
            (5, "an item must be a mapping, not of type NoneType"),
            (6, "keywords must be strings"),
            (7, "kind"),
        ):
            self.assertIn(text, bad[index])
        kinds = {type(each.error) for each in self.results if not each.added}
        self.assertEqual(kinds, {BadTask})

    def test_refusals(self) -> None:
        """
        What the broker does not take is told with its uuid, and the rest go on.
        """
        adding = self.add(self.items(5))
        errors = [
            Unroutable("no queue"),
            PublishRefused("full"),
            MessageRefused(ReplyCode.PRECONDITION_FAILED, "too large"),
            ChannelLost("nobody knows"),
        ]
        for place, error in enumerate(errors):
            self.publisher.confirms[place].errback(error)
        self.confirm(4)
        self.assertEqual(self.successResultOf(adding), 1)
        self.assertEqual([each.error for each in self.results], [*errors, None])
        self.assertEqual(
            [each.uuid for each in self.results], [f"u{n}" for n in range(5)]
        )

    def test_uuid_of_lost(self) -> None:
        """
        What may be there has the uuid that it was sent with, also where the item has
        none: it can be sent again with the same.
        """
        self.add([{"url": "/"}])
        self.publisher.confirms[0].errback(ChannelLost("nobody knows"))
        [lost] = self.results
        sent = json.loads(self.publisher.published[0][2])
        self.assertEqual(lost.uuid, sent["uuid"])
        self.add([{**lost.item, "uuid": lost.uuid}])
        again = json.loads(self.publisher.published[1][2])
        self.assertEqual(again["uuid"], sent["uuid"])

    def test_no_broker(self) -> None:
        """
        Where no task can be added any more, nothing more is read, and the Deferred
        fails once all results are told.
        """
        for error in (
            BrokerUnreachable("no answer"),
            BrokerRefused(ReplyCode.ACCESS_REFUSED, "no such user"),
        ):
            self.read, self.results = 0, []
            self.publisher.confirms.clear()
            adding = self.add(self.items(9))
            self.publisher.confirms[1].errback(error)
            self.assertEqual(self.read, 3)
            self.assertNoResult(adding)
            self.confirm(0, 2)
            self.assertIs(self.failureResultOf(adding).value, error)
            self.assertEqual(self.read, 3)
            self.assertEqual([each.index for each in self.results], [1, 0, 2])

    def test_source_fails(self) -> None:
        """
        What the source raises fails the Deferred, after the results of what was read.
        """

        def broken() -> Iterator[dict[str, Any]]:
            yield from self.items(2)
            raise OSError("the disk is gone")

        adding = self.add(broken())
        self.confirm(1)
        self.assertNoResult(adding)
        self.confirm(0)
        self.assertEqual(
            str(self.failureResultOf(adding, OSError).value), "the disk is gone"
        )
        self.assertEqual(len(self.results), 2)

    def test_callback_fails(self) -> None:
        """
        What C{on_result} raises ends it likewise, once the others are told.
        """
        told: list[int] = []

        def fails(result: TaskResult) -> None:
            told.append(result.index)
            raise LookupError(f"for {result.index}")

        adding = self.producer.add_tasks(self.items(9), fails, window=3)
        self.confirm(1, 0, 2)
        self.assertEqual(str(self.failureResultOf(adding, LookupError).value), "for 1")
        self.assertEqual((told, self.read), ([1, 0, 2], 3))

    def test_cancelled(self) -> None:
        """
        To cancel it ends all, and tells what may be there.
        """
        for count in (9, 2):  # it waits for room, or for the last confirms
            self.read, self.results = 0, []
            adding = self.add(self.items(count))
            adding.cancel()
            self.failureResultOf(adding, CancelledError)
            expected = [(n, f"u{n}", CancelledError) for n in range(min(3, count))]
            self.assertEqual(self.told(), expected)
            self.assertEqual(self.read, min(3, count))

    def test_asynchronous_source(self) -> None:
        """
        The source may be asynchronous: it is waited for, and asked for no more than
        there is room for.
        """
        gates: list[Deferred[None]] = [Deferred() for _ in range(3)]

        async def source() -> AsyncIterator[dict[str, Any]]:
            for number, gate in enumerate(gates):
                self.read += 1
                await gate
                yield {"url": f"/{number}"}

        adding = self.add(source(), window=1)
        self.assertEqual((self.read, self.publisher.published), (1, []))
        gates[0].callback(None)
        gates[1].callback(None)
        self.assertEqual((self.read, len(self.publisher.published)), (1, 1))
        self.confirm(0)
        self.assertEqual((self.read, len(self.publisher.published)), (2, 2))
        self.confirm(1)
        gates[2].callback(None)
        self.confirm(2)
        self.assertEqual(self.successResultOf(adding), 3)

    def test_cancelled_source(self) -> None:
        """
        To cancel it cancels what an asynchronous source waits for.
        """
        gate: Deferred[None] = Deferred()

        async def source() -> AsyncIterator[dict[str, Any]]:
            yield {"url": "/", "uuid": "u0"}
            await gate

        adding = self.add(source())
        adding.cancel()
        self.failureResultOf(adding, CancelledError)
        self.assertTrue(gate.called)
        self.assertEqual(self.told(), [(0, "u0", CancelledError)])

    def test_confirmed_at_once(self) -> None:
        """
        Thousands that are confirmed at once do no harm.
        """
        published: list[str] = []

        class Quick:
            def publish(
                self, exchange: str, routing_key: str, body: bytes, properties: object
            ) -> Deferred[None]:
                published.append(routing_key)
                done: Deferred[None] = Deferred()
                done.callback(None)
                return done

        producer = Producer(Quick(), now=lambda: NOW)
        items: Iterable[dict[str, str]] = ({"url": "/"} for _ in range(5_000))
        adding = producer.add_tasks(items, self.results.append)
        self.assertEqual(self.successResultOf(adding), 5_000)
        self.assertEqual(len(published), 5_000)

    def test_nothing(self) -> None:
        """
        Of no items, none is added.
        """
        self.assertEqual(self.successResultOf(self.add([])), 0)
