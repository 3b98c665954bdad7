"""
Changes the real cluster by L{quebert.operations}, and notes that in the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from quebert import operations
from quebert._log import Logger
from quebert._text import shown_url
from quebert.errors import HistoryError
from quebert.history import HistoryLedger, LifeRecord
from quebert.operations import BrokerAccess, DeadLetter, Match, Progress
from quebert.web.cluster._dead_letters import DeadLetterBook
from quebert.web.cluster._single_tasks import SingleTasks

__all__ = ["LifeNotes", "RealControls"]

#: Seconds after which a purge takes out no more tasks: a request is answered within 30.
PURGING = 20.0
# Events that are written to the history at a time.
_MANY = 500


class LifeNotes:
    """
    Writes changes of tasks to the history.

    @param now: gives the time of day.
    """

    log = Logger()

    def __init__(self, ledger: HistoryLedger, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._now = now

    def write(self, records: Sequence[LifeRecord]) -> None:
        """
        Write them, some time.  If the history fails, the change is done all the same.
        """
        if records:
            Deferred.fromCoroutine(self._write(records))

    async def _write(self, records: Sequence[LifeRecord]) -> None:
        try:
            await self._ledger.record_lives(records)
        except HistoryError as e:
            self.log.warn("What was done is not in the history: {why}", why=e)

    def of_letter(self, state: str, queue: str, letter: DeadLetter) -> LifeRecord:
        """
        The record of a change of a dead letter, now.
        """
        url = shown_url(letter.url)
        return LifeRecord(
            uuid=letter.uuid, queue=queue, state=state, at=self._now(), url=url
        )


class RealControls:
    """
    Changes the cluster.

    @param tasks: changes single tasks.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        letters: DeadLetterBook,
        tasks: SingleTasks,
        notes: LifeNotes,
    ) -> None:
        self._broker = broker
        self._letters = letters
        self._notes = notes
        self.cancel = tasks.cancel
        self.cancel_matching = tasks.cancel_matching
        self.run_now = tasks.run_now

    async def pause(self, queue: str, by: str) -> Sequence[str]:
        """
        Pause a queue; gives the problems.
        """
        found = await operations.pause(self._broker, queue, missing_ok=False, by=by)
        return found.problems

    async def resume(self, queue: str) -> Sequence[str]:
        """
        Have a queue go on; gives the problems.
        """
        found = await operations.resume(self._broker, queue)
        return found.problems

    async def purge(self, queue: str) -> Progress:
        """
        Drop the tasks that wait, or as many as can be dropped in L{PURGING} seconds.
        """
        progress = Progress()
        await operations.purge(self._broker, queue, progress, limit=PURGING)
        return progress

    async def redrive(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        """
        Put dead letters back.
        """
        noting = _Noting(self._notes, "redriven", queue, progress)
        try:
            await operations.redrive(
                self._broker, queue, [*matches, noting.match], progress
            )
        finally:
            self._letters.forget(queue)
            noting.end()

    async def discard(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        """
        Drop dead letters.
        """
        noting = _Noting(self._notes, "discarded", queue, progress)
        try:
            await operations.discard(
                self._broker, queue, [*matches, noting.match], progress
            )
        finally:
            self._letters.forget(queue)
            noting.end()


class _Noting:
    """
    Notes which dead letters leave their queue.  Its C{match} stands behind all others
    and matches always, so it sees the letters that are about to leave, in their order;
    the progress then says how many of them have left.
    """

    def __init__(
        self, notes: LifeNotes, state: str, queue: str, progress: Progress
    ) -> None:
        self._notes = notes
        self._state = state
        self._queue = queue
        self._leaving: deque[LifeRecord] = deque()
        self._left: list[LifeRecord] = []
        self._done = 0
        self.match: Any = self._match
        progress.watch = self._step

    def _match(self, letter: DeadLetter) -> bool:
        self._leaving.append(self._notes.of_letter(self._state, self._queue, letter))
        return True

    def _step(self, progress: Progress) -> None:
        while self._done < progress.done and self._leaving:
            self._left.append(self._leaving.popleft())
            self._done += 1
        if len(self._left) >= _MANY:
            self.end()

    def end(self) -> None:
        """
        Write down those that have left.
        """
        records, self._left = self._left, []
        self._notes.write(records)
