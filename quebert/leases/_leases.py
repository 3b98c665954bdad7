"""
What executors ask for with a lease, and what goes on by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quebert._log import Logger
from quebert.errors import LeaseLost, PublishRefused, QuebertError
from quebert.leases._boundaries import LeaseBroker, LeaseRows
from quebert.leases._states import (
    COMPLETE,
    DELAY,
    DUE,
    EARLY,
    ENDED,
    ENDING,
    FAIL,
    HELD,
    PUBLISH,
    RENEW,
    RUN_OUT,
    TELL,
)
from quebert.leases._values import Lease, LeaseChange, LeasedMessage

__all__ = ["KEPT", "Leases"]

#: Seconds for which one knows of a lease that is over.
KEPT = 86_400.0
#: Seconds after which a message that RabbitMQ does not take is put back again.
AGAIN = 10.0
_DONE_ALREADY = "the task is completed already"
# Rows that one goes on with at a time.
_FEW = 500


class Leases:
    """
    All leases.

    @param now: gives the seconds since the epoch.
    @param kept: seconds for which one knows of a lease that is over.
    """

    log = Logger()

    def __init__(
        self,
        rows: LeaseRows,
        broker: LeaseBroker,
        now: Callable[[], float],
        kept: float = KEPT,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._now = now
        self._kept = kept

    async def held(self, messages: Sequence[LeasedMessage]) -> None:
        """
        Messages have come from C{quebert.leases}; returns once they are in rows.

        @raise TaskStoreError: the database does not answer.
        """
        await self._rows.hold(messages)

    # -- What executors ask for

    async def renew(self, id: str, seconds: float) -> Lease:
        """
        Have a lease run out later.

        @param seconds: from now; fewer where it would be beyond its last time.
        @raise LeaseLost: it has run out, or the task is done.
        """
        row = await self._rows.find(id)
        if row is None or row.message is None:
            raise LeaseLost(_lost(id, row))
        until = min(self._now() + seconds, row.message.last)
        return await self._changed(LeaseChange(id=id, event=RENEW, until=until))

    async def complete(self, id: str, identity: bytes) -> Lease:
        """
        The task is done.  Of all who complete it one is told so, and others that they
        have lost the lease.

        @param identity: of the message, as the id has it.
        @raise LeaseLost: the lease has run out, or the task is done.
        """
        until = self._now() + self._kept
        change = LeaseChange(id=id, event=COMPLETE, until=until)
        row = await self._rows.change(change)
        if row is not None:
            return await self._completed(row)
        early = Lease(id=id, identity=identity, state=EARLY, until=until)
        written = await self._rows.complete_early(early)
        if written:
            for each in written[1:]:
                await self._completed(each)
            return written[0]
        row = await self._rows.change(change)
        if row is not None:  # its message has come just now
            return await self._completed(row)
        found = await self._rows.find(id)
        raise LeaseLost(_DONE_ALREADY if found is None else _lost(id, found))

    async def _completed(self, row: Lease) -> Lease:
        try:
            return await self._told(row)
        except QuebertError as e:  # it is completed all the same, and is told later
            self.log.warn("The end of a task cannot be told yet: {why}", why=e)
            return row

    async def fail(self, id: str, seconds: float | None = None) -> Lease:
        """
        The task is not done: it is attempted again.

        @param seconds: after so many; C{None} leaves that to the mediator that gave it.
        @raise LeaseLost: it has run out, or the task is done.
        """
        row = await self._rows.find(id)
        if row is None or row.message is None:
            raise LeaseLost(_lost(id, row))
        after = row.message.backoff if seconds is None else seconds
        until = self._now() + after
        return await self._changed(LeaseChange(id=id, event=FAIL, until=until))

    async def _changed(self, change: LeaseChange) -> Lease:
        row = await self._rows.change(change)
        if row is None:
            raise LeaseLost(_lost(change.id, await self._rows.find(change.id)))
        return row

    # -- What goes on by itself

    async def go_on(self) -> int:
        """
        Put back some messages whose leases have run out, or failed; tell the end of
        some tasks; and remove rows.  To be called from time to time.

        @return: how many there were; 0 where all is done, or RabbitMQ takes nothing.
        @raise TaskStoreError: the database does not answer.
        @raise QuebertError: the end of a task cannot be told.
        """
        now = self._now()
        run_out = await self._rows.page(HELD, now, _FEW)
        for each in run_out:
            await self._rows.change(LeaseChange(id=each.id, event=RUN_OUT, until=now))
        due = await self._rows.page(DUE, now, _FEW)
        put = await self._put_back(due)
        ending = await self._rows.page(ENDING, now + self._kept, _FEW)
        refused: list[PublishRefused] = []
        for each in ending:
            try:
                await self._told(each)
            except PublishRefused as e:  # its queue is full, and others are not
                refused.append(e)
        done = put + len(ending) + await self._rows.sweep(now)
        if refused:
            raise refused[0]
        return done

    async def _put_back(self, due: Sequence[Lease]) -> int:
        messages = [each.message for each in due if each.message is not None]
        if not messages:
            return 0
        problems = await self._broker.put_back(messages)
        now = self._now()
        for message, problem in zip(messages, problems, strict=True):
            if problem is None:
                event, until = PUBLISH, now + self._kept
            else:
                event, until = DELAY, now + AGAIN
                self.log.warn(
                    "Task {uuid} cannot be put back into queue {queue!r}: {why}",
                    uuid=message.uuid,
                    queue=message.queue,
                    why=problem,
                )
            change = LeaseChange(id=message.id, event=event, until=until)
            await self._rows.change(change)
        return problems.count(None)

    async def _told(self, row: Lease) -> Lease:
        if row.message is not None:
            await self._broker.tell_end([row.message])
        change = LeaseChange(id=row.id, event=TELL, until=row.until)
        return await self._rows.change(change) or row


def _lost(id: str, row: Lease | None) -> str:
    """
    Why a lease is lost, in one sentence.
    """
    if row is None:
        return (
            f"there is no lease {id:.16}…: its message has not come yet, or it is over"
        )
    if row.state in (ENDING, EARLY, ENDED):
        return _DONE_ALREADY
    return "the lease has run out, and the task is attempted again"
