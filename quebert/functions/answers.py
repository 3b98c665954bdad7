"""
From what a function has returned or raised to what is answered.  Pure.

Whoever calls functions (L{quebert.executor}, L{quebert.functions.calling}) waits for
Deferreds and coroutines by itself, and has L{Pieces} join what a generator yields.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from quebert import task as tasks
from quebert._text import one_line
from quebert.functions._answer import JSON, TEXT, AnsweredError, ExecutorAnswer
from quebert.outcome import Bury, Discard, Done, Retry

__all__ = ["Pieces", "answer_to_error", "answer_to_result", "error_line", "name_of"]

# What mediators decide: some have the name of a wish.
_OUTCOMES = (Bury, Discard, Done, Retry)
# Of an error's text: it becomes a line in somebody's log.
_ERROR_LIMIT = 1_000
# Of a uuid in ours, which a producer may have chosen.
_NAME_LIMIT = 100


class Pieces:
    """
    What a generator yields, joined: texts, or bytes.  C{None} says only that others may
    have their turn.
    """

    def __init__(self) -> None:
        self._pieces: list[Any] = []

    def add(self, piece: Any) -> None:
        """
        One more.

        @raise TypeError: it is neither, or not what those before are.
        """
        if piece is None:
            return
        if not isinstance(piece, (str, bytes)):
            text = "a generator must yield str, bytes or None"
            raise TypeError(f"{text}, not {type(piece).__name__}")
        if self._pieces and isinstance(piece, str) != isinstance(self._pieces[0], str):
            raise TypeError("a generator must yield either str or bytes")
        self._pieces.append(piece)

    @classmethod
    async def joined(cls, generator: AsyncGenerator[Any, Any]) -> Any:
        """
        The result of an asynchronous generator, which is closed.
        """
        pieces = cls()
        async with aclosing(generator):
            async for piece in generator:
                pieces.add(piece)
        return pieces.result()

    def result(self, returned: Any = None) -> Any:
        """
        The result of the function.

        @param returned: what the generator has returned: the result, where it has
            yielded no pieces.
        @raise TypeError: there are both.
        """
        if not self._pieces:
            return returned
        if returned is not None:
            raise TypeError("a generator must either yield pieces or return a result")
        return self._pieces[0][:0].join(self._pieces)


def answer_to_result(result: Any) -> ExecutorAnswer:
    """
    What is answered if a function has returned C{result}; 500 if that has no form in
    JSON or UTF-8.
    """
    if isinstance(result, AnsweredError):
        return result.answer
    if isinstance(result, _OUTCOMES):
        name = type(result).__name__
        text = f"{name} of quebert.outcome is for mediators: see quebert.functions"
        return ExecutorAnswer.text(HTTPStatus.INTERNAL_SERVER_ERROR, text)
    if result is None:
        return ExecutorAnswer(HTTPStatus.NO_CONTENT)
    try:
        if isinstance(result, (bytes, bytearray, memoryview)):
            kind, body = "application/octet-stream", bytes(result)
        elif isinstance(result, str):
            kind, body = TEXT, result.encode("utf-8")
        else:
            kind, body = JSON, tasks.encode(result)
    except Exception as e:  # it may be of a class of the function's own
        text = f"the function's result cannot be sent: {error_line(e)}"
        return ExecutorAnswer.text(HTTPStatus.INTERNAL_SERVER_ERROR, text)
    return ExecutorAnswer(HTTPStatus.OK, body, (("Content-Type", kind),))


def answer_to_error(error: BaseException) -> ExecutorAnswer:
    """
    What is answered if a function has raised C{error}: what this itself says, else 500.
    """
    if isinstance(error, AnsweredError):
        return error.answer
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ExecutorAnswer.text(status, error_line(error))


def error_line(error: BaseException) -> str:
    """
    The error in one line, as a traceback ends.
    """
    try:
        text = one_line(str(error), _ERROR_LIMIT)
    except Exception:
        text = "(its text cannot be had)"
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def name_of(task: tasks.Task) -> str:
    """
    What the log calls a task.
    """
    uuid = task.get("uuid", "(no uuid)")
    if isinstance(uuid, (dict, list)):  # it may be as large as a body
        return "(no uuid)"
    return one_line(str(uuid), _NAME_LIMIT)
