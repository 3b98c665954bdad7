"""
Tests for L{live<quebert.operations.live>}, with an embedded broker in memory.
"""

from __future__ import annotations

from typing import Any

from quebert import operations
from quebert._protocol.properties import encode_properties
from quebert.errors import BrokerRefused
from quebert.events import (
    ATTEMPTS,
    EXCHANGE,
    MEDIATORS,
    AttemptBatch,
    WatchState,
    encode_batch,
    encode_state,
)
from quebert.operations import BrokerAccess, Live, _access, _live
from quebert.test.memory_network import _Client
from quebert.test.test_client_in_memory import URL, ClientTestCase
from quebert.test.test_live_fold import record, state


class LiveTests(ClientTestCase):
    """
    A queue C{tasks} that is watched, and somebody who looks on.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_access, "TxAMQPClient", _Client)
        self.watch()

    def looking(self, *queues: str) -> None:
        """
        Begin to look on.
        """
        self.context = operations.live(BrokerAccess(self.network, URL), queues)
        self.next = self.result(self.context.__aenter__())
        self.addCleanup(lambda: self.result(self.context.__aexit__(None, None, None)))

    def view(self) -> Live:
        """
        What there is to see a second later.
        """
        return self.result(self.next())

    def tell(self, key: str, body: bytes) -> None:
        """
        A mediator publishes an event.
        """

        async def publish() -> None:
            channel = await self.wire.open_channel()
            await channel.publish(EXCHANGE, key, body, encode_properties({}))
            await channel.shut()

        self.result(publish())
        self.network.settle()

    def test_discovers(self) -> None:
        """
        Without names, one sees the queues of which mediators tell.
        """
        self.looking()
        self.assertEqual(self.view().queues, ())
        told = state(queues={"tasks": WatchState(consuming=True, in_flight=3)})
        self.tell(MEDIATORS, encode_state(told))
        batch = AttemptBatch(
            mediator="m1", sequence=1, at=1.0, records=(record("tasks"),), total=1
        )
        self.tell(ATTEMPTS, encode_batch(batch))
        view = self.view()
        (tasks,) = view.queues
        self.assertEqual((tasks.name, tasks.ready, tasks.running), ("tasks", 0, 3))
        self.assertEqual(tasks.consumers, 1)
        self.assertEqual(sum(self.view().queues[0].series_out), 1)
        self.assertEqual([each.name for each in view.mediators], ["m1"])

    def test_names(self) -> None:
        """
        With names, one sees these, whether they exist or not.
        """
        self.looking("tasks", "other")
        self.tell(
            MEDIATORS, encode_state(state(queues={"a": WatchState(consuming=True)}))
        )
        other, tasks = self.view().queues
        self.assertEqual((other.name, other.exists), ("other", False))
        self.assertEqual((tasks.name, tasks.exists), ("tasks", True))

    def test_each_second(self) -> None:
        """
        A view comes a second after the one before.
        """
        self.looking("tasks")
        first, then = self.view().at, self.network.seconds()
        second = self.view().at
        self.assertGreaterEqual(self.network.seconds() - then, 0.9)
        self.assertGreater(second, first)

    def test_not_heard(self) -> None:
        """
        Who may not hear mediators sees the queues all the same.
        """

        def refuse(*given: Any, **options: Any) -> Any:
            raise BrokerRefused(403, "no")

        self.patch(_live, "reading", refuse)
        self.looking("tasks")
        view = self.view()
        self.assertEqual(view.queues[0].ready, 0)
        self.assertEqual(view.problems[0], "mediators cannot be heard: no")

    def test_lost(self) -> None:
        """
        When the connection is lost, there is soon another, with all that was heard.
        """
        self.looking("tasks")
        self.tell(MEDIATORS, encode_state(state()))
        self.network.cut()
        self.wire = self.connect()
        self.assertEqual(self.view().queues[0].ready, 0)
        self.network.pass_time(5)
        self.tell(MEDIATORS, encode_state(state("m2")))
        names = [each.name for each in self.view().mediators]
        self.assertEqual(names, ["m1", "m2"])
