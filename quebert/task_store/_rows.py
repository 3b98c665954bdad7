"""
The rows of created tasks, without blocking: requests are carried out in groups.

Theory of operation.  A commit waits for the disk, so requests share one.  All that are
made while a transaction runs, or in the same turn of the reactor, are the next group.
The thread that writes carries them out in one transaction, in the order in which they
were made, and hands all results over at once.  The Deferreds fire in the same order.

A note that tasks are published can wait, since nobody waits for it: it goes with the
next group, and has a transaction of its own only if no group comes in L{ALONE} seconds.
Otherwise the next tasks would wait for two commits.  A request that looks at the rows
is in the same group or a later one, and sees the note.

A list may take long, so another thread reads it, once the group that it belongs to is
written.

A database that does not answer keeps nobody waiting for long: the group fails, and so
do the requests behind it.  Further requests fail at once, but for one now and then,
which finds out whether the database answers again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.python.threadpool import ThreadPool

from quebert._database_threads import ANSWER, DatabaseThreads, Silence
from quebert._log import Logger
from quebert._repeated import RepeatedWarning
from quebert._turn import EndOfTurn
from quebert._waiters import Waiters
from quebert.created_tasks import CreatedTask, NewTask, RowQuery, Standing, TaskChange
from quebert.errors import TaskStoreError
from quebert.task_store._boundaries import (
    AddRequest,
    ChangeRequest,
    FindRequest,
    PageRequest,
    PublishedRequest,
    Request,
    StandingRequest,
    SweepRequest,
    TaskStoreInUse,
    TaskStoreRefused,
    WorkRequest,
)
from quebert.task_store._queries import queues_of_living

__all__ = ["RowsStore", "StoredTaskRows"]

#: Rows, and bytes of bodies, that one transaction has, about.
MOST_ROWS, MOST_BYTES = 2_000, 16_000_000
#: Seconds for which a change that nobody waits for is kept for the next group.
ALONE = 0.1


class RowsStore(Protocol):
    """
    What threads do; see L{TaskStore<quebert.task_store._store.TaskStore>}.
    """

    where: str

    def carry_out(self, requests: Sequence[Request]) -> list[Any]: ...
    def page(self, query: RowQuery) -> tuple[list[CreatedTask], int]: ...
    def problem_of(self, error: BaseException) -> TaskStoreError: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


@attrs.frozen(eq=False)
class _AskedRequest:
    """
    A request, and the Deferred of the caller.
    """

    request: Request
    done: Deferred[Any]

    @property
    def size(self) -> tuple[int, int]:
        """
        How many rows it is about, and how many bytes these have.
        """
        match self.request:
            case AddRequest(tasks):
                return len(tasks), sum([len(each.body) for each in tasks])
            case ChangeRequest(changes):
                return len(changes), 0
            case PublishedRequest(uuids):
                return len(uuids), 0
            case _:
                return 1, 0

    @property
    def can_wait(self) -> bool:
        """
        Whether nobody waits for it: only that tasks are published is to be noted.
        """
        return isinstance(self.request, PublishedRequest)


class StoredTaskRows:
    """
    L{quebert.created_tasks.TaskRows} in a database.  Made by
    L{quebert.task_store.open_task_rows}.

    @ivar where: the place of the database, without a password.
    @ivar problem: why the database does not do what it should; empty if it does.
    """

    log = Logger()

    def __init__(
        self,
        store: RowsStore,
        reactor: Any,
        pool: Callable[[int, str], ThreadPool] | None = None,
    ) -> None:
        self.where = store.where
        self.problem = ""
        self._store = store
        self._reactor = reactor
        self._threads = DatabaseThreads(
            reactor, store.abort, pool, name="tasks", limit=ANSWER
        )
        self._silence = Silence()
        self._waiting: deque[_AskedRequest] = deque()
        self._group: Sequence[_AskedRequest] = ()
        self._stuck: TaskStoreError | None = None
        self._closed = False
        self._running = 0
        self._idle: Waiters[None] = Waiters()
        self._ends = EndOfTurn(reactor, self._begin)
        self._alone: IDelayedCall | None = None
        self._failing = RepeatedWarning(
            self.log,
            lambda: reactor,
            "The database of created tasks fails",
            "The database of created tasks works again",
        )

    async def start(self) -> None:
        """
        Open the database.  One that is away, or that another process has, is tried
        again with each request.

        @raise TaskStoreError: it is another program's, of a newer version, or cannot be
            made.
        """
        self._threads.start()
        try:
            await self.find("")
        except TaskStoreInUse:
            pass  # the log has it
        except TaskStoreRefused:
            await self.close()
            raise
        except TaskStoreError:
            pass  # the log has it

    async def close(self) -> None:
        """
        Carry out what was asked for, if that takes no more than some seconds, and let
        other processes have the database.
        """
        self._closed = True
        self._ends.cancel()
        if self._alone is not None:
            self._alone.cancel()
            self._alone = None
        self._begin()
        if self._running:
            with suppress(defer.TimeoutError):
                await self._idle.wait().addTimeout(ANSWER, self._reactor)
        self._fail_waiting(TaskStoreError(f"the tasks in {self.where} are closed"))
        self._failing.end()
        await self._threads.stop(self._store.close)

    # -- What is asked for

    def add(
        self, tasks: Sequence[NewTask], now: float
    ) -> Deferred[Sequence[CreatedTask | None]]:
        """
        Add rows.
        """
        return self.ask(AddRequest(tasks, now))

    def change(
        self, changes: Sequence[TaskChange]
    ) -> Deferred[Sequence[CreatedTask | None]]:
        """
        Change rows.
        """
        return self.ask(ChangeRequest(changes))

    def note_published(self, uuids: Sequence[str]) -> Deferred[None]:
        """
        Change rows, without haste.
        """
        return self.ask(PublishedRequest(uuids))

    def find(self, uuid: str) -> Deferred[CreatedTask | None]:
        """
        A row.
        """
        return self.ask(FindRequest(uuid))

    def page(self, query: RowQuery) -> Deferred[tuple[Sequence[CreatedTask], int]]:
        """
        Some rows.
        """
        return self.ask(PageRequest(query))

    def queues(self) -> Deferred[list[str]]:
        """
        The queues of tasks that live.
        """
        return self.ask(WorkRequest(queues_of_living))

    def standing(self) -> Deferred[Standing]:
        """
        What this process is among those that have the rows.
        """
        return self.ask(StandingRequest())

    def sweep(self, now: float) -> Deferred[int]:
        """
        Remove some rows.
        """
        return self.ask(SweepRequest(now))

    def ask(self, request: Request) -> Deferred[Any]:
        """
        Have the next group carry a request out.
        """
        if self._closed:
            return fail(TaskStoreError(f"the tasks in {self.where} are closed"))
        if self._stuck is not None:
            return fail(_again(self._stuck))
        try:
            self._silence.probe(self._reactor.seconds())
        except TaskStoreError as e:
            return fail(_again(e))
        waiting = _AskedRequest(request, Deferred())
        self._waiting.append(waiting)
        if waiting.can_wait:
            self._wait_for_others()
        elif not self._group:
            self._ends.ask()
        return waiting.done

    # -- Groups

    def _wait_for_others(self) -> None:
        """
        Have no transaction for what can wait alone: it would delay the next one.
        """
        if self._alone is None:
            self._alone = self._reactor.callLater(ALONE, self._begin_alone)

    def _begin_alone(self) -> None:
        self._alone = None
        if self._group:
            self._wait_for_others()
        else:
            self._begin()

    def _begin(self) -> None:
        if self._group or self._stuck or not self._waiting:
            return
        self._group = self._next()
        self._running += 1
        began = self._reactor.seconds()
        late = self._reactor.callLater(ANSWER, self._late, began)
        requests = [each.request for each in self._group]
        work = self._threads.write(self._store.carry_out, requests)
        running = Deferred.fromCoroutine(work)
        running.addCallbacks(self._succeeded, self._failed, errbackArgs=(began,))
        running.addBoth(self._came_back, late)

    def _next(self) -> Sequence[_AskedRequest]:
        """
        Take the requests of the next transaction.
        """
        some: list[_AskedRequest] = []
        rows = size = 0
        while self._waiting:
            more, bytes_more = self._waiting[0].size
            rows, size = rows + more, size + bytes_more
            if some and (rows > MOST_ROWS or size > MOST_BYTES):
                break
            some.append(self._waiting.popleft())
        return some

    def _succeeded(self, results: Sequence[Any]) -> None:
        self._silence.heard(self._reactor.seconds())
        if self.problem:
            self.problem = ""
            self._failing.succeeded()
        for each, result in zip(self._group, results, strict=False):
            if each.done.called:
                continue  # its caller has cancelled it
            if isinstance(result, TaskStoreError):
                each.done.errback(result)
            elif isinstance(each.request, PageRequest):
                self._read(each.request.query, each.done)
            else:
                each.done.callback(result)

    def _failed(self, failure: Any, began: float) -> None:
        self._fail_group(self._store.problem_of(failure.value), began)

    def _late(self, began: float) -> None:
        """
        The thread does not come back.
        """
        text = f"the tasks in {self.where}: no answer in {ANSWER:g} s"
        self._stuck = TaskStoreError(text)
        self._fail_group(self._stuck, began)

    def _fail_group(self, problem: TaskStoreError, began: float) -> None:
        self.problem = str(problem)
        self._failing.met(problem)
        self._silence.failed(problem, began, self._reactor.seconds())
        group, self._group = self._group, ()
        _fail(group, problem)
        if self._silence.is_known or self._stuck is not None:
            self._fail_waiting(problem)

    def _came_back(self, result: Any, late: Any) -> Any:
        """
        The thread is free.
        """
        if late.active():
            late.cancel()
        self._group, self._stuck = (), None
        self._silence.probed()
        is_urgent = self._closed or not all(each.can_wait for each in self._waiting)
        if self._waiting and is_urgent:
            self._ends.ask()
        self._ended()
        return result

    def _read(self, query: RowQuery, done: Deferred[Any]) -> None:
        self._running += 1
        reading: Deferred[Any] = Deferred.fromCoroutine(self._page(query))
        reading.addBoth(done.callback)
        reading.addBoth(lambda _: self._ended())

    async def _page(self, query: RowQuery) -> tuple[Sequence[CreatedTask], int]:
        try:
            return await self._threads.read(self._store.page, query)
        except Exception as e:
            raise self._store.problem_of(e) from None

    def _ended(self) -> None:
        self._running -= 1
        if not self._running and not self._waiting:
            self._idle.fire(None)

    def _fail_waiting(self, problem: TaskStoreError) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        _fail(waiting, problem)


def _fail(waiting: Sequence[_AskedRequest], problem: TaskStoreError) -> None:
    for each in waiting:
        if not each.done.called:
            each.done.errback(_again(problem))


def _again(problem: TaskStoreError) -> TaskStoreError:
    """
    The same error for another caller, who gives it a traceback of its own.
    """
    return type(problem)(*problem.args)
