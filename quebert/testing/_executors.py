"""
Executors that are called, and not requested over a network: a function for tasks, a
WSGI or ASGI application, or answers that a test gives.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Union

from quebert import task as tasks
from quebert.errors import ConfigError
from quebert.functions import AnsweredError, Function, Receiver
from quebert.testing._exchange import Answer, SimulatedRequest
from quebert.testing._web_apps import ask_asgi, ask_wsgi

__all__ = ["Answered", "Answers", "Ask", "executor_of"]

#: An answer, or why none comes: the connection is refused, or breaks.
Answered = Union[Answer, Exception]
#: Asks an executor.  What it raises is an error of the test.
Ask = Callable[[SimulatedRequest], Answered]

#: What answers: a function that gives an answer for each request; or answers, one after
#: the other, of which the last is given for ever.  Each is an L{Answer}, or its status,
#: or an exception, after which no answer comes.
#: The types of both are wide, since mypy takes a list of several kinds for one of
#: C{object}.
Answers = Union[Callable[[SimulatedRequest], Any], Iterable[object]]


def executor_of(
    function: Function | None = None,
    *,
    wsgi: Any = None,
    asgi: Any = None,
    answers: Answers | None = None,
) -> Ask | None:
    """
    What asks the executor that is given; C{None} if none is.

    @raise ConfigError: more than one is given.
    """
    given = (function, wsgi, asgi, answers)
    if sum(each is not None for each in given) > 1:
        raise ConfigError("give one of function, wsgi, asgi and answers")
    if function is not None:
        return partial(_outside_loops, partial(_ask_function, function))
    if wsgi is not None:
        return partial(_outside_loops, partial(ask_wsgi, wsgi))
    if asgi is not None:
        return partial(_outside_loops, partial(ask_asgi, asgi))
    return None if answers is None else _asking(answers)


def _outside_loops(ask: Ask, request: SimulatedRequest) -> Answered:
    """
    Ask in this thread; in another one if a loop of asyncio runs in this one, since no
    other loop could run here.
    """
    if not _in_loop():
        return ask(request)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, ask, request).result()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# -- Answers that a test gives


def _asking(answers: Answers) -> Ask:
    if isinstance(answers, Iterable):
        return partial(_next_of, _going_on(iter(answers)))
    return lambda request: _answer(answers(request))


def _next_of(answers: Iterator[object], _: SimulatedRequest) -> Answered:
    return _answer(next(answers))


def _going_on(answers: Iterator[object]) -> Iterator[object]:
    last: object = None
    for last in answers:
        yield last
    if last is None:
        raise ConfigError("answers must have one at least")
    while True:
        yield last


def _answer(given: object) -> Answered:
    if isinstance(given, int) and not isinstance(given, bool):
        return Answer(given)
    if isinstance(given, (Answer, Exception)):
        return given
    raise ConfigError(f"an answer must be an Answer or a status, not {given!r:.60}")


# -- A function for tasks


def _ask_function(function: Function, request: SimulatedRequest) -> Answer:
    """
    Have a function do the task of a request, as an executor of L{quebert.functions}
    does.
    """
    noting = _WithError(function)
    answer = Receiver(hosts=["*"]).answer(
        noting, request.method, request.headers, request.body, request.path
    )
    return Answer(answer.status, answer.body, dict(answer.headers), error=noting.error)


class _WithError:
    """
    A function that notes what it raises, since its executor answers that as text.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self.error: BaseException | None = None

    def __call__(self, task: tasks.Task) -> Any:
        try:
            result = self._function(task)
        except Exception as e:
            self._note(e)
            raise
        return self._awaited(result) if inspect.iscoroutine(result) else result

    async def _awaited(self, coroutine: Any) -> Any:
        try:
            return await coroutine
        except Exception as e:
            self._note(e)
            raise

    def _note(self, error: Exception) -> None:
        if not isinstance(error, AnsweredError):
            self.error = error
