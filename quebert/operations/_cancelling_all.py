"""
Cancelling all tasks that match: those that wait in the broker are taken out, and those
that mediators have are cancelled by their uuids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from quebert import task as tasks
from quebert.amqp import Message
from quebert.amqp.coordination import FIND, Question, ask_mediators
from quebert.amqp.watch import HeldTask
from quebert.operations._access import BrokerAccess
from quebert.operations._browsing import letter_of
from quebert.operations._cancel_events import CancelEvents
from quebert.operations._cancelled import TOO_LATE, of_held, unsure
from quebert.operations._dead_letter import DeadLetter
from quebert.operations._marking import Marking
from quebert.operations._matching import Match, check_waiting, matched
from quebert.operations._progress import Progress
from quebert.operations._taking import Taking, check_queue

if TYPE_CHECKING:
    from quebert.amqp.wire import Wire

__all__ = ["CancelledAll", "cancel_all"]

# Uuids in one question.
_AT_ONCE = 500
# More than there are.
_ALL = 2**62


@attrs.frozen
class CancelledAll:
    """
    The result of cancelling all tasks that match.

    @ivar cancelled: how many are not attempted, or, if they were before, not again.
    @ivar too_late: how many mediators are attempting; they are not tried again.
    @ivar problems: what could not be seen or done; sentences.
    """

    cancelled: int
    too_late: int
    problems: tuple[str, ...] = ()


async def cancel_all(
    broker: BrokerAccess,
    queue: str,
    matches: Sequence[Match],
    *,
    by: str = "",
    progress: Progress | None = None,
) -> CancelledAll:
    """
    Cancel all tasks of C{queue} that match and are there now: those that wait in the
    broker are taken out, and those that mediators have are dropped.  Of the latter,
    only the uuid and the URL are known; a match of another field matches none of them.

    @param matches: all of them must match; without any, each task does.  They are of
        C{uuid}, C{url}, C{attempts} or C{status}.
    @param by: the name of the user, for the log and the history.
    @param progress: is told how many messages were looked at, of all queues, and how
        many tasks were taken out, also where it fails half-way.
    @raise ConfigError: the URL is no AMQP URL, there is no such queue, mediators have
        too many, or a match is of another field.
    @raise BrokerError: the broker does not do it, or not all of it.
    """
    check_waiting(matches)
    progress = Progress() if progress is None else progress
    async with broker.client() as (client, wire):
        await check_queue(wire, queue)
        held = _HeldMatches(matches, Marking(client, wire, queue, by))
        await held.cancel(wire, queue)
        events = CancelEvents(client, wire, queue, by)
        taking = Taking(client, wire, queue, progress, events=events)

        async def take(message: Message) -> bool:
            return matched(matches, letter_of(message))

        await taking.from_ladder(take, _ALL, first=False)
        await taking.from_arrivals(take, _ALL)
        await taking.from_queue(take, _ALL)
        await events.publish()
        await held.cancel(wire, queue)  # some have come to mediators meanwhile
        await held.marking.kept()
        await held.marking.tidy()
    progress.ended = True
    problems = [*taking.problems, *held.problems]
    count = progress.done + len(held.cancelled)
    return CancelledAll(count, len(held.running), tuple(problems))


@attrs.define(eq=False)
class _HeldMatches:
    """
    The tasks that mediators have, and that match.

    @ivar cancelled: the uuids of those that are dropped.
    @ivar running: the uuids of those that are attempted.
    @ivar problems: sentences.
    """

    _matches: Sequence[Match]
    marking: Marking
    cancelled: set[str] = attrs.field(factory=set)
    running: set[str] = attrs.field(factory=set)
    problems: list[str] = attrs.field(factory=list)

    async def cancel(self, wire: Wire, queue: str) -> None:
        """
        Cancel those that mediators have now.
        """
        self.problems = []
        answers = await ask_mediators(wire, queue, Question(FIND, None))
        self.problems += unsure(answers)
        known = self.cancelled | self.running
        wanted = {
            task.uuid
            for answer in answers.answers
            for task in answer.tasks
            if task.uuid and task.uuid not in known and self._is_meant(task)
        }
        uuids = sorted(wanted)
        for begin in range(0, len(uuids), _AT_ONCE):
            some = uuids[begin : begin + _AT_ONCE]
            told = await self.marking.mark(some)
            for uuid in some:
                cancelled = of_held(uuid, told)
                if cancelled is not None and cancelled.result == TOO_LATE:
                    self.running.add(uuid)
                elif cancelled is not None:
                    self.cancelled.add(uuid)

    def _is_meant(self, task: HeldTask) -> bool:
        body = tasks.encode({"uuid": task.uuid, "url": task.url})
        return all(each.field in ("uuid", "url") for each in self._matches) and matched(
            self._matches, DeadLetter({}, body)
        )
