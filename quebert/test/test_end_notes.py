"""
End notes: what a watch tells before it acknowledges for good.
"""

from __future__ import annotations

from typing import Any

from quebert._consumer_timeout import CONSUMER_TIMEOUT
from quebert._protocol.properties import encode_properties
from quebert.amqp.coordination import Cancellation
from quebert.amqp.watch import DeliveredMessage, _end_notes, _untold_ends
from quebert.amqp.watch._end_notes import wants_end_note
from quebert.errors import BrokerRefused, PublishRefused, Unroutable
from quebert.outcome import CANCELLED, EXPIRED, FORBIDDEN, Bury, Discard, Done, Retry
from quebert.policy import History
from quebert.task_ends import ENDED, EndNote
from quebert.task_events import EndedTask
from quebert.test.notes import end_note_in
from quebert.test.support import logged
from quebert.test.test_watcher import WatcherTestCase

#: The properties of a message whose end is told.
WANTED = {"reply-to": ENDED, "message-id": "u"}
#: Its headers, when an attempt has failed.
FAILED = History(1, 100.0, 100.0, 503, answers=1).headers


class EndNoteTestCase(WatcherTestCase):
    """
    A watch.
    """

    options = {"prefetch": 2, "hold_up_to": 5}

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def outcome(self, outcome: Any, **options: Any) -> DeliveredMessage:
        """
        Deliver a message whose end is told, and whose callback says at once what
        becomes of it.
        """
        self.at_once[b"task"] = outcome
        return self.deliver(**{**WANTED, **options})

    @property
    def queues(self) -> list[str]:
        """
        Where something was published to.
        """
        return [each.routing_key for each in self.client.publisher.publications]

    @property
    def note(self) -> EndNote:
        """
        The last note.
        """
        publication = self.client.publisher.publications[-1]
        self.assertEqual((publication.exchange, publication.routing_key), ("", ENDED))
        self.assertEqual(publication.properties["delivery-mode"], 2)
        return end_note_in(publication.body)


class WantedTests(EndNoteTestCase):
    """
    Which messages have one.
    """

    def test_others(self) -> None:
        """
        Messages without that C{reply-to}, or without a uuid, are acknowledged at once.
        """
        raw = bytearray(encode_properties({**WANTED, "headers": {"a": "b"}}))
        raw[raw.index(b"\1aS") + 2] = ord("?")  # no such type of field
        for properties in (
            {},
            {"reply-to": "quebert.ended2", "message-id": "u"},
            {"correlation-id": ENDED, "message-id": "u"},
            {"reply-to": ENDED},
        ):
            self.at_once[b"task"] = None
            self.deliver(**properties)
        self.deliver(raw=bytes(raw))
        self.assertEqual(self.queues, [])
        self.check_counts(received=5, done=5)

    def test_exact(self) -> None:
        """
        It is the property that counts, not its bytes elsewhere.
        """
        message = DeliveredMessage("tag", 1, False, "", "queue")
        for properties, told in (
            (WANTED, True),
            ({"message-id": ENDED}, False),
            ({"message-id": "u", "headers": {"reply-to": ENDED}}, False),
        ):
            message.__dict__.pop("properties", None)
            message.encoded_properties = encode_properties(properties)
            self.assertIs(wants_end_note(message), told)


