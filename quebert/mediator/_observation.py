"""
Tells the observer of a mediator what happens to tasks (L{quebert.task_events}).

Nothing here is called while there is no observer: every task comes by.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quebert._repeated import RepeatedWarning
from quebert._text import shown_url
from quebert.boundaries import FailedTask, WatchedMessage
from quebert.mediator._attempt import Attempt
from quebert.mediator._describe import one_line
from quebert.mediator._history import history_of
from quebert.outcome import Bury, Discard, Outcome, Retry
from quebert.task_events import (
    AttemptBegun,
    AttemptEnded,
    NotAttempted,
    TaskAttempt,
    TaskEvent,
    TaskObserver,
)

__all__ = ["Observation", "Observations"]

Result = TypeVar("Result")

# Characters of URLs that are remembered.
_SHORT = 200
_EARLY = "its time has not come"


class Observations:
    """
    Makes an L{Observation} of each task.

    @param log: told where the observer fails.
    @param clock: gives what keeps time.
    @ivar observer: is told; C{None} for nobody.
    """

    def __init__(self, log: Logger, clock: Callable[[], IReactorTime]) -> None:
        self.observer: TaskObserver | None = None
        self._clock = clock
        self._failing = RepeatedWarning(
            log,
            clock,
            "An observer of tasks fails",
            "The observer of tasks does not fail any more",
        )

    def begin(self, task: Any, message: WatchedMessage) -> Observation:
        """
        The observation of a task that has come.

        @param task: anything that a body can be decoded to.
        """
        fields = task if isinstance(task, dict) else {}
        uuid, url = fields.get("uuid"), fields.get("url")
        attempt = TaskAttempt(
            "" if uuid is None else one_line(uuid),
            _shown(url) if isinstance(url, str) else "?",
            history_of(message, fields).attempts + 1,
        )
        return Observation(self, attempt, self._clock().seconds)

    def tell(self, event: TaskEvent) -> None:
        """
        Tell of something.
        """
        if self.observer is None:  # it was taken away meanwhile
            return
        try:
            self.observer(event)
        except Exception as e:
            self._failing.met(f"{type(e).__name__}: {e}")
        else:
            self._failing.succeeded()


def _shown(url: str) -> str:
    return _remembered(url) if len(url) <= _SHORT else shown_url(one_line(url))


@lru_cache(256)
def _remembered(url: str) -> str:
    """
    Most tasks of a queue have the same URL.
    """
    return shown_url(one_line(url))


class Observation:
    """
    What is known of one task on its way.

    @param seconds: tells the time.
    """

    __slots__ = ("_answer", "_attempt", "_began", "_seconds", "_status", "_tell")

    def __init__(
        self,
        observations: Observations,
        attempt: TaskAttempt,
        seconds: Callable[[], float],
    ) -> None:
        self._tell = observations.tell
        self._attempt = attempt
        self._seconds = seconds
        self._began = seconds()
        self._status: int | None = None
        self._answer = ("", "", False)

    def begun(self) -> None:
        """
        The request begins.
        """
        self._tell(AttemptBegun(self._attempt))

    def answered(self, result: Result, attempt: Attempt) -> Result:
        """
        The request has ended.
        """
        self._status = attempt.status
        return result

    def failed(self, failed: FailedTask) -> None:
        """
        The attempt has failed.
        """
        answer = failed.answer
        text = "" if answer is None else answer.body
        kinds = failed.header(b"content-type")
        self._answer = (failed.why, text, bool(kinds) and "html" in kinds[0].lower())

    def ended(self, outcome: Outcome) -> Outcome:
        """
        It is clear what becomes of a task that was to be attempted.
        """
        if isinstance(outcome, Retry) and not outcome.attempted:
            return self.not_attempted(outcome, "its host takes no request now")
        seconds = max(0.0, self._seconds() - self._began)
        why, answer, html = self._answer
        if not why and isinstance(outcome, (Bury, Discard)):
            why = one_line(outcome.reason)
        event = AttemptEnded(
            self._attempt, self._status, seconds, outcome, why, answer, html
        )
        self._tell(event)
        return outcome

    def not_attempted(self, outcome: Outcome, why: str = _EARLY) -> Outcome:
        """
        A task is not attempted.

        @param why: the reason, if C{outcome} has none.
        """
        if isinstance(outcome, (Bury, Discard)):
            why = outcome.reason
        self._tell(NotAttempted(self._attempt, outcome, one_line(why)))
        return outcome
