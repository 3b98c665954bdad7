"""
What a message that was given up tells.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from twisted.web.http import RESPONSES

from quebert import task as tasks
from quebert._protocol.extensions import COUNTS
from quebert._secrets import HIDDEN
from quebert._text import shown_url
from quebert._url import without_userinfo
from quebert.amqp.queues import KIND, REASON
from quebert.amqp.wire import OURS
from quebert.errors import BadTask
from quebert.outcome import FORBIDDEN
from quebert.policy import ATTEMPTS, BURIED_AT, LAST_ANSWER, LAST_STATUS

__all__ = ["DeadLetter"]

_PREFIX = OURS.decode()
# Of the announcement's, which count attempts in the body.
_FAILURES = ("failures", "traceback")
_STATUS = re.compile("[0-9]{3}")


class DeadLetter:
    """
    A message in C{<queue>.dead}, whoever has put it there.  What it does not tell is
    C{""}, as in L{Match}; what it tells may have secrets in it.

    @ivar properties: of the message, by their AMQP names.
    @ivar headers: those among its properties.
    @ivar body: the task as it was added, if it is one.
    """

    def __init__(self, properties: Mapping[str, Any], body: bytes) -> None:
        self.properties = properties
        self.headers: Mapping[str, Any] = properties.get("headers", {})
        self.body = body

    def _text(self, name: str) -> str:
        value = self.headers.get(name)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return "" if value is None else str(value)

    @cached_property
    def task(self) -> dict[str, Any]:
        """
        The task that it is; empty if it is none.
        """
        try:
            task = tasks.decode(self.body)
        except BadTask:
            return {}
        return task if isinstance(task, dict) else {}

    @property
    def kind(self) -> str:
        """
        C{"exhausted"}, C{"poison"} or C{"forbidden"}
        (L{outcome<quebert.outcome>}).
        """
        return self._text(KIND)

    @property
    def reason(self) -> str:
        """
        Why it was given up, in a sentence.
        """
        return self._text(REASON)

    @property
    def common_reason(self) -> str:
        """
        The reason without its own uuid and URL, so that equal failures are counted
        together.  Where an HTTP answer is the reason, its status.
        """
        told, given_up, why = self.reason.partition(" is given up ")
        if not given_up or not told.startswith("task "):
            why = self.reason
        elif self._answer_is_why(why):
            phrase = RESPONSES.get(int(self.status), b"").decode()
            return f"{self.status} {phrase}".rstrip()
        else:
            why = why.partition(": ")[2] or why
        for own in (self.uuid, self.url, shown_url(self.url)):
            why = why.replace(own, "...") if own else why
        return why

    def _answer_is_why(self, why: str) -> bool:
        """
        Whether it was given up since its last answer was no success.
        """
        if self.kind == FORBIDDEN or why.startswith("by its executor"):
            return False
        return _STATUS.fullmatch(self.status) is not None

    @property
    def status(self) -> str:
        """
        The HTTP status that it was answered last, if it was.
        """
        return self._text(LAST_STATUS)

    @property
    def answer(self) -> str:
        """
        How the body of that answer begins.
        """
        return self._text(LAST_ANSWER)

    @property
    def attempts(self) -> str:
        """
        How often it was tried.
        """
        return self._text(ATTEMPTS)

    @property
    def uuid(self) -> str:
        """
        The task's; where it is no task, the message's.
        """
        return _text_of(self.task.get("uuid", self.properties.get("message-id", "")))

    @property
    def url(self) -> str:
        """
        What it requests, without a password.
        """
        return without_userinfo(_text_of(self.task.get("url", "")))

    @property
    def buried_at(self) -> float | None:
        """
        When it was given up, in seconds since the epoch; C{None} if it does not tell.
        """
        when = self.headers.get(BURIED_AT)
        return when if isinstance(when, (int, float)) else None

    @property
    def redriven_body(self) -> bytes:
        """
        The body without C{failures} and C{traceback}.
        """
        if not any(name in self.task for name in _FAILURES):
            return self.body
        return tasks.encode({k: v for k, v in self.task.items() if k not in _FAILURES})

    @property
    def history(self) -> list[str]:
        """
        The headers that tell of its life so far: ours, and RabbitMQ's counts of
        deliveries.
        """
        return [k for k in self.headers if k.startswith(_PREFIX) or k in COUNTS]


def _text_of(value: Any) -> str:
    """
    A field that should be a text; other values are not shown, since nobody knows what
    is in them.
    """
    return value if isinstance(value, str) else HIDDEN
