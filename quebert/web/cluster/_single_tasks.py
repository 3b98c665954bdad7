"""
Explains, cancels and runs one task, by L{quebert.operations}: gives the values of the
API, and notes changes in the history.

Theory of operation.  An AMQP client sees a message only by taking it for a moment, in
which no other client finds it.  So one look goes on at a time: else a task that is to
run now would not be found while the page asks why the task waits.  Few may wait to be
told why, so that changes need not wait for long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from quebert import operations
from quebert._lanes import Lanes
from quebert.errors import BrokerError, HistoryError
from quebert.events import AttemptRecord
from quebert.history import HistoryLedger, LifeRecord
from quebert.operations import BrokerAccess, Match, Progress
from quebert.web import ChangeView, WhyView
from quebert.web.cluster._live_cluster import LiveCluster

__all__ = ["SingleTasks"]

T = TypeVar("T")

#: Of these operations at a time; each looks at up to 2,000 messages.
AT_ONCE = 1
#: How many may wait to be told why a task waits.
MOST_WHYS = 4


class SingleTasks:
    """
    Asks about tasks, and cancels or runs them.

    @param now: gives the time of day.
    """

    def __init__(
        self,
        broker: BrokerAccess,
        live: LiveCluster,
        ledger: HistoryLedger,
        note: Callable[[Sequence[LifeRecord]], object],
        now: Callable[[], float],
    ) -> None:
        self._broker = broker
        self._live = live
        self._ledger = ledger
        self._note = note
        self._now = now
        self._lanes = Lanes(AT_ONCE)
        self._whys = 0

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        await self._lanes.acquire()
        try:
            return await work()
        finally:
            self._lanes.release()

    async def why(self, uuid: str, queue: str) -> WhyView:
        """
        Why a task waits.

        @param queue: the queue of the task; empty if that is not known.
        @raise ConfigError: the uuid cannot be one, or no queue is known.
        @raise BrokerError: the broker cannot be asked, or too many ask.
        """
        if self._whys >= MOST_WHYS:
            raise BrokerError(f"{self._whys} others ask why a task waits: ask again")
        self._whys += 1
        try:
            return await self._why(uuid, queue)
        finally:
            self._whys -= 1

    async def _why(self, uuid: str, queue: str) -> WhyView:
        attempts = await self._attempts(uuid, queue)
        seen = await self._live.view()
        found = await self._in_turn(
            lambda: operations.why(
                self._broker, uuid, queue or None, seen=seen, attempts=attempts
            )
        )
        return WhyView(
            first=found.first,
            every=found.reasons,
            queue=found.queue,
            unseen=tuple(found.unseen),
        )

    async def _attempts(self, uuid: str, queue: str) -> Sequence[AttemptRecord]:
        """
        The attempts at a task.  Another task, of another queue, may have the same uuid,
        and whoever asks may not see that queue.
        """
        try:
            found = await self._ledger.task(uuid)
        except HistoryError:
            return ()
        attempts = () if found is None else found.attempts
        return tuple(each for each in attempts if queue in ("", each.queue))

    async def cancel(self, queue: str, uuid: str, by: str) -> ChangeView:
        """
        Cancel a task.

        @raise ConfigError: the uuid cannot be one.
        @raise BrokerError: the broker refuses, or is lost half-way.
        """
        found = await self._in_turn(
            lambda: operations.cancel(self._broker, queue, uuid, by=by)
        )
        if found.result == operations.CANCELLED:
            record = LifeRecord(
                uuid=uuid,
                queue=queue,
                state="cancelled",
                at=self._now(),
                reason=f"by {by}",
            )
            self._note([record])
        return _change(found)

    async def cancel_matching(
        self, queue: str, matches: Sequence[Match], progress: Progress, by: str
    ) -> None:
        """
        Cancel all tasks that match.

        @raise BrokerError: the broker does not do it, or not all of it.
        """
        found = await operations.cancel_all(
            self._broker, queue, matches, by=by, progress=progress
        )
        progress.done = found.cancelled
        told = [*found.problems]
        if found.too_late:
            told.insert(0, f"{found.too_late} tasks are being attempted")
        if told:
            raise BrokerError("; ".join(told))

    async def run_now(self, queue: str, uuid: str) -> ChangeView:
        """
        Run a delayed task now.

        @raise ConfigError: the uuid cannot be one.
        @raise BrokerError: the broker refuses, or is lost half-way.
        """
        found = await self._in_turn(
            lambda: operations.run_now(self._broker, queue, uuid)
        )
        return _change(found)


def _change(found: Any) -> ChangeView:
    problems = [*found.problems]
    return ChangeView(result=found.result, text="; ".join([found.text, *problems]))
