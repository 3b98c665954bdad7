"""
Creates tasks, and goes on after a kill with what was begun.

Theory of operation.  The row of a task is written first, with its body and its name.
Then the task is published, and the caller has its answer once RabbitMQ has confirmed
it.  Nothing is kept in memory alone: whenever the process is killed, the next one finds
the row, and publishes the task or has mediators drop it.

A task is deleted once the mediators have answered, and the note of its deletion is read
(L{quebert.created_tasks._deletions_read}): if it had ended before, its end is in the
row by then, and counts.

A task is I{in hand} while this process publishes or deletes it, and whoever wants to do
something else with it waits for that.

Several processes may have the rows of one database.  Each creates tasks.  One of them
I{leads}: it alone goes on with what was begun before, by an earlier try or by a process
that may have been killed.  It leaves a row alone that is so young that another process
may have the task in hand.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from quebert._lanes import all_of
from quebert._log import Logger
from quebert._waiters import Waiters
from quebert.created_tasks._boundaries import TaskBroker, TaskRows
from quebert.created_tasks._deletions_read import DeletionsRead
from quebert.created_tasks._states import (
    DELETE,
    DELETING,
    END,
    LIVING,
    NEW,
    PUBLISHED,
    REMOVE,
    WITHDRAW,
)
from quebert.created_tasks._unended import UnendedTasks
from quebert.created_tasks._values import (
    CreatedTask,
    NewTask,
    RowQuery,
    TaskChange,
)
from quebert.errors import (
    BrokerError,
    BrokerUnreachable,
    MessageRefused,
    NameTaken,
    PublishRefused,
    QuebertError,
    TaskEnded,
    TaskUnknown,
    TooManyTasks,
    Unroutable,
    UUIDTaken,
)
from quebert.operations import MARKED, TOO_LATE, Cancelled, RunNow
from quebert.outcome import CANCELLED
from quebert.task_ends import DeletionNote, EndNote

__all__ = ["WINDOW", "CreatedTasks"]

#: Seconds for which a name is held when its task has ended, as Cloud Tasks does.
WINDOW = 3_600.0
#: Seconds after which a row that is not known to be published is published again.
DOUBTFUL = 30.0
#: Bytes of tasks that are being created at most, however slow the database and RabbitMQ
#: are, and those that a task takes beside its body, about.
MOST_BYTES, _BESIDE = 64 * 2**20, 1_024
# Rows that one goes on with at a time, and of these, tasks that are deleted at once.
_FEW = 500
_DELETED_AT_ONCE = 100
_UNREAD = "notes of ends and deletions are not read"
# Seconds until a task is deleted again whose note nobody has read.
_AGAIN = 600.0


class CreatedTasks:
    """
    The tasks that are created over HTTP.

    @param now: gives the seconds since the epoch.
    @param clock: times how long notes are waited for.
    @param window: seconds for which a name is held when its task has ended.
    """

    log = Logger()

    def __init__(
        self,
        rows: TaskRows,
        broker: TaskBroker,
        now: Callable[[], float],
        clock: IReactorTime,
        window: float = WINDOW,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._now = now
        self._window = window
        self._unended = UnendedTasks(rows, broker, now, window)
        self._deletions_read = DeletionsRead(rows, clock)
        self._in_hand: dict[str, Waiters[None]] = {}
        self._bytes = 0  # of tasks that are being created
        # Those that are being deleted, maybe elsewhere, and when they may be again.
        self._deleting: dict[str, float] = {}
        # Those that RabbitMQ has confirmed, while the database does not answer.
        self._unnoted: set[str] = set()

    # -- What clients ask for

    async def create(
        self, tasks: Sequence[NewTask]
    ) -> list[CreatedTask | QuebertError]:
        """
        Create tasks.  A task that has the uuid and the digest of one that is there
        already is that one.

        @return: for each its row, or why it is not created: L{NameTaken}, L{UUIDTaken},
            or the L{BrokerError} with which RabbitMQ has refused it.  Where RabbitMQ
            has not answered, the error's C{added} is C{None}, and the task is published
            later.
        @raise TaskStoreError: the database does not answer.
        @raise TooManyTasks: others are being created that have too many bytes.
        """
        size = sum([len(each.body) + _BESIDE for each in tasks])
        if self._bytes and self._bytes + size > MOST_BYTES:
            raise TooManyTasks(
                "too many tasks wait for the database and RabbitMQ: try again later"
            )
        self._bytes += size
        try:
            return await self._create(tasks)
        finally:
            self._bytes -= size

    async def _create(
        self, tasks: Sequence[NewTask]
    ) -> list[CreatedTask | QuebertError]:
        held = await self._rows.add(tasks, self._now())
        new = [t for t, row in zip(tasks, held, strict=True) if row is None]
        with self._handling(new):  # in the turn in which the rows are written
            published = await self._publish(new)
        if len(new) == len(tasks):  # as nearly always
            return [published[each.uuid] for each in tasks]
        found = list(zip(tasks, held, strict=True))
        same = [row.task.uuid for t, row in found if row and _is_same(t, row)]
        # Side by side: while RabbitMQ takes nothing, each waits for it as long.
        repeated = iter(await all_of(self._repeated(each) for each in same))
        results: list[CreatedTask | QuebertError] = []
        for task, row in found:
            if row is None:
                results.append(published[task.uuid])
            elif _is_same(task, row):
                results.append(next(repeated))
            else:
                results.append(_taken(task, row))
        return results

    async def _repeated(self, uuid: str) -> CreatedTask | QuebertError:
        """
        The answer to a request that was made before: as the first one has it.
        """
        async with self._alone(uuid):
            found = await self._rows.find(uuid)
            if found is None:
                return TaskUnknown(f"RabbitMQ has refused the task {uuid} meanwhile")
            if found.state != NEW:
                return found
            if await self._may_have_in_hand(found):
                return BrokerError(f"another process may be publishing the task {uuid}")
            return (await self._publish([found.task], again=True))[uuid]

    async def _may_have_in_hand(self, row: CreatedTask) -> bool:
        """
        Whether another process may be publishing a task now: the one that has written
        its row, or, after a while, the one that leads.
        """
        standing = await self._rows.standing()
        if row.task.created < self._now() - DOUBTFUL:
            return not (standing.is_alone or standing.leads)
        is_left = 0 < row.number <= standing.older
        return not (standing.is_alone or is_left)

    async def find(self, uuid: str) -> CreatedTask:
        """
        A task by its uuid.

        @raise TaskUnknown: there is none.
        """
        found = await self._rows.find(uuid)
        if found is None:
            raise TaskUnknown(f"there is no task {uuid}")
        return found

    async def page(self, query: RowQuery) -> tuple[Sequence[CreatedTask], int]:
        """
        Tasks, the oldest first, and the position for L{RowQuery.after}: 0 where there
        are no more.
        """
        return await self._rows.page(query)

    async def delete(self, uuid: str, by: str) -> Cancelled:
        """
        Have no mediator begin an attempt at a task; one that is under way is the last.
        Its name stays held for a while.

        @param by: the name of the user, for the log and the history.
        @return: the result, which is L{MARKED<quebert.operations.MARKED>} where the
            notes of ends are not read: then the task may have ended before.
        @raise TaskUnknown: there is none.
        @raise TaskEnded: it has ended, or is deleted already.
        @raise BrokerError: RabbitMQ is away: the task is deleted once it is back.
        """
        async with self._alone(uuid):
            [row] = await self._rows.change([TaskChange(uuid=uuid, event=DELETE)])
            if row is None:
                row = await self.find(uuid)
                if row.state != DELETING:
                    raise TaskEnded(f"the task {uuid} is {row.state}")
                # Somebody could not be told whether it is deleted.
            cancelled, row = await self._delete(row.task, by)
            if cancelled.result != TOO_LATE and row is not None:
                if row.end is not None and row.end.outcome != CANCELLED:
                    raise TaskEnded(f"the task {uuid} is {row.state}")
                if row.state == DELETING:
                    return _marked(cancelled)
            return cancelled

    async def run_now(self, uuid: str) -> RunNow:
        """
        Have a task that waits for its time run now.

        @raise TaskUnknown: there is none.
        @raise TaskEnded: it has ended, or is deleted.
        @raise BrokerError: nobody knows whether it does.
        """
        async with self._alone(uuid):
            row = await self.find(uuid)
            if row.state not in LIVING:
                raise TaskEnded(f"the task {uuid} is {row.state}")
            return await self._broker.run_now(row.task.queue, uuid)

    # -- What mediators tell

    async def ended(self, notes: Sequence[EndNote | DeletionNote]) -> None:
        """
        Tasks have ended, or are deleted; returns once the rows say so.

        @raise TaskStoreError: the database does not answer.
        """
        held_until = self._now() + self._window
        await self._rows.change([_change(each, held_until) for each in notes])
        self._deletions_read.read(
            [each.uuid for each in notes if isinstance(each, DeletionNote)]
        )

    # -- What goes on by itself

    async def go_on(self) -> int:
        """
        Publish or delete some tasks for which an earlier process, or an earlier try,
        has only begun to, and remove rows whose names are free again.  To be called at
        the start, and then from time to time.

        @return: how many tasks and rows that is; 0 where all is done, or RabbitMQ takes
            nothing, or another process does that.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not, or some tasks cannot be deleted; then all
            else is done.
        """
        await self._note_again()
        standing = await self._rows.standing()
        if not standing.leads:
            return 0
        old = self._now() - DOUBTFUL
        return (
            await self._publish_again(old)
            + await self._rows.sweep(self._now())
            + await self._delete_again(standing.is_alone)
        )

    async def end_unended(self) -> bool:
        """
        Look at some rows, and end those whose end nobody will tell.  To be called from
        time to time, beside L{go_on}: there may be millions of rows.

        @return: whether there are more to look at now.
        @raise TaskStoreError: the database does not answer.
        @raise BrokerError: RabbitMQ does not.
        """
        return await self.leads() and await self._unended.step()

    async def leads(self) -> bool:
        """
        Whether this process goes on with what was begun.

        @raise TaskStoreError: the database does not answer.
        """
        return (await self._rows.standing()).leads

    async def _publish_again(self, old: float) -> int:
        """
        Publish the tasks that are in doubt, some at a time.  A queue that does not take
        one of these is left alone until the next time: its tasks, which are tried again
        then, keep nobody waiting.

        @return: how many are in doubt no more.
        """
        left: set[str] = set()
        done = 0
        query = RowQuery(states=(NEW,), before=old, size=_FEW)
        async for rows in self._pages(query, left):
            tasks = [r.task for r in rows if r.task.uuid not in self._in_hand]
            with self._handling(tasks):
                results = await self._publish(tasks, again=True)
            in_doubt = [t for t in tasks if _is_in_doubt(results[t.uuid])]
            done += len(tasks) - len(in_doubt)
            left.update([each.queue for each in in_doubt])
            if any(_is_away(each) for each in results.values()):
                break
        return done

    async def _delete_again(self, at_once: bool) -> int:
        """
        Delete tasks once more, some at a time.  A queue with a task that cannot be
        deleted is left alone until the next time, likewise.

        @param at_once: whether no other process may be deleting them.
        @raise BrokerError: why the first of these cannot be deleted.
        """
        now, seen, self._deleting = self._now(), self._deleting, {}
        first = now if at_once else now + DOUBTFUL
        left: dict[str, BrokerError] = {}
        away: list[BrokerError] = []
        done = 0
        query = RowQuery(states=(DELETING,), size=_FEW, bodies=False)
        async for rows in self._pages(query, left):
            self._deleting.update(
                {r.task.uuid: seen.get(r.task.uuid, first) for r in rows}
            )
            tasks = [
                r.task
                for r in rows
                if r.task.uuid not in self._in_hand
                and self._deleting[r.task.uuid] <= now
            ]
            with self._handling(tasks):
                problems = await all_of(
                    (self._deletable(each, away) for each in tasks), _DELETED_AT_ONCE
                )
            for task, problem in zip(tasks, problems, strict=True):
                if problem is None:
                    done += 1
                else:
                    left.setdefault(task.queue, problem)
            if away or not any(problems):
                break
        for problem in left.values():
            raise problem
        return done

    async def _pages(
        self, query: RowQuery, left: Collection[str]
    ) -> AsyncIterator[Sequence[CreatedTask]]:
        """
        The rows of a query, some at a time.

        @param left: queues that are left alone from the next page on; more may come
            meanwhile.  With many of them there are no more pages.
        """
        after = 0
        while len(left) < _FEW:
            rows, after = await self._rows.page(
                attrs.evolve(query, after=after, except_queues=tuple(left))
            )
            yield rows
            if not after:
                return

    async def _deletable(
        self, task: NewTask, away: list[BrokerError]
    ) -> BrokerError | None:
        """
        Delete a task, or tell why that cannot be done.

        @param away: why no task can be deleted now; then this one is not tried.
        """
        if away:
            return away[0]
        try:
            _, row = await self._delete(task, "")
        except BrokerError as e:
            if isinstance(e, BrokerUnreachable):
                away.append(e)
            return e
        if row is None or row.state != DELETING:
            return None
        self._deleting[task.uuid] = self._now() + _AGAIN  # the note is there
        unread = BrokerError(f"{_UNREAD}, such as that of the task {task.uuid}")
        away.append(unread)
        return unread

    # -- The steps

    async def _publish(
        self, tasks: Sequence[NewTask], again: bool = False
    ) -> dict[str, CreatedTask | QuebertError]:
        """
        Publish tasks that have a row, C{NEW}.

        @param again: whether RabbitMQ may have them from an earlier try.
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
            found = await self._known_of(unknown, found)
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

    async def _known_of(
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
            else _in_doubt_still(problem)
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
        Nobody waits for that.  Where it fails it is noted later, or, if this process is
        killed first, the tasks are published again.
        """
        noting = Deferred.fromCoroutine(_awaited(self._rows.note_published(uuids)))
        noting.addErrback(self._not_noted, uuids)

    def _not_noted(self, failure: Failure, uuids: Sequence[str]) -> None:
        self._unnoted.update(uuids)
        self.log.warn("Rows cannot be changed: {why}", why=failure.value)

    async def _note_again(self) -> None:
        if self._unnoted:
            uuids = list(self._unnoted)
            await self._rows.note_published(uuids)
            self._unnoted.difference_update(uuids)

    async def _delete(
        self, task: NewTask, by: str
    ) -> tuple[Cancelled, CreatedTask | None]:
        """
        Delete a task whose row is C{DELETING}.

        @return: the result, and the row then: it tells the end of a task that has ended
            meanwhile, and is C{DELETING} still where nobody reads notes.
        """
        with self._deletions_read.awaited(task.uuid):
            cancelled = await self._broker.cancel(task, by)
            return cancelled, await self._deletions_read.row(task.uuid)

    # -- Tasks in hand

    @asynccontextmanager
    async def _alone(self, uuid: str) -> AsyncIterator[None]:
        """
        Wait until nobody has a task in hand, and have it.
        """
        while uuid in self._in_hand:
            await self._in_hand[uuid].wait()
        with self._having([uuid]):
            yield

    def _handling(self, tasks: Iterable[NewTask]) -> AbstractContextManager[None]:
        return self._having([each.uuid for each in tasks])

    @contextmanager
    def _having(self, uuids: Sequence[str]) -> Iterator[None]:
        ours: dict[str, Waiters[None]] = {
            each: Waiters() for each in uuids if each not in self._in_hand
        }
        self._in_hand.update(ours)
        try:
            yield
        finally:
            for uuid, waiters in ours.items():
                del self._in_hand[uuid]
                waiters.fire(None)


def _change(note: EndNote | DeletionNote, held_until: float) -> TaskChange:
    """
    What a note changes.
    """
    if isinstance(note, EndNote):
        return TaskChange(uuid=note.uuid, event=END, end=note, held_until=held_until)
    return TaskChange(uuid=note.uuid, event=REMOVE, held_until=held_until)


def _marked(cancelled: Cancelled) -> Cancelled:
    """
    The result where nobody knows whether a task had ended.
    """
    problems = *cancelled.problems, f"{_UNREAD}: it may have ended before"
    return attrs.evolve(cancelled, result=MARKED, problems=problems)


def _is_same(task: NewTask, row: CreatedTask) -> bool:
    """
    Whether a row is of the same request.
    """
    ours = row.task
    return bool(task.digest) and (ours.uuid, ours.digest) == (task.uuid, task.digest)


def _taken(task: NewTask, row: CreatedTask) -> QuebertError:
    if row.task.uuid == task.uuid:
        return UUIDTaken(f"there is a task {task.uuid} already")
    text = f"the queue {task.queue} has a task of the name {task.name} already"
    return NameTaken(f"{text}: {row.task.uuid}, which is {row.state}")


def _is_refused(problem: BrokerError) -> bool:
    """
    Whether it is certain that RabbitMQ does not have the task.
    """
    return problem.added is False or isinstance(problem, PublishRefused)


def _in_doubt_still(problem: BrokerError) -> BrokerError:
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