class OrderTests(EndNoteTestCase):
    """
    What comes before what.
    """

    def test_done(self) -> None:
        """
        A message is acknowledged once its note is confirmed.
        """
        self.outcome(None)
        self.check_settled([], [])
        self.assertEqual(
            self.note,
            EndNote(
                uuid="u", queue="queue", outcome="done", ended=self.clock.seconds()
            ),
        )
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, done=1)

    def test_discarded(self) -> None:
        """
        So is one that is dropped, for whatever reason.
        """
        for kind in ("discarded", EXPIRED, CANCELLED):
            self.outcome(Discard("why", kind))
            self.assertEqual((self.note.outcome, self.note.reason), (kind, "why"))
            self.confirm()
        self.check_settled([1, 2, 3], [])
        self.check_counts(received=3, discarded=3)

    def test_sent(self) -> None:
        """
        The note tells when the message was sent, if that is a time in seconds.
        """
        for told, sent in ((17, 17.0), (1_700_000_000_123, None)):
            self.outcome(None, timestamp=told)
            self.assertEqual(self.note.sent, sent)
            self.confirm()

    def test_buried(self) -> None:
        """
        A dead letter is confirmed first, then the note.  The dead letter asks for a
        note, too: it may be put back.
        """
        self.outcome(Bury("why", FORBIDDEN))
        self.assertEqual(self.queues, ["queue.dead"])
        dead = self.client.publisher.publications[0]
        self.assertEqual(dead.properties["reply-to"], ENDED)
        self.confirm()
        self.check_settled([], [])
        self.assertEqual((self.note.outcome, self.note.reason), (FORBIDDEN, "why"))
        self.confirm()
        self.check_settled([1], [])
        self.check_counts(received=1, buried=1)

    def test_retried(self) -> None:
        """
        A retry tells nothing, and keeps the property.
        """
        self.outcome(Retry(headers=FAILED))
        (retry,) = self.client.publisher.publications
        self.assertEqual(retry.routing_key, "queue")
        self.assertEqual(retry.properties["reply-to"], ENDED)
        self.assertEqual(retry.properties["message-id"], "u")

    def test_odd_reason(self) -> None:
        """
        A reason is cut, and is one that UTF-8 can hold.
        """
        self.outcome(Discard("\ud800" + 2_000 * "x"))
        self.assertEqual(self.note.reason, "\\ud800" + 999 * "x")

    def test_together(self) -> None:
        """
        Notes that come while another has no confirm are published together: those whose
        delivery is not lost meanwhile.
        """
        self.begin(prefetch=0)
        for n in range(4):
            self.outcome(None, **{"message-id": f"u{n}"})
        self.assertEqual(self.queues, [ENDED])
        self.confirm()
        self.check_settled([1], [])
        self.assertEqual(self.queues, [ENDED, ENDED])
        last = self.client.publisher.publications[-1].body
        notes = [end_note_in(each) for each in last.split(b"\n")]
        self.assertEqual([each.uuid for each in notes], ["u1", "u2", "u3"])
        self.confirm()
        self.check_settled([1, 2, 3, 4], [])

    def test_refused_together(self) -> None:
        """
        Where RabbitMQ refuses them, each waits, and all are published together again.
        """
        self.begin(prefetch=0)
        for _ in range(3):
            self.outcome(None)
        self.confirm()
        self.confirm(PublishRefused("full"))
        self.check_settled([1], [])
        self.advance(5)
        while self.client.publisher.unconfirmed:
            self.confirm()
        self.check_settled([1, 2, 3], [])

    def test_bound(self) -> None:
        """
        A message has not more than so many.
        """
        self.patch(_end_notes, "MOST", 2)
        self.begin(prefetch=0)
        for _ in range(6):
            self.outcome(None)
        for _ in range(4):
            self.confirm()
        counts = [p.body.count(b"\n") for p in self.client.publisher.publications]
        self.assertEqual(counts, [0, 1, 1, 0])
        self.check_settled([1, 2, 3, 4, 5, 6], [])

    def test_lost_together(self) -> None:
        """
        Where the channel is lost, notes that wait are not published.
        """
        for _ in range(2):
            self.outcome(None)
        self.channel.lose_connection()
        self.confirm()
        self.assertEqual(self.queues, [ENDED])
        self.check_counts(received=2, returned=2)

    def test_place(self) -> None:
        """
        It keeps its place until then, unless there is no connection.
        """
        for is_ready, held in ((True, 0), (False, 1)):
            self.client.publisher.ready = is_ready
            self.outcome(None)
            self.assertEqual(self.watcher.held, held)
            self.confirm()


