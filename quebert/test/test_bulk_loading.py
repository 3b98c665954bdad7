"""
A run, over a broker that only pretends: where it goes on, what it counts, and how it
ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from quebert._waiters import Waiters
from quebert.amqp.wire import Unconfirmed
from quebert.bulk import _batches, _loading
from quebert.bulk._batches import Batch, RecordReader
from quebert.bulk._count import Count
from quebert.bulk._formats import JSONLines
from quebert.bulk._load import may_go_on
from quebert.bulk._loading import Loading
from quebert.bulk._patience import GRACE, PATIENCE
from quebert.bulk._records import RecordSplitter, is_line
from quebert.bulk._rejects import Rejects
from quebert.bulk._sending import Problem
from quebert.bulk._source import Source
from quebert.bulk._state import LoadState
from quebert.errors import (
    BrokerError,
    BrokerRefused,
    ChannelLost,
    ConfigError,
    PublishRefused,
    ReplyCode,
    Unroutable,
)
from quebert.test.mediating import raising

# The number of a token that is not there; the run goes on with another connection.
_GOES_ON = -1
Answer = Callable[[Batch], Any]


class FakeWire:
    """
    A connection with a clock that may be blocked.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.blocked: str | None = None
        self.closed = False
        self._waiters: Waiters[None] = Waiters()

    def when_unblocked(self) -> Deferred[None]:
        """
        Fires when it is not blocked.
        """
        if self.blocked is None or self.closed:
            return succeed(None)
        return self._waiters.wait()

    def close(self) -> None:
        """
        The connection is lost.
        """
        self.closed = True
        self._waiters.fire(None)

    def unblock(self) -> None:
        """
        It takes messages again.
        """
        self.blocked = None
        self._waiters.fire(None)


class FakeSending:
    """
    Takes batches as the test says.

    @ivar sent: the numbers of the batches, and the lines in each.
    @ivar ahead: the lines of each batch whose messages were sent ahead, and the number
        of the last batch by then.
    """

    has_token = True

    def __init__(self, last: int | None, answer: Answer) -> None:
        self.last = None if last == _GOES_ON else last
        self.sent: list[tuple[int, list[int]]] = []
        self.ahead: list[tuple[int, list[int]]] = []
        self.forgotten = False
        self._answer = answer

    def prepare(self, batch: Batch) -> None:
        """
        Note it.
        """
        lines = [each.record.line for each in batch.entries]
        self.ahead.append((self.sent[-1][0], lines))

    def send(self, batch: Batch, number: int) -> Deferred[list[Problem]]:
        """
        Note it, and answer.
        """
        self.sent.append((number, [each.record.line for each in batch.entries]))
        answer = self._answer(batch)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    async def forget(self) -> None:
        """
        All is done.
        """
        self.forgotten = True


def taken(batch: Batch) -> list[Problem]:
    """
    The broker takes all.
    """
    return []


def _next_answer(answers: list[Any], batch: Batch) -> Any:
    return answers.pop()


