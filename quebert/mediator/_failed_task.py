"""
L{FailedTask}: an attempt that failed, as failure policies get to know it.
"""

from __future__ import annotations

from functools import cached_property

from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from quebert.boundaries import WatchedMessage
from quebert.errors import BadStatus, BadTask
from quebert.mediator._answers import answer_in, header_of
from quebert.mediator._codec import Codec
from quebert.mediator._describe import name_of, one_line
from quebert.mediator._reading import TaskReader
from quebert.mediator._redaction import Redaction, TaskSecrets
from quebert.policy import FailedAnswer, History
from quebert.task import Task

__all__ = ["FailedTask"]


class FailedTask:
    """
    What is known of a failed attempt, each thing when it is asked for.  See
    L{quebert.boundaries.FailedTask}.

    @param reader: tells whether the task could be requested again.
    @param codec: encodes the task.
    @param redaction: knows the secrets of the request.
    """

    def __init__(
        self,
        task: Task,
        failure: Failure,
        history: History,
        message: WatchedMessage | None,
        reader: TaskReader,
        codec: Codec,
        redaction: Redaction,
    ) -> None:
        self.task = task
        self.history = history
        self.message = message
        self._failure = failure
        self._reader = reader
        self._codec = codec
        self._redaction = redaction

    @property
    def error(self) -> BaseException | None:
        """
        The exception.
        """
        return self._failure.value

    @cached_property
    def _secrets(self) -> TaskSecrets:
        return self._redaction.of(self.task, self.message, self.history.attempts)

    @cached_property
    def answer(self) -> FailedAnswer | None:
        """
        The status and the first bytes of the answer, if there was one.
        """
        return answer_in(self.error)

    def header(self, name: bytes) -> list[str]:
        """
        The values of a header field of the answer, as they came.
        """
        error = self.error
        return header_of(error.response, name) if isinstance(error, BadStatus) else []

    @cached_property
    def name(self) -> str:
        """
        What to call the task.
        """
        return name_of(self.task)

    @cached_property
    def why(self) -> str:
        """
        What went wrong, on one line, never empty.
        """
        return self._line(self.error)

    @property
    def traceback(self) -> str:
        """
        The traceback of the exception; of a long one, the end, which tells most.
        """
        return self._secrets.hidden_in_end(self._failure.getTraceback())

    def without_secrets(self, text: str) -> str:
        """
        A text of an executor or a hook, without the secrets of the request.
        """
        return self._secrets.hidden_in(text)

    def encoded(self) -> bytes | None:
        """
        The task as it is now; C{None} where that is larger than a body may be.

        @raise BadTask: it could not be requested, or cannot be encoded.
        """
        try:
            self._reader.check(self.task)
            body = self._codec.encode(self.task)
        except Exception as e:  # whatever hooks have put into it
            raise BadTask(self._line(e)) from e
        return body if len(body) <= self._codec.bounds.body else None

    def _line(self, error: BaseException | None) -> str:
        if type(error) is BadStatus:  # nearly always, and its text is ours
            return one_line(error)
        text = safe_str(error) or type(error).__name__  # assert False has no text
        return one_line(self.without_secrets(text))