class FaultTests(EndNoteTestCase):
    """
    RabbitMQ does not take a note.
    """

    def test_no_queue(self) -> None:
        """
        The queue is declared where it is missing.
        """
        self.outcome(None)
        self.confirm(Unroutable("no queue"))
        declared = [
            (given["queue"], given["durable"], given["arguments"])
            for channel in self.client.channels
            for method, given in channel.calls
            if method == "queue_declare" and given["queue"] == ENDED
        ]
        self.assertIn((ENDED, True, {"x-queue-type": "classic"}), declared)
        self.check_settled([], [])
        self.confirm()
        self.check_settled([1], [])

    def test_refused(self) -> None:
        """
        Where RabbitMQ refuses it, it is published again, and the message waits.
        """
        self.outcome(None)
        self.confirm(PublishRefused("full"))
        self.check_settled([], [])
        self.advance(5)
        self.assertEqual(self.queues, [ENDED, ENDED])
        self.confirm()
        self.check_settled([1], [])

    def test_may_not_declare(self) -> None:
        """
        Where the user may not declare the queue, the message waits.
        """
        self.client.refused["queue_declare"] = BrokerRefused(403, "ACCESS_REFUSED")
        self.outcome(None)
        self.confirm(Unroutable("no queue"))
        self.check_settled([], [])
        self.assertEqual(self.watcher.held, 1)
        self.client.refused.clear()
        self.advance(5)
        self.confirm()
        self.check_settled([1], [])

    def test_no_room(self) -> None:
        """
        Where RabbitMQ refuses many notes, tasks end without them, and the queue goes
        on; those that wait, of so many messages and bytes, get theirs.
        """
        self.patch(_untold_ends, "MOST_UNTOLD", 2)
        self.begin(prefetch=1)
        with logged() as lines:
            self._refuse(4)
        self.check_settled([3, 4], [])
        self.assertEqual(self.watcher.held, 2)
        told = [each for each in lines if "without their end notes" in each]
        self.assertEqual(len(told), 1, lines)
        self._confirm_all()
        self.check_settled([1, 2, 3, 4], [])
        self.patch(_untold_ends, "MOST_BYTES", 2 * len(b"task") - 1)
        self._refuse(2)
        self.check_settled([1, 2, 3, 4, 6], [])
        self._confirm_all()
        self._refuse(1)
        self.check_settled([1, 2, 3, 4, 5, 6], [])

    def test_room(self) -> None:
        """
        Messages wait of exactly as many bytes as may.
        """
        self.patch(_untold_ends, "MOST_BYTES", 2 * len(b"task"))
        self.begin(prefetch=1)
        self._refuse(3)
        self.check_settled([3], [])

    def _confirm_all(self) -> None:
        self.advance(5)
        while self.client.publisher.unconfirmed:
            self.confirm()

    def _refuse(self, count: int) -> None:
        for _ in range(count):
            self.outcome(None)
            self.confirm(PublishRefused("full"))

    def test_no_time(self) -> None:
        """
        A task whose note is refused for so long that RabbitMQ would deliver its message
        again ends without the note.
        """
        self.outcome(None)
        self.confirm(PublishRefused("full"))
        seconds = 0.0
        while not self.channel.acked and seconds < CONSUMER_TIMEOUT:
            self.advance(5)
            seconds += 5
            if self.client.publisher.unconfirmed:
                self.confirm(PublishRefused("full"))
        self.assertLess(seconds, CONSUMER_TIMEOUT - 60)
        self.assertGreater(seconds, CONSUMER_TIMEOUT - 180)
        self.check_settled([1], [])

    def test_no_confirm(self) -> None:
        """
        A task whose note has no confirm leaves its place, and ends without the note in
        the end; others wait for a shorter time.
        """
        self.patch(_untold_ends, "MOST_UNTOLD", 1)
        self.begin(prefetch=1)
        self.outcome(None)
        self.advance(20)
        self.assertEqual(self.watcher.held, 0)
        self.advance(20)
        self.assertEqual(self.watcher.held, 1)
        self.outcome(None)
        self.advance(1)
        self.check_settled([2], [])
        self.advance(CONSUMER_TIMEOUT - 120)
        self.advance(10)
        self.check_settled([1, 2], [])

    def test_slow_confirm(self) -> None:
        """
        A note whose confirm takes longer is not published again, and counts when the
        confirm comes.
        """
        self.begin(prefetch=1)
        self.outcome(None)
        self.advance(31)
        self.assertEqual(self.watcher.held, 1)
        for _ in range(100):
            self.advance(0.2)
        self.assertEqual(self.queues, [ENDED])
        self.confirm()
        for _ in range(50):
            self.advance(0.2)
        self.assertEqual(self.queues, [ENDED])
        self.check_settled([1], [])
        self.outcome(None)
        self.advance(20)
        self.assertEqual(self.watcher.held, 0)
        self.confirm()
        self.check_settled([1, 2], [])

    def test_told_again(self) -> None:
        """
        The log tells when tasks end with their notes again.
        """
        self.patch(_untold_ends, "MOST_UNTOLD", 0)
        with logged() as lines:
            self._refuse(1)
            self.outcome(None)
            self.confirm()
            self.advance(30)
            self.advance(30)
        told = [each for each in lines if "end with their end notes again" in each]
        self.assertEqual(len(told), 1, lines)

    def test_lost(self) -> None:
        """
        Where the connection is lost meanwhile, the message comes again.
        """
        self.outcome(None)
        self.channel.lose_connection()
        self.check_counts(received=1, returned=1)

    def test_lost_after_dead_letter(self) -> None:
        """
        The same between the dead letter and its note: both come again.
        """
        self.outcome(Bury("why"))
        self.confirm()
        self.channel.lose_connection()
        self.check_counts(received=1, returned=1)

    def test_stopped(self) -> None:
        """
        Where the watch is stopped while RabbitMQ refuses, the message is given back.
        """
        self.outcome(None)
        stopped = self.watcher.stop(10)
        self.confirm(PublishRefused("full"))
        self.check_settled([], [1])
        self.successResultOf(stopped)


