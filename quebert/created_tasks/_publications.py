"""
Publishes tasks that have a row, and goes on with those that are in doubt: RabbitMQ may
have them, or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from quebert._log import Logger
from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._in_hand import TasksInHand
from quebert.created_tasks._row_pages import FEW, pages
from quebert.created_tasks._states import NEW, PUBLISHED, WITHDRAW
from quebert.created_tasks._values import CreatedTask, NewTask, RowQuery, TaskChange
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    MessageRefused,
    PublishRefused,
    QuebertError,
    Unroutable,
)

__all__ = ["TaskPublications"]


class TaskPublications:
    """
    Publishes tasks, and notes in their rows that RabbitMQ has confirmed them.

    @param in_hand: the tasks that somebody has in hand.
    """

    log = Logger()

    def __init__(
        self, rows: TaskRows, broker: TaskBroker, in_hand: TasksInHand
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._in_hand = in_hand
        # Those that RabbitMQ has confirmed, while the database does not answer.
        self._unnoted: set[str] = set()

    async def publish(
        self, tasks: Sequence[NewTask], again: bool = False
    ) -> dict[str, CreatedTask | QuebertError]:
        """
        Publish tasks that have a row, C{NEW}.

        @param again: whether RabbitMQ may have them from an earlier try.
        @return: by their uuids: each as its row has it then, or why it is not
            published.
        @raise TaskStoreError: RabbitMQ has refused some, and the database does not
            answer.
        """
        if not tasks:
            return {}
        results: dict[str, CreatedTask | QuebertError] = {}
        refused = []
        confirmed = []
        known = self._confirmed_before(tasks, again)
        unknown = [t for t in tasks if t.uuid not in known] if known else tasks
        found = await self._broker.publish(unknown) if unknown else ()
        if again:
            found = await self._still_in_doubt(unknown, found)
        problems = iter(found)
        for task in tasks:
            problem = None if task.uuid in known else next(problems)
            if problem is None:
                confirmed.append(task.uuid)
                results[task.uuid] = CreatedTask(task=task, state=PUBLISHED)
            else:
                results[task.uuid] = problem
                if _is_refused(problem):
                    refused.append(TaskChange(uuid=task.uuid, event=WITHDRAW))
        if confirmed:
            self._note_published(confirmed)
        if refused:  # before somebody is told so
            await self._rows.change(refused)
        return results

    async def publish_again(self, before: float) -> int:
        """
        Publish the tasks that are in doubt, some at a time.  A queue that does not take
        one of these is left alone until the next time: its tasks, which are tried again
        then, keep nobody waiting.

        @param before: only tasks that were created before, in seconds since the epoch.
        @return: how many are in doubt no more.
        """
        left: set[str] = set()
        done = 0
        query = RowQuery(states=(NEW,), before=before, size=FEW)
        async for rows in pages(self._rows, query, left):
            tasks = [r.task for r in rows if r.task.uuid not in self._in_hand]
            with self._in_hand.handling(tasks):
                results = await self.publish(tasks, again=True)
            in_doubt = [t for t in tasks if _is_in_doubt(results[t.uuid])]
            done += len(tasks) - len(in_doubt)
            left.update([each.queue for each in in_doubt])
            if any(_is_away(each) for each in results.values()):
                break
        return done

    async def _still_in_doubt(
        self, tasks: Sequence[NewTask], problems: Sequence[BrokerError | None]
    ) -> Sequence[BrokerError | None]:
        """
        Why tasks are not published that RabbitMQ may have from an earlier try.  They
        are in doubt still, unless RabbitMQ cannot have taken them, or has them no more.
        A queue whose node is down takes no task, but has those that it took.
        """
        found = list(zip(tasks, problems, strict=True))
        lacking = {t.queue for t, problem in found if isinstance(problem, Unroutable)}
        gone = [each for each in lacking if await self._is_gone(each)]
        return [
            problem
            if problem is None
            or isinstance(problem, MessageRefused)
            or (isinstance(problem, Unroutable) and task.queue in gone)
            else _doubted(problem)
            for task, problem in found
        ]

    async def _is_gone(self, queue: str) -> bool:
        try:
            return not await self._broker.has_queue(queue)
        except BrokerError:
            return False

    def _confirmed_before(self, tasks: Sequence[NewTask], again: bool) -> set[str]:
        """
        Those of tasks that RabbitMQ has confirmed, although their rows do not say so.
        """
        if not self._unnoted:  # nearly always
            return set()
        known = self._unnoted.intersection([each.uuid for each in tasks])
        if again:
            return known
        self._unnoted -= known  # of earlier tasks that had these uuids
        return set()

    def _note_published(self, uuids: Sequence[str]) -> None:
        """
        Begin to note that RabbitMQ has confirmed tasks.  Nobody waits for that: if it
        fails, L{note_again} does it, and if this process is killed first, the tasks are
        published again.
        """
        noting = Deferred.fromCoroutine(_awaited(self._rows.note_published(uuids)))
        noting.addErrback(self._not_noted, uuids)

    def _not_noted(self, failure: Failure, uuids: Sequence[str]) -> None:
        self._unnoted.update(uuids)
        self.log.warn("Rows cannot be changed: {why}", why=failure.value)

    async def note_again(self) -> None:
        """
        Note what could not be noted.

        @raise TaskStoreError: the database does not answer.
        """
        if self._unnoted:
            uuids = list(self._unnoted)
            await self._rows.note_published(uuids)
            self._unnoted.difference_update(uuids)


def _is_refused(problem: BrokerError) -> bool:
    """
    Whether it is certain that RabbitMQ does not have the task.
    """
    return problem.added is False or isinstance(problem, PublishRefused)


def _doubted(problem: BrokerError) -> BrokerError:
    """
    Why a task is not published of which RabbitMQ may have another copy.
    """
    still = BrokerError(str(problem))
    still.__cause__ = problem
    return still


def _is_away(result: object) -> bool:
    """
    Whether no queue could take it.
    """
    cause = result.__cause__ if isinstance(result, BrokerError) else None
    return isinstance(cause, BrokerUnreachable)


def _is_in_doubt(result: CreatedTask | QuebertError) -> bool:
    return isinstance(result, BrokerError) and not _is_refused(result)


async def _awaited(given: Awaitable[object]) -> None:
    await given
