"""
What can be changed, done by L{quebert.operations}, and noted in the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from quebert import operations
from quebert._log import Logger
from quebert._text import shown_url
from quebert.errors import HistoryError
from quebert.history import HistoryLedger, LifeRecord
from quebert.operations import BrokerAccess, DeadLetter, Match, Progress
from quebert.web import ChangeView, Ticking
from quebert.web.cluster._dead_letters import DeadLetterBook

__all__ = ["RealControls"]

# Events that are written to the history at a time.
_MANY = 500

One = Callable[[BrokerAccess, str, str], Awaitable[ChangeView]]
Many = Callable[[BrokerAccess, str, Sequence[Match], Any], Awaitable[object]]


class RealControls:
    """
    @param cancel_one: cancels the task with a uuid in a queue.
    @param cancel_some: cancels those of a queue that match.
    @param run_one: runs a delayed task now.
    """

    log = Logger()

    def __init__(
        self,
        broker: BrokerAccess,
        ledger: HistoryLedger,
        letters: DeadLetterBook,
        now: Callable[[], float],
        *,
        cancel_one: One,
        cancel_some: Many,
        run_one: One,
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._letters = letters
        self._now = now
        self._cancel_one = cancel_one
        self._cancel_some = cancel_some
        self._run_one = run_one

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

    async def purge(self, queue: str) -> int:
        """
        Drop what waits; gives how many messages.
        """
        progress = Progress()
        await operations.purge(self._broker, queue, progress)
        return progress.done

    async def redrive(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        """
        Put dead letters back.
        """
        noting = _Noting(self, "redriven", queue, progress)
        try:
            await operations.redrive(
                self._broker, queue, [*matches, noting.match], progress
            )
        finally:
            self._letters.forget(queue)
            await noting.end()

    async def discard(
        self, queue: str, matches: Sequence[Match], progress: Progress
    ) -> None:
        """
        Drop dead letters.
        """
        noting = _Noting(self, "discarded", queue, progress)
        try:
            await operations.discard(
                self._broker, queue, [*matches, noting.match], progress
            )
        finally:
            self._letters.forget(queue)
            await noting.end()

    async def cancel(self, queue: str, uuid: str) -> ChangeView:
        """
        Have a task never be attempted.
        """
        return await self._cancel_one(self._broker, queue, uuid)

    async def cancel_matching(
        self, queue: str, matches: Sequence[Match], progress: Ticking
    ) -> None:
        """
        Have all tasks that match never be attempted.
        """
        await self._cancel_some(self._broker, queue, matches, progress)

    async def run_now(self, queue: str, uuid: str) -> ChangeView:
        """
        Have a delayed task be attempted now.
        """
        return await self._run_one(self._broker, queue, uuid)

    async def note(self, records: Sequence[LifeRecord]) -> None:
        """
        Write to the history what was done; without the history, it is done all the
        same.
        """
        try:
            await self._ledger.record_lives(records)
        except HistoryError as e:
            self.log.warn("What was done is not in the history: {why}", why=e)

    def record(self, state: str, queue: str, letter: DeadLetter) -> LifeRecord:
        """
        What happens to a dead letter now.
        """
        url = shown_url(letter.url)
        return LifeRecord(
            uuid=letter.uuid, queue=queue, state=state, at=self._now(), url=url
        )


class _Noting:
    """
    Notes which dead letters leave.  It asks for nothing, and is asked last whether one
    matches; the progress then tells how many have left.  Some are on their way at a
    time, in their order.
    """

    def __init__(
        self, controls: RealControls, state: str, queue: str, progress: Progress
    ) -> None:
        self._controls = controls
        self._state = state
        self._queue = queue
        self._leaving: deque[LifeRecord] = deque()
        self._left: list[LifeRecord] = []
        self._done = 0
        self.match: Any = self._match
        progress.watch = self._step

    def _match(self, letter: DeadLetter) -> bool:
        self._leaving.append(self._controls.record(self._state, self._queue, letter))
        return True

    def _step(self, progress: Progress) -> None:
        while self._done < progress.done and self._leaving:
            self._left.append(self._leaving.popleft())
            self._done += 1
        if len(self._left) >= _MANY:
            Deferred.fromCoroutine(self.end())

    async def end(self) -> None:
        """
        Write down those that have left.
        """
        records, self._left = self._left, []
        if records:
            await self._controls.note(records)
