"""
L{captured_tasks}: the tasks that a piece of code adds, without a broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quebert.functions import Function
from quebert.producer import Letter, intercept
from quebert.testing._added import AddedTask
from quebert.testing._executors import Answers, Ask, executor_of
from quebert.testing._moved import added_task

__all__ = ["TaskFailed", "captured_tasks"]

# Characters of an answer that are told.
_TOLD = 1_000


class TaskFailed(AssertionError):
    """
    A task that was done at once is not done: its executor has not answered 2xx.

    @ivar task: the L{AddedTask}.
    """

    def __init__(self, text: str, task: AddedTask) -> None:
        super().__init__(text)
        self.task = task


@contextmanager
def captured_tasks(
    function: Function | None = None,
    *,
    wsgi: Any = None,
    asgi: Any = None,
    answers: Answers | None = None,
    default_url: str | None = None,
    raise_failures: bool = True,
) -> Iterator[list[AddedTask]]:
    """
    Collect the tasks that this process adds meanwhile, by whatever producer and in
    whatever thread; none goes to a broker::

        with captured_tasks() as tasks:
            sign_up("ada@example.com")
        assert [task.url for task in tasks] == ["/welcome"]

    With an executor, each is done at once, within the call that adds it: once, whatever
    its C{delay} or C{run_at}.  The executor gets the request of a real mediator::

        with captured_tasks(wsgi=app):
            sign_up("ada@example.com")

    @param function: does the tasks, as in an executor of L{quebert.functions}.
    @param wsgi: an application that gets the requests instead.
    @param asgi: the same for ASGI.
    @param answers: answers instead of an executor, as for L{Simulation
        <quebert.testing.Simulation>}.
    @param default_url: what completes partial URLs; C{http://localhost:8000/} by
        default.
    @param raise_failures: whether the call that adds a task raises L{TaskFailed} if the
        task is then neither done nor dropped.  If not, C{result} and C{answer} of the
        task tell.
    @raise ConfigError: several executors are given.
    """
    ask = executor_of(function, wsgi=wsgi, asgi=asgi, answers=answers)
    added: list[AddedTask] = []

    def take(exchange: str, letter: Letter) -> None:
        task = added_task(exchange, letter)
        added.append(task)
        if ask is not None:
            _do(task, ask, default_url, raise_failures)

    with intercept(take):
        yield added


def _do(
    task: AddedTask, ask: Ask, default_url: str | None, raise_failures: bool
) -> None:
    """
    Have a task done now.
    """
    from quebert.testing._at_once import done_at_once

    attempt = done_at_once(task, ask, default_url)
    if not raise_failures or task.result in ("done", "dropped"):
        return
    error = None if attempt is None else attempt.error
    if attempt is None:
        why = "it was not requested"
    elif attempt.answer is None:
        why = f"no answer came: {error!r}"
    else:
        why = f"its executor answered {attempt.status}: {attempt.answer.text[:_TOLD]}"
    raise TaskFailed(f"task {task.uuid} for {task.url} failed: {why}", task) from error
