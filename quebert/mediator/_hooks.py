"""
A mediator's hooks: what users add to do before and after the requests.

Nearly all of them have nothing to wait for, so that those meet no Deferred and
no coroutine here: together these would cost more than most hooks do.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context
from functools import partial
from types import CoroutineType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["run"]

Hook = Callable[..., object]


def run(
    hooks: Iterable[Hook], arguments: tuple[Any, ...], context: Context
) -> Deferred[None] | None:
    """
    Call one hook after the other, each once the one before has ended.  No hook has a
    time limit: the time limit of a task begins with its request.

    @param context: what the hooks are run in, and see of each other.
    @return: C{None} if all have ended, else a Deferred that fires then.  Fails, or
        raises, as soon as one hook fails; no later one is run.
    """
    remaining = iter(hooks)
    for hook in remaining:
        answer = context.run(hook, *arguments)
        if answer is not None and (waiting := _to_wait_for(answer, context)):
            rest = _run_after(waiting, remaining, arguments, context)
            return Deferred.fromCoroutine(rest)
    return None


async def _run_after(
    waiting: Deferred[Any],
    remaining: Iterable[Hook],
    arguments: tuple[Any, ...],
    context: Context,
) -> None:
    await waiting
    for hook in remaining:
        answer = context.run(hook, *arguments)
        if answer is not None and (still := _to_wait_for(answer, context)):
            await still


def _to_wait_for(answer: object, context: Context) -> Deferred[Any] | None:
    if isinstance(answer, Deferred):
        return answer
    if isinstance(answer, CoroutineType):
        return _begin(answer, context)
    if isinstance(answer, Failure):
        answer.raiseException()
    return None


def _begin(
    coroutine: Coroutine[Deferred[Any], Any, Any], context: Context
) -> Deferred[Any] | None:
    """
    Run a coroutine until it has to wait.

    @return: C{None} where it never had to.
    """
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_continued(coroutine, awaited, context))


def _continued(
    coroutine: Coroutine[Deferred[Any], Any, Any],
    awaited: Deferred[Any],
    context: Context,
) -> Generator[Deferred[Any], Any, None]:
    """
    The rest of a coroutine that waits for C{awaited}.

    @param context: what it goes on in.  A Deferred of Twisted would give it a copy, in
        which nobody else sees the variables that it sets.
    """
    while True:
        try:
            result = yield awaited
        except BaseException as e:
            step = partial(coroutine.throw, e)
        else:
            step = partial(coroutine.send, result)
        try:
            awaited = context.run(step)
        except StopIteration:
            return
