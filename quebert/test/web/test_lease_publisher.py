"""
What C{quebert web} publishes when an executor has completed its lease.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from quebert._protocol.properties import decode_properties, encode_properties
from quebert.errors import BrokerError, PublishRefused, Unroutable
from quebert.policy import History
from quebert.task import decode
from quebert.task_ends import ENDED
from quebert.test.leases.doubles import leased
from quebert.test.notes import end_note_in
from quebert.test.support import logged
from quebert.web.cluster._leases import _LeasePublisher

CALLED_BACK = b'{"url": "/x", "uuid": "u", "callback_url": "/ended"}'
HEADERS = History(1, 100.0, 100.0, 202, answers=1).headers


class FakePublished:
    """
    Notes what is published.

    @ivar messages: exchange, routing key, body and properties of each.
    @ivar problems: why the next ones are not confirmed.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes, bytes]] = []
        self.problems: list[BrokerError | None] = []

    def publish_messages(
        self, messages: Sequence[tuple[str, str, bytes, bytes]]
    ) -> Deferred[list[BrokerError | None]]:
        """
        Publish some.
        """
        self.messages += messages
        return succeed([*self.problems, *[None] * len(messages)][: len(messages)])


class LeasePublisherTests(SynchronousTestCase):
    """
    Ends of leased tasks.
    """

    def setUp(self) -> None:
        self.published = FakePublished()
        published: Any = self.published
        self.publisher = _LeasePublisher(published, lambda: 1_000.5)

    def tell(self, body: bytes = CALLED_BACK, **properties: Any) -> Deferred[None]:
        """
        Tell the end of a task.
        """
        encoded = encode_properties({"headers": HEADERS, **properties})
        telling: Coroutine[Any, Any, None] = self.publisher.tell_end(
            [leased(body=body, properties=encoded)]
        )
        return Deferred.fromCoroutine(telling)

    def test_callback(self) -> None:
        """
        The callback task goes to the queue of the task, before the end note.
        """
        properties = {"priority": 3, "reply-to": ENDED, "timestamp": 80}
        self.successResultOf(self.tell(CALLED_BACK, **properties))
        callback, note = self.published.messages
        self.assertEqual(callback[:2], ("", "tasks"))
        told = decode(callback[2])["params"]
        self.assertEqual(
            {name: told[name] for name in ("uuid", "outcome", "status", "attempts")},
            {"uuid": "u", "outcome": "done", "status": 202, "attempts": 1},
        )
        self.assertIsNone(told["answer"])
        self.assertEqual(decode_properties(callback[3])["priority"], 3)
        self.assertEqual(note[:2], ("", ENDED))
        end = end_note_in(note[2])
        self.assertEqual((end.uuid, end.sent), ("u", 80.0))

    def test_without(self) -> None:
        """
        A task that asks for neither has neither.
        """
        self.successResultOf(self.tell(b"{}"))
        self.assertEqual(self.published.messages, [])

    def test_no_queue(self) -> None:
        """
        Where its queue was deleted, the callback task is dropped, as all tasks of the
        queue were, and the log tells so.
        """
        self.published.problems = [Unroutable("no queue")]
        with logged() as lines:
            self.successResultOf(self.tell())
        told = "A callback task is dropped, as its queue 'tasks' was deleted"
        self.assertEqual(lines, [told])

    def test_refused(self) -> None:
        """
        Any other problem is raised, so that the end is told again.
        """
        full, no_notes = PublishRefused("full"), Unroutable("no queue of end notes")
        for number, problem in enumerate((full, no_notes)):
            self.published.problems = [*[None] * number, problem]
            telling = self.tell(CALLED_BACK, **{"reply-to": ENDED})
            self.failureResultOf(telling, type(problem))
