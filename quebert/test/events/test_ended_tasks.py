"""
Tests for L{quebert.events._ended_tasks} and L{quebert.events._recorder}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import (
    ANSWER,
    AttemptBatch,
    AttemptRecord,
    decode_batch,
    encode_batch,
)
from quebert.events._recorder import Recorder
from quebert.outcome import CANCELLED, EXPIRED, Bury, Discard, Done, Outcome, Retry
from quebert.task_events import EndedTask
from quebert.test.checks import QUICK
from quebert.test.events.strategies import UUIDS

UUID = "8f145aec-5b4a-464e-b5bc-69f9794aece0"


def ended(**fields: Any) -> EndedTask:
    """
    A task that is done, but for some fields.
    """
    made = EndedTask()
    usual = {
        "uuid": UUID,
        "url": "/a",
        "number": 1,
        "added": None,
        "due": None,
        "started": 100.0,
        "seconds": 0.5,
        "status": 200,
        "outcome": Done(),
        "why": "",
        "answer": "",
        "html": False,
    }
    for name, value in {**usual, **fields}.items():
        setattr(made, name, value)
    return made


def recorded(*tasks: EndedTask) -> tuple[AttemptRecord, ...]:
    """
    The records of tasks of a queue.
    """
    recorder = Recorder()
    record = recorder.of("tasks")
    for each in tasks:
        record(each)
    return recorder.take().records()


class EndedTasksTests(SynchronousTestCase):
    """
    From ended tasks to records.
    """

    def test_done(self) -> None:
        """
        A task that is done.
        """
        [found] = recorded(ended(added=7, due=90.5, number=2))
        self.assertEqual(
            found,
            AttemptRecord(
                uuid=UUID,
                queue="tasks",
                url="/a",
                number=2,
                added=7.0,
                due=90.5,
                started=100.0,
                ended=100.5,
                status=200,
                outcome="done",
            ),
        )

    def test_outcomes(self) -> None:
        """
        Each outcome has a name, and those that are tried again have a time.
        """
        cases: list[tuple[Outcome, str, float | None]] = [
            (Retry(after=5), "retry", 105.5),
            (Retry(after=5, attempted=False), "postponed", 105.5),
            (Discard("no"), "discarded", None),
            (Discard("no", "of my own"), "discarded", None),
            (Discard("no", EXPIRED), "expired", None),
            (Discard("no", CANCELLED), "cancelled", None),
            (Bury("no"), "buried", None),
            (Done(), "done", None),
        ]
        tasks = [ended(outcome=each, why="why") for each, _, _ in cases]
        for found, (_, name, retry_at) in zip(recorded(*tasks), cases, strict=True):
            self.assertEqual((found.outcome, found.retry_at), (name, retry_at))
            self.assertEqual(found.reason, "why")

    def test_brief(self) -> None:
        """
        A task that waits a moment for its host has no record of that.
        """
        brief = ended(outcome=Retry(after=0.9, attempted=False))
        again = ended(outcome=Retry(after=0.9))
        self.assertEqual([each.outcome for each in recorded(brief, again)], ["retry"])

    def test_presentable(self) -> None:
        """
        Texts are short, harmless, and without secrets.
        """
        url = "http://user:secret@host/a?secret=1"
        tasks = [
            ended(uuid=None, url=url, status=0),
            ended(uuid=7, url=None, status=10**6),
            ended(uuid=10**5000, status="200"),
            ended(uuid="\x1b[2J", url="/\n" + "x" * 9000, outcome=Discard("no")),
            ended(answer="a\x00b\n\ud800" + "x" * 9000, why="a\nb\ud800"),
        ]
        found = recorded(*tasks)
        self.assertEqual([each.uuid for each in found], ["", "7", "?", "?[2J", UUID])
        self.assertEqual(found[0].url, "http://...@host/a?...")
        self.assertEqual(found[1].url, "?")
        self.assertEqual([found[0].status, found[1].status], [None, None])
        self.assertIsNone(found[2].status)
        self.assertLessEqual(len(found[3].url), 400)
        self.assertEqual(len(found[4].answer), ANSWER)
        self.assertTrue(found[4].answer.startswith("a?b\n?x"))
        self.assertEqual(found[4].reason, "a b\\ud800")
        self.assertEqual(len(recorded(ended(uuid="u" * 900))[0].uuid), 400)

    def test_queues(self) -> None:
        """
        The tasks of several queues come together, once.
        """
        recorder = Recorder()
        for queue in ("b", "a", "b"):
            recorder.of(queue)(ended())
        self.assertEqual(recorder.take().queue, ["b", "b", "a"])
        self.assertEqual(len(recorder.take()), 0)
        recorder.of("a")(ended())
        self.assertEqual(recorder.take().queue, ["a"])

    @QUICK
    @given(
        st.lists(
            st.builds(
                ended,
                uuid=UUIDS | st.none() | st.integers() | st.text(st.characters()),
                url=st.text(st.characters()) | st.none() | st.integers(),
                added=st.none() | st.integers(0, 2**53) | st.floats(0, 1e10),
                status=st.none() | st.integers(-5, 2**20),
                outcome=st.sampled_from(
                    [Done(), Retry(after=5), Discard("no"), Bury("no")]
                ),
                why=st.text(st.characters()),
                answer=st.text(st.characters()),
            ),
            max_size=4,
        )
    )
    def test_anything(self, tasks: list[EndedTask]) -> None:
        """
        Whatever is in a task, it can be written, and is read as it was.
        """
        batch = AttemptBatch(
            mediator="m", sequence=1, at=0.0, records=recorded(*tasks), total=1
        )
        self.assertEqual(decode_batch(encode_batch(batch)), batch)
