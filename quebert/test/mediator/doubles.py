"""
Doubles for the tests of failure policies.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from quebert.boundaries import WatchedMessage
from quebert.errors import BadTask
from quebert.policy import FailedAnswer, History
from quebert.task import Task
from quebert.test.mediating import NOW

__all__ = ["FakeFailedTask"]


@attrs.define
class FakeFailedTask:
    """
    A failed task, as a policy gets to know it.

    @ivar headers: those of the answer.
    @ivar body: the task as it can be encoded; C{None} where it is too large.
    @ivar spoiled: why the task cannot be encoded, if it cannot.
    """

    task: Task = attrs.field(factory=dict)
    history: History = attrs.field(factory=lambda: History(1, NOW, NOW, 500))
    error: BaseException | None = None
    answer: FailedAnswer | None = attrs.field(factory=lambda: FailedAnswer(500, "oops"))
    headers: Mapping[bytes, list[str]] = attrs.field(factory=dict)
    body: bytes | None = b"{}"
    spoiled: str = ""
    name: str = "task 1"
    why: str = "it failed"
    traceback: str = "Traceback"
    message: WatchedMessage | None = None

    def header(self, name: bytes) -> list[str]:
        """
        The values of a header field.
        """
        return self.headers.get(name, [])

    def without_secrets(self, text: str) -> str:
        """
        The secret of this task is C{s3cret}.
        """
        return text.replace("s3cret", "...")

    def encoded(self) -> bytes | None:
        """
        The body.
        """
        if self.spoiled:
            raise BadTask(self.spoiled)
        return self.body
