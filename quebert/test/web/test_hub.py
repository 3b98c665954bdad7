"""
L{EventHub}: what listeners are told, however slow they are.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import AttemptBatch, AttemptRecord
from quebert.test.web.doubles import TOKENS, MemoryAPI
from quebert.web._listener import KEPT, Listener
from quebert.web._sampling import SHOWN, Samples
from quebert.web._views import BackgroundView


def _batch(count: int, queue: str = "mail", begin: int = 0) -> AttemptBatch:
    """
    Attempts whose uuids are numbers.
    """
    records = tuple(
        AttemptRecord(
            uuid=str(begin + n),
            queue=queue,
            url="http://x/",
            number=1,
            started=1.0,
            ended=2.0,
            outcome="done",
        )
        for n in range(count)
    )
    return AttemptBatch(mediator="m", sequence=1, at=2.0, records=records)


@attrs.define(eq=False)
class Ear:
    """
    Somebody who listens.
    """

    api: MemoryAPI
    written: bytes = b""
    writes: int = 0
    listener: Listener | None = None

    def join(self, grant: str = "operator", queue: str = "", last_id: str = "") -> Ear:
        """
        Begin.
        """
        hub = self.api.hub
        self.listener = hub.join(TOKENS[grant], queue, last_id, self._write)
        return self

    def _write(self, text: bytes) -> None:
        self.written += text
        self.writes += 1

    def take(self) -> list[tuple[str, Any]]:
        """
        The events since the last time.
        """
        text, self.written = self.written.decode(), b""
        found = []
        for block in text.split("\n\n"):
            lines = dict(each.split(": ", 1) for each in block.split("\n") if each)
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found

    def names(self) -> list[str]:
        """
        Their names.
        """
        return [name for name, _ in self.take()]


class ListenerTests(SynchronousTestCase):
    """
    What each is told.
    """

    def setUp(self) -> None:
        self.api = MemoryAPI()

    def _ear(self, *args: str) -> Ear:
        return Ear(self.api).join(*args)

    def test_overviews(self) -> None:
        """
        There is an overview at once, and one each second, made once for all.
        """
        made: list[int] = []
        overview = self.api.cluster.overview

        def look() -> Any:
            made.append(1)
            return overview()

        self.api.snapshots._look = look
        ears = [self._ear(), self._ear(), self._ear("reader")]
        for ear in ears:
            self.assertEqual(ear.names(), ["overview"])
        self.api.clock.pump([0.5] * 6)
        told = [ear.take() for ear in ears]
        for each in told:
            self.assertEqual([name for name, _ in each], ["overview"] * 3)
        self.assertEqual(len(made), 4)
        self.assertEqual(told[0], told[1])
        self.assertTrue(told[0][0][1]["may_operate"])
        self.assertFalse(told[2][0][1]["may_operate"])

    def test_attempts(self) -> None:
        """
        Twice a second it is told how many attempts there were, and the newest of them.
        """
        ear = self._ear()
        ear.take()
        self.api.hub.attempted(_batch(5_000))
        self.api.hub.attempted(_batch(5_000, begin=5_000))
        self.assertEqual(ear.take(), [])
        self.api.clock.advance(0.5)
        [(name, page)] = ear.take()
        self.assertEqual((name, page["count"]), ("attempts", 10_000))
        uuids = [int(each["uuid"]) for each in page["shown"]]
        self.assertEqual(uuids, list(range(9_999, 9_999 - SHOWN, -1)))
        self.assertEqual(page["shown"][0]["mediator"], "m")
        self.api.clock.advance(0.5)
        self.assertEqual(ear.names(), ["overview"])

    def test_filters(self) -> None:
        """
        Of one queue if that is asked for, and of those that the token is for.
        """
        ears = {
            "all": self._ear(),
            "mail": self._ear("operator", "mail"),
            "none": self._ear("operator", "other"),
            "token": self._ear("mailer"),
        }
        for ear in ears.values():
            ear.take()
        self.api.hub.attempted(_batch(3, "mail"))
        self.api.hub.attempted(_batch(4, "reports"))
        self.api.hub.attempted(_batch(5, "mail.slow"))
        self.api.clock.advance(0.5)
        counts = {
            name: [page["count"] for _, page in ear.take()]
            for name, ear in ears.items()
        }
        wanted = {"all": [12], "mail": [3], "none": [], "token": [8]}
        self.assertEqual(counts, wanted)

    def test_slow(self) -> None:
        """
        Whoever does not take what was written misses overviews, and is told how many
        attempts there were once it does.
        """
        ear, other = self._ear(), self._ear()
        assert ear.listener is not None
        ear.take()
        ear.listener.hold()
        before = ear.writes
        for number in range(100):
            self.api.hub.attempted(_batch(1_000, begin=1_000 * number))
            self.api.clock.advance(0.5)
        for number in range(KEPT + 50):
            self.api.hub.changed(
                BackgroundView(
                    operation="o", kind="redrive", queue="mail", count=number
                )
            )
        self.assertEqual(ear.writes, before)
        self.assertEqual(len([n for n in other.names() if n == "attempts"]), 100)
        self.api.hub.go_on(ear.listener)
        found = ear.take()
        self.assertEqual(len(found), KEPT)
        self.assertEqual(found[-1][1]["count"], KEPT + 49)
        self.api.clock.advance(0.5)
        pages = [page for name, page in ear.take() if name == "attempts"]
        self.assertEqual([page["count"] for page in pages], [100_000])
        self.assertEqual(pages[0]["shown"][0]["uuid"], "99999")
        self.assertEqual(len(pages[0]["shown"]), SHOWN)

    def test_slow_again(self) -> None:
        """
        Whoever stops while it is told of what it has missed, is told the rest later.
        """
        ear = self._ear()
        listener = ear.listener
        assert listener is not None
        listener.hold()
        for _ in range(5):
            self.api.hub.lost("m", 1)
        ear.take()

        def write(text: bytes) -> None:
            ear._write(text)
            listener.hold()

        listener._write = write
        self.api.hub.go_on(listener)
        self.assertEqual(ear.names(), ["gap"])
        self.api.hub.go_on(listener)
        self.assertEqual(ear.names(), ["gap"])

    def test_missed(self) -> None:
        """
        Whoever comes back with the id of its last event is told the operations and gaps
        after it; another process knows no such id.
        """
        ear = self._ear()
        self.api.hub.lost("m", 7)
        last_id = ear.written.decode().rsplit("id: ", 1)[1].split("\n")[0]
        assert ear.listener is not None
        self.api.hub.leave(ear.listener)
        self.api.hub.lost("m", 8)
        self.api.hub.changed(
            BackgroundView(operation="o", kind="redrive", queue="reports")
        )
        found = self._ear("operator", "", last_id).take()
        self.assertEqual([name for name, _ in found], ["gap", "operation", "overview"])
        self.assertEqual(found[0][1], {"mediator": "m", "count": 8})
        for other in ("", "x", "x-1", "-", f"{last_id}x", f"{last_id[:9]}\u0661"):
            self.assertEqual(self._ear("operator", "", other).names(), ["overview"])
        # A token for some queues is told of their operations alone.
        self.assertEqual(self._ear("mailer", "", last_id).names(), ["overview"])

    def test_retry(self) -> None:
        """
        Browsers are told first that they may come back after two seconds.
        """
        first, _, _ = self._ear().written.partition(b"event:")
        self.assertEqual(first, b": quebert\nretry: 2000\n\n")

    def test_heartbeat(self) -> None:
        """
        There is a comment every 15 seconds.
        """
        ear = self._ear()
        self.api.clock.pump([0.5] * 61)
        self.assertEqual(ear.written.count(b"\n: still here\n\n"), 2)

    def test_nobody(self) -> None:
        """
        Nothing is done while nobody listens.
        """
        ear = self._ear()
        assert ear.listener is not None
        self.api.hub.leave(ear.listener)
        self.api.hub.leave(ear.listener)
        self.assertEqual(self.api.clock.getDelayedCalls(), [])
        self.api.hub.attempted(_batch(10))
        self.assertEqual(len(self.api.hub), 0)
        ear.take()
        other = self._ear()
        self.api.clock.advance(0.5)
        self.assertEqual(other.names(), ["overview"])
        self.api.hub.stop()
        self.assertEqual(self.api.clock.getDelayedCalls(), [])


class SamplesTests(SynchronousTestCase):
    """
    L{Samples}: the work is bounded.
    """

    def test_once(self) -> None:
        """
        What a batch costs does not depend on how many look on.
        """
        samples = Samples()
        several = [samples.open(None) for _ in range(50)]
        samples.add(_batch(1_000))
        marks = {each.mark for each in several}
        self.assertEqual(len(marks), 1)
        self.assertEqual({each.take().count for each in several}, {1_000})
        self.assertEqual({each.mark for each in several}, {None})

    def test_closed(self) -> None:
        """
        One that is closed gets nothing more.
        """
        samples = Samples()
        one, other = samples.open(None), samples.open(lambda queue: True)
        samples.close(one)
        samples.close(other)
        samples.add(_batch(10))
        self.assertEqual((one.mark, other.mark), (None, None))