class LoadingTests(SynchronousTestCase):
    """
    L{Loading}, with batches of two records.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.file = self.folder / "file"
        self.patch(_batches, "BATCH", 2)
        self.wire = FakeWire()
        self.told: list[str] = []

    def write(self, *lines: str) -> None:
        """
        The file.  An empty text stands for a good line, and any other for itself.
        """
        self.file.write_text("".join((each or '{"url": "/"}') + "\n" for each in lines))

    def begin(
        self, last: int | None = None, answer: Answer = taken
    ) -> tuple[Deferred[None], FakeSending, Count, Loading]:
        """
        Begin a run.
        """
        descriptor = os.open(self.file, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        state = LoadState.open(self.folder / "state", "here")
        self.addCleanup(state.close)
        rejects = Rejects(self.folder / "rejects")
        self.addCleanup(rejects.close)
        source = Source(
            self.wire.clock, "the file", descriptor, RecordSplitter(is_line)
        )
        reader = RecordReader(JSONLines(), state.id, {}, lambda *_: None, lambda: 5.0)
        count, sending = Count(), FakeSending(last, answer)
        loading = Loading(
            source, reader, state, rejects, count,
            tell=self.told.append, step=lambda: None,
        )  # fmt: skip
        wire: Any = self.wire
        fake: Any = sending
        running = Deferred.fromCoroutine(loading.run(wire, fake))

        def ended(result: Any) -> Any:
            state.close()
            return result

        self.end_state = state.close
        if last != _GOES_ON:
            running.addBoth(ended)
        self.pump()
        return running, sending, count, loading

    def go_on(
        self, loading: Loading, last: int | None, answer: Answer = taken
    ) -> tuple[Deferred[None], FakeSending]:
        """
        Have a run go on with another connection.
        """
        self.wire = FakeWire()
        wire: Any = self.wire
        sending = FakeSending(last, answer)
        fake: Any = sending
        running = Deferred.fromCoroutine(loading.run(wire, fake))
        self.pump()
        return running, sending

    def pump(self, seconds: float = 0.0) -> None:
        """
        Let the reactor have some turns.
        """
        for _ in range(20):
            self.wire.clock.advance(0)
        self.wire.clock.advance(seconds)
        for _ in range(20):
            self.wire.clock.advance(0)

    def test_ahead(self) -> None:
        """
        While the broker carries out a batch, the messages of the next one are sent.
        """
        self.write("", "", "", "", "")
        answers: list[Deferred[list[Problem]]] = []

        def later(batch: Batch) -> Deferred[list[Problem]]:
            answers.append(Deferred())
            return answers[-1]

        running, sending, _, _ = self.begin(answer=later)
        self.assertEqual(sending.ahead, [(1, [3, 4])])
        self.assertEqual(sending.sent, [(1, [1, 2])])
        for _ in range(3):
            answers.pop().callback([])
            self.pump()
        self.successResultOf(running)
        self.assertEqual(sending.ahead, [(1, [3, 4]), (2, [5])])
        self.assertEqual(sending.sent, [(1, [1, 2]), (2, [3, 4]), (3, [5])])

    def rejected(self) -> int:
        """
        How many lines the file of refused ones has.
        """
        path = self.folder / "rejects"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def test_all(self) -> None:
        """
        All lines are sent in batches; empty lines do not count.
        """
        self.write("", "", " ", "", "bad", "", "bad", "bad", "bad")
        running, sending, count, _ = self.begin()
        self.successResultOf(running)
        self.assertEqual(sending.sent, [(1, [1, 2]), (2, [4]), (3, [6])])
        self.assertEqual((count.added, count.refused, count.read), (4, 4, 8))
        self.assertTrue(count.ended and sending.forgotten)
        self.assertEqual(self.rejected(), 4)
        running, sending, count, _ = self.begin()
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.there, count.refused), ([], 4, 4))
        self.assertEqual((count.read, self.rejected()), (8, 4))

    def lose_second_batch(self) -> None:
        """
        A run that ends while the second batch is on its way.
        """
        self.write("", "bad", "bad", "", "", "")
        answers = iter([succeed([]), fail(ChannelLost("lost"))])
        running, *_ = self.begin(answer=lambda batch: next(answers))
        self.failureResultOf(running, ChannelLost)

    def test_carried_out(self) -> None:
        """
        A batch that the token knows is not sent again, and its refused lines stay.
        """
        self.lose_second_batch()
        running, sending, count, _ = self.begin(last=2)
        self.successResultOf(running)
        self.assertEqual(sending.sent, [(3, [5, 6])])
        self.assertEqual((count.added, count.there, count.refused), (2, 2, 2))
        self.assertEqual((count.again, self.rejected()), (0, 2))

    def test_not_carried_out(self) -> None:
        """
        A batch that the token does not know is sent, and its refused lines are written
        once.
        """
        self.lose_second_batch()
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual(sending.sent, [(2, [4]), (3, [5, 6])])
        self.assertEqual((count.added, count.there, count.refused), (3, 1, 2))
        self.assertEqual((count.again, self.rejected()), (0, 2))

    def test_goes_on(self) -> None:
        """
        After the connection was lost, the same run goes on with another one: with the
        batch that was on its way, or behind it.
        """
        lost = ChannelLost("lost")
        table: list[tuple[int | None, list[tuple[int, list[int]]], int]] = [
            (2, [(3, [5, 6]), (4, [7])], 0),
            (1, [(2, [4]), (3, [5, 6]), (4, [7])], 0),
            (None, [(3, [4]), (4, [5, 6]), (5, [7])], 2),
        ]
        for last, sent, again in table:
            for name in ("state", "rejects"):
                (self.folder / name).unlink(missing_ok=True)
            self.write("", "bad", "bad", "", "", "", "")
            answers: list[Deferred[list[Problem]]] = [fail(lost), succeed([])]
            running, _, count, loading = self.begin(
                _GOES_ON, partial(_next_answer, answers)
            )
            self.assertIs(self.failureResultOf(running).value, lost)
            running, sending = self.go_on(loading, last)
            self.successResultOf(running)
            self.assertEqual(sending.sent, sent)
            self.assertEqual((count.added, count.refused, count.there), (5, 2, 0))
            self.assertEqual((count.again, self.rejected()), (again, 2))
            self.assertTrue(count.ended)
            self.end_state()

    def test_goes_on_again(self) -> None:
        """
        It goes on as often as connections are lost, also at the end.
        """
        self.write("", "", "")
        lost = ChannelLost("lost")
        running, _, count, loading = self.begin(_GOES_ON, lambda batch: fail(lost))
        self.failureResultOf(running, ChannelLost)
        running, _ = self.go_on(loading, 0, lambda batch: fail(lost))
        self.failureResultOf(running, ChannelLost)
        running, sending = self.go_on(loading, 1, lambda batch: fail(lost))
        self.failureResultOf(running, ChannelLost)
        self.assertEqual(sending.sent, [(2, [3])])
        running, sending = self.go_on(loading, 2)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.added, count.read), ([], 3, 3))
        self.assertTrue(sending.forgotten)
        self.end_state()

    def test_unknown(self) -> None:
        """
        Without a token the batch is sent again, and that is told.
        """
        self.lose_second_batch()
        running, sending, count, _ = self.begin(last=None)
        self.successResultOf(running)
        self.assertEqual(sending.sent, [(3, [4]), (4, [5, 6])])
        self.assertEqual((count.again, count.read), (2, 6))

    def test_unknown_again(self) -> None:
        """
        A batch that is sent again and again is counted once.
        """
        self.write("", "")
        lost = ChannelLost("lost")
        running, _, count, loading = self.begin(_GOES_ON, lambda batch: fail(lost))
        self.failureResultOf(running, ChannelLost)
        for _ in range(2):
            running, _ = self.go_on(loading, None, lambda batch: fail(lost))
            self.failureResultOf(running, ChannelLost)
        running, sending = self.go_on(loading, None)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.again), ([(4, [1, 2])], 2))
        self.end_state()

    def test_in_part(self) -> None:
        """
        A batch that a full queue has refused in part is sent again, whatever the token
        says.
        """
        self.write("", "")
        full = BrokerRefused(ReplyCode.PRECONDITION_FAILED, "partial tx completion")
        running, *_ = self.begin(answer=lambda batch: fail(full))
        self.assertIs(self.failureResultOf(running).value, full)
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.again), ([(2, [1, 2])], 2))

    def test_fails_later(self) -> None:
        """
        A batch may fail while it is waited for.
        """
        self.write("", "")
        answer: Deferred[list[Problem]] = Deferred()
        running, *_ = self.begin(answer=lambda batch: answer)
        full = BrokerRefused(ReplyCode.PRECONDITION_FAILED, "partial tx completion")
        answer.errback(full)
        self.assertIs(self.failureResultOf(running).value, full)
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.again), ([(2, [1, 2])], 2))

    def test_old_state(self) -> None:
        """
        A state that was copied back from an earlier time is refused: its lines would be
        added twice.
        """
        self.write("", "")
        running, sending, *_ = self.begin(last=7)
        told = str(self.failureResultOf(running, ConfigError).value)
        self.assertIn("older than what the broker has", told)
        self.assertEqual(sending.sent, [])

    def test_other_file(self) -> None:
        """
        A file whose first lines have changed, or are gone, is refused.
        """
        self.write("", "", "")
        self.successResultOf(self.begin()[0])
        for lines in (("", '{"url": "/x"}', ""), ("", ""), ()):
            self.write(*lines)
            running, sending, count, _ = self.begin()
            told = str(self.failureResultOf(running, ConfigError).value)
            self.assertIn("the first 3 lines of the file are not those", told)
            self.assertEqual((sending.sent, count.read), ([], 0))

    def test_appended(self) -> None:
        """
        Lines that were appended are added, also where the last one had no line break.
        """
        self.file.write_text('{"url": "/"}')
        self.successResultOf(self.begin()[0])
        self.file.write_text('{"url": "/"}\n{"url": "/"}')
        running, sending, count, _ = self.begin()
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.there), ([(2, [2])], 1))

    def test_refused_by_the_broker(self) -> None:
        """
        What the broker does not take is refused, and the rest goes on.
        """
        self.write("", "", "")
        why = Unroutable("no queue")
        running, _, count, _ = self.begin(
            answer=lambda batch: [(batch.entries[-1], why)] if batch.read > 1 else []
        )
        self.successResultOf(running)
        self.assertEqual((count.added, count.refused, self.rejected()), (2, 1, 1))

    def test_refused_lines_nowhere(self) -> None:
        """
        Where the refused lines cannot be written, the run ends, and the next one sends
        the batch again: it must not take the refused ones for added.
        """
        self.write("", "")
        path, why = self.folder / "rejects", Unroutable("no queue")
        path.mkdir()
        running, _, count, _ = self.begin(
            answer=lambda batch: [(batch.entries[-1], why)]
        )
        told = str(self.failureResultOf(running, ConfigError).value)
        self.assertIn("the file of refused lines", told)
        self.assertEqual((count.added, count.refused), (1, 0))
        path.rmdir()
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.again), ([(2, [1, 2])], 2))

    def test_refused_lines_in_no_file(self) -> None:
        """
        Where the state file cannot be written, either, the lines are told.
        """
        self.write("", "")
        (self.folder / "rejects").mkdir()
        why = "the state file cannot be written"
        self.patch(LoadState, "unsure", raising(ConfigError, why))
        running, *_ = self.begin(
            answer=lambda batch: [(batch.entries[-1], Unroutable("no queue"))]
        )
        told = str(self.failureResultOf(running, ConfigError).value)
        self.assertIn("no queue took the lines 2: add them again", told)

    def test_another_connection(self) -> None:
        """
        It goes on after what another connection may mend: no user is given a
        permission by that.
        """
        refused = BrokerRefused(ReplyCode.ACCESS_REFUSED, "ACCESS_REFUSED")
        failed = BrokerRefused(ReplyCode.INTERNAL_ERROR, "INTERNAL_ERROR")
        for error, goes_on in (
            (ChannelLost("lost"), True),
            (Unconfirmed(ChannelLost("lost")), True),
            (failed, True),
            (Unconfirmed(failed), True),
            (refused, False),
            (Unconfirmed(refused), False),
            (BrokerError("no"), False),
        ):
            self.assertEqual(may_go_on(error), goes_on, error)

    def test_nothing_taken(self) -> None:
        """
        Where the broker takes none of a batch, the run ends, and goes on with it.
        """
        self.write("", "bad", "")
        why = PublishRefused("full")
        running, _, count, _ = self.begin(
            answer=lambda batch: [(each, why) for each in batch.entries]
        )
        told = str(self.failureResultOf(running, BrokerError).value)
        expected = "the file, line 1, and all that was sent with it: full"
        self.assertEqual(told, expected)
        self.assertEqual((count.read, self.rejected()), (0, 0))
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual(sending.sent, [(2, [1]), (3, [3])])
        self.assertEqual((count.added, count.refused, self.rejected()), (2, 1, 1))

    def test_last_ones_not_taken(self) -> None:
        """
        Lines that no queue takes are refused also where no other line is sent with
        them, unless they are many.  A queue that is full takes none of the others.
        """
        self.write("", "", "", "", "")
        no_queue, full = Unroutable("no queue"), PublishRefused("full")
        for why, most, told in (
            (no_queue, 3, ""),
            (no_queue, 2, "the file, line 5, and all"),
            (full, 3, "the file, line 3, and all"),
        ):
            for each in ("state", "rejects"):
                (self.folder / each).unlink(missing_ok=True)
            self.patch(_loading, "_IN_VAIN", most)
            running, _, count, _ = self.begin(
                answer=lambda batch: [
                    (each, why)  # noqa: B023
                    for each in batch.entries
                    if each.record.line > 2
                ]
            )
            if told:
                error = self.failureResultOf(running, BrokerError).value
                self.assertIn(told, str(error))
            else:
                self.successResultOf(running)
                counts = (count.added, count.refused, self.rejected())
                self.assertEqual(counts, (2, 3, 3))

    def test_blocked(self) -> None:
        """
        While the broker blocks, nothing is sent, and that is said once for a while.
        """
        self.write("")
        self.wire.blocked = "low on memory"
        running, sending, *_ = self.begin()
        for _ in range(5):
            self.pump(PATIENCE)
        self.assertNoResult(running)
        self.assertEqual(sending.sent, [])
        text = "the broker takes no messages for now (low on memory): waiting"
        self.assertEqual(self.told, [text])
        self.wire.unblock()
        self.pump()
        self.successResultOf(running)

    def test_lost_while_blocked(self) -> None:
        """
        Where the connection is lost while the broker blocks, the run ends.
        """
        self.write("")
        self.wire.blocked = "low on memory"
        lost = ChannelLost("lost")
        running, *_ = self.begin(answer=lambda batch: fail(lost))
        self.assertNoResult(running)
        self.wire.close()
        self.pump()
        self.assertIs(self.failureResultOf(running).value, lost)

    def test_blocked_meanwhile(self) -> None:
        """
        A batch that was sent has all the time while the broker blocks.
        """
        self.write("")
        answer: Deferred[list[Problem]] = Deferred()
        running, *_ = self.begin(answer=lambda batch: answer)
        self.wire.blocked = "low on disk"
        for _ in range(int(3 * PATIENCE)):
            self.pump(1)
        self.assertNoResult(running)
        self.assertEqual(len(self.told), 1)
        answer.callback([])
        self.pump()
        self.successResultOf(running)

    def test_unreadable(self) -> None:
        """
        Where the file cannot be read on, it is known what became of the last batch.
        """
        self.write("", "")
        answer: Deferred[list[Problem]] = Deferred()
        failing = [False]
        fill = Source.fill

        async def broken(source: Source) -> bool:
            if failing:
                failing.pop()
                return await fill(source)
            raise ConfigError("the disk is gone")

        self.patch(Source, "fill", broken)
        running, _, count, _ = self.begin(answer=lambda batch: answer)
        self.assertNoResult(running)
        answer.callback([])
        self.pump()
        told = str(self.failureResultOf(running, ConfigError).value)
        self.assertEqual((told, count.added), ("the disk is gone", 2))

    def test_no_answer(self) -> None:
        """
        Without an answer the run ends after a while.
        """
        self.write("")
        answer: Deferred[list[Problem]] = Deferred()
        running, *_ = self.begin(answer=lambda batch: answer)
        for _ in range(int(PATIENCE) + 1):
            self.pump(1)
        told = str(self.failureResultOf(running, BrokerError).value)
        self.assertIn("nobody knows whether the broker has what was sent last", told)
        answer.errback(ChannelLost("it is late"))  # which is nobody's problem any more

    def test_told_to_end(self) -> None:
        """
        When it is told to end, the last batch gets a while, and no more is sent.
        """
        self.write("", "", "", "")
        answer: Deferred[list[Problem]] = Deferred()
        running, sending, count, loading = self.begin(answer=lambda batch: answer)
        loading.end()
        self.pump(GRACE / 2)
        answer.callback([])
        self.pump()
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.added), ([(1, [1, 2])], 2))
        self.assertFalse(count.ended or sending.forgotten)
        running, sending, count, _ = self.begin(last=1)
        self.successResultOf(running)
        self.assertEqual((sending.sent, count.there), ([(2, [3, 4])], 2))

    def test_told_to_end_in_vain(self) -> None:
        """
        It does not wait longer than that.
        """
        self.write("")
        answer: Deferred[list[Problem]] = Deferred()
        running, _, _, loading = self.begin(answer=lambda batch: answer)
        loading.end()
        for _ in range(int(GRACE) * 2 + 2):
            self.pump(1)
        self.failureResultOf(running, BrokerError)

    def test_told_while_blocked(self) -> None:
        """
        It ends while the broker blocks, and what was read is sent by the next run.
        """
        self.write("bad", "")
        self.wire.blocked = "low on memory"
        running, sending, _, loading = self.begin()
        loading.end()
        self.pump(2)
        self.successResultOf(running)
        self.assertEqual((sending.sent, self.rejected()), ([], 0))
        self.wire.unblock()
        running, sending, count, _ = self.begin()
        self.successResultOf(running)
        self.assertEqual((count.added, count.refused, self.rejected()), (1, 1, 1))