class HeldTests(EndNoteTestCase):
    """
    What is said of a task whose end note, or whose retry, has no confirm.
    """

    def test_attempted(self) -> None:
        """
        Whether it was attempted is known, if a mediator had it; if it was cancelled, it
        is told as dropped, too.
        """
        held_tasks = self.watcher._deliveries.held_tasks
        marks = {"a": Cancellation("a", 0.0, "ada")}
        self.patch(held_tasks, "_cancelled", marks)
        body = b'{"uuid": "a", "url": "http://a/"}'
        for begun, outcome, states in (
            (True, Done(), ["returning"]),
            (False, Discard("by ada", CANCELLED), ["returning", "dropped"]),
        ):
            message = self.deliver(body, **WANTED)
            message.last_attempt = attempt = EndedTask()
            attempt.number, attempt.started, attempt.status = 1, 200.0, None
            attempt.has_begun = begun
            self.finish(message, outcome)
            found = held_tasks.find(["a"])
            self.assertEqual([each.state for each in found], states)
            self.assertEqual({each.attempted for each in found}, {begun})
            self.confirm()

    def test_retried(self) -> None:
        """
        Of a task that is published anew it is told whether it was attempted.
        """
        held_tasks = self.watcher._deliveries.held_tasks
        for attempted in (True, False):
            message = self.deliver(b'{"uuid": "a", "url": "http://a/"}')
            self.finish(message, Retry(headers=FAILED, attempted=attempted))
            (found,) = held_tasks.find(["a"])
            self.assertEqual((found.state, found.attempted), ("returning", attempted))
            self.confirm()


class CountTests(EndNoteTestCase):
    """
    What a note tells of the attempts.
    """

    def told(self) -> tuple[Any, ...]:
        """
        That, of the last note.
        """
        note = self.note
        times = note.first_attempt, note.last_attempt
        return (note.attempts, note.answers, note.status, *times)

    def test_none(self) -> None:
        """
        A message without headers, and without a mediator, tells none.
        """
        self.outcome(None)
        self.assertEqual(self.told(), (0, 0, None, None, None))

    def test_buried(self) -> None:
        """
        The headers of a dead letter tell all.
        """
        history = History(2, 100.0, 300.0, 500, answers=2)
        self.outcome(Bury("why", headers=history.headers), headers=FAILED)
        self.confirm()
        self.assertEqual(self.told(), (2, 2, 500, 100.0, 300.0))

    def test_mediator(self) -> None:
        """
        A mediator tells of its attempt; one that did not begin does not count.
        """
        for begun, told in (
            (True, (2, 2, 204, 100.0, 200.0)),
            (False, (1, 1, 503, 100.0, 100.0)),
        ):
            message = self.deliver(headers=FAILED, **WANTED)
            message.last_attempt = attempt = EndedTask()
            attempt.number, attempt.started = 2, 200.0
            attempt.has_begun, attempt.status = begun, 204 if begun else None
            self.finish(message, Done())
            self.assertEqual(self.told(), told)
            self.confirm()
